"""Many small problems at once: their exact slopes and curvatures, and the bounds on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from rsail.exact import FiniteProblem
from rsail.exact.constants import (
    centered_feature_bound,
    feature_bound,
    paper_constants,
    refined_constants,
    sharp_constants,
)
from rsail.exact.hessian import pair_scores, penalty_derivatives, sail_derivatives
from rsail.exact.losses import effective_radius
from rsail.study.numerical_check import random_oracle

KINDS = ("paper", "sharp", "refined")
# Fields of `Constants` that a problem at one parameter can be measured against.
MEASURED = ("penalty_curvature", "penalty_slope", "sail_slope", "sail_smoothness", "curvature", "slope")


class ProblemBatch(NamedTuple):
    """N problems of the same shape, each at one parameter; rho may leave [0, delta], the radius is then clipped."""

    features: np.ndarray  # (N, X, Y, d)
    preferences: np.ndarray  # (N, X, Y, Y)
    prompt_probs: np.ndarray  # (N, X)
    theta: np.ndarray  # (N, d)
    theta_ref: np.ndarray  # (N, d)
    beta: np.ndarray  # (N,)
    rho: np.ndarray  # (N,)

    @property
    def theta_radius(self) -> np.ndarray:
        """||theta - theta_ref||, the smallest D for which the bounds promise anything here; (N,)."""
        return np.linalg.norm(self.theta - self.theta_ref, axis=-1)

    def problem(self, index: int) -> FiniteProblem:
        """One of them as a `FiniteProblem`, with all its checks."""
        row = self.row(index)
        return FiniteProblem(row.features, row.preferences, float(row.beta), row.prompt_probs, row.theta_ref)

    def row(self, index: int) -> ProblemBatch:
        return ProblemBatch(*(values[index] for values in self))


def random_batch(
    rng: np.random.Generator, count: int, prompts: int, responses: int, dimension: int
) -> ProblemBatch:
    """`count` random problems: sizes and radii over several orders of magnitude, certain answers and ties included.

    Per problem the features have a common shift, so that a ball around them need not be centered at 0; in a third
    of the problems two responses share their features, so that h = 0 off the diagonal; the reference is anything
    from uniform to nearly deterministic.
    """
    spread = np.exp(rng.normal(size=(count, 1, 1, 1)))
    features = spread * rng.normal(size=(count, prompts, responses, dimension))
    features += spread * rng.exponential(size=(count, 1, 1, 1)) * rng.normal(size=(count, 1, 1, dimension))
    tied = (rng.random(count) < 1 / 3) & (responses > 2)
    features[tied, :, -1] = features[tied, :, 0]
    unit = rng.normal(size=(2, count, dimension)) / spread[:, 0, 0]
    theta_ref = unit[0] * 10.0 ** rng.uniform(-1, 1, size=(count, 1))
    theta = theta_ref + unit[1] * 10.0 ** rng.uniform(-2, 1.5, size=(count, 1))
    return ProblemBatch(
        features,
        random_oracle(rng, count * prompts, responses, 0.0).reshape(count, prompts, responses, responses),
        rng.dirichlet(np.ones(prompts), size=count),
        theta,
        theta_ref,
        beta=10.0 ** rng.uniform(-1.5, 1.0, size=count),
        rho=rng.uniform(size=count),
    )


def measure(batch: ProblemBatch) -> dict[str, np.ndarray]:
    """What each constant of `MEASURED` bounds, at the batch's parameters; arrays (N,).

    A curvature is minus the least eigenvalue of a Hessian (away from kinks; at a kink there is a convex fold on top),
    and 0 where all are positive; the smoothness is the largest eigenvalue in absolute value.
    """
    point = (batch.theta, batch.theta_ref)
    worst = worst_oracle(batch, pair_scores(batch.features, *point))
    penalty = penalty_derivatives(batch.features, *point, batch.prompt_probs)
    sail = sail_derivatives(batch.features, batch.preferences, *point, batch.beta, batch.prompt_probs)
    robust = sail_derivatives(batch.features, worst, *point, batch.beta, batch.prompt_probs)
    return {
        "penalty_curvature": _concavity(penalty.hessian),
        "penalty_slope": np.linalg.norm(penalty.gradient, axis=-1),
        "sail_slope": np.linalg.norm(sail.gradient, axis=-1),
        "sail_smoothness": np.abs(np.linalg.eigvalsh(sail.hessian)).max(axis=-1),
        "curvature": _concavity(robust.hessian),
        "slope": np.linalg.norm(robust.gradient, axis=-1),
    }


def second_differences(batch: ProblemBatch, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weak convexity without derivatives: how far R and the robust loss rise above a chord, kinks or not; (N,).

    The chord runs from theta to a random point that is no further from theta_ref, and is cut at a random share t; the
    excess there is divided by t (1 - t) / 2 times the squared length, so that kappa is a bound on it.
    """
    share = rng.uniform(0.05, 0.95, size=(len(batch.beta), 1))
    direction = rng.normal(size=batch.theta.shape)
    direction *= (batch.theta_radius / np.linalg.norm(direction, axis=-1))[:, None]
    other = batch.theta_ref + direction * rng.uniform(size=share.shape)
    mix = share * batch.theta + (1.0 - share) * other
    first, middle, second = (values(batch._replace(theta=point)) for point in (batch.theta, mix, other))
    weight = share[:, 0]
    room = weight * (1.0 - weight) * np.sum((batch.theta - other) ** 2, axis=-1) / 2.0
    return {
        name: (middle[name] - weight * first[name] - (1.0 - weight) * second[name]) / room for name in middle
    }


