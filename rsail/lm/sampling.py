"""Ancestral sampling at temperature 1 with a KV cache and an explicit generator; token ids are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from transformers import DynamicCache, PreTrainedTokenizerBase

from rsail.checks import require
from rsail.lm.scoring import positions


class Samples(NamedTuple):
    """Prompts and their sampled responses, row n = prompt n // K, response n % K.

    `prompt_ids`, `prompt_mask` (N, P) padded on the left; `response_ids`, `response_mask` (N, T) padded on the
    right. The mask covers the end-of-sequence token where it was drawn; nothing is appended where it was not.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    response_ids: torch.Tensor
    response_mask: torch.Tensor


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
    """Raise `ValueError` if a prompt is empty, or if the longest one and its response are too long for the model."""
    check_length(model, encode_prompts(tokenizer, prompts)[1], max_new_tokens)


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
) -> Samples:
    """K responses y ~ pi(.|x) for each prompt (eq. 1: i.i.d. given the prompt), by inverse transform.

    All uniforms are drawn at the start on the generator's device in float64, one row per response, so what a row
    samples depends neither on how long the others run nor on the device of the model.
    """
    require(responses_per_prompt >= 1, "responses_per_prompt", responses_per_prompt, ">= 1")
    require(max_new_tokens >= 1, "max_new_tokens", max_new_tokens, ">= 1")
    check_length(model, prompt_mask, max_new_tokens)
    reader = Reader(model, prompt_ids, prompt_mask, responses_per_prompt, max_new_tokens)
    tokens, alive = decode(
        lambda last: reader.read(last) / temperature,
        draw_uniforms(len(reader.ids), max_new_tokens, generator, reader.ids.device),
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
    )
    return Samples(reader.ids, reader.mask, tokens, alive)


class Reader:
    """A model that reads K copies of each prompt and then one more token per row at a time, with a KV cache.

    `ids`, `mask` (N, P) are the repeated prompts, N = X K.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        prompt_ids: torch.Tensor,
        prompt_mask: torch.Tensor,
        responses_per_prompt: int,
        max_new_tokens: int,
    ):
        device = next(model.parameters()).device
        self.model = model
        self.ids = prompt_ids.to(device).repeat_interleave(responses_per_prompt, dim=0)
        self.mask = prompt_mask.to(device).repeat_interleave(responses_per_prompt, dim=0)
        self.attention = torch.cat([self.mask, self.mask.new_ones(len(self.mask), max_new_tokens)], dim=1)
        self.positions = positions(self.attention)
        self.cache, self.start = DynamicCache(config=model.config), 0

    def read(self, tokens: torch.Tensor | None) -> torch.Tensor:
        """Logits (N, V) of the next token, after the prompt for `tokens` None, else after one more token (N,)."""
        step = self.ids if tokens is None else tokens[:, None]
        end = self.start + step.shape[1]
        logits = self.model(
            input_ids=step,
            attention_mask=self.attention[:, :end],
            position_ids=self.positions[:, self.start : end],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        self.start = end
        return logits


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
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask, (N, at most T), drawn from softmax(next_logits) with the uniforms (N, T).

    `next_logits` is called with None first, then with the tokens (N,) of the step before.
    """
    rows, longest = uniforms.shape
    tokens = torch.full((rows, longest), pad_token_id, dtype=torch.long, device=uniforms.device)
    alive = torch.zeros_like(tokens)
    running = torch.ones(rows, dtype=torch.bool, device=uniforms.device)
    last = None
    for t in range(longest):
        drawn = inverse_transform(next_logits(last), uniforms[:, t])
        last = tokens[:, t] = torch.where(running, drawn, pad_token_id)
        alive[:, t] = running
        running = running & (drawn != eos_token_id)
        if not running.any():
            break
    return tokens[:, : t + 1], alive[:, : t + 1]


def inverse_transform(logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Tokens drawn from softmax(logits), (N, V), with one uniform each, (N,)."""
    cumulative = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1).double().cumsum(-1)
    # The last entry is one only up to rounding; scaling by it makes every uniform in [0, 1) hit a token.
    target = uniforms.unsqueeze(-1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_max(logits.shape[-1] - 1)
