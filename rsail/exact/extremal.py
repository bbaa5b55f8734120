"""The variational problem behind C_STAR: the cross term of eq. 39 in one direction (an addition to the paper).

Among all laws of b on [-1, 1], with a = b - E b and a1, a2 independent, how large is 2 E|a1^2 - a2^2|? For a given
mean m the problem is concave in G(y) = P(|a| > y), so a dual function of one number, the gap, bounds every law from
above, and the law that attains the bound is known. Notebook 03 derives both.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from rsail import checks

# From this mean on the best law has two points, and 2 E|a1^2 - a2^2| = 4 m (1 - m^2); the root of m^2 = 1 - m.
TWO_POINTS_FROM = (np.sqrt(5.0) - 1.0) / 2.0


def projection_bound(mean: float, gap: float) -> float:
    """Dual bound: no law on [-1, 1] with this mean in (0, 1) has a larger 2 E|a1^2 - a2^2|, whatever gap > 0."""
    length = 1.0 - mean
    left = 4.0 * max(mean - gap, 0.0) ** 2 / mean
    if gap >= length:
        return 8.0 * gap * length + left
    return length**2 + 4.0 * length * gap + 3.0 * gap**2 + 2.0 * gap**2 * np.log(length / gap) + left


def projection_value(mean, gap):
    """2 E|a1^2 - a2^2| of the law of `extremal_law` with any mean and gap < 1 - mean, and its mass at -1.

    The mean fixes that mass.
    """
    length, log_ratio = 1.0 - mean, np.log((1.0 - mean) / gap)
    left = ((length + gap) / 2.0 + gap * log_ratio / 2.0) / 2.0
    spread = (length**2 - gap**2) / 4.0 - gap**2 * log_ratio / 2.0
    return 4.0 * (spread + 4.0 * mean * left * (1.0 - left)), left


def extremal_gap(mean: float) -> float:
    """The gap at which the dual bound is smallest, hence attained, for a mean in (0, 1)."""
    checks.require(0.0 < mean < 1.0, "mean", mean, "in (0, 1)")
    if mean >= TWO_POINTS_FROM:
        return mean**2

    def slope(gap):
        inside = 8.0 * max(mean - gap, 0.0) / mean
        return 4.0 * (1.0 - mean + gap) + 4.0 * gap * np.log((1.0 - mean) / gap) - inside

    return float(brentq(slope, 1e-12 * mean, 1.0 - mean, xtol=1e-15, rtol=1e-14))


def largest_for_mean(mean: float) -> float:
    """The largest 2 E|a1^2 - a2^2| of the laws on [-1, 1] with this mean in (0, 1)."""
    return projection_bound(mean, extremal_gap(mean))


def extremal_law() -> dict[str, float]:
    """The law that attains C_STAR: `value`, `mean`, `gap`, and the masses `left` at -1 and `right` at 1.

    Between the two atoms there is nothing on (-1, mean + gap), and then P(|a| > y) = (1 + gap / y) / 2 for y in
    [gap, 1 - mean].
    """
    best = minimize_scalar(
        lambda mean: -largest_for_mean(mean), bounds=(0.3, 0.9), method="bounded", options={"xatol": 1e-10}
    )
    mean, gap = float(best.x), extremal_gap(float(best.x))
    value, left = projection_value(mean, gap)
    right = (1.0 + gap / (1.0 - mean)) / 2.0 - left
    found = {"value": value, "mean": mean, "gap": gap, "left": left, "right": right}
    return {name: float(number) for name, number in found.items()}
