"""Losses of one comparison, all callable as ``loss(pair_score, preference, beta=...)``; further keywords are options.

`pair_score` is h = [log pi(y1|x) - log pi_ref(y1|x)] - [log pi(y2|x) - log pi_ref(y2|x)], a floating-point tensor of
any shape (a float or a NumPy array counts as float64), BEFORE multiplication by beta; log-probabilities are sums over
response tokens, never means. `preference` is P(y1 > y2 | x) in [0, 1], a probability or a drawn label, one number or
of the same shape; except in robust_sail and dpo_pro a probability p means the mean of the losses of both labels. Each
returns the loss per pair. An option with a neutral value has it as its default: the loss is then that of SAIL. One
without (alpha of ropo) must be given; dpo, ipo and slic have none.

DPO on a probability is also the loss of OSP (arXiv 2405.14103, soft-preference cross-entropy) and of SAIL.

Raises
------
rsail.objectives.NotFinite (a `ValueError` and a `FloatingPointError`)
    A pair score that is NaN or infinite.
ValueError
    beta <= 0, a pair score of integers, a preference outside [0, 1] or of another shape, an option out of range.
    Values of tensors are looked at on a CPU only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid, relu

from rsail.checks import nonnegative, number, positive, require
from rsail.objectives.arguments import comparison


def dpo_loss(pair_score: torch.Tensor, preference, *, beta: float) -> torch.Tensor:
    """-p log sigma(beta h) - (1 - p) log sigma(-beta h): SAIL's loss of one pair (arXiv 2602.20457, eq. 9).

    With a label p in {0, 1} it is DPO's (arXiv 2305.18290, eq. 7).
    """
    return _nominal(*comparison(pair_score, preference, beta))


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
    pair_score, preference, beta = comparison(pair_score, preference, beta)
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
    pair_score, preference, beta = comparison(pair_score, preference, beta)
    return _nominal(pair_score, (1 - smoothing) * preference + smoothing * (1 - preference), beta)


def rdpo_loss(pair_score: torch.Tensor, preference, *, beta: float, flip_rate: float = 0.0) -> torch.Tensor:
    """Robust DPO of Ray Chowdhury et al. (arXiv 2403.00409): unbiased for the clean loss at a known flip rate e.

    ((1 - e) l(p) - e l(1 - p)) / (1 - 2 e), e = `flip_rate` in [0, 1/2); can be negative; 0 is DPO.
    """
    require(0 <= number(flip_rate) < 0.5, "flip_rate", flip_rate, "in [0, 1/2)")
    pair_score, preference, beta = comparison(pair_score, preference, beta)
    straight = _nominal(pair_score, preference, beta)
    flipped = _nominal(pair_score, 1 - preference, beta)
    return ((1 - flip_rate) * straight - flip_rate * flipped) / (1 - 2 * flip_rate)


def ipo_loss(pair_score: torch.Tensor, preference, *, beta: float) -> torch.Tensor:
    """IPO (arXiv 2310.12036, eq. 17): p (h - 1/(2 beta))^2 + (1 - p)(h + 1/(2 beta))^2, h a sum over tokens."""
    pair_score, preference, beta = comparison(pair_score, preference, beta)
    target = 1 / (2 * beta)
    return preference * (pair_score - target) ** 2 + (1 - preference) * (pair_score + target) ** 2


def slic_loss(pair_score: torch.Tensor, preference, *, beta: float) -> torch.Tensor:
    """The hinge of SLiC-HF (arXiv 2305.10425) on the margin: p [1 - beta h]_+ + (1 - p) [1 + beta h]_+.

    At the kink |beta h| = 1 the subgradient is that of the flat side.
    """
    pair_score, preference, beta = comparison(pair_score, preference, beta)
    margin = beta * pair_score
    return preference * relu(1 - margin) + (1 - preference) * relu(1 + margin)


def ropo_loss(pair_score: torch.Tensor, preference, *, beta: float, alpha: float) -> torch.Tensor:
    """ROPO (arXiv 2404.04102): c (l + alpha sigma(-beta h)) for a label 1, c = 4 alpha / (1 + alpha)^2, l DPO's loss.

    c makes the largest slope in the margin 1 for alpha >= 1; for confidently contradicted pairs the slope falls to c
    (DPO's is 1 there). The second part sums to a constant over both labels, and so tolerates symmetric flips. Its form
    comes from secondary sources, not from the paper; the paper's choice of alpha > 0 is not known, so there is no
    default. The filtering and resampling of ROPO's second version are not part of the loss.
    """
    alpha = positive("alpha", alpha)
    pair_score, preference, beta = comparison(pair_score, preference, beta)
    margin = beta * pair_score
    wrong = preference * torch.sigmoid(-margin) + (1 - preference) * torch.sigmoid(margin)
    return 4 * alpha / (1 + alpha) ** 2 * (_nominal(pair_score, preference, beta) + alpha * wrong)


def tv_robust_loss(pair_score: torch.Tensor, preference, *, beta: float, radius: float = 0.0) -> torch.Tensor:
    """Worst case over laws of the label within total variation `radius` of the OBSERVED one, in [0, 1]; 0 is DPO.

    The listwise set of arXiv 2607.01715 for two responses: l + radius [beta h]_+ for a label 1, l + radius [-beta h]_+
    for a label 0. On a probability p it is the mean of both, l + radius (p [beta h]_+ + (1 - p) [-beta h]_+), which is
    NOT robust_sail's rho beta |h|: that set is centred on the probability. At h = 0 the subgradient is DPO's.
    """
    require(0 <= number(radius) <= 1, "radius", radius, "in [0, 1]")
    pair_score, preference, beta = comparison(pair_score, preference, beta)
    margin = beta * pair_score
    excess = preference * relu(margin) + (1 - preference) * relu(-margin)
    return _nominal(pair_score, preference, beta) + radius * excess


def dpo_pro_loss(pair_score: torch.Tensor, preference, *, beta: float, radius: float = 0.0) -> torch.Tensor:
    """DPO-PRO (arXiv 2509.02709): worst case over the soft label in a chi-square ball around p; 0 is DPO.

    The ball is (p' - p)^2 / p + (p' - p)^2 / (1 - p) <= `radius` >= 0, without a factor 1/2, so that
    |p' - p| <= d = sqrt(radius p (1 - p)), cut to [0, 1]: the loss is l + c beta |h| with c = min(p, d) for h > 0 and
    min(1 - p, d) for h < 0. A certain or a drawn label (p in {0, 1}) gives DPO: the method needs probabilities.
    """
    radius = nonnegative("radius", radius)
    pair_score, preference, beta = comparison(pair_score, preference, beta)
    reach = (radius * preference * (1 - preference)).sqrt()
    room = torch.where(pair_score > 0, preference, 1 - preference)
    return _nominal(pair_score, preference, beta) + torch.minimum(room, reach) * beta * pair_score.abs()


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "robust_sail": robust_sail_loss,
    "dpo": dpo_loss,
    "cdpo": cdpo_loss,
    "rdpo": rdpo_loss,
    "ipo": ipo_loss,
    "slic": slic_loss,
    "ropo": ropo_loss,
    "tv_robust": tv_robust_loss,
    "dpo_pro": dpo_pro_loss,
}
