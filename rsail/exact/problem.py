"""A finite alignment problem with a log-linear policy (Assumption 2): everything exact, by enumeration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_softmax

from rsail import checks
from rsail.exact import losses, radius
from rsail.exact.arguments import preference_table, prompt_weights
from rsail.exact.constants import (
    Constants,
    centered_feature_bound,
    feature_bound,
    paper_constants,
    refined_constants,
    sharp_constants,
)
from rsail.exact.hessian import penalty_derivatives, sail_derivatives
from rsail.exact.linear_program import robust_loss_linear_program
from rsail.exact.ties import log_linear_scores


@dataclass(frozen=True, eq=False, repr=False)
class FiniteProblem:
    """X prompts, Y responses each, and pi_theta(y|x) proportional to exp(theta . features[x, y]).

    Parameters
    ----------
    features : array (X, Y, d)
        psi(x, y). A shift per prompt changes nothing.
    preferences : array (X, Y, Y)
        The oracle P[x, i, j] = P(i > j | x): entries in [0, 1], P + P^T = 1.
    beta : float > 0
    prompt_probs : array (X,), optional
        mu; uniform by default.
    theta_ref : array (d,), optional
        Parameter of the reference policy; zeros (the uniform policy) by default.

    Raises
    ------
    ValueError
        For shapes that do not fit, numbers that are not finite, an oracle that is not one, beta <= 0.
    """

    features: np.ndarray
    preferences: np.ndarray
    beta: float
    prompt_probs: np.ndarray | None = None
    theta_ref: np.ndarray | None = None

    def __post_init__(self):
        features = checks.finite("features", self.features)
        checks.require(
            features.ndim == 3 and min(features.shape) > 0, "features.shape", features.shape, "(X, Y, d)"
        )
        prompts, _, dimension = features.shape
        # The dataclass is frozen so that no later assignment can bypass these checks.
        keep = object.__setattr__
        keep(self, "features", features)
        keep(self, "preferences", preference_table(self.preferences, features.shape[:2]))
        keep(self, "beta", checks.positive("beta", self.beta))
        keep(self, "prompt_probs", prompt_weights(self.prompt_probs, prompts))
        theta_ref = np.zeros(dimension) if self.theta_ref is None else self.theta_ref
        keep(self, "theta_ref", self._parameter("theta_ref", theta_ref))

    @classmethod
    def from_rewards(cls, features, rewards, beta, prompt_probs=None, theta_ref=None) -> FiniteProblem:
        """The same with Bradley-Terry preferences (eq. 4), P(i > j) = sigma(r_i - r_j); rewards (X, Y)."""
        features, rewards = checks.finite("features", features), checks.finite("rewards", rewards)
        checks.require(
            rewards.ndim == 2 and rewards.shape == features.shape[:2],
            "rewards.shape", rewards.shape, f"(X, Y) = {features.shape[:2]}, as features",
        )  # fmt: skip
        preferences = expit(rewards[:, :, None] - rewards[:, None, :])
        return cls(features, preferences, beta, prompt_probs, theta_ref)

    def log_probs(self, theta) -> np.ndarray:
        """log pi_theta(y|x), shape (X, Y)."""
        return log_softmax(self.features @ self._parameter("theta", theta), axis=-1)

    @property
    def ref_log_probs(self) -> np.ndarray:
        """log pi_SFT(y|x), shape (X, Y)."""
        return self.log_probs(self.theta_ref)

    def pair_scores(self, theta) -> np.ndarray:
        """h_theta(z) = (theta - theta_ref) . (psi(x, i) - psi(x, j)), shape (X, Y, Y).

        Computed from the features, where the partition terms have cancelled (Assumption 2); zero at ties, where
        rounding would leave some 1e-16.
        """
        return log_linear_scores(self.features, self._parameter("theta", theta) - self.theta_ref)

    def sail_loss(self, theta) -> float:
        """L_SAIL, eq. 9."""
        return losses.expected_loss(*self._tables(theta), beta=self.beta, prompt_probs=self.prompt_probs)

    def penalty(self, theta) -> float:
        """R, eq. 12, in O(X Y log Y)."""
        return losses.penalty(self.log_probs(theta), self.ref_log_probs, prompt_probs=self.prompt_probs)

    def robust_loss(self, theta, rho: float) -> float:
        """L^W_rho by the decomposition of eq. 13; the radius is clipped where rho leaves [0, 1]."""
        return losses.robust_loss(*self._tables(theta), **self._settings(rho))

    def robust_loss_linear_program(self, theta, rho: float) -> float:
        """L^W_rho from its definition, eq. 10, as a linear program over antisymmetric oracles."""
        return robust_loss_linear_program(*self._tables(theta), **self._settings(rho))

    def worst_case_preferences(self, theta, rho: float) -> np.ndarray:
        """The antisymmetric oracle that attains L^W_rho at `theta`; shape (X, Y, Y)."""
        return losses.worst_case_preferences(self.preferences, self.pair_scores(theta), rho)

    def sail_gradient(self, theta, *, score_weight: float = 1.0) -> np.ndarray:
        """Gradient (d,) of L_SAIL, with the score term; `score_weight` 0 drops it."""
        return self.robust_subgradient(theta, 0.0, score_weight=score_weight)

    def penalty_subgradient(self, theta, *, score_weight: float = 1.0) -> np.ndarray:
        """E[sign(h) grad h + |h| S], a subgradient (d,) of R; sign(0) = 0."""
        coefficients = losses.penalty_log_prob_gradient(
            self.log_probs(theta),
            self.ref_log_probs,
            score_weight=score_weight,
            prompt_probs=self.prompt_probs,
        )
        return self.chain(theta, coefficients)

    def robust_subgradient(self, theta, rho: float, *, score_weight: float = 1.0) -> np.ndarray:
        """A subgradient (d,) of L^W_rho (of the clipped form where rho leaves [0, 1])."""
        coefficients = losses.log_prob_gradient(
            *self._tables(theta), **self._settings(rho), score_weight=score_weight
        )
        return self.chain(theta, coefficients)

    def critical_radius(self) -> float:
        """rho_crit = max |P - 1/2|; from here on theta_ref is a global minimizer of L^W_rho."""
        return radius.critical_radius(self.preferences, prompt_probs=self.prompt_probs)

    def local_critical_radius(self, *, clipped: bool = False) -> float:
        """rho_loc; above it theta_ref is a local minimizer (`clipped`: of the clipped loss)."""
        return radius.local_critical_radius(
            self.features,
            self.preferences,
            self.ref_log_probs,
            prompt_probs=self.prompt_probs,
            clipped=clipped,
        )

    def constants(self, theta_radius: float, rho: float, kind: str = "sharp") -> Constants:
        """Weak convexity, slopes and smoothness on the ball of radius `theta_radius` around theta_ref.

        `kind` "paper": B is the largest feature norm, and the constant that Assumption 3 takes for granted is that
        of the sharp set. "sharp" and "refined" (additions): B is the largest radius of a prompt's smallest
        enclosing ball. Prompts of probability 0 do not count.
        """
        checks.one_of("kind", kind, ("paper", "sharp", "refined"))
        asked = self.features[self.prompt_probs > 0]
        bound = centered_feature_bound(asked)
        if kind == "refined":
            return refined_constants(bound, theta_radius, self.beta, rho)
        sharp = sharp_constants(bound, theta_radius, self.beta, rho)
        if kind == "sharp":
            return sharp
        return paper_constants(
            feature_bound(asked), theta_radius, self.beta, rho, sail_smoothness=sharp.sail_smoothness
        )

    def sail_hessian(self, theta) -> np.ndarray:
        """Hessian (d, d) of L_SAIL, score terms included."""
        return sail_derivatives(self.features, self.preferences, *self._point(theta)).hessian

    def penalty_hessian(self, theta) -> np.ndarray:
        """Hessian (d, d) of R where no pair of different features has h = 0 (eq. 39 with eps = 0)."""
        theta = self._parameter("theta", theta)
        return penalty_derivatives(self.features, theta, self.theta_ref, self.prompt_probs).hessian

    def robust_hessian(self, theta, rho: float) -> np.ndarray:
        """Hessian (d, d) of L^W_rho away from its kinks: that of L_SAIL under the worst-case oracle."""
        worst = self.worst_case_preferences(theta, rho)
        return sail_derivatives(self.features, worst, *self._point(theta)).hessian

    def chain(self, theta, coefficients) -> np.ndarray:
        """sum over x, y of c[x, y] grad log pi(y|x), shape (d,): from coefficients (X, Y) to the parameter's space."""
        centered = (
            self.features - np.einsum("xy,xyd->xd", np.exp(self.log_probs(theta)), self.features)[:, None]
        )
        return np.einsum("xy,xyd->d", coefficients, centered)

    def _point(self, theta):
        return self._parameter("theta", theta), self.theta_ref, self.beta, self.prompt_probs

    def _parameter(self, name: str, theta) -> np.ndarray:
        theta = checks.finite(name, theta)
        expected = (self.features.shape[-1],)
        checks.require(theta.shape == expected, f"{name}.shape", theta.shape, f"{expected}")
        return theta

    def _tables(self, theta):
        return self.log_probs(theta), self.ref_log_probs, self.preferences

    def _settings(self, rho: float) -> dict:
        rho = checks.nonnegative("rho", rho)
        return {"beta": self.beta, "rho": rho, "prompt_probs": self.prompt_probs}
