"""One number per response from an oracle that compares pairs, and rankings drawn from such numbers."""

from __future__ import annotations

import numpy as np

from rsail.checks import finite, require
from rsail.checks import preferences as check_preferences

# An oracle that is certain has infinite log-odds: it counts as one that is as sure as this (13.8 in log-odds).
SUREST = 1 - 1e-6


def oracle_scores(preferences) -> np.ndarray:
    """The scores s (X, K), of mean 0 per prompt, whose gaps s_i - s_j are nearest to the log-odds of P (X, K, K).

    s_i is the mean over j of log P[i, j] / (1 - P[i, j]), the least-squares fit to all pairs. For a Bradley-Terry
    oracle (arXiv 2602.20457, eq. 4) it is the reward less its mean. Probabilities beyond `SUREST` count as that.
    """
    clipped = np.clip(check_preferences("preferences", preferences), 1 - SUREST, SUREST)
    return np.log(clipped / (1 - clipped)).mean(axis=-1)


def rank(scores) -> np.ndarray:
    """Indices (X, K) of the responses from the highest score to the lowest; ties in the order of the indices."""
    return np.argsort(-_table(scores), axis=-1, kind="stable")


def draw_rankings(scores, rng: np.random.Generator) -> np.ndarray:
    """One ranking (X, K) per prompt, best first, from the Plackett-Luce law of its scores.

    Response i comes first with probability softmax(s)_i, and so on among the rest; for K = 2 that is Bradley-Terry.
    Ranking s + Gumbel noise draws from exactly this law.
    """
    scores = _table(scores)
    return rank(scores + rng.gumbel(size=scores.shape))


def _table(scores) -> np.ndarray:
    scores = finite("scores", scores)
    require(scores.ndim == 2, "scores.shape", scores.shape, "(X, K): prompts, responses")
    return scores
