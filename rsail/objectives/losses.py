"""Losses of one comparison, all with the signature ``loss(pair_score, preference, *, beta, ...)``.

`pair_score` is h = [log pi(y1|x) - log pi_ref(y1|x)] - [log pi(y2|x) - log pi_ref(y2|x)], a tensor of any shape,
BEFORE multiplication by beta; log-probabilities are sums over response tokens, never means. `preference` is
P(y1 > y2 | x) in [0, 1], a probability or a drawn label, of the same shape. Each returns the loss per pair.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid

from rsail.checks import nonnegative, positive, require


def _checked(pair_score: torch.Tensor, preference, beta: float) -> torch.Tensor:
    positive("beta", beta)
    preference = torch.as_tensor(preference, dtype=pair_score.dtype, device=pair_score.device)
    require(
        preference.shape in (pair_score.shape, torch.Size([])),
        "preference.shape", tuple(preference.shape), f"that of pair_score, {tuple(pair_score.shape)}",
    )  # fmt: skip
    # Looking at values would make a GPU wait for them: there, the oracles' own checks have to do.
    if not preference.is_cuda:
        inside = (preference >= 0) & (preference <= 1)  # false for NaN, too
        if not inside.all():
            raise ValueError(f"preference must be in [0, 1], got {preference[~inside].flatten()[0].item()}")
    return preference


def dpo_loss(pair_score: torch.Tensor, preference, *, beta: float) -> torch.Tensor:
    """-p log sigma(beta h) - (1 - p) log sigma(-beta h): SAIL's loss of one pair (arXiv 2602.20457, eq. 9).

    With a label p in {0, 1} it is DPO's (arXiv 2305.18290, eq. 7).
    """
    preference = _checked(pair_score, preference, beta)
    margin = beta * pair_score
    # Not torch's softplus, which is cut off to its argument above 20 and so 2e-9 off there.
    return -preference * logsigmoid(margin) - (1 - preference) * logsigmoid(-margin)


def robust_sail_loss(pair_score: torch.Tensor, preference, *, beta: float, rho: float) -> torch.Tensor:
    """Worst case of SAIL's loss over every oracle within rho: loss + rho beta |h| (arXiv 2602.20457, eq. 13).

    Where [p - rho, p + rho] leaves [0, 1] the interval is clipped and the radius that acts is
    min(rho, p) for h > 0 and min(rho, 1 - p) for h < 0 (an addition to the paper, whose Assumption 1 excludes the
    case). A preference of exactly 0 or 1 is taken for a drawn label and is never clipped against: the mean over
    labels is then the unclipped robust loss around p. At h = 0 the subgradient of |h| is 0.

    Raises
    ------
    ValueError
        rho < 0, beta <= 0, a preference outside [0, 1], or shapes that differ.
    """
    nonnegative("rho", rho)
    preference = _checked(pair_score, preference, beta)
    loss = dpo_loss(pair_score, preference, beta=beta)
    if rho == 0:
        return loss
    room = torch.where(pair_score > 0, preference, 1 - preference)
    drawn = (preference == 0) | (preference == 1)
    radius = torch.where(drawn, rho, room.clamp(max=rho))
    return loss + radius * beta * pair_score.abs()


def cdpo_loss(pair_score: torch.Tensor, preference, *, beta: float, smoothing: float) -> torch.Tensor:
    """Conservative DPO: labels smoothed to (1 - e) p + e (1 - p), e = `smoothing` in [0, 1/2]."""
    require(0 <= smoothing <= 0.5, "smoothing", smoothing, "in [0, 1/2]")
    preference = _checked(pair_score, preference, beta)
    return dpo_loss(pair_score, (1 - smoothing) * preference + smoothing * (1 - preference), beta=beta)


def rdpo_loss(pair_score: torch.Tensor, preference, *, beta: float, flip_rate: float) -> torch.Tensor:
    """Robust DPO of Ray Chowdhury et al. (arXiv 2403.00409): unbiased for the clean loss at a known flip rate e.

    ((1 - e) l(p) - e l(1 - p)) / (1 - 2 e); can be negative.
    """
    require(0 <= flip_rate < 0.5, "flip_rate", flip_rate, "in [0, 1/2)")
    preference = _checked(pair_score, preference, beta)
    straight = dpo_loss(pair_score, preference, beta=beta)
    flipped = dpo_loss(pair_score, 1 - preference, beta=beta)
    return ((1 - flip_rate) * straight - flip_rate * flipped) / (1 - 2 * flip_rate)


def ipo_loss(pair_score: torch.Tensor, preference, *, beta: float) -> torch.Tensor:
    """IPO (arXiv 2310.12036, eq. 17): p (h - 1/(2 beta))^2 + (1 - p)(h + 1/(2 beta))^2, h a sum over tokens."""
    preference = _checked(pair_score, preference, beta)
    target = 1 / (2 * beta)
    return preference * (pair_score - target) ** 2 + (1 - preference) * (pair_score + target) ** 2


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "robust_sail": robust_sail_loss,
    "dpo": dpo_loss,
    "cdpo": cdpo_loss,
    "rdpo": rdpo_loss,
    "ipo": ipo_loss,
}
