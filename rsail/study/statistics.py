"""Means over seeds with t intervals. Seeds are few, so the normal interval would be too narrow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from rsail.checks import finite, require


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds and the two-sided confidence interval around it."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high


def mean_interval(values, *, level: float = 0.95) -> Interval:
    """Mean of one number per seed with Student's t interval, n - 1 degrees of freedom.

    Parameters
    ----------
    values : array_like, shape (n,)
        At least two finite numbers.
    level : float
        Coverage, strictly between 0 and 1.
    """
    values = finite("values", values)
    require(values.ndim == 1 and values.size >= 2, "values.shape", values.shape, "(n,) with at least 2 seeds")
    require(0 < level < 1, "level", level, "between 0 and 1")
    mean = float(values.mean())
    half = float(stats.t.ppf((1 + level) / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size))
    return Interval(mean, mean - half, mean + half, int(values.size))


def paired_difference(first, second, *, level: float = 0.95) -> Interval:
    """t interval of the mean of ``first - second``, both with one number per seed in the same order.

    Pairing removes what a seed does to both; the interval is that of the differences.
    """
    first, second = finite("first", first), finite("second", second)
    require(first.shape == second.shape, "second.shape", second.shape, f"that of first, {first.shape}")
    return mean_interval(first - second, level=level)
