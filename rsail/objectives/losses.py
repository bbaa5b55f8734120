"""Losses of one comparison, all callable as ``loss(pair_score, preference, beta=...)``; further keywords are options.

`pair_score` is h = [log pi(y1|x) - log pi_ref(y1|x)] - [log pi(y2|x) - log pi_ref(y2|x)], a floating-point tensor of
any shape (a float or a NumPy array counts as float64), BEFORE multiplication by beta; log-probabilities are sums over
response tokens, never means. `preference` is P(y1 > y2 | x) in [0, 1], a probability or a drawn label, one number or
of the same shape. Each returns the loss per pair. Every option is neutral by default: the loss is then that of SAIL
(of IPO, which has none).

Raises
------
NotFinite (a `ValueError` and a `FloatingPointError`)
    A pair score that is NaN or infinite.
ValueError
    beta <= 0, a pair score of integers, a preference outside [0, 1] or of another shape, an option out of range.
    Values of tensors are looked at on a CPU only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid

from rsail.checks import finite, nonnegative, number, positive, require


class NotFinite(ValueError, FloatingPointError):
    """A pair score that is NaN or infinite: a wrong argument of a loss, and the end of a run that diverged."""


def _checked(pair_score, preference, beta: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    beta = positive("beta", beta)
    if not isinstance(pair_score, torch.Tensor):
        pair_score = torch.tensor(finite("pair_score", pair_score))
    require(
        pair_score.is_floating_point(),
        "pair_score.dtype", pair_score.dtype, "a floating-point type (integers would cut preferences to 0 or 1)",
    )  # fmt: skip
    preference = torch.as_tensor(preference, dtype=pair_score.dtype, device=pair_score.device)
    require(
        preference.shape in (pair_score.shape, torch.Size([])),
        "preference.shape", tuple(preference.shape), f"that of pair_score, {tuple(pair_score.shape)}",
    )  # fmt: skip
    # Looking at values would make a GPU wait for them: there, the oracles' own checks have to do.
    if pair_score.device.type == "cpu":
        inside = (preference >= 0) & (preference <= 1)  # false for NaN, too
        if not inside.all():
            raise ValueError(f"preference must be in [0, 1], got {preference[~inside].flatten()[0].item()}")
        whole = pair_score.isfinite()
        if not whole.all():
            raise NotFinite(f"pair_score must be finite, got {pair_score[~whole].flatten()[0].item()}")
    return pair_score, preference, beta


def dpo_loss(pair_score: torch.Tensor, preference, *, beta: float) -> torch.Tensor:
    """-p log sigma(beta h) - (1 - p) log sigma(-beta h): SAIL's loss of one pair (arXiv 2602.20457, eq. 9).

    With a label p in {0, 1} it is DPO's (arXiv 2305.18290, eq. 7).
    """
    return _nominal(*_checked(pair_score, preference, beta))


def _nominal(pair_score: torch.Tensor, preference: torch.Tensor, beta: float) -> torch.Tensor:
    margin = beta * pair_score
    # Not torch's softplus, which is cut off to its argument above 20 and so 2e-9 off there.
    return -preference * logsigmoid(margin) - (1 - preference) * logsigmoid(-margin)


def robust_sail_loss(
    pair_score: torch.Tensor, preference, *, beta: float, rho: float = 0.0, drawn: bool | None = None
) -> torch.Tensor:
    """Worst case of SAIL's loss over every oracle within rho: loss + rho beta |h| (arXiv 2602.20457, eq. 13).

    Where [p - rho, p + rho] leaves [0, 1] the interval is clipped and the radius that acts is
    min(rho, p) for h > 0 and min(rho, 1 - p) for h < 0 (an addition to the paper, whose Assumption 1 excludes the
    case): the worst case of eq. 10 exactly. At h = 0 the subgradient of |h| is 0.

    Parameters
    ----------
    rho : float >= 0
        Radius of the oracle set (eq. 2); 0, the default, is nominal SAIL.
    drawn : bool, optional
        True: preferences are drawn labels and are never clipped against; the mean over labels is then the unclipped
        robust loss around p. False: they are probabilities, and 0 and 1 are clipped against like any other.
        None: a preference of exactly 0 or 1 is taken for a drawn label, any other for a probability.

    Raises
    ------
    ValueError
        rho < 0, beta <= 0, a pair score that is not finite, a preference outside [0, 1], or shapes that differ.
    """
    rho = nonnegative("rho", rho)
    require(drawn is None or isinstance(drawn, bool), "drawn", drawn, "True, False or None")
    pair_score, preference, beta = _checked(pair_score, preference, beta)
    loss = _nominal(pair_score, preference, beta)
    if rho == 0:
        return loss
    clipped = torch.where(pair_score > 0, preference, 1 - preference).clamp(max=rho)
    if drawn is None:
        radius = torch.where((preference == 0) | (preference == 1), rho, clipped)
    else:
        radius = rho if drawn else clipped
    return loss + radius * beta * pair_score.abs()


def cdpo_loss(pair_score: torch.Tensor, preference, *, beta: float, smoothing: float = 0.0) -> torch.Tensor:
    """Conservative DPO: labels smoothed to (1 - e) p + e (1 - p), e = `smoothing` in [0, 1/2]; 0 is DPO."""
    require(0 <= number(smoothing) <= 0.5, "smoothing", smoothing, "in [0, 1/2]")
    pair_score, preference, beta = _checked(pair_score, preference, beta)
    return _nominal(pair_score, (1 - smoothing) * preference + smoothing * (1 - preference), beta)


def rdpo_loss(pair_score: torch.Tensor, preference, *, beta: float, flip_rate: float = 0.0) -> torch.Tensor:
    """Robust DPO of Ray Chowdhury et al. (arXiv 2403.00409): unbiased for the clean loss at a known flip rate e.

    ((1 - e) l(p) - e l(1 - p)) / (1 - 2 e), e = `flip_rate` in [0, 1/2); can be negative; 0 is DPO.
    """
    require(0 <= number(flip_rate) < 0.5, "flip_rate", flip_rate, "in [0, 1/2)")
    pair_score, preference, beta = _checked(pair_score, preference, beta)
    straight = _nominal(pair_score, preference, beta)
    flipped = _nominal(pair_score, 1 - preference, beta)
    return ((1 - flip_rate) * straight - flip_rate * flipped) / (1 - 2 * flip_rate)


def ipo_loss(pair_score: torch.Tensor, preference, *, beta: float) -> torch.Tensor:
    """IPO (arXiv 2310.12036, eq. 17): p (h - 1/(2 beta))^2 + (1 - p)(h + 1/(2 beta))^2, h a sum over tokens."""
    pair_score, preference, beta = _checked(pair_score, preference, beta)
    target = 1 / (2 * beta)
    return preference * (pair_score - target) ** 2 + (1 - preference) * (pair_score + target) ** 2


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "robust_sail": robust_sail_loss,
    "dpo": dpo_loss,
    "cdpo": cdpo_loss,
    "rdpo": rdpo_loss,
    "ipo": ipo_loss,
}
