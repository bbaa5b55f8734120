"""The one log-probability function: masked, position-aware, temperature-aware."""

from __future__ import annotations

import contextlib
import weakref

import torch
from torch.nn.parallel import DistributedDataParallel

from rsail.checks import require
from rsail.lm.chosen import chosen_log_probs

# Fewer logits than this (4 MiB in float32) are cheaper to hold than to compute twice.
FEW_LOGITS = 2**20
PADDING, PADDING_TOLERANCE = 3, 1e-3  # tokens, nats: rounding of float32 stays below 1e-5
_NOT_PLAIN: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()


def positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Position of each token counted from its row's first real token, (N, L): left padding must not shift it."""
    return (attention_mask.cumsum(-1) - 1).clamp_min(0)


def response_log_probs(
    model: torch.nn.Module,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    response_ids: torch.Tensor,
    response_mask: torch.Tensor,
    *,
    temperature: float = 1.0,
) -> torch.Tensor:
    """log pi(y_t | x, y_<t) of each response token, (N, T), in at least float32; zero where the mask is zero.

    Prompts (N, P) are padded on the left, responses (N, T) on the right, masks are 1 on real tokens. Sum over the
    last axis for log pi(y|x). The result does not depend on the padding (up to rounding), for models with
    learned positions (GPT-2) as for those with rotary ones. Where all logits (N, T, V) would take much memory and the
    model gives those of its output layer as they are, they are computed a few rows at a time (`chosen_log_probs`).
    """
    require(temperature > 0, "temperature", temperature, "> 0")
    require(
        response_ids.shape == response_mask.shape and len(response_ids) == len(prompt_ids),
        "response_ids.shape", tuple(response_ids.shape), f"{tuple(response_mask.shape)} with one row per prompt row",
    )  # fmt: skip
    length = response_ids.shape[1]
    attention = torch.cat([prompt_mask, response_mask], dim=1)
    inputs = {
        "input_ids": torch.cat([prompt_ids, response_ids], dim=1),
        "attention_mask": attention,
        "position_ids": positions(attention),
        "use_cache": False,
        "logits_to_keep": length + 1,
    }
    head = _output_layer(model)
    if head is not None and response_ids.numel() * head.out_features >= FEW_LOGITS:
        hidden = _last_hidden(model, head, inputs)
        if hidden is not None:
            hidden = hidden[:, -length - 1 : -1]
            kept = response_mask.bool()  # what is padding needs no logits
            log_probs = chosen_log_probs(
                hidden[kept], head.weight, head.bias, response_ids[kept], temperature
            )
            return log_probs.new_zeros(response_mask.shape).masked_scatter(kept, log_probs)
    logits = model(**inputs).logits[:, -length - 1 : -1]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    chosen = logits.gather(-1, response_ids.unsqueeze(-1)).squeeze(-1)
    return (chosen - logits.logsumexp(-1)) * response_mask


@torch.no_grad()
def check_padding(model: torch.nn.Module, prompt_ids: torch.Tensor, prompt_mask: torch.Tensor) -> None:
    """Raise `ValueError` if padding on the left changes the log-probabilities of one prompt (1, P) after itself.

    Some architectures (BART's decoder, RWKV) take no position ids or no mask, so that a batch is not what its rows are.
    """
    device = next(model.parameters()).device
    ids, mask = prompt_ids.to(device), prompt_mask.to(device)
    pad = torch.zeros_like(ids[:, :1]).expand(-1, PADDING)
    alone = response_log_probs(model, ids, mask, ids, mask)
    padded = response_log_probs(model, torch.cat([pad, ids], 1), torch.cat([pad, mask], 1), ids, mask)
    away = float(torch.linalg.vector_norm(alone - padded, ord=torch.inf))
    require(
        away <= PADDING_TOLERANCE,
        "model", type(model).__name__,
        f"one whose log-probabilities do not depend on the padding; {PADDING} pads change them by {away:.2g} nats",
    )  # fmt: skip


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether something besides its class decides what `module` computes."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__)


def _whole(model: torch.nn.Module) -> torch.nn.Module:
    """The model in DDP, which leaves its weights whole and adds up their gradients, in whichever pass they arise."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def _output_layer(model: torch.nn.Module) -> torch.nn.Linear | None:
    """The layer that makes the logits, None if it is no plain matrix or known not to be the last step."""
    model = _whole(model)
    head = getattr(model, "get_output_embeddings", lambda: None)()
    whole = not hasattr(model, "set_reshard_after_forward")  # FSDP puts a weight together for its pass alone
    plain = type(head) is torch.nn.Linear and not has_hooks(head) and model not in _NOT_PLAIN and whole
    return head if plain else None


def _last_hidden(model: torch.nn.Module, head: torch.nn.Linear, inputs: dict) -> torch.Tensor | None:
    """What `head` would read, (N, T + 1, d); None if the model does more to the logits (a scale, a soft cap)."""
    with _passing(head) as seen:
        logits = model(**inputs).logits
    if len(seen) == 1 and logits is seen[0]:
        return logits
    _NOT_PLAIN.add(_whole(model))
    return None


@contextlib.contextmanager
def _passing(head: torch.nn.Linear):
    """`head` returns what it is given; the list holds that."""
    seen: list[torch.Tensor] = []

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(hidden)
        return hidden

    head.forward = forward
    try:
        yield seen
    finally:
        del head.forward
