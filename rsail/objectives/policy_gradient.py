"""Policy gradients from K responses of the policy to each prompt, and a reward for each of them.

The last axis is that of the K responses (RLOO), the two last are those of responses and tokens (GRPO). Rewards carry no
gradient, and a number that is added to all rewards of a prompt changes nothing but RLOO's value. Responses are drawn
from the policy that is updated, once for each update: the ratio pi / pi_old is 1, and clipping it would do nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from rsail.checks import positive, require
from rsail.objectives.arguments import alike, floating

SMALLEST_SPREAD = 1e-4  # added to a group's standard deviation, as published code does


def leave_one_out(values: torch.Tensor) -> torch.Tensor:
    """The mean of the other values along the last axis, (..., K): a baseline that shares no sample with its own."""
    count = values.shape[-1]
    require(count >= 2, "number of responses", count, "at least 2 for a mean over the others")
    return (values.sum(-1, keepdim=True) - values) / (count - 1)


def group_advantages(reward: torch.Tensor) -> torch.Tensor:
    """(r_i - mean r) / std r within each group of K rewards, (..., K): GRPO (arXiv 2402.03300, outcome supervision).

    The standard deviation is that of a sample (K - 1), 1e-4 is added to it: both as published code has them, the paper
    does not say. The own reward is in mean and standard deviation, so that the gradient is not that of E r times a
    constant: every prompt counts alike, however far apart its rewards are.
    """
    count = reward.shape[-1]
    require(count >= 2, "number of responses", count, "at least 2 for a standard deviation")
    centered = reward - reward.mean(-1, keepdim=True)
    return centered / (reward.std(-1, keepdim=True) + SMALLEST_SPREAD)


def rloo_loss(log_prob: torch.Tensor, log_ratio: torch.Tensor, reward, *, beta: float) -> torch.Tensor:
    """REINFORCE with a leave-one-out baseline (RLOO, arXiv 2402.14740) on whole responses, per group.

    With R_i = r_i - beta log_ratio_i, the KL penalty as a part of the reward, the value is -mean_i R_i and the gradient
    -(1/K) sum_i (R_i - mean_{j != i} R_j) grad log pi(y_i|x): without bias that of -(E r - beta KL(pi || pi_ref)),
    which pi_ref exp(r / beta) / Z minimizes.

    Where r_i is the mean log-odds of y_i against all K responses (`rsail.oracles.oracle_scores`), r_i less the mean of
    the others is the mean log-odds of y_i against the others, and r(y) in E r is the mean log-odds of y against a
    response of the policy, held fixed. Of a Bradley-Terry oracle that is the reward itself, less its mean.

    Parameters
    ----------
    log_prob : floating-point tensor (..., K)
        log pi(y_i|x) with graph, sums over response tokens.
    log_ratio : tensor (..., K)
        log pi(y_i|x) - log pi_ref(y_i|x); its graph is not used, since the mean of its gradient is zero.
    reward : tensor (..., K)
    beta : float > 0

    Returns
    -------
    tensor (...)

    Raises
    ------
    ValueError
        beta <= 0, K = 1, shapes that differ; `NotFinite` for values that are not finite (looked at on a CPU only).
    """
    beta = positive("beta", beta)
    log_prob = floating("log_prob", log_prob)
    require(log_prob.ndim >= 1, "log_prob.shape", tuple(log_prob.shape), "(..., K)")
    ratio = alike("log_ratio", log_ratio, "log_prob", log_prob).detach()
    total = (alike("reward", reward, "log_prob", log_prob).detach() - beta * ratio).expand_as(log_prob)
    advantage = total - leave_one_out(total)
    return -(total + advantage * (log_prob - log_prob.detach())).mean(-1)


def grpo_loss(
    log_probs: torch.Tensor, log_ratios: torch.Tensor, mask: torch.Tensor, reward, *, beta: float
) -> torch.Tensor:
    """GRPO (arXiv 2402.03300, eq. 3 and 4) with rewards of whole responses, per group.

    -(1/K) sum_i (1/|y_i|) sum_t [pi / pi_old A_i - beta (e^d - d - 1)], d = log pi_ref - log pi of token t, A_i from
    `group_advantages`. pi_old is the policy itself, as in the paper, which updates once for each set of samples. The
    KL penalty is differentiated through its value alone, as published: on average over the token that gives the
    gradient of KL(pi_ref || pi) at the states that the policy visits, not that of KL(pi || pi_ref), which the mean of
    its value is. Both vanish at pi = pi_ref.

    Parameters
    ----------
    log_probs : floating-point tensor (..., K, T)
        log pi(token | before) with graph.
    log_ratios : tensor (..., K, T)
        log pi - log pi_ref of the tokens, with graph.
    mask : tensor (..., K, T)
        1 on the response's tokens, at least one in each; 0 behind them, where nothing counts.
    reward : tensor (..., K)
    beta : float > 0
        The paper has 0.04, for rewards of any scale.

    Returns
    -------
    tensor (...)

    Raises
    ------
    ValueError
        beta <= 0, K = 1, shapes that differ, a response without tokens; `NotFinite` for values that are not finite
        (looked at on a CPU only).
    """
    beta = positive("beta", beta)
    log_probs = floating("log_probs", log_probs)
    require(log_probs.ndim >= 2, "log_probs.shape", tuple(log_probs.shape), "(..., K, T)")
    log_ratios = alike("log_ratios", log_ratios, "log_probs", log_probs)
    mask = alike("mask", mask, "log_probs", log_probs)
    length = mask.expand_as(log_probs).sum(-1)
    if length.device.type == "cpu":
        require(bool((length >= 1).all()), "mask", length.min().item(), "at least one token in each response")
    of_responses = log_probs[..., 0]
    reward = alike("reward", reward, "log_probs[..., 0]", of_responses).detach()
    advantage = group_advantages(reward.expand_as(of_responses))
    ratio = (log_probs - log_probs.detach()).exp()
    penalty = (-log_ratios).expm1() + log_ratios
    per_token = ratio * advantage.unsqueeze(-1) - beta * penalty
    return -((per_token * mask).sum(-1) / length).mean(-1)


# By what they read: log-probabilities of responses, callable as ``loss(log_prob, log_ratio, reward, beta=...)``, or of
# their tokens, ``loss(log_probs, log_ratios, mask, reward, beta=...)``.
SEQUENCE_LOSSES: dict[str, Callable[..., torch.Tensor]] = {"rloo": rloo_loss}
TOKEN_LOSSES: dict[str, Callable[..., torch.Tensor]] = {"grpo": grpo_loss}
