"""The objective of a batch: losses of its pairs, the score term, what reweights them, what is added."""

from __future__ import annotations

import torch

from rsail.objectives import (
    REWEIGHTINGS,
    TERMS,
    baseline,
    dpo_loss,
    group_means,
    group_robust,
    group_weights,
    kl_radius,
    pair_indices,
    pessimistic_score,
    preference_surrogate,
    score_surrogate,
    wasserstein_penalty,
    weights,
)
from rsail.training.context import Context
from rsail.training.options import POLICY_GRADIENTS, loss_function, loss_kind


def online_loss(
    config,
    log_probs: torch.Tensor,
    ref_log_probs: torch.Tensor,
    targets: torch.Tensor,
    context: Context = Context(),  # noqa: B008 - a tuple of None
    measures: dict[str, float] | None = None,
) -> torch.Tensor:
    """The objective of a batch, a scalar whose gradient is the estimator of its method.

    `log_probs` (X, K) are log pi(y|x) with graph, `ref_log_probs` those of the reference, `targets` what
    `rsail.training.collection.make_targets` returns. Without additions it is the mean over all pairs, and with a
    score weight its gradient is the estimator of Algorithm 1 (eq. 22): the value is that of the pair loss, and the
    gradient of the sampling law comes on top. Policy gradients are the mean over all groups of K responses. What
    additions amount to is put into `measures`.
    """
    measures = {} if measures is None else measures
    addition = config.addition
    losses = response_losses(config, log_probs, ref_log_probs, targets, context)
    values = losses
    laws = config.score_weight > 0 or addition.preference_weight > 0
    if laws and loss_kind(config.loss) not in POLICY_GRADIENTS:  # these are gradients of their law already
        losses = _with_laws(config, losses, log_probs, log_probs - ref_log_probs, targets, context.fresh)
    total = _reduced(config, losses, context, measures)
    if addition.wasserstein > 0:
        penalty = wasserstein_penalty(
            values.flatten(), context.inputs, radius=addition.wasserstein,
            squared=addition.wasserstein_form == "squared", probs=context.probs,
        )  # fmt: skip
        measures["objective/wasserstein"] = penalty.item()
        total = total + penalty
    if addition.term not in ("none", "pessimism"):
        term = _term(config, log_probs, log_probs - ref_log_probs, targets, context)
        if context.probs is None:
            term = term.mean()
        else:
            term = context.probs.view(len(losses), -1).sum(1) @ term.reshape(len(losses), -1).mean(1)
        measures["objective/term"] = term.item()
        total = total + term
    return total


def response_losses(config, log_probs, ref_log_probs, targets, context: Context) -> torch.Tensor:
    """The loss of each pair, (X, M) in the order of `pair_indices`; of each list or group of responses, (X, 1)."""
    loss, arguments, kind = loss_function(config.loss), config.loss_arguments(), loss_kind(config.loss)
    log_ratio = log_probs - ref_log_probs
    if kind == "list":
        return loss(log_ratio, targets.long(), **arguments)[:, None]
    if kind == "sequence":
        return loss(log_probs, log_ratio, targets, **arguments)[:, None]
    if kind == "token":
        return loss(*context.tokens, targets, **arguments)[:, None]
    first, second = pair_indices(config.responses_per_prompt)
    if kind == "ratio":
        return loss(log_ratio[:, first], log_ratio[:, second], targets[:, first, second], **arguments)
    pair_score = log_ratio[:, first] - log_ratio[:, second]
    if kind == "reward":
        return loss(pair_score, targets[:, first] - targets[:, second], **arguments)
    if config.addition.term == "pessimism":
        gap = config.addition.term_weight * (context.uncertainty[:, first] - context.uncertainty[:, second])
        pair_score = pessimistic_score(pair_score, gap, beta=config.beta)
    return loss(pair_score, targets[:, first, second], **arguments)


def _with_laws(config, losses, log_probs, log_ratio, targets, fresh: int | None) -> torch.Tensor:
    """`losses` with the gradients of the laws that depend on the policy: of the responses, of its own labels."""
    own = slice(fresh)
    first, second = pair_indices(config.responses_per_prompt)
    moved = losses[own]
    if config.score_weight > 0:
        if loss_kind(config.loss) == "list":  # of one column, as if of the pair (all responses, none)
            count, scores = 2, (log_probs[own].sum(1, keepdim=True), torch.zeros_like(moved))
        else:
            count, scores = config.responses_per_prompt, (log_probs[own][:, first], log_probs[own][:, second])
        moved = score_surrogate(
            moved, *scores, baseline=baseline(moved, config.baseline, count), weight=config.score_weight
        )
    if (weight := config.addition.preference_weight) > 0:
        h, labels = log_ratio[own][:, first] - log_ratio[own][:, second], targets[own][:, first, second]
        surrogate = preference_surrogate(h, labels, beta=config.beta, weight=weight)
        moved = moved + surrogate - dpo_loss(h, labels, beta=config.beta)
    return moved if fresh is None or fresh == len(losses) else torch.cat([moved, losses[fresh:]])


def _reduced(config, losses, context: Context, measures: dict) -> torch.Tensor:
    """One number from the losses of all pairs: their mean, or what the reweighting makes of them."""
    name, strength = config.addition.reweighting, config.addition.reweighting_strength
    if name == "mean":
        return losses.mean() if context.probs is None else context.probs @ losses.flatten()
    flat, probs = losses.flatten(), context.probs
    if name == "group_robust":
        groups, old = context.groups.repeat_interleave(losses.shape[1]), context.memory["group_weights"]
        means = group_means(flat, groups, len(old), probs=probs)
        context.memory["group_weights"] = group_weights(old, means, strength)
        return group_robust(means, context.memory["group_weights"])
    law = weights(name, flat, strength, probs)
    measures["objective/reweighting_kl"] = kl_radius(law, probs).item()
    if name in ("dr_dpo", "kl_penalty"):
        return REWEIGHTINGS[name](flat, temperature=strength, probs=probs)
    return law @ flat  # a ball's value, whose law took long enough to find once


def _term(config, log_probs, log_ratio, targets, context: Context) -> torch.Tensor:
    """The term of each sample; its mean is added."""
    name, weight, beta = config.addition.term, config.addition.term_weight, config.beta
    if name == "xpo":  # of the pair's second response, the one drawn from the initial model
        return TERMS["xpo"](log_probs[:, 1], weight=weight)
    further = context.further
    if name in ("vpo_online", "vpo_offline"):
        sign = 1 if name == "vpo_online" else -1
        return TERMS["vpo"](further.log_ratio, beta=beta, weight=weight, sign=sign)
    if name == "selm":
        return TERMS["selm"](further.log_ratio, beta=beta, weight=weight)
    if name == "copo":
        return TERMS["copo"](further.log_probs, further.log_ratio, further.bonus, weight=weight)
    if name == "hypo":
        return TERMS["hypo"](further.log_probs, further.log_ratio, weight=weight)
    if name == "reference_kl":
        return TERMS["reference_kl"](further.log_ratio, weight=weight)
    # SPAC: the mean over the pairs of the prompt, each against every sample of it.
    first, second = pair_indices(config.responses_per_prompt)
    own, one, other = torch.broadcast_tensors(
        further.log_ratio[:, :, None], log_ratio[:, None, first], log_ratio[:, None, second]
    )
    if name == "spac_smoothed":
        return TERMS["spac_smoothed"](own, one, other, beta=beta, weight=weight)
    label = targets[:, None, first, second]
    return TERMS["spac_anchored"](own, label * one + (1 - label) * other, weight=weight)
