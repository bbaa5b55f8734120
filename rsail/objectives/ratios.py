"""Losses that need the log-ratio of each response, not their difference alone.

All callable as ``loss(log_ratio_1, log_ratio_2, preference, beta=...)`` with log_ratio_i = log pi(y_i|x) -
log pi_ref(y_i|x), sums over response tokens, floating-point tensors of one shape; `preference` is P(y1 > y2 | x). One
loss per pair.
Errors as in `rsail.objectives.losses`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from rsail.checks import positive, require
from rsail.objectives.arguments import floating, probability
from rsail.objectives.losses import dpo_loss

LARGEST_EXPONENT = 20.0  # of the ratio inside phi; published code cuts there, too


def chi_po_link(log_ratio: torch.Tensor) -> torch.Tensor:
    """phi(z) = z + log z at the ratio z = exp(log_ratio), slope 1 + z in log z (arXiv 2407.13399, the link of chi-PO).

    beta phi is the implicit reward under the regularizer chi-square + KL. Above a log-ratio of 20 the first part
    stays at e^20; half precision, whose largest number may be smaller, is computed and returned in single precision.
    """
    log_ratio = log_ratio.to(torch.promote_types(log_ratio.dtype, torch.float32))
    return log_ratio.clamp(max=LARGEST_EXPONENT).exp() + log_ratio


def chi_po_loss(
    log_ratio_1: torch.Tensor,
    log_ratio_2: torch.Tensor,
    preference,
    *,
    beta: float,
    reward_bound: float | None = None,
) -> torch.Tensor:
    """chi-PO (arXiv 2407.13399): DPO's loss of the margin beta (phi_1 - phi_2) instead of beta h.

    With `reward_bound` R > 0 the margin is cut to [-2R, 2R], where the gradient is then zero, as in the paper; None
    does not cut. Near the reference it is DPO at 2 beta.
    """
    beta = positive("beta", beta)
    log_ratio_1, log_ratio_2 = floating("log_ratio_1", log_ratio_1), floating("log_ratio_2", log_ratio_2)
    require(
        log_ratio_1.shape == log_ratio_2.shape,
        "log_ratio_2.shape", tuple(log_ratio_2.shape), f"that of log_ratio_1, {tuple(log_ratio_1.shape)}",
    )  # fmt: skip
    preference = probability("preference", preference, "log_ratio_1", log_ratio_1)
    margin = beta * (chi_po_link(log_ratio_1) - chi_po_link(log_ratio_2))
    if reward_bound is not None:
        limit = 2 * positive("reward_bound", reward_bound)
        margin = margin.clamp(-limit, limit)
    return dpo_loss(margin, preference, beta=1.0)


RATIO_LOSSES: dict[str, Callable[..., torch.Tensor]] = {"chi_po": chi_po_loss}
