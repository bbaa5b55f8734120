"""One comparison on its own: the robust loss over the margin t = beta h, and where it is least."""

from __future__ import annotations

import numpy as np
from scipy.special import logit

from rsail import checks
from rsail.exact.losses import effective_radius


def one_pair_loss(margin, preference, rho: float) -> np.ndarray:
    """p sp(-t) + (1 - p) sp(t) + |t| min(rho, p if t > 0 else 1 - p), elementwise; sp(t) = log(1 + e^t).

    `margin` t and `preference` p broadcast against each other. Convex in t, with a kink at 0.
    """
    margin, preference = checks.finite("margin", margin), _probability(preference)
    nominal = preference * np.logaddexp(0.0, -margin) + (1.0 - preference) * np.logaddexp(0.0, margin)
    return nominal + np.abs(margin) * effective_radius(preference, margin, rho)


def soft_threshold(value, rho: float) -> np.ndarray:
    """S_rho(v) = sign(v) max(|v| - rho, 0), elementwise."""
    value = checks.finite("value", value)
    return np.sign(value) * np.maximum(np.abs(value) - checks.nonnegative("rho", rho), 0.0)


def robust_fit(preference, rho: float) -> np.ndarray:
    """sigma(t) at the margin t that minimizes `one_pair_loss`: 1/2 + S_rho(p - 1/2) (an addition)."""
    return 0.5 + soft_threshold(_probability(preference) - 0.5, rho)


def robust_margin(preference, rho: float) -> np.ndarray:
    """The minimizing margin t itself; infinite where the fit is 0 or 1, which needs rho = 0."""
    return logit(robust_fit(preference, rho))


def _probability(preference) -> np.ndarray:
    preference = checks.finite("preference", preference)
    inside = bool(np.all((preference >= 0) & (preference <= 1)))
    checks.require(inside, "preference", preference, "in [0, 1]")
    return preference
