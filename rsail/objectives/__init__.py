"""Losses, reweightings, terms and gradient estimators: pure functions of tensors, ready to be lifted into a trainer.

LOSSES take the difference of log-ratios of a pair, RATIO_LOSSES both log-ratios, REWARD_LOSSES a reward difference,
LIST_LOSSES a ranking; SEQUENCE_LOSSES and TOKEN_LOSSES are policy gradients, from samples of the policy and their
rewards; REWEIGHTINGS replace the mean of a vector of losses; TERMS come on top, from other samples.
`rsail.objectives.released` has what published codes do where it differs from their formulas.
"""

from rsail.objectives.arguments import NotFinite
from rsail.objectives.estimators import BASELINES, baseline, pair_indices, score_surrogate
from rsail.objectives.listwise import LIST_LOSSES, plackett_luce_loss
from rsail.objectives.losses import (
    LOSSES,
    cdpo_loss,
    dpo_loss,
    dpo_pro_loss,
    ipo_loss,
    rdpo_loss,
    robust_sail_loss,
    ropo_loss,
    slic_loss,
    tv_robust_loss,
)
from rsail.objectives.policy_gradient import (
    SEQUENCE_LOSSES,
    TOKEN_LOSSES,
    group_advantages,
    grpo_loss,
    leave_one_out,
    rloo_loss,
)
from rsail.objectives.ratios import RATIO_LOSSES, chi_po_link, chi_po_loss
from rsail.objectives.regression import (
    REWARD_LOSSES,
    rebel_loss,
    rebel_residual,
    w_rebel_loss,
    wasserstein_penalty,
)
from rsail.objectives.reweighting import (
    REWEIGHTINGS,
    group_means,
    group_robust,
    group_weights,
    kl_radius,
    weights,
)
from rsail.objectives.sail import (
    preference_surrogate,
    sail_surrogate,
    self_preference_loss,
)
from rsail.objectives.terms import TERMS, count_bonus, fpo_loss, pessimistic_score

__all__ = [
    "BASELINES",
    "LIST_LOSSES",
    "LOSSES",
    "RATIO_LOSSES",
    "REWARD_LOSSES",
    "REWEIGHTINGS",
    "SEQUENCE_LOSSES",
    "TERMS",
    "TOKEN_LOSSES",
    "NotFinite",
    "baseline",
    "cdpo_loss",
    "chi_po_link",
    "chi_po_loss",
    "count_bonus",
    "dpo_loss",
    "dpo_pro_loss",
    "fpo_loss",
    "group_advantages",
    "group_means",
    "group_robust",
    "group_weights",
    "grpo_loss",
    "ipo_loss",
    "kl_radius",
    "leave_one_out",
    "pair_indices",
    "pessimistic_score",
    "plackett_luce_loss",
    "preference_surrogate",
    "rdpo_loss",
    "rebel_loss",
    "rebel_residual",
    "rloo_loss",
    "robust_sail_loss",
    "ropo_loss",
    "sail_surrogate",
    "score_surrogate",
    "self_preference_loss",
    "slic_loss",
    "tv_robust_loss",
    "w_rebel_loss",
    "wasserstein_penalty",
    "weights",
]
