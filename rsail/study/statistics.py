"""Means over seeds with intervals, and tests of several differences at once.

Seeds are few, so that the normal interval would be too narrow: t intervals are the default.
"""

from __future__ import annotations

from collections.abc import Callable
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

    def __neg__(self) -> Interval:
        return Interval(-self.mean, -self.high, -self.low, self.n)

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


def bootstrap_interval(
    values, *, statistic: Callable = np.mean, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Interval:
    """`statistic` of one number per seed with its percentile bootstrap interval, for what no t interval fits.

    Parameters
    ----------
    values : array_like, shape (n,)
        At least two finite numbers.
    statistic : callable
        ``statistic(array, axis=-1)``, such as `numpy.mean` or `interquartile_mean`.
    draws : int
        Resamples of n numbers with replacement.

    With few seeds the interval is too narrow: of five normal numbers it covers 83 % where 95 % is asked for
    (2,000 draws).
    """
    values = finite("values", values)
    require(values.ndim == 1 and values.size >= 2, "values.shape", values.shape, "(n,) with at least 2 seeds")
    require(0 < level < 1, "level", level, "between 0 and 1")
    found = stats.bootstrap(
        (values,), statistic, n_resamples=draws, confidence_level=level, method="percentile", rng=seed
    ).confidence_interval
    return Interval(float(statistic(values)), float(found.low), float(found.high), int(values.size))


def interquartile_mean(values, axis: int = -1) -> np.ndarray:
    """Mean of the middle half along `axis`: a quarter of the numbers, rounded down, is left out at either end."""
    return stats.trim_mean(values, 0.25, axis=axis)


def holm(p_values) -> np.ndarray:
    """Adjusted p-values (m,) of m tests (Holm, 1979): reject where one is at most alpha.

    The smallest is multiplied by m, the next by m - 1, and so on; none is smaller than one before it, or above 1.
    The chance of any false rejection is at most alpha, however the tests depend on each other.
    """
    p_values = finite("p_values", p_values)
    require(p_values.ndim == 1 and p_values.size >= 1, "p_values.shape", p_values.shape, "(m,) with m >= 1")
    require(bool(((p_values >= 0) & (p_values <= 1)).all()), "p_values", p_values, "numbers in [0, 1]")
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(p_values.size, 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def paired_test(first, second) -> float:
    """Two-sided p-value of the t test that ``first - second``, paired by seed, has mean zero."""
    interval = paired_difference(first, second)  # checks both
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if differences.std(ddof=1) == 0:
        return 1.0 if interval.mean == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)
