"""Two series of times taken in turns, compared."""

from __future__ import annotations

import numpy as np

from rsail.checks import require


def ratio_of_medians(ours, theirs, *, draws: int = 4000, seed: int = 1) -> tuple[float, list[float]]:
    """Median of `ours` over that of `theirs`, both (n,), with a 95 % bootstrap interval over the n pairs."""
    both = np.stack([np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)])
    require(both.shape[1] >= 2, "ours", both.shape[1], "at least 2 times")
    chosen = np.random.default_rng(seed).integers(0, both.shape[1], size=(draws, both.shape[1]))
    medians = np.median(both[:, chosen], axis=-1)
    ratio = np.median(both[0]) / np.median(both[1])
    return float(ratio), [float(q) for q in np.quantile(medians[0] / medians[1], [0.025, 0.975])]
