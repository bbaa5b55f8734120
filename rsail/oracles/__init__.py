"""Preference oracles: the truth, four ways of being wrong about it, and the measured size of the error.

An oracle returns probabilities, never labels; drawing labels from them is a separate step with its own
generator.
"""

from rsail.oracles.ask import KINDS, Answer, OracleConfig, ask
from rsail.oracles.perturbations import bias, draw_labels, flatten, flip, sup_deviation, truth, worst_case
from rsail.oracles.scores import draw_rankings, oracle_scores, rank

__all__ = [
    "KINDS",
    "Answer",
    "OracleConfig",
    "ask",
    "bias",
    "draw_labels",
    "draw_rankings",
    "flatten",
    "flip",
    "oracle_scores",
    "rank",
    "sup_deviation",
    "truth",
    "worst_case",
]
