"""Argument checks whose messages name the argument, its value and what was expected."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def require(condition: bool, name: str, value, expected: str) -> None:
    """Raise ``ValueError("<name> must be <expected>, got <value>")`` unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def one_of(name: str, value, options: Iterable) -> None:
    """Raise unless `value` is one of `options`."""
    options = sorted(options)
    require(value in options, name, value, f"one of {', '.join(map(str, options))}")


def finite(name: str, array) -> np.ndarray:
    """`array` in float64; raises if an entry is NaN or infinite."""
    array = np.asarray(array, dtype=np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(f"{name} must be finite, got {array[bad].flat[0]} ({bad.sum()} such entries)")
    return array


def positive(name: str, value: float) -> float:
    require(bool(np.isfinite(value)) and value > 0, name, value, "a finite number > 0")
    return float(value)


def nonnegative(name: str, value: float) -> float:
    require(bool(np.isfinite(value)) and value >= 0, name, value, "a finite number >= 0")
    return float(value)


def preferences(name: str, array, *, tolerance: float = 1e-9) -> np.ndarray:
    """Check P[..., i, j] = P(i > j): shape (..., K, K), entries in [0, 1], P + P^T = 1. Returns float64."""
    array = finite(name, array)
    require(
        array.ndim >= 2 and array.shape[-1] == array.shape[-2],
        f"{name}.shape", array.shape, "(..., K, K)",
    )  # fmt: skip
    low, high = (array.min(), array.max()) if array.size else (0.0, 1.0)
    require(low >= 0 and high <= 1, name, float(low if low < 0 else high), "probabilities in [0, 1]")
    gap = np.abs(array + np.swapaxes(array, -1, -2) - 1)
    worst = float(gap.max()) if gap.size else 0.0
    if worst > tolerance:
        where = tuple(int(k) for k in np.unravel_index(gap.argmax(), gap.shape))
        raise ValueError(
            f"{name} must be antisymmetric, P[i, j] + P[j, i] = 1; at {where} the sum is off by {worst:.3g}"
        )
    return array