def values(batch: ProblemBatch) -> dict[str, np.ndarray]:
    """R and the robust loss, by enumeration, under the names of the constants that they belong to; (N,)."""
    policy = softmax(np.einsum("nxyd,nd->nxy", batch.features, batch.theta), axis=-1)
    law = batch.prompt_probs[..., None, None] * policy[..., :, None] * policy[..., None, :]
    scores = pair_scores(batch.features, batch.theta, batch.theta_ref)
    margins = batch.beta[:, None, None, None] * scores
    losses = np.logaddexp(0.0, -margins) + (1.0 - worst_oracle(batch, scores)) * margins
    return {
        "penalty_curvature": np.einsum("nxij,nxij->n", law, np.abs(scores)),
        "curvature": np.einsum("nxij,nxij->n", law, losses),
    }


def worst_oracle(batch: ProblemBatch, scores: np.ndarray) -> np.ndarray:
    """The oracle that attains each robust loss, P - rho sign(h), clipped to [0, 1]."""
    # `effective_radius` at rho = 1 is how far the adversary can move P at all; it moves P by at most rho.
    room = effective_radius(batch.preferences, scores, 1.0)
    return batch.preferences - np.sign(scores) * np.minimum(room, batch.rho[:, None, None, None])


def bounds(batch: ProblemBatch) -> dict[str, dict[str, np.ndarray]]:
    """The constants of each kind in `KINDS` for each problem: kind -> field -> (N,)."""
    found = {kind: {name: np.empty(len(batch.beta)) for name in MEASURED} for kind in KINDS}
    for index, settings in enumerate(zip(batch.theta_radius, batch.beta, batch.rho, strict=True)):
        features = batch.features[index]
        radius = centered_feature_bound(features)
        sharp = sharp_constants(radius, *settings)
        paper = paper_constants(feature_bound(features), *settings, sail_smoothness=sharp.sail_smoothness)
        for kind, constants in zip(KINDS, (paper, sharp, refined_constants(radius, *settings)), strict=True):
            for name in MEASURED:
                found[kind][name][index] = getattr(constants, name)
    return found


def ratios(batch: ProblemBatch) -> dict[str, dict[str, np.ndarray]]:
    """measured / bound, kind -> field -> (N,); a constant holds where it is at most 1."""
    measured = measure(batch)
    return {
        kind: {name: measured[name] / table[name] for name in MEASURED}
        for kind, table in bounds(batch).items()
    }


def _concavity(hessians: np.ndarray) -> np.ndarray:
    return np.maximum(-np.linalg.eigvalsh(hessians)[..., 0], 0.0)
