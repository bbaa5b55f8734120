"""Notebook 04's checks: lemmas about the Moreau envelope at random points, and a second way to its proximal point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rsail.exact import FiniteProblem, rates
from rsail.exact.moreau import Prox, near_stationarity, project, prox_residual, snap, solve_prox
from rsail.exact.rscgd import triple_gradients, triples
from rsail.exact.subdifferential import pieces, subdifferential
from rsail.exact.ties import TIE
from rsail.study.numerical_check import random_oracle

SHAPES = (
    (1, 2),
    (1, 3),
    (2, 2),
    (1, 4),
)  # (prompts, responses): small, because Lemma C.2 enumerates what a step draws


@dataclass(frozen=True)
class Point:
    """A problem, a parameter in its ball, and what Definition 4.10 needs; kappa is the smallest that is proved."""

    problem: FiniteProblem
    theta: np.ndarray
    rho: float
    theta_radius: float
    share: float  # kappa smoothing, between 0 and 1

    @cached_property
    def curvature(self) -> float:
        return self.problem.constants(self.theta_radius, self.rho, "refined").curvature

    @property
    def smoothing(self) -> float:
        return self.share / self.curvature

    @cached_property
    def found(self) -> Prox:
        """The certified proximal point of theta."""
        return self.prox(self.theta)

    def prox(self, theta, start=None) -> Prox:
        return solve_prox(
            self.problem, theta, self.rho, self.smoothing,
            theta_radius=self.theta_radius, curvature=self.curvature, start=start,
        )  # fmt: skip

    def subgradients(self, theta):
        return subdifferential(self.problem, theta, self.rho, theta_radius=self.theta_radius)

    def project(self, theta) -> np.ndarray:
        return project(theta, self.problem.theta_ref, self.theta_radius)

    @property
    def room(self) -> float:
        """1 - kappa smoothing."""
        return 1.0 - self.share


def random_point(rng: np.random.Generator) -> Point:
    """A random problem under Assumption 1 and a parameter in its ball.

    A third of the parameters are moved onto the kink of a random pair, which is the reference itself where d = 1; a
    fifth lie on the boundary. `places` counts.
    """
    delta = float(rng.uniform(0.02, 0.35))
    prompts, responses = SHAPES[rng.integers(len(SHAPES))]
    dimension = rng.integers(1, 4)
    problem = FiniteProblem(
        rng.normal(size=(prompts, responses, dimension)),
        random_oracle(rng, prompts, responses, delta),
        beta=float(rng.uniform(0.05, 1.0)),
        prompt_probs=rng.dirichlet(np.ones(prompts)),
        theta_ref=rng.normal(size=dimension),
    )
    theta_radius, direction = float(rng.uniform(0.1, 3.0)), rng.normal(size=dimension)
    length = theta_radius * (1.0 if rng.random() < 0.2 else rng.uniform())
    if rng.random() < 1 / 3:
        first, second = problem.features[rng.integers(prompts), rng.permutation(responses)[:2]]
        normal = (first - second) / np.linalg.norm(first - second)
        direction = direction - (normal @ direction) * normal if dimension > 1 else np.zeros(1)
    theta = problem.theta_ref + length * direction / max(np.linalg.norm(direction), np.finfo(float).tiny)
    return Point(problem, theta, float(rng.uniform(0, delta)), theta_radius, float(rng.uniform(0.1, 0.9)))


def places(points: list[Point]) -> dict[str, int]:
    """How many of the points lie where; those with a vanishing envelope gradient are stationary."""
    reference = [np.array_equal(point.theta, point.problem.theta_ref) for point in points]
    kinks = [len(tied_pairs(point)) > 0 for point in points]
    offsets = [np.linalg.norm(point.theta - point.problem.theta_ref) / point.theta_radius for point in points]
    still = [np.linalg.norm(p.found.gradient) <= 2.0 * p.found.error / p.smoothing + 1e-14 for p in points]
    return {
        "at the reference": sum(reference),
        "on a kink elsewhere": sum(k and not r for k, r in zip(kinks, reference, strict=True)),
        "on the boundary": sum(offset > 1 - 1e-9 for offset in offsets),
        "with a vanishing envelope gradient": sum(still),
    }


def tied_pairs(point: Point) -> np.ndarray:
    """Normals (m, d) of the pairs that are tied at the point."""
    found = pieces(point.problem, point.theta, point.rho)
    return found.normals[np.abs(found.scores) <= TIE * found.reach * point.theta_radius]


def lemma_4_11_smooth(
    point: Point, rng: np.random.Generator, *, length: Callable = rates.envelope_smoothness
) -> float:
    """||grad F_env(a) - grad F_env(b)|| over L ||a - b||; L = length(smoothing, kappa) is L_env."""
    other = point.theta + rng.normal(size=len(point.theta)) * point.theta_radius * 10 ** rng.uniform(-3, 0)
    change = point.prox(other, start=point.found.point).gradient - point.found.gradient
    return float(
        np.linalg.norm(change)
        / (length(point.smoothing, point.curvature) * np.linalg.norm(other - point.theta))
    )


def lemma_4_11_gradient(point: Point, rng: np.random.Generator) -> float:
    """How far F_env is from its tangent with slope (theta - prox) / smoothing, over the two quadratics that allow it.

    The envelope lies at most ||move||^2 / (2 smoothing) above its tangent and kappa / (1 - kappa smoothing) times
    ||move||^2 / 2 below it; with a small move no other slope passes.
    """
    move = rng.normal(size=len(point.theta)) * 1e-3 * point.theta_radius
    moved = point.prox(point.theta + move, start=point.found.point)
    gap = moved.value - point.found.value - point.found.gradient @ move
    allowed = 1 / point.smoothing if gap > 0 else point.curvature / point.room
    return float(abs(gap) / (allowed * (move @ move) / 2 + 1e-15))


def lemma_4_11_near(point: Point, rng: np.random.Generator) -> float:
    """dist(0, dF(prox)) over ||grad F_env||."""
    least = point.subgradients(point.found.point).least()
    return _ratio(np.linalg.norm(least), np.linalg.norm(point.found.gradient), point)


def lemma_c1(point: Point, rng: np.random.Generator, *, curvature: float | None = None) -> float:
    """(1 - kappa smoothing) ||grad F_env||^2 over the least <grad F_env, v>, v in dF(theta)."""
    room = 1.0 - (point.curvature if curvature is None else curvature) * point.smoothing
    gradient, below = point.found.gradient, point.subgradients(point.theta)
    along = below.normals @ gradient
    finite = np.where(
        np.isfinite(below.upper), below.upper, 0.0
    )  # along the outward normal more is never less
    least = below.base @ gradient + np.minimum(below.lower * along, finite * along).sum()
    return _ratio(room * (gradient @ gradient), least, point, power=2)


def lemma_c2(
    point: Point,
    rng: np.random.Generator,
    *,
    length: Callable = rates.envelope_smoothness,
    curvature: float | None = None,
    step: float | None = None,
) -> float:
    """E F_env(theta_next) - F_env(theta) + eta (1 - kappa smoothing) ||grad F_env||^2 over eta^2 L E||G||^2 / 2.

    Batches of one triple, the expectation by enumeration; L = length(smoothing, kappa) is L_env. `curvature`: another
    kappa; `step`: eta, random by default.
    """
    problem = point.problem
    room = 1.0 - (point.curvature if curvature is None else curvature) * point.smoothing
    lam = point.rho * problem.beta
    step = point.smoothing * 10 ** rng.uniform(-2, 0.5) if step is None else step
    sail, penalty = triple_gradients(problem, point.theta)
    law = triples(problem, point.theta).law.ravel()
    estimates = (sail + lam * penalty).reshape(len(law), -1)
    distinct, which = np.unique(np.round(estimates, 15), axis=0, return_inverse=True)
    chances = np.bincount(which.ravel(), weights=law)
    following = [
        point.prox(point.project(point.theta - step * g), start=point.found.point).value for g in distinct
    ]
    drop = step * room * (point.found.gradient @ point.found.gradient)
    rise = (
        step**2 * length(point.smoothing, point.curvature) * float(chances @ np.sum(distinct**2, axis=1)) / 2
    )
    return _ratio(float(chances @ following) - point.found.value + drop, rise, point, power=2)


def lemma_d1(point: Point, rng: np.random.Generator, *, curvature: float | None = None) -> float:
    """(1 - kappa smoothing) ||grad F_env|| over dist(0, dF(theta))."""
    room = 1.0 - (point.curvature if curvature is None else curvature) * point.smoothing
    least = np.linalg.norm(point.subgradients(point.theta).least())
    return _ratio(room * np.linalg.norm(point.found.gradient), least, point)


def lemma_d3(point: Point, rng: np.random.Generator) -> float:
    """Left over right side of eq. 52 at a candidate that may be near the proximal point or far, on a kink or not."""
    move = rng.normal(size=len(point.theta)) * point.theta_radius * 10 ** rng.uniform(-6, 0)
    candidate = point.project(point.found.point + move)
    if rng.random() < 0.3:
        candidate = snap(point.problem, candidate, distance=0.1 * point.theta_radius)
    found = prox_residual(
        point.problem, candidate, point.theta, point.rho, point.smoothing,
        theta_radius=point.theta_radius, curvature=point.curvature,
    )  # fmt: skip
    left, right = near_stationarity(
        point.problem, found, point.rho, theta_radius=point.theta_radius, exact=point.found
    )
    return _ratio(left, right, point)


def _ratio(left: float, right: float, point: Point, power: int = 1) -> float:
    """left / right, both moved by a rounding error; NaN where both are zero but for rounding: 0 <= 0 shows nothing."""
    rounding = (
        point.found.error / point.smoothing + 1e-14 * (1 + np.linalg.norm(point.found.gradient))
    ) ** power
    if abs(left) <= 2 * rounding and abs(right) <= 2 * rounding:
        return np.nan
    return float((left + rounding) / (right + 2 * rounding + 1e-15))


LEMMAS: dict[str, Callable] = {
    "Lemma 4.11, gradient": lemma_4_11_gradient,
    "Lemma 4.11, Lipschitz": lemma_4_11_smooth,
    "Lemma 4.11, near-stationarity": lemma_4_11_near,
    "Lemma C.1": lemma_c1,
    "Lemma C.2": lemma_c2,
    "Lemma D.1": lemma_d1,
    "Lemma D.3": lemma_d3,
}


def lemma_ratios(points: list[Point], seed: int) -> dict[str, np.ndarray]:
    """Each of `LEMMAS` at the points, as left over right side: at most 1 if it holds.

    Points at which a lemma says 0 <= 0 are left out, so an array may be shorter than the list.
    """
    rng = np.random.default_rng(seed)
    rows = {name: np.array([lemma(point, rng) for point in points]) for name, lemma in LEMMAS.items()}
    return {name: values[~np.isnan(values)] for name, values in rows.items()}


def independent_prox(
    problem: FiniteProblem,
    theta,
    rho: float,
    smoothing: float,
    *,
    theta_radius: float,
    accuracy: float = 2e-9,
) -> np.ndarray:
    """The proximal point by the ellipsoid method (d >= 2) or bisection (d = 1), from subgradients alone; shape (d,).

    No kinks, no Newton steps: every cut keeps the half of an ellipsoid that must hold the solution, until what is
    left is shorter than `accuracy`. It shares `FiniteProblem.robust_subgradient` with the engine, which tests
    compare with differences of the loss, and is independent of all that `solve_prox` adds to it.
    """
    reference, dimension = problem.theta_ref, len(problem.theta_ref)
    point, factor = reference.copy(), np.eye(dimension) * theta_radius
    while np.linalg.norm(factor, 2) > accuracy:
        cut = point - reference
        if np.linalg.norm(cut) <= theta_radius:
            cut = problem.robust_subgradient(point, rho) + (point - theta) / smoothing
        along = factor.T @ cut
        if not along.any():
            break
        along /= np.linalg.norm(along)
        if dimension == 1:
            factor = factor / 2
            point = point - factor @ along
            continue
        point = point - factor @ along / (dimension + 1)
        shrink = np.sqrt((dimension - 1) / (dimension + 1)) - 1
        factor = factor + shrink * np.outer(factor @ along, along)
        factor *= dimension / np.sqrt(dimension**2 - 1)
    return point
