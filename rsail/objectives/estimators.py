"""Gradient estimators for losses whose pairs are sampled from the policy itself.

The pair law d_theta(z) = mu(x) pi(y1|x) pi(y2|x) (arXiv 2602.20457, eq. 1) depends on theta, so the gradient of
E[loss] is E[grad loss + (loss - b) S], S = grad log pi(y1|x) + grad log pi(y2|x), for any b that shares no
response with the pair. With K responses per prompt all K(K-1)/2 pairs are used (a U-statistic); X prompts.
"""

from __future__ import annotations

import math

import torch

from rsail.checks import nonnegative, number, one_of, require

BASELINES = {
    "log2": "the constant log 2: every pair's loss at the reference policy",
    "other_prompts": "the mean over all pairs of the other prompts of the batch (2 or more prompts)",
    "disjoint": "the mean over the prompt's pairs that share no response with this one (K >= 4)",
    "per_response": "for the score of response i, the mean over the prompt's pairs without i (K >= 3)",
}


def pair_indices(responses_per_prompt: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices (i, j) of the M = K(K-1)/2 pairs i < j, each of shape (M,)."""
    require(responses_per_prompt >= 2, "responses_per_prompt", responses_per_prompt, ">= 2")
    first, second = torch.triu_indices(responses_per_prompt, responses_per_prompt, offset=1)
    return first, second


def check_baseline(kind: str, prompts: int, responses_per_prompt: int) -> None:
    """Raise `ValueError` if a batch of this size leaves no pair for the baseline `kind`."""
    one_of("baseline", kind, BASELINES)
    if kind == "other_prompts":
        require(prompts >= 2, "prompts_per_step", prompts, "at least 2 for baseline 'other_prompts'")
    smallest = {"disjoint": 4, "per_response": 3}.get(kind, 2)
    require(
        responses_per_prompt >= smallest,
        "responses_per_prompt", responses_per_prompt, f"at least {smallest} for baseline {kind!r}",
    )  # fmt: skip


def baseline(
    pair_losses: torch.Tensor, kind: str, responses_per_prompt: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Baselines for the scores of the first and of the second response of each pair, two tensors (X, M).

    `pair_losses` is (X, M) in the order of `pair_indices`; none of the kinds is biased. The mean over all other
    pairs of the same prompt is not among them: pairs share responses, and it would multiply the score term by
    (K-1)/(K+1). Summed over a prompt's pairs, "disjoint" and "per_response" give the same gradient.
    """
    losses, count = pair_losses.detach(), responses_per_prompt
    check_baseline(kind, len(losses), count)
    require(
        losses.ndim == 2 and losses.shape[1] == count * (count - 1) // 2,
        "pair_losses.shape", tuple(losses.shape), f"(X, {count * (count - 1) // 2}) for {count} responses per prompt",
    )  # fmt: skip
    if kind == "log2":
        value = torch.full_like(losses, math.log(2))
        return value, value
    per_prompt = losses.sum(1, keepdim=True)
    if kind == "other_prompts":
        value = (per_prompt.sum() - per_prompt) / (losses.numel() - losses.shape[1])
        return value.expand_as(losses), value.expand_as(losses)
    first, second = (index.to(losses.device) for index in pair_indices(count))
    per_response = losses.new_zeros(len(losses), count)
    per_response.index_add_(1, first, losses).index_add_(1, second, losses)
    if kind == "disjoint":
        others = per_prompt - per_response[:, first] - per_response[:, second] + losses
        value = others / ((count - 2) * (count - 3) / 2)
        return value, value
    without = (per_prompt - per_response) / ((count - 1) * (count - 2) / 2)
    return without[:, first], without[:, second]


def score_surrogate(
    pair_loss: torch.Tensor,
    log_prob_1: torch.Tensor,
    log_prob_2: torch.Tensor,
    *,
    baseline: float | tuple[torch.Tensor, torch.Tensor] = 0.0,
    weight: float = 1.0,
) -> torch.Tensor:
    """Per pair, a tensor with the value of `pair_loss` and the gradient d loss + weight (loss - b) S.

    `log_prob_1`, `log_prob_2` are log pi(y1|x), log pi(y2|x) with graph, shaped as `pair_loss`; `baseline` a number
    or a pair (for the score of y1, for that of y2) of numbers or tensors shaped as `pair_loss`. weight 1 is exact
    (section C of arXiv 2602.20457 uses the same score), weight 0 drops the gradient of the sampling law, as online
    DPO does.

    Raises
    ------
    ValueError
        A weight that is not a finite number >= 0, shapes that differ, a baseline of another kind.
    """
    weight = nonnegative("weight", weight)
    require(
        pair_loss.shape == log_prob_1.shape == log_prob_2.shape,
        "log_prob shapes", (tuple(log_prob_1.shape), tuple(log_prob_2.shape)),
        f"{tuple(pair_loss.shape)}, as pair_loss",
    )  # fmt: skip
    of_1, of_2 = _baseline_pair(baseline, pair_loss.shape)
    if weight == 0:
        return pair_loss
    loss = pair_loss.detach()
    score = (loss - of_1) * (log_prob_1 - log_prob_1.detach()) + (loss - of_2) * (
        log_prob_2 - log_prob_2.detach()
    )
    return pair_loss + weight * score


def _baseline_pair(baseline, shape: torch.Size) -> tuple:
    """The baselines of both scores. One tensor for both must be a number: else a pair lost its other half."""
    pair, shapes = (baseline, (shape, ())) if isinstance(baseline, tuple) else ((baseline, baseline), ((),))

    def fits(value) -> bool:
        return value.shape in shapes if isinstance(value, torch.Tensor) else math.isfinite(number(value))

    require(
        len(pair) == 2 and all(map(fits, pair)),
        "baseline", baseline, f"a finite number or a pair of tensors of shape {tuple(shape)}",
    )  # fmt: skip
    return pair
