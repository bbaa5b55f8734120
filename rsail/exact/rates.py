"""Theorem 5.2 and Corollary 5.3 in numbers: bound, step size, iteration count; and the additions to them.

Symbols: smoothing is lambda_env, curvature kappa, gap F_env(theta_0) - inf F, second_moment G_tot^2 (Lemma B.4).
`sharp=True` puts 1 / smoothing in the place of L_env = 1 / (smoothing (1 - kappa smoothing)), which notebook 04 derives
(an addition). Equation numbers are those of arXiv 2602.20457.
"""

from __future__ import annotations

import numpy as np

from rsail import checks
from rsail.exact.constants import Constants


def envelope_smoothness(smoothing: float, curvature: float, *, sharp: bool = False) -> float:
    """L_env of Lemma 4.11; `sharp`: what its use in Theorem 5.2 needs, 1 / smoothing (addition)."""
    return 1.0 / smoothing if sharp else 1.0 / (smoothing * _room(smoothing, curvature))


def gradient_lipschitz(smoothing: float, curvature: float) -> float:
    """Addition: the least Lipschitz constant of grad F_env over all kappa-weakly convex F; at most L_env.

    F_env + k ||.||^2 / 2 with k = kappa / (1 - kappa smoothing) is convex, and ||.||^2 / (2 smoothing) - F_env is.
    """
    return max(1.0 / smoothing, curvature / _room(smoothing, curvature))


def sharp_second_moment(
    constants: Constants, sail_noise: float = 0.0, penalty_noise: float = 0.0, batch: int = 1
) -> float:
    """Addition: Lemma B.4 without its factor 4, slope^2 + (sigma_SAIL + lam sigma_R)^2 / batch.

    E||G||^2 is the squared norm of the mean plus the variance, exactly. The slope of the robust loss bounds the first
    (at most G_gradSAIL + lam G_dR), one triangle inequality the second.
    """
    sail_noise = checks.nonnegative("sail_noise", sail_noise)
    checks.require(int(batch) == batch and batch >= 1, "batch", batch, "a whole number >= 1")
    noise = sail_noise + constants.lam * checks.nonnegative("penalty_noise", penalty_noise)
    return constants.slope**2 + noise**2 / batch


def stationarity_bound(
    gap: float,
    step_size: float,
    steps: int,
    *,
    smoothing: float,
    curvature: float,
    second_moment: float,
    sharp: bool = False,
) -> float:
    """Right side of eq. 24, a bound on E||grad F_env(theta_out)||^2."""
    _check(gap, steps, second_moment)
    checks.positive("step_size", step_size)
    room = _room(smoothing, curvature)
    length = envelope_smoothness(smoothing, curvature, sharp=sharp)
    return gap / (step_size * room * steps) + length * step_size * second_moment / (2.0 * room)


def corollary_step_size(
    gap: float, steps: int, *, smoothing: float, curvature: float, second_moment: float, sharp: bool = False
) -> float:
    """Corollary 5.3's constant step size, which makes both terms of eq. 24 equal."""
    _check(gap, steps, checks.positive("second_moment", second_moment))
    length = envelope_smoothness(smoothing, curvature, sharp=sharp)
    return float(np.sqrt(2.0 * gap / (length * second_moment * steps)))


def corollary_bound(
    gap: float, steps: int, *, smoothing: float, curvature: float, second_moment: float, sharp: bool = False
) -> float:
    """Eq. 24 at Corollary 5.3's step size: sqrt(2 L_env G_tot^2 gap / T) / (1 - kappa smoothing)."""
    _check(gap, steps, second_moment)
    length = envelope_smoothness(smoothing, curvature, sharp=sharp)
    return float(np.sqrt(2.0 * length * second_moment * gap / steps) / _room(smoothing, curvature))


def iteration_count(accuracy: float, gap: float, **setting) -> float:
    """Steps after which Corollary 5.3 guarantees E||grad F_env||^2 <= accuracy (the squared norm): O(accuracy^-2).

    `setting`: smoothing, curvature, second_moment, sharp, as in `corollary_bound`.
    """
    return (corollary_bound(gap, 1, **setting) / checks.positive("accuracy", accuracy)) ** 2


def _check(gap: float, steps: float, second_moment: float) -> None:
    checks.nonnegative("gap", gap)
    checks.positive("steps", steps)
    checks.nonnegative("second_moment", second_moment)


def _room(smoothing: float, curvature: float) -> float:
    smoothing = checks.positive("smoothing", smoothing)
    curvature = checks.nonnegative("curvature", curvature)
    checks.require(
        smoothing * curvature < 1, "smoothing", smoothing, f"below 1 / kappa with kappa = {curvature:.4g}"
    )
    return 1.0 - curvature * smoothing
