"""Moreau envelope and proximal point of the robust loss on a ball (Definition 4.10), with certificates.

F = L^W_rho + indicator of ||theta - theta_ref|| <= theta_radius (eq. 16) is kappa-weakly convex, so that for smoothing
< 1 / kappa the problem

    prox(theta) = argmin_u F(u) + ||u - theta||^2 / (2 smoothing)

is strongly convex with modulus 1 / smoothing - kappa. Its solution often lies on kinks, where some pair scores
vanish, and may lie on the ball's boundary. `solve_prox` is Newton's method for that structure: each step
minimizes a quadratic model plus the kinks, exactly, within the ball. Strong convexity turns the size of the
smallest subgradient at a point into a bound on its distance from the solution, whoever found the point: see
`prox_residual`. Equation numbers are those of arXiv 2602.20457.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from rsail import checks
from rsail.exact.problem import FiniteProblem
from rsail.exact.subdifferential import Pieces, assemble, box_least_squares, pieces, stationarity

NEWTON_STEPS = 100


@dataclass(frozen=True)
class Prox:
    """A point near the proximal point of `center`, and how near it is known to be."""

    point: np.ndarray  # (d,), in the ball
    center: np.ndarray  # (d,)
    smoothing: float  # lambda_env
    curvature: float  # kappa
    value: float  # F(point) + ||point - center||^2 / (2 smoothing), at least the envelope; nats
    residual: float  # eq. 51: norm of the smallest subgradient of the prox problem at the point

    @property
    def error(self) -> float:
        """Bound on ||point - prox(center)||: the residual over the modulus of strong convexity."""
        return self.residual * self.smoothing / (1.0 - self.curvature * self.smoothing)

    @property
    def gradient(self) -> np.ndarray:
        """(center - point) / smoothing, within error / smoothing of the envelope's gradient (Lemma 4.11)."""
        return (self.center - self.point) / self.smoothing

    @property
    def gradient_bound(self) -> float:
        """Certified upper bound on ||grad F_env(center)||."""
        return float(np.linalg.norm(self.gradient)) + self.error / self.smoothing

    @property
    def stationarity_bound(self) -> float:
        """Bound on dist(0, dF(point)) from what is known at the point: ||gradient|| + residual.

        Lemma D.3 (eq. 52) follows from it by the triangle inequality; it needs the exact proximal point, this does not.
        """
        return float(np.linalg.norm(self.gradient)) + self.residual


def solve_prox(
    problem: FiniteProblem,
    theta,
    rho: float,
    smoothing: float,
    *,
    theta_radius: float,
    curvature: float | None = None,
    start=None,
    tolerance: float | None = None,
) -> Prox:
    """The proximal point of theta (d,) with a certified error of at most `tolerance`.

    Parameters
    ----------
    theta : array (d,)
        Any point, also one outside the ball.
    smoothing : float
        lambda_env, between 0 and 1 / curvature.
    curvature : float, optional
        kappa; by default `problem.constants(theta_radius, rho).curvature`. Pass it where many points are computed.
    start : array (d,), optional
        A first guess; theta by default.
    tolerance : float, optional
        Bound on ||point - prox||, in units of theta; by default 1e-12, or what rounding leaves if that is more:
        1e-14 (1 + theta_radius + ||theta_ref||) / (1 - curvature smoothing).

    Raises
    ------
    ValueError
        If smoothing is not below 1 / curvature.
    RuntimeError
        If the tolerance is not reached.
    """
    theta, smoothing, kappa = _arguments(problem, theta, rho, smoothing, theta_radius, curvature)
    ref = problem.theta_ref
    if tolerance is None:
        size = 1.0 + theta_radius + float(np.linalg.norm(ref))
        tolerance = max(1e-12, 1e-14 * size / (1.0 - kappa * smoothing))
    tolerance = checks.positive("tolerance", tolerance)
    point = project(theta if start is None else np.asarray(start, dtype=np.float64), ref, theta_radius)
    parts = pieces(problem, point, rho)
    for _ in range(NEWTON_STEPS):
        found = _inspect(problem, parts, point, theta, smoothing, theta_radius, kappa)
        if found.error <= tolerance:
            return found
        hessian = _positive(parts.hessian + np.eye(len(ref)) / smoothing, 1e-3 / smoothing)
        linear = parts.gradient + (point - theta) / smoothing - hessian @ (point - ref)
        step = ref + _minimize_model(hessian, linear, parts, theta_radius) - point
        expected = 0.1 * step @ hessian @ step
        for share in 0.5 ** np.arange(40):
            point = project(found.point + share * step, ref, theta_radius)
            parts = pieces(problem, point, rho)
            value = _value(parts, point - theta, smoothing)
            if value <= found.value - share * expected + 1e-14 * (1.0 + abs(found.value)):
                break
    raise RuntimeError(
        f"the proximal point was not found: error {found.error:.1e} after {NEWTON_STEPS} steps, "
        f"above the tolerance {tolerance:.1e}"
    )


