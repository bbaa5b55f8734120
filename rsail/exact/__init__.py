"""Finite problems by enumeration: the judge of everything else (NumPy, SciPy, SymPy; no torch)."""

from rsail.exact.ball import smallest_ball
from rsail.exact.constants import (
    C_STAR,
    Constants,
    centered_feature_bound,
    feature_bound,
    paper_constants,
    refined_constants,
    sharp_constants,
)
from rsail.exact.gini import gini_mean_difference
from rsail.exact.linear_program import robust_loss_linear_program, worst_case_linear_program
from rsail.exact.losses import (
    endpoint_loss,
    expected_loss,
    log_prob_gradient,
    pair_law,
    pair_scores,
    penalty,
    robust_loss,
    worst_case_preferences,
)
from rsail.exact.one_pair import one_pair_loss, robust_fit, robust_margin, soft_threshold
from rsail.exact.problem import FiniteProblem
from rsail.exact.radius import critical_radius, local_critical_radius

__all__ = [
    "C_STAR",
    "Constants",
    "FiniteProblem",
    "centered_feature_bound",
    "critical_radius",
    "endpoint_loss",
    "expected_loss",
    "feature_bound",
    "gini_mean_difference",
    "local_critical_radius",
    "log_prob_gradient",
    "one_pair_loss",
    "pair_law",
    "pair_scores",
    "paper_constants",
    "penalty",
    "refined_constants",
    "robust_fit",
    "robust_loss",
    "robust_loss_linear_program",
    "robust_margin",
    "sharp_constants",
    "smallest_ball",
    "soft_threshold",
    "worst_case_linear_program",
    "worst_case_preferences",
]
