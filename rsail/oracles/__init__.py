"""Preference oracles: the truth, eight ways of being wrong about it, and the measured size of the error.

An oracle returns probabilities, never labels; drawing labels from them is a separate step with its own
generator.
"""

from rsail.oracles.ask import KINDS, Answer, OracleConfig, ask
from rsail.oracles.perturbations import (
    annotator_groups,
    bias,
    cyclic,
    draw_labels,
    drift,
    flatten,
    flip,
    grouped_bias,
    sup_deviation,
    truth,
    worst_case,
)
from rsail.oracles.radius import (
    RadiusEstimate,
    flip_rate,
    radius_from_agreement,
    radius_from_labels,
    radius_from_reward_model,
)
from rsail.oracles.reward_model import RewardModel, fit_reward_model
from rsail.oracles.scores import draw_rankings, oracle_scores, rank

__all__ = [
    "KINDS",
    "Answer",
    "OracleConfig",
    "RadiusEstimate",
    "RewardModel",
    "annotator_groups",
    "ask",
    "bias",
    "cyclic",
    "draw_labels",
    "draw_rankings",
    "drift",
    "fit_reward_model",
    "flatten",
    "flip",
    "flip_rate",
    "grouped_bias",
    "oracle_scores",
    "radius_from_agreement",
    "radius_from_labels",
    "radius_from_reward_model",
    "rank",
    "sup_deviation",
    "truth",
    "worst_case",
]