def prox(
    problem: FiniteProblem,
    theta,
    rho: float,
    smoothing: float,
    *,
    theta_radius: float,
    tolerance: float | None = None,
) -> np.ndarray:
    """The proximal point (d,) of theta (d,), Definition 4.10; `tolerance` as in `solve_prox`."""
    return solve_prox(problem, theta, rho, smoothing, theta_radius=theta_radius, tolerance=tolerance).point


def envelope(
    problem: FiniteProblem,
    theta,
    rho: float,
    smoothing: float,
    *,
    theta_radius: float,
    tolerance: float | None = None,
) -> float:
    """F_env(theta), the Moreau envelope of Definition 4.10, in nats."""
    return solve_prox(problem, theta, rho, smoothing, theta_radius=theta_radius, tolerance=tolerance).value


def envelope_gradient(
    problem: FiniteProblem,
    theta,
    rho: float,
    smoothing: float,
    *,
    theta_radius: float,
    tolerance: float | None = None,
) -> np.ndarray:
    """grad F_env(theta) = (theta - prox(theta)) / smoothing, Lemma 4.11; shape (d,)."""
    return solve_prox(problem, theta, rho, smoothing, theta_radius=theta_radius, tolerance=tolerance).gradient


def prox_residual(
    problem: FiniteProblem,
    candidate,
    theta,
    rho: float,
    smoothing: float,
    *,
    theta_radius: float,
    curvature: float | None = None,
) -> Prox:
    """How good a `candidate` (d,) for the proximal point of theta (d,) is, whoever computed it.

    The residual of eq. 51, dist(0, dF(candidate) + (candidate - theta) / smoothing), is computed exactly from the whole
    subdifferential; error bound and near-stationarity (Lemma D.3) follow from it. Between kinks the
    residual cannot be small if the proximal point lies on one: try `snap` first.
    """
    theta, smoothing, kappa = _arguments(problem, theta, rho, smoothing, theta_radius, curvature)
    candidate = checks.finite("candidate", candidate)
    parts = pieces(problem, candidate, rho)
    return _inspect(problem, parts, candidate, theta, smoothing, theta_radius, kappa)


def near_stationarity(
    problem: FiniteProblem, found: Prox, rho: float, *, theta_radius: float, exact: Prox | None = None
) -> tuple[float, float]:
    """Both sides of eq. 52: dist(0, dF(point)), and ||grad F_env|| + residual + ||point - prox|| / smoothing.

    `exact` is the proximal point of the same center where it is known already.
    """
    if exact is None:
        exact = solve_prox(
            problem, found.center, rho, found.smoothing, theta_radius=theta_radius, curvature=found.curvature
        )
    right = np.linalg.norm(exact.gradient) + found.residual
    right += np.linalg.norm(found.point - exact.point) / found.smoothing
    return stationarity(problem, found.point, rho, theta_radius=theta_radius), float(right)


