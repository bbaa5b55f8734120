"""Linear Alignment (arXiv 2401.11458): alignment while decoding, from one model read with two prompts."""

from __future__ import annotations

import math

import torch

from rsail.checks import nonnegative, number, positive, require
from rsail.lm.reader import make_reader
from rsail.lm.sampling import Samples, check_length, decode, draw_uniforms


def aligned_logits(
    logits_with: torch.Tensor,
    logits_without: torch.Tensor,
    *,
    ratio: float,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> torch.Tensor:
    """Logits (..., V) of the law pi_with^(1 + ratio) pi_without^-ratio at a temperature, inside a nucleus.

    Both logits (..., V) come from the same model, with and without the principle in the prompt. The mixture is
    (1 + ratio) z_with - ratio z_without, divided by the temperature afterwards. Tokens outside the smallest set that
    holds at least `top_p` of softmax(z_with / temperature) get -inf; the most probable token always stays.

    Raises
    ------
    ValueError
        ratio < 0, temperature <= 0, top_p outside (0, 1], or shapes that differ.
    """
    ratio, temperature = nonnegative("ratio", ratio), positive("temperature", temperature)
    require(0 < number(top_p) <= 1, "top_p", top_p, "in (0, 1]")
    require(
        logits_with.shape == logits_without.shape,
        "logits_without.shape", tuple(logits_without.shape), f"{tuple(logits_with.shape)}",
    )  # fmt: skip
    wide = torch.promote_types(logits_with.dtype, torch.float32)
    logits_with, logits_without = logits_with.to(wide), logits_without.to(wide)
    mixed = ((1 + ratio) * logits_with - ratio * logits_without) / temperature
    if top_p == 1:
        return mixed
    probs, order = (logits_with / temperature).softmax(-1).sort(descending=True, stable=True, dim=-1)
    before = probs.cumsum(-1) - probs
    outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return mixed.masked_fill(outside, -math.inf)


@torch.no_grad()
def sample_aligned(
    model: torch.nn.Module,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    principled_ids: torch.Tensor,
    principled_mask: torch.Tensor,
    *,
    ratio: float,
    responses_per_prompt: int,
    max_new_tokens: int,
    eos_token_id: int,
    pad_token_id: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_p: float = 1.0,
    greedy: bool = False,
) -> Samples:
    """K responses for each prompt from `aligned_logits`, two forward passes per token; ratio 0 is the principle alone.

    Prompts (X, P) and the same prompts with the principle (X, Q) are padded on the left. The samples carry the
    prompts WITHOUT the principle, as an answer to which they are judged; their law is no policy's, so their
    log-probabilities are not those of the sampler. `greedy` takes the most probable token instead of drawing one.
    """
    require(responses_per_prompt >= 1, "responses_per_prompt", responses_per_prompt, ">= 1")
    require(max_new_tokens >= 1, "max_new_tokens", max_new_tokens, ">= 1")
    require(
        len(principled_ids) == len(prompt_ids),
        "len(principled_ids)", len(principled_ids), f"{len(prompt_ids)}, the number of prompts",
    )  # fmt: skip
    for mask in (prompt_mask, principled_mask):
        check_length(model, mask, max_new_tokens)
    plain = make_reader(model, prompt_ids, prompt_mask, responses_per_prompt, max_new_tokens)
    principled = make_reader(model, principled_ids, principled_mask, responses_per_prompt, max_new_tokens)

    def next_logits(last: torch.Tensor | None) -> torch.Tensor:
        logits = aligned_logits(
            principled.read(last), plain.read(last), ratio=ratio, temperature=temperature, top_p=top_p
        )
        if not greedy:
            return logits
        best = logits.argmax(-1, keepdim=True)
        return torch.full_like(logits, -math.inf).scatter(-1, best, 0.0)

    def keep(rows: torch.Tensor) -> None:
        plain.keep(rows)
        principled.keep(rows)

    uniforms = draw_uniforms(len(plain.ids), max_new_tokens, generator, plain.ids.device)
    tokens, alive = decode(
        next_logits, uniforms, eos_token_id=eos_token_id, pad_token_id=pad_token_id, keep=keep
    )
    return Samples(plain.ids, plain.mask, tokens, alive)
