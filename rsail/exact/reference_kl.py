"""SAIL with a penalty on the KL divergence between policy and reference, its direction explicit (an addition).

SAIL-RevKL (arXiv 2606.31524) subtracts a multiple of a "reverse" KL divergence from SAIL's objective to make it
strongly concave. Which of the two directions a text calls reverse differs; its released code
(github.com/xudongwu-0/SAIL_LLM, commit 7bee076) estimates KL(reference, policy). For a log-linear policy, per prompt,
with c = psi - E_pi psi and C = E_pi[c c'],

    KL(ref, pi):  gradient  E_pi psi - E_ref psi,     Hessian  C,
    KL(pi, ref):  gradient  C (theta - theta_ref),    Hessian  C + E_pi[c c' (c . (theta - theta_ref))],

so only the first is convex everywhere. The constants are derived here, not quoted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rsail import checks
from rsail.exact import gibbs
from rsail.exact.constants import centered_feature_bound, refined_constants
from rsail.exact.problem import FiniteProblem
from rsail.exact.sail_family import gradient, hessian, objective

DIRECTIONS = ("reference_to_policy", "policy_to_reference")


class Derivatives(NamedTuple):
    """A value in nats, gradient (d,) and Hessian (d, d)."""

    value: float
    gradient: np.ndarray
    hessian: np.ndarray


def reference_kl(problem: FiniteProblem, theta, direction: str) -> Derivatives:
    """KL(pi_ref, pi_theta) or KL(pi_theta, pi_ref), the mean over prompts, with its derivatives.

    Parameters
    ----------
    direction : "reference_to_policy" for KL(pi_ref, pi_theta), the expectation under the reference; or
        "policy_to_reference" for KL(pi_theta, pi_ref), the one in RLHF.
    """
    checks.one_of("direction", direction, DIRECTIONS)
    log_probs, ref_log_probs, mu = problem.log_probs(theta), problem.ref_log_probs, problem.prompt_probs
    probs, ref_probs = np.exp(log_probs), np.exp(ref_log_probs)
    centered = problem.features - np.einsum("xy,xyd->xd", probs, problem.features)[:, None]
    weights = mu[:, None] * probs
    covariance = np.einsum("xy,xyd,xye->de", weights, centered, centered, optimize=True)
    if direction == "reference_to_policy":
        value = gibbs.kl(ref_log_probs, log_probs, mu)
        return Derivatives(value, -problem.chain(theta, mu[:, None] * ref_probs), covariance)
    value = gibbs.kl(log_probs, ref_log_probs, mu)
    along = centered @ (np.asarray(theta, dtype=np.float64) - problem.theta_ref)
    third = np.einsum("xy,xyd,xye->de", weights * along, centered, centered, optimize=True)
    return Derivatives(value, np.einsum("xy,xyd->d", weights * along, centered), covariance + third)


def penalized(
    problem: FiniteProblem, theta, setting: str, coefficient: float, direction: str, pair_probs=None
) -> Derivatives:
    """J - coefficient KL with its derivatives; the coefficient is >= 0, in nats of J per nat of KL."""
    coefficient = checks.nonnegative("coefficient", coefficient)
    kl = reference_kl(problem, theta, direction)
    return Derivatives(
        objective(problem, theta, setting, pair_probs) - coefficient * kl.value,
        gradient(problem, theta, setting, pair_probs) - coefficient * kl.gradient,
        hessian(problem, theta, setting, pair_probs) - coefficient * kl.hessian,
    )


def identifiable_basis(features) -> np.ndarray:
    """Orthonormal basis (d, k) of the directions that change some pair score; features (X, Y, d).

    For softmax logits it is the subspace of sum zero. Along the others all objectives here are constant.
    """
    features = checks.finite("features", features)
    moves = (features - features[:, :1]).reshape(-1, features.shape[-1])
    _, sizes, rows = np.linalg.svd(moves, full_matrices=False)
    return rows[sizes > 1e-10 * max(sizes[0], 1e-300)].T


def curvature_bound(feature_bound: float, theta_radius: float, beta: float) -> float:
    """U >= the largest eigenvalue of the Hessian of J with the policy's responses and an oracle's labels.

    Term by term, with |F| <= log(1 + e^(2 beta D B)): 4 sqrt(2) beta B^2 + 2 B^2 log(1 + e^(2 beta D B)). B is the
    `feature_bound`, D the `theta_radius`. `refined_constants(...).curvature` bounds the same and is smaller.
    """
    B, D = (
        checks.nonnegative("feature_bound", feature_bound),
        checks.nonnegative("theta_radius", theta_radius),
    )
    beta = checks.positive("beta", beta)
    return float(4.0 * np.sqrt(2.0) * beta * B**2 + 2.0 * B**2 * np.logaddexp(0.0, 2.0 * beta * D * B))


def fisher_floor(problem: FiniteProblem, theta_radius: float) -> float:
    """A bound from below on the least eigenvalue of C, on the identifiable subspace and the whole ball.

    On the ball pi >= e^(-2 D B) pi_ref response by response, and a variance is a minimum over constants of a mean,
    so C >= e^(-2 D B) C_ref.
    """
    basis = identifiable_basis(problem.features)
    checks.require(basis.size > 0, "features", "equal ones", "different for some responses of a prompt")
    at_reference = reference_kl(problem, problem.theta_ref, "reference_to_policy").hessian
    least = float(np.linalg.eigvalsh(basis.T @ at_reference @ basis)[0])
    bound = centered_feature_bound(problem.features)
    return float(np.exp(-2.0 * checks.nonnegative("theta_radius", theta_radius) * bound) * least)


def concave_coefficient(problem: FiniteProblem, theta_radius: float) -> float:
    """A coefficient from which on J - coefficient KL(ref, pi) is concave on the ball, for setting "dpr".

    Beyond it the modulus of strong concavity is (coefficient - this) times `fisher_floor`.
    """
    bound = centered_feature_bound(problem.features)
    rise = refined_constants(bound, theta_radius, problem.beta, 0.0).curvature
    return rise / fisher_floor(problem, theta_radius)