def snap(problem: FiniteProblem, theta, *, distance: float) -> np.ndarray:
    """The point nearest to theta (d,) at which every pair score that is at most `distance` now is zero.

    `distance` is measured in theta: a pair counts if the hyperplane h = 0 is at most that far away. Addition: what an
    iterative method needs before its residual means anything, because its iterates come close to kinks but not onto
    them.
    """
    distance = checks.nonnegative("distance", distance)
    parts = pieces(problem, theta, 0.0)
    near = np.abs(parts.scores) <= distance * parts.reach
    offset = np.asarray(theta, dtype=np.float64) - problem.theta_ref
    if not near.any():
        return problem.theta_ref + offset
    normals = parts.normals[near] / np.linalg.norm(parts.normals[near], axis=1, keepdims=True)
    _, sizes, directions = np.linalg.svd(normals)
    kept = directions[np.sum(sizes > 1e-9) :]  # orthonormal basis of what leaves these pair scores at zero
    return problem.theta_ref + kept.T @ (kept @ offset)


def project(points, center, radius: float) -> np.ndarray:
    """The nearest points to `points` (..., d) in the ball of `radius` around `center` (d,)."""
    offset = np.asarray(points, dtype=np.float64) - center
    length = np.linalg.norm(offset, axis=-1, keepdims=True)
    return center + offset * (radius / np.maximum(length, radius))


def _arguments(problem, theta, rho, smoothing, theta_radius, curvature):
    theta, smoothing = checks.finite("theta", theta), checks.positive("smoothing", smoothing)
    checks.require(
        theta.shape == problem.theta_ref.shape, "theta.shape", theta.shape, f"{problem.theta_ref.shape}"
    )
    checks.positive("theta_radius", theta_radius)
    if curvature is None:
        curvature = problem.constants(theta_radius, rho).curvature
    curvature = checks.nonnegative("curvature", curvature)
    checks.require(
        smoothing * curvature < 1,
        "smoothing",
        smoothing,
        f"below 1 / kappa = {1 / max(curvature, 1e-300):.4g}",
    )
    return theta, smoothing, curvature


def _inspect(problem, parts: Pieces, point, center, smoothing, theta_radius, curvature) -> Prox:
    pull = (point - center) / smoothing
    least = assemble(problem, parts, point, theta_radius=theta_radius, shift=pull).least()
    value = _value(parts, point - center, smoothing)
    return Prox(point, center, smoothing, curvature, value, float(np.linalg.norm(least)))


def _value(parts: Pieces, move, smoothing) -> float:
    return parts.value + float(move @ move) / (2.0 * smoothing)


def _positive(matrix: np.ndarray, floor: float) -> np.ndarray:
    # At a tie the piece's Hessian is only one of several; what is not positive in it must not steer the step.
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, floor)) @ vectors.T


def _minimize_model(hessian, linear, parts: Pieces, radius: float) -> np.ndarray:
    """argmin over ||s|| <= radius of linear.s + s.hessian.s / 2 + sum_k (kink k at normals[k].s).

    All kinks pass through s = 0, so the dual, over the slopes t, is a least-squares problem in a box. The ball's
    multiplier adds to the Hessian, and ||s|| falls in it: one number to find.
    """
    values, vectors = np.linalg.eigh(hessian)
    free = parts.upper > parts.lower
    normals, lower, upper = parts.normals[free] @ vectors, parts.lower[free], parts.upper[free]
    linear = (parts.lower[~free] @ parts.normals[~free] + linear) @ vectors

    guess = np.where(parts.scores > 0, parts.upper, parts.lower)[free]

    def solution(multiplier):
        root = np.sqrt(values + multiplier)
        _, pull = box_least_squares(normals.T / root[:, None], -linear / root, lower, upper, guess)
        return -(linear / root + pull) / root

    inside = solution(0.0)
    if np.linalg.norm(inside) <= radius:
        return vectors @ inside
    largest = np.linalg.norm(linear) / radius  # there ||s|| <= radius, because kinks only shorten s
    multiplier = brentq(
        lambda m: 1.0 - np.linalg.norm(solution(m)) / radius, 0.0, largest, xtol=1e-15 * largest, rtol=1e-14
    )
    return vectors @ solution(multiplier)
