"""Constants of weak convexity and smoothness for log-linear policies: the paper's, and sharper ones.

Theorem 4.7 gives kappa_R, Theorem 4.8 adds lam kappa_R to an assumed Lipschitz constant of grad L_SAIL, and the
second moment of Lemma B.4 needs the largest gradients. All depend on B (feature bound), D (radius of the
parameter set), beta and rho alone. Two sharper sets are additions, derived in notebook 03, where each constant is
compared with the largest value found: "sharp" has the paper's form, a polynomial in B and D for each term of the
paper; "refined" uses, too, that a margin is at most T = 2 beta D B, and that the robust loss is a supremum of
SAIL losses. Equation numbers are those of arXiv 2602.20457.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from rsail import checks
from rsail.exact.ball import smallest_ball

# The largest value of 2 E|a1^2 - a2^2| over laws of a on an interval of half-length 1, a centered and a1, a2
# independent; `rsail.exact.extremal` derives it. The two-point laws reach 8 / (3 sqrt(3)) = 1.5396.
C_STAR = 1.541047961857601
# With a1, a2 as above: the largest E[|s1 - s2| (c1 + c2)] over |c| <= 1 and s on [-1, 1], and the largest E|a1 + a2|;
# both are reached by two-point laws. CROSS bounds E|s1 - s2||a1 + a2| for projections of one vector on two directions.
SLOPE_STAR = 4.0 / (3.0 * float(np.sqrt(3.0)))
SCORE_STAR = 32.0 / 27.0
CROSS = float(np.sqrt(1.0 + C_STAR**2 / 4.0))


@dataclass(frozen=True)
class Constants:
    """What the convergence theory needs to know about a class of problems.

    Attributes
    ----------
    feature_bound : float
        B: norm of the features (paper), or radius of a ball that holds those of a prompt (sharp, refined).
    theta_radius : float
        D = sup ||theta - theta_ref|| over the parameter set (Assumption 5).
    beta, rho : float
    penalty_curvature : float
        kappa_R: R + kappa_R ||theta||^2 / 2 is convex (Theorem 4.7).
    penalty_slope : float
        G_dR: bound on the norm of the subgradient E[sign(h) grad h + |h| S] of R.
    sail_slope : float
        G_gradSAIL: bound on ||grad L_SAIL||, score term included.
    sail_smoothness : float
        Lipschitz constant of grad L_SAIL (Assumption 3).
    curvature : float
        kappa: the robust loss is kappa-weakly convex (Theorem 4.8).
    slope : float
        Bound on the norm of the subgradients of the robust loss.
    """

    feature_bound: float
    theta_radius: float
    beta: float
    rho: float
    penalty_curvature: float
    penalty_slope: float
    sail_slope: float
    sail_smoothness: float
    curvature: float
    slope: float

    @property
    def lam(self) -> float:
        """lam = rho beta, the weight of the penalty in eq. 13."""
        return self.rho * self.beta

    def total_second_moment(
        self, sail_noise: float = 0.0, penalty_noise: float = 0.0, batch: int = 1
    ) -> float:
        """G_tot^2 of Lemma B.4, a bound on E||G||^2 of the stochastic subgradient.

        `sail_noise` and `penalty_noise` are sigma_SAIL and sigma_R, standard deviations for one triple
        (Assumption 6); `batch` is the number of triples.
        """
        sail_noise = checks.nonnegative("sail_noise", sail_noise)
        penalty_noise = checks.nonnegative("penalty_noise", penalty_noise)
        checks.require(int(batch) == batch and batch >= 1, "batch", batch, "a whole number >= 1")
        noise = (sail_noise**2 + self.lam**2 * penalty_noise**2) / batch
        return 4.0 * (self.sail_slope**2 + self.lam**2 * self.penalty_slope**2 + noise)


def paper_constants(
    feature_bound: float,
    theta_radius: float,
    beta: float,
    rho: float,
    *,
    sail_smoothness: float | None = None,
) -> Constants:
    """The paper's constants (Theorems 4.7 and 4.8, Lemma B.4).

    Assumption 3 takes a Lipschitz constant of grad L_SAIL for granted. Where none is given, it is that of
    `sharp_constants`, so that the sets can be compared.
    """
    B, D, beta, rho = _class(feature_bound, theta_radius, beta, rho)
    if sail_smoothness is None:
        sail_smoothness = sharp_constants(B, D, beta, rho).sail_smoothness
    return _assemble(
        B, D, beta, rho,
        penalty_curvature=16.0 * B**2 + 4.0 * D * B**3,
        penalty_slope=2.0 * B + 8.0 * D * B**2,
        sail_slope=2.0 * beta * B + 4.0 * B * (np.log(2.0) + 2.0 * beta * D * B),
        sail_smoothness=checks.nonnegative("sail_smoothness", sail_smoothness),
    )  # fmt: skip


def sharp_constants(feature_bound: float, theta_radius: float, beta: float, rho: float) -> Constants:
    """Addition: the paper's constants made sharper, and an explicit one for Assumption 3.

    `feature_bound` may be the radius of the smallest ball around the features of a prompt, the largest over the
    prompts (`centered_feature_bound`): a shift of all features of a prompt changes neither policy nor pair score.
    """
    B, D, beta, rho = _class(feature_bound, theta_radius, beta, rho)
    return _assemble(
        B, D, beta, rho,
        penalty_curvature=C_STAR * B**2 + 2.0 * D * B**3,
        penalty_slope=B + np.sqrt(2.0) * D * B**2,
        sail_slope=beta * B + 2.0 * beta * D * B**2,
        sail_smoothness=beta**2 * B**2 / 2.0 + C_STAR * beta * B**2 + 6.0 * beta * D * B**3,
    )  # fmt: skip


def refined_constants(feature_bound: float, theta_radius: float, beta: float, rho: float) -> Constants:
    """Addition: `sharp_constants`, a second time, with all margins at most T = 2 beta D B.

    The weak convexity and the slope of the robust loss do not depend on rho here: it is the supremum over oracles
    of SAIL losses, which share these constants.
    """
    B, D, beta, rho = _class(feature_bound, theta_radius, beta, rho)
    largest_margin = 2.0 * beta * D * B
    belief = float(expit(largest_margin))
    cross = min(SCORE_STAR, CROSS * softplus_chord(largest_margin))
    curvature = C_STAR * belief * beta * B**2 + 2.0 * beta * D * B**3
    slope = belief * beta * B + cross * beta * D * B**2
    return Constants(
        B, D, beta, rho,
        penalty_curvature=C_STAR * B**2 + 2.0 * D * B**3,
        penalty_slope=B + SLOPE_STAR * D * B**2,
        sail_slope=slope,
        sail_smoothness=beta**2 * B**2 / 2.0 + curvature,
        curvature=curvature,
        slope=slope,
    )  # fmt: skip


def softplus_chord(margin: float) -> float:
    """(log(1 + e^T) - log 2) / T, the slope of the chord of softplus from 0 to T >= 0; 1/2 at T = 0."""
    if margin > 1.0:
        return float((np.logaddexp(0.0, margin) - np.log(2.0)) / margin)
    return float(np.log1p(np.expm1(margin) / 2.0) / margin) if margin > 0.0 else 0.5


def feature_bound(features) -> float:
    """B of Assumption 4: the largest norm of a feature vector; features (X, Y, d)."""
    return float(np.linalg.norm(_features(features), axis=-1).max())


def centered_feature_bound(features) -> float:
    """Largest over the prompts of the radius of the smallest ball that holds {psi(x, .)}; features (X, Y, d)."""
    return max(smallest_ball(points)[1] for points in _features(features))


def _class(feature_bound, theta_radius, beta, rho) -> tuple[float, float, float, float]:
    return (
        checks.nonnegative("feature_bound", feature_bound),
        checks.nonnegative("theta_radius", theta_radius),
        checks.positive("beta", beta),
        checks.nonnegative("rho", rho),
    )


def _assemble(B, D, beta, rho, *, penalty_curvature, penalty_slope, sail_slope, sail_smoothness) -> Constants:
    """The robust loss's constants as the sum over its two parts (Theorem 4.8)."""
    lam = rho * beta
    return Constants(
        B, D, beta, rho, penalty_curvature, float(penalty_slope), float(sail_slope), sail_smoothness,
        curvature=sail_smoothness + lam * penalty_curvature,
        slope=float(sail_slope + lam * penalty_slope),
    )  # fmt: skip


def _features(features) -> np.ndarray:
    features = checks.finite("features", features)
    checks.require(
        features.ndim == 3 and min(features.shape) > 0, "features.shape", features.shape, "(X, Y, d)"
    )
    return features
