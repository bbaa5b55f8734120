"""Reward over-optimization: Gao's curves and their peaks, and what a Gaussian proxy can and cannot show.

Distances are d = sqrt(KL(pi || pi_init)), in sqrt(nats); gold scores are 0 at the initial policy.

Source: L. Gao, J. Schulman, J. Hilton, arXiv 2210.10760.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr

from rsail import checks
from rsail.exact.arguments import count


def best_of_n_gold(distance, a: float, b: float) -> np.ndarray | float:
    """R = d (a - b d) at distances d >= 0 of any shape."""
    distance = checks.finite("distance", distance)
    return (distance * (a - b * distance))[()]


def best_of_n_peak(a: float, b: float) -> tuple[float, float]:
    """(d*, R*) = (a / 2b, a^2 / 4b), with b > 0."""
    b = checks.positive("b", b)
    return a / (2.0 * b), a**2 / (4.0 * b)


def ppo_gold(distance, a: float, b: float) -> np.ndarray | float:
    """R = d (a - b ln d) at distances d > 0; not meant near 0, where its slope is infinite."""
    distance = checks.finite("distance", distance)
    checks.require(bool(np.all(distance > 0)), "distance", float(distance.min()), "> 0")
    return (distance * (a - b * np.log(distance)))[()]


def ppo_peak(a: float, b: float) -> tuple[float, float]:
    """(d*, R*) = (exp(a / b - 1), b d*), with b > 0."""
    b = checks.positive("b", b)
    distance = float(np.exp(a / b - 1.0))
    return distance, b * distance


def expected_maximum(n: int) -> float:
    """E max of n independent standard normal numbers, by quadrature of 1 - F^n - (1 - F)^n over x > 0.

    E M = int_0^inf (1 - F(x)^n) dx - int_{-inf}^0 F(x)^n dx.
    """
    n = count("n", n)
    # 1 - F^n = -expm1(n log(1 - tail)) keeps its digits far out.
    return float(
        quad(
            lambda x: -np.expm1(n * np.log1p(-ndtr(-x))) - ndtr(-x) ** n, 0.0, 40.0, epsabs=1e-13, limit=200
        )[0]
    )


def gaussian_best_of_n(n: int, *, correlation: float, gold_std: float) -> float:
    """Gold score of best-of-n where proxy and gold are jointly normal: correlation * gold_std * E max.

    It never falls with n: such a testbed shows regression to the mean only, and no over-optimization.
    """
    checks.require(-1 <= checks.number(correlation) <= 1, "correlation", correlation, "in [-1, 1]")
    return correlation * checks.nonnegative("gold_std", gold_std) * expected_maximum(n)
