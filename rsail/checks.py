"""Argument checks whose messages name the argument, its value and what was expected."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable

import numpy as np

# Tables from float64 formulas miss P + P^T = 1 by a few units in the last place; that is no error to repair.
ROUNDING = 4 * np.finfo(np.float64).eps


def require(condition: bool, name: str, value, expected: str) -> None:
    """Raise ``ValueError("<name> must be <expected>, got <value>")`` unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def one_of(name: str, value, options: Iterable) -> None:
    """Raise unless `value` is one of `options`."""
    options = sorted(options)
    require(value in options, name, value, f"one of {', '.join(map(str, options))}")


def finite(name: str, array) -> np.ndarray:
    """`array` (a torch tensor is fine, too) in float64; raises if it is not of finite numbers."""
    if hasattr(array, "detach"):
        array = array.detach().cpu().double()
    try:
        array = np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, got {array!r:.80}") from None
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(f"{name} must be finite, got {array[bad].flat[0]} ({bad.sum()} such entries)")
    return array


def number(value) -> float:
    """`value` as a float if it is one real number (NumPy scalars and 0-d arrays are), else NaN; bool is none."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def positive(name: str, value: float) -> float:
    """`value` as a float; raises unless it is a finite number > 0."""
    require(0 < number(value) < math.inf, name, value, "a finite number > 0")
    return number(value)


def nonnegative(name: str, value: float) -> float:
    """`value` as a float; raises unless it is a finite number >= 0."""
    require(0 <= number(value) < math.inf, name, value, "a finite number >= 0")
    return number(value)


def preferences(name: str, array, *, tolerance: float | None = None) -> np.ndarray:
    """Check P[..., i, j] = P(i > j): shape (..., K, K), entries in [0, 1], P + P^T = 1. Returns float64.

    The sums may be off by `tolerance`: by default 1e-6 for arrays in single precision or lower, else 1e-9. A table
    that is off by more than rounding is returned as (P + 1 - P^T) / 2, so that what is accepted is an oracle.
    """
    if tolerance is None:
        tolerance = 1e-6 if _item_size(array) <= 4 else 1e-9
    array = finite(name, array)
    require(
        array.ndim >= 2 and array.shape[-1] == array.shape[-2],
        f"{name}.shape", array.shape, "(..., K, K)",
    )  # fmt: skip
    low, high = (array.min(), array.max()) if array.size else (0.0, 1.0)
    require(low >= 0 and high <= 1, name, float(low if low < 0 else high), "probabilities in [0, 1]")
    transposed = np.swapaxes(array, -1, -2)
    gap = np.abs(array + transposed - 1)
    worst = float(gap.max()) if gap.size else 0.0
    if worst > tolerance:
        where = tuple(int(k) for k in np.unravel_index(gap.argmax(), gap.shape))
        raise ValueError(
            f"{name} must be antisymmetric, P[i, j] + P[j, i] = 1; at {where} the sum is off by {worst:.3g}"
        )
    return (array + 1 - transposed) / 2 if worst > ROUNDING else array


def _item_size(array) -> int:
    """Bytes of one entry, of a NumPy array or a torch tensor; those of float64 for plain lists."""
    return getattr(getattr(array, "dtype", None), "itemsize", 8)
