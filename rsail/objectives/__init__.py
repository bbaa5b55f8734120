"""Pair losses and gradient estimators: pure functions of tensors, ready to be lifted into another trainer."""

from rsail.objectives.estimators import BASELINES, baseline, pair_indices, score_surrogate
from rsail.objectives.losses import (
    LOSSES,
    NotFinite,
    cdpo_loss,
    dpo_loss,
    ipo_loss,
    rdpo_loss,
    robust_sail_loss,
)

__all__ = [
    "BASELINES",
    "LOSSES",
    "NotFinite",
    "baseline",
    "cdpo_loss",
    "dpo_loss",
    "ipo_loss",
    "pair_indices",
    "rdpo_loss",
    "robust_sail_loss",
    "score_surrogate",
]
