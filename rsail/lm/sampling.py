"""Ancestral sampling at temperature 1 with a KV cache and an explicit generator; token ids are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from rsail.checks import require
from rsail.lm.reader import make_reader
from rsail.lm.scoring import check_padding


class Samples(NamedTuple):
    """Prompts and their sampled responses, row n = prompt n // K, response n % K.

    `prompt_ids`, `prompt_mask` (N, P) padded on the left; `response_ids`, `response_mask` (N, T) padded on the
    right. The mask covers the end-of-sequence token where it was drawn; nothing is appended where it was not.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    response_ids: torch.Tensor
    response_mask: torch.Tensor


class Share(NamedTuple):
    """Prompts `rows` (X,), in their order, of a batch of `total` that several processes sample together."""

    rows: np.ndarray
    total: int


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask of the prompts, (X, P), padded on the left."""
    require(len(prompts) > 0, "prompts", prompts, "a non-empty list")
    encoded = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
    require(
        bool(encoded["attention_mask"].any(1).all()), "prompts", prompts, "texts of at least one token each"
    )
    return encoded["input_ids"], encoded["attention_mask"]


def check_prompts(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: list[str], max_new_tokens: int
) -> None:
    """Raise `ValueError` if a prompt is empty, if the longest one and its response are too long for the model, or if
    the model's log-probabilities depend on the padding."""
    check_length(model, encode_prompts(tokenizer, prompts)[1], max_new_tokens)
    check_padding(model, *encode_prompts(tokenizer, prompts[:1]))


def check_length(model: torch.nn.Module, prompt_mask: torch.Tensor, max_new_tokens: int) -> None:
    """Raise `ValueError` if the longest prompt and its response are too long for the model."""
    longest, limit = int(prompt_mask.sum(1).max()), getattr(model.config, "max_position_embeddings", None)
    require(
        limit is None or longest + max_new_tokens <= limit,
        "max_new_tokens", max_new_tokens, f"at most {limit} positions of the model less {longest} of the prompt",
    )  # fmt: skip


@torch.no_grad()
def sample(
    model: torch.nn.Module,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    *,
    responses_per_prompt: int,
    max_new_tokens: int,
    eos_token_id: int,
    pad_token_id: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    share: Share | None = None,
) -> Samples:
    """K responses y ~ pi(.|x) for each prompt (eq. 1: i.i.d. given the prompt), by inverse transform.

    All uniforms are drawn at the start on the generator's device in float64, one row per response, so what a row
    samples depends neither on how long the others run nor on the device of the model. Where the prompts are a `share`
    of a larger batch, the uniforms of all of it are drawn, and each prompt samples what it would in the whole batch.
    """
    require(responses_per_prompt >= 1, "responses_per_prompt", responses_per_prompt, ">= 1")
    require(max_new_tokens >= 1, "max_new_tokens", max_new_tokens, ">= 1")
    check_length(model, prompt_mask, max_new_tokens)
    reader = make_reader(model, prompt_ids, prompt_mask, responses_per_prompt, max_new_tokens)
    total = responses_per_prompt * (len(prompt_ids) if share is None else share.total)
    uniforms = draw_uniforms(total, max_new_tokens, generator, reader.ids.device)
    if share is not None:
        rows = np.asarray(share.rows)[:, None] * responses_per_prompt + np.arange(responses_per_prompt)
        uniforms = uniforms[torch.as_tensor(rows.ravel(), device=uniforms.device)]
    tokens, alive = decode(
        lambda last: reader.read(last) if temperature == 1 else reader.read(last) / temperature,
        uniforms,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        keep=reader.keep,
    )
    return Samples(reader.ids, reader.mask, tokens, alive)


def draw_uniforms(
    rows: int, max_new_tokens: int, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """The uniforms of all tokens, (N, T) in float64, drawn on the generator's device."""
    return torch.rand(
        rows, max_new_tokens, generator=generator, dtype=torch.float64, device=generator.device
    ).to(device)


def decode(
    next_logits: Callable[[torch.Tensor | None], torch.Tensor],
    uniforms: torch.Tensor,
    *,
    eos_token_id: int,
    pad_token_id: int,
    keep: Callable[[torch.Tensor], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask, (N, at most T), drawn from softmax(next_logits) with the uniforms (N, T).

    `next_logits` is called with None first, then with the tokens of the step before. When half of the rows have ended
    it goes on with the others: `keep` is told their indices among the rows of the step before.
    """
    rows, longest = uniforms.shape
    tokens = torch.full((rows, longest), pad_token_id, dtype=torch.long, device=uniforms.device)
    alive = torch.zeros_like(tokens)
    read = torch.arange(rows, device=uniforms.device)  # where the rows that are still read stand
    running = torch.ones_like(read, dtype=torch.bool)
    last = None
    for t in range(longest):
        drawn = inverse_transform(next_logits(last), uniforms[read, t])
        last = tokens[read, t] = torch.where(running, drawn, pad_token_id)
        alive[read, t] = running.long()
        running = running & (drawn != eos_token_id)
        left = int(running.sum())
        if left == 0:
            break
        if 2 * left <= len(read):
            kept = running.nonzero().squeeze(1)
            keep(kept)
            read, last, running = read[kept], last[kept], running[kept]
    return tokens[:, : t + 1], alive[:, : t + 1]


BLOCK = 256  # tokens
LARGE = 16 * BLOCK  # a vocabulary from which two searches are faster than one


def inverse_transform(logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Tokens drawn from softmax(logits), (N, V), with one uniform each, (N,).

    The softmax is taken in at least float32, its distribution function in float64. In a large vocabulary the block of
    tokens is searched for first, then the token in it: the same token, up to rounding errors in float64.
    """
    probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
    uniforms = uniforms.unsqueeze(-1)
    if probs.shape[-1] < LARGE:
        cumulative = probs.double().cumsum(-1)
        # The last entry is one only up to rounding; scaling by it makes every uniform in [0, 1) hit a token.
        return _search(cumulative, uniforms * cumulative[:, -1:]).squeeze(-1)
    whole = probs.shape[-1] // BLOCK * BLOCK
    masses = probs[:, :whole].unflatten(-1, (-1, BLOCK)).sum(-1, dtype=torch.float64)
    masses = torch.cat([masses, probs[:, whole:].sum(-1, keepdim=True, dtype=torch.float64)], dim=-1)
    cumulative = masses.cumsum(-1)
    target = uniforms * cumulative[:, -1:]
    block = _search(cumulative, target)
    before = torch.where(block > 0, cumulative.gather(-1, (block - 1).clamp_min(0)), 0)
    tokens = block * BLOCK + torch.arange(BLOCK, device=probs.device)
    outside = tokens >= probs.shape[-1]
    inside = probs.gather(-1, tokens.masked_fill(outside, 0)).double().masked_fill(outside, 0).cumsum(-1)
    # A sum in another order misses by a rounding error: what is left stays within the block, where it has mass.
    highest = inside[:, -1:].nextafter(torch.zeros_like(before))
    token = block * BLOCK + _search(inside, torch.minimum((target - before).clamp_min(0), highest))
    return token.squeeze(-1).clamp_max(probs.shape[-1] - 1)


def _search(cumulative: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The first entry above the target, (N, 1)."""
    return torch.searchsorted(cumulative, target, right=True).clamp_max(cumulative.shape[-1] - 1)
