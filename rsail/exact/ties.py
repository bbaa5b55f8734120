"""Pairs whose responses are equally far from the reference: a rounding error must not decide on a side of the kink."""

from __future__ import annotations

import numpy as np

# A pair counts as tied if |h| is below this fraction of its largest possible value, and a point as lying on the
# boundary if it is that close: rounding leaves some 1e-16 where a solver has put a point onto a kink.
TIE = 1e-12


def log_linear_scores(features: np.ndarray, move: np.ndarray) -> np.ndarray:
    """h = move . (psi(x, i) - psi(x, j)), (..., X, Y, Y), for features (X, Y, d) and theta - theta_ref (..., d).

    Exactly zero below TIE times the largest ||psi(x, i) - psi(x, mean)|| ||move||.
    """
    values = np.tensordot(move, features, axes=(-1, -1))
    scores = values[..., :, None] - values[..., None, :]
    centered = features - features.mean(axis=1, keepdims=True)
    reach = np.linalg.norm(centered, axis=-1).max() * np.linalg.norm(move, axis=-1)
    return np.where(np.abs(scores) <= TIE * reach[..., None, None, None], 0.0, scores)
