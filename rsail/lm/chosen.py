"""Log-probabilities of chosen tokens without all logits: a few rows at a time, computed again for the gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

CHUNK = {"cpu": 2**21, "cuda": 2**27}  # logits held at a time: what stays in the cache, what fills the device


def chosen_log_probs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    ids: torch.Tensor,
    temperature: float = 1.0,
) -> torch.Tensor:
    """log softmax((hidden W^T + b) / temperature) at `ids`, (M,), in at least float32.

    `hidden` (M, d), `weight` (V, d), `bias` (V,) or None, `ids` (M,). Under autocast the product has its precision.
    Second derivatives hold all logits.
    """
    device = hidden.device.type
    low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    with torch.autocast(device, enabled=False):
        return _ChosenLogProbs.apply(hidden, weight, bias, ids, temperature, low)


def _all_at_once(hidden, weight, bias, ids, temperature, dtype) -> torch.Tensor:
    logits = _logits(hidden, weight.to(dtype), bias, temperature, dtype)
    return logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


def _logits(hidden, weight, bias, temperature, dtype) -> torch.Tensor:
    logits = functional.linear(hidden.to(dtype), weight, None if bias is None else bias.to(dtype))
    logits = logits.to(torch.promote_types(dtype, torch.float32))
    return logits if temperature == 1 else logits / temperature


class _ChosenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, ids, temperature, dtype):
        wide = torch.promote_types(dtype, torch.float32)
        chosen, total = hidden.new_empty(2, len(hidden), dtype=wide)
        narrow = weight.to(dtype)
        for rows in _chunks(hidden, weight):
            logits = _logits(hidden[rows], narrow, bias, temperature, dtype)
            chosen[rows] = logits.gather(-1, ids[rows].unsqueeze(-1)).squeeze(-1)
            largest = logits.amax(-1)
            total[rows] = logits.sub_(largest.unsqueeze(-1)).exp_().sum(-1).log_().add_(largest)
        ctx.save_for_backward(hidden, weight, bias, ids, total)
        ctx.settings = temperature, dtype
        return chosen - total

    @staticmethod
    def backward(ctx, grad):
        hidden, weight, bias, ids, total = ctx.saved_tensors
        temperature, dtype = ctx.settings
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # the gradient is to be differentiated itself
            log_probs = _all_at_once(hidden, weight, bias, ids, temperature, dtype)
            inputs = [part for part, want in zip((hidden, weight, bias), wanted, strict=True) if want]
            found = iter(torch.autograd.grad(log_probs, inputs, grad, create_graph=True))
            return *(next(found) if want else None for want in wanted), None, None, None
        # The weights of a low precision are summed up in the precision of the parameters.
        parts = [
            torch.zeros_like(part) if want else None
            for part, want in zip((hidden, weight, bias), wanted, strict=True)
        ]
        narrow, share = weight.to(dtype), grad / temperature
        for rows in _chunks(hidden, weight):
            probs = _logits(hidden[rows], narrow, bias, temperature, dtype)
            probs.sub_(total[rows].unsqueeze(-1)).exp_()
            # d log p(chosen) / d logits = one-hot - softmax.
            probs.mul_(-share[rows].unsqueeze(-1))
            probs.scatter_add_(-1, ids[rows].unsqueeze(-1), share[rows].unsqueeze(-1))
            slope = probs.to(dtype)
            if wanted[0]:
                parts[0][rows] = (slope @ narrow).to(hidden.dtype)
            if wanted[1]:
                parts[1].addmm_(slope.T.to(weight.dtype), hidden[rows].to(weight.dtype))
            if wanted[2]:
                parts[2] += probs.sum(0)
        return *parts, None, None, None


def _chunks(hidden: torch.Tensor, weight: torch.Tensor) -> Iterator[slice]:
    size = max(1, CHUNK.get(hidden.device.type, CHUNK["cpu"]) // len(weight))
    for start in range(0, len(hidden), size):
        yield slice(start, start + size)
