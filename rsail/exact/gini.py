"""Gini's mean difference, which the penalty of eq. 12 is for each prompt."""

from __future__ import annotations

import numpy as np

from rsail import checks
from rsail.exact.arguments import distribution


def gini_mean_difference(values, probs) -> np.ndarray | float:
    """E|s - s'| of two independent draws s, s' from a finite law, in O(n log n).

    With the values in increasing order and F_k the cumulative probability,
    E|s - s'| = 2 sum_k (s_(k+1) - s_(k)) F_k (1 - F_k): between two neighbors lies whoever drew
    one value from the left and one from the right. Every term is nonnegative, so a large common
    offset of the values costs no digits.

    Parameters
    ----------
    values : array (n,) or (..., n)
        The finite values s.
    probs : array (n,) or of the shape of `values`
        Their probabilities; nonnegative, with sum 1 over the last axis.

    Returns
    -------
    float for one law, else an array of shape (...). Equal, for one prompt, to R of eq. 12 when
    the values are the log-ratios of policy and reference and `probs` the policy.
    """
    values = checks.finite("values", values)
    checks.require(values.ndim >= 1 and values.size > 0, "values.shape", values.shape, "(..., n) with n >= 1")
    probs = distribution("probs", probs, tolerance=1e-4)
    checks.require(
        probs.shape in (values.shape, values.shape[-1:]), "probs.shape", probs.shape, f"{values.shape}"
    )
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    weights = np.take_along_axis(np.broadcast_to(probs, values.shape), order, axis=-1)
    below = np.cumsum(weights, axis=-1)[..., :-1]
    above = np.cumsum(weights[..., ::-1], axis=-1)[..., -2::-1]  # summed from its own end: no 1 - F
    result = 2.0 * np.sum(np.diff(ordered, axis=-1) * below * above, axis=-1)
    return float(result) if values.ndim == 1 else result
