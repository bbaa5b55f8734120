"""Algorithm 1 (R-SCGD): projected stochastic composite subgradient steps on a finite problem, many runs at a time.

A step draws a batch of triples from the current policy (eq. 1), forms unbiased estimates G_SAIL of grad L_SAIL and G_R
of a subgradient of R from it (Assumption 6), and moves (eq. 22, 23):

    theta <- projection of theta - eta (G_SAIL + lam G_R) on ||theta - theta_ref|| <= theta_radius.

The output is an iterate drawn uniformly. Both estimates hold the score term, because the triples' law moves with theta.
A batch of i.i.d. triples matters only through how often each triple occurs.
Equation numbers are those of arXiv 2602.20457.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from rsail import checks
from rsail.exact.losses import LOG2
from rsail.exact.moreau import Prox, project, prox_residual, snap
from rsail.exact.problem import FiniteProblem
from rsail.exact.subdifferential import pieces
from rsail.exact.ties import log_linear_scores

BLOCK = 2**17  # uniforms drawn at a time


class Triples(NamedTuple):
    """What is needed of all triples (x, i, j) at parameters theta (..., d)."""

    probs: np.ndarray  # (..., X, Y), the policy
    law: np.ndarray  # (..., X, Y, Y), d_theta of eq. 1
    scores: np.ndarray  # (..., X, Y, Y), h
    losses: np.ndarray  # (..., X, Y, Y), loss of SAIL under the oracle's probability
    slopes: np.ndarray  # (..., X, Y, Y), its derivative in h


def triples(problem: FiniteProblem, theta) -> Triples:
    """Enumerate the triples at parameters theta (..., d)."""
    theta = np.asarray(theta, dtype=np.float64)
    logits = np.tensordot(theta, problem.features, axes=(-1, -1))
    probs = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs /= probs.sum(axis=-1, keepdims=True)
    law = problem.prompt_probs[:, None, None] * probs[..., :, None] * probs[..., None, :]
    scores = log_linear_scores(problem.features, theta - problem.theta_ref)
    margins = problem.beta * scores
    losses = np.logaddexp(0.0, margins) - problem.preferences * margins  # p sp(-t) + (1 - p) sp(t)
    slopes = problem.beta * (expit(margins) - problem.preferences)
    return Triples(probs, law, scores, losses, slopes)


def triple_gradients(
    problem: FiniteProblem, theta, *, loss_baseline: float = LOG2, penalty_baseline: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """What each triple contributes to G_SAIL and to G_R: two arrays (..., X, Y, Y, d) for theta (..., d).

    Per triple grad loss + (loss - loss_baseline) S, and sign(h) grad h + (|h| - penalty_baseline) S. Any constant
    baselines leave both unbiased, because E S = 0.
    """
    at = triples(problem, theta)
    centered = problem.features - np.einsum("...xy,xyd->...xd", at.probs, problem.features)[..., None, :]
    score = centered[..., :, None, :] + centered[..., None, :, :]
    moves = problem.features[:, :, None] - problem.features[:, None, :]
    sail = at.slopes[..., None] * moves + (at.losses - loss_baseline)[..., None] * score
    penalty = (
        np.sign(at.scores)[..., None] * moves + (np.abs(at.scores) - penalty_baseline)[..., None] * score
    )
    return sail, penalty


def stochastic_gradients(
    problem: FiniteProblem,
    theta,
    batch: int,
    rng: np.random.Generator,
    *,
    loss_baseline: float = LOG2,
    penalty_baseline: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """G_SAIL and G_R, each (..., d), from one batch of `batch` i.i.d. triples of the policy at theta (..., d)."""
    at = triples(problem, theta)
    flat = at.law.reshape(*at.law.shape[:-3], -1)
    counts = rng.multinomial(batch, flat / flat.sum(axis=-1, keepdims=True)).reshape(at.law.shape)
    return batch_gradients(
        problem, at, counts, loss_baseline=loss_baseline, penalty_baseline=penalty_baseline
    )


def batch_gradients(
    problem: FiniteProblem,
    at: Triples,
    counts: np.ndarray,
    *,
    loss_baseline: float = LOG2,
    penalty_baseline: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """G_SAIL and G_R, each (..., d), of the batches in which the triples `at` occur `counts` (..., X, Y, Y) times."""
    # Both at once, on a leading axis: on small problems a step's time is that of its calls.
    slopes = np.stack([at.slopes, np.sign(at.scores)])
    values = np.stack([at.losses - loss_baseline, np.abs(at.scores) - penalty_baseline])
    # sum over triples of slope (psi_i - psi_j) + value (g_i + g_j), collected per response; g = psi - E psi.
    path, score = counts * slopes, counts * values
    score = score.sum(axis=-1) + score.sum(axis=-2)
    score = score - at.probs * score.sum(axis=-1, keepdims=True)
    collected = path.sum(axis=-1) - path.sum(axis=-2) + score
    batch = counts.sum(axis=(-3, -2, -1))[..., None]
    return tuple(np.tensordot(collected, problem.features, axes=((-2, -1), (0, 1))) / batch)


def count_triples(law: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """How often each triple of the laws (runs, X, Y, Y) is met by uniforms (runs, batch) in [0, 1), by inversion."""
    run = np.arange(len(law))[:, None]
    cumulative = law.reshape(len(law), -1).cumsum(axis=-1)
    size = cumulative.shape[-1]
    # Run k's distribution function climbs from k to k + 1, so that one search serves all runs.
    ends = (cumulative / cumulative[:, -1:] + run).ravel()
    places = np.minimum(uniforms + run, np.nextafter(run + 1.0, 0.0))  # the sum may round up to k + 1
    met = np.searchsorted(ends, places.ravel(), side="right")
    return np.bincount(met, minlength=len(law) * size).reshape(law.shape)


@dataclass(frozen=True)
class Moments:
    """Exact moments of the estimates at one parameter, for one triple, by enumeration."""

    sail_mean: np.ndarray  # (d,), grad L_SAIL
    penalty_mean: np.ndarray  # (d,), a subgradient of R
    sail_variance: float  # E||G_SAIL - mean||^2, sigma_SAIL^2 of Assumption 6 at this parameter
    penalty_variance: float
    total_variance: float  # of G_SAIL + lam G_R from the same triple

    def second_moment(self, lam: float, batch: int) -> float:
        """E||G_SAIL + lam G_R||^2 with `batch` triples, exactly: what Lemma B.4 bounds by G_tot^2."""
        mean = self.sail_mean + lam * self.penalty_mean
        return float(mean @ mean) + self.total_variance / batch


def moments(problem: FiniteProblem, theta, rho: float, **baselines) -> Moments:
    """Means and variances of one triple's estimates at theta (d,); a batch of B divides the variances by B."""
    law = triples(problem, theta).law
    sail, penalty = triple_gradients(problem, theta, **baselines)

    def mean_and_variance(values):
        mean = np.einsum("xij,xijd->d", law, values)
        return mean, float(np.einsum("xij,xijd->", law, (values - mean) ** 2))

    sail_mean, sail_variance = mean_and_variance(sail)
    penalty_mean, penalty_variance = mean_and_variance(penalty)
    total_variance = mean_and_variance(sail + rho * problem.beta * penalty)[1]
    return Moments(sail_mean, penalty_mean, sail_variance, penalty_variance, total_variance)


@dataclass(frozen=True)
class Run:
    """What Algorithm 1 returned."""

    outputs: np.ndarray  # (runs, draws, d), iterates drawn uniformly and independently per run
    last: np.ndarray  # (runs, d), the iterate after the last step
    path: np.ndarray  # (recorded, runs, d), iterates 0, record_every, 2 record_every, ...


def rscgd(
    problem: FiniteProblem,
    rho: float,
    *,
    theta_radius: float,
    step_size: float | np.ndarray,
    steps: int,
    batch: int,
    seeds: Sequence[int],
    start=None,
    draws: int = 1,
    record_every: int = 0,
    **baselines,
) -> Run:
    """Algorithm 1: independent runs of `steps` projected stochastic steps of size `step_size`, one per seed.

    Parameters
    ----------
    rho : float
        Radius of the oracle set; Assumption 1 wants it below the smallest preference, so that nothing is clipped.
    step_size : float or array (runs,)
        eta, one for all runs or one per run.
    steps : int
        T. The output is drawn from the iterates 0, ..., T - 1, at which a gradient is taken.
    batch : int
        Triples per step.
    seeds : sequence of int
        One per run, all different: a run is that of its seed, whichever others are made beside it.
    start : array (d,), optional
        theta_0; theta_ref by default.
    draws : int
        Independent uniform draws of the output per run: their mean estimates the same expectation with less noise.
    record_every : int
        0 keeps no path.
    baselines : float
        `loss_baseline`, `penalty_baseline` of `triple_gradients`.
    """
    seeds = [operator.index(seed) for seed in seeds]
    checks.require(len(set(seeds)) == len(seeds) >= 1, "seeds", seeds, "at least one seed, and none twice")
    step_sizes = np.asarray(step_size, dtype=np.float64)
    checks.require(step_sizes.shape in ((), (len(seeds),)), "step_size", step_size, "one, or one per seed")
    for one in step_sizes.ravel():
        _check(problem, rho, theta_radius, one)
    step_size = step_sizes[..., None]
    for name, value in {"steps": steps, "batch": batch, "draws": draws}.items():
        checks.require(int(value) == value and value >= 1, name, value, "a whole number >= 1")
    rngs, runs = [np.random.default_rng(seed) for seed in seeds], len(seeds)
    chosen = np.array([rng.integers(steps, size=draws) for rng in rngs])
    due = np.argsort(chosen, axis=None)
    times, upcoming = chosen.ravel()[due], 0
    start = problem.theta_ref if start is None else checks.finite("start", start)
    theta = np.tile(project(start, problem.theta_ref, theta_radius), (runs, 1))
    outputs, path = np.empty((runs * draws, theta.shape[1])), []
    for step, uniforms in enumerate(_uniforms(rngs, steps, batch)):
        while upcoming < len(due) and times[upcoming] == step:
            outputs[due[upcoming]] = theta[due[upcoming] // draws]
            upcoming += 1
        if record_every and step % record_every == 0:
            path.append(theta)
        at = triples(problem, theta)
        sail, penalty = batch_gradients(problem, at, count_triples(at.law, uniforms), **baselines)
        moved = theta - step_size * (sail + rho * problem.beta * penalty)
        theta = project(moved, problem.theta_ref, theta_radius)
    return Run(outputs.reshape(runs, draws, -1), theta, np.array(path))


def _uniforms(rngs, steps: int, batch: int) -> Iterator[np.ndarray]:
    """Per step, uniforms (runs, batch) of each run's own generator, which draws those of many steps at a time."""
    block = max(1, BLOCK // (len(rngs) * batch))
    for done in range(0, steps, block):
        size = (min(block, steps - done), batch)
        yield from np.stack([rng.random(size) for rng in rngs], axis=1)


def inexact_prox(
    problem: FiniteProblem,
    theta,
    rho: float,
    smoothing: float,
    *,
    theta_radius: float,
    steps: int,
    step_size: float,
    batch: int | None = None,
    seed: int = 0,
    start=None,
) -> np.ndarray:
    """Eq. 50: projected steps on G + (u - theta) / smoothing, warm-started at theta (Remark D.4); shape (d,).

    With `batch` None the exact subgradient replaces G. Judge what comes back with `moreau.prox_residual`,
    after `moreau.snap`: between kinks the residual stays large however near the point is.
    """
    _check(problem, rho, theta_radius, step_size)
    checks.require(int(steps) == steps and steps >= 0, "steps", steps, "a whole number >= 0")
    theta, rng = checks.finite("theta", theta), np.random.default_rng(seed)
    point = project(theta if start is None else start, problem.theta_ref, theta_radius)
    for _ in range(steps):
        if batch is None:
            pull = problem.robust_subgradient(point, rho)
        else:
            sail, penalty = stochastic_gradients(problem, point, batch, rng)
            pull = sail + rho * problem.beta * penalty
        moved = point - step_size * (pull + (point - theta) / smoothing)
        point = project(moved, problem.theta_ref, theta_radius)
    return point


def certified_prox(
    problem: FiniteProblem,
    theta,
    rho: float,
    smoothing: float,
    *,
    theta_radius: float,
    accuracy: float,
    curvature: float | None = None,
    rounds: int = 12,
    batch: int | None = None,
    seed: int = 0,
) -> Prox:
    """Remark D.4: inexact prox, warm-started at theta and stopped once its residual (eq. 51) is at most `accuracy`.

    Round k makes steps of size smoothing / (8 2^k), as many as forget where they began; then the iterate, and the
    iterate moved onto the kinks that a step can cross, are judged by `prox_residual`. Call it on a trained log-linear
    policy: of what comes back `gradient_bound` bounds ||grad F_env(theta)||, `stationarity_bound` dist(0, dF(point)).

    Raises
    ------
    RuntimeError
        If the residual is larger after all rounds; with small batches it will be, because noise moves the iterates.
    """
    checks.positive("accuracy", accuracy)
    if curvature is None:
        curvature = problem.constants(theta_radius, rho).curvature
    point, best = theta, np.inf
    for k in range(rounds):
        step_size = smoothing / (8 * 2**k)
        point = inexact_prox(
            problem, theta, rho, smoothing, theta_radius=theta_radius, steps=64 * 2**k, step_size=step_size,
            batch=batch, seed=seed + k, start=point,
        )  # fmt: skip
        for candidate in (
            point,
            snap(problem, point, distance=step_size * largest_pull(problem, point, rho)),
        ):
            found = prox_residual(
                problem, candidate, theta, rho, smoothing, theta_radius=theta_radius, curvature=curvature
            )
            if found.residual <= accuracy:
                return found
            best = min(best, found.residual)
    raise RuntimeError(f"the residual is {best:.2e} after {rounds} rounds, above {accuracy:g}")


def largest_pull(problem: FiniteProblem, theta, rho: float) -> float:
    """How fast a subgradient step can cross a kink near theta: the largest jump of a pair's slope, plus the rest."""
    parts = pieces(problem, theta, rho)
    jumps = (parts.upper - parts.lower) * np.linalg.norm(parts.normals, axis=1)
    return float(jumps.max(initial=0.0) + np.linalg.norm(problem.robust_subgradient(theta, rho)))


def _check(problem, rho, theta_radius, step_size) -> None:
    checks.positive("theta_radius", theta_radius)
    checks.positive("step_size", step_size)
    checks.nonnegative("rho", rho)
    smallest = float(problem.preferences[problem.prompt_probs > 0].min())
    checks.require(
        rho <= smallest, "rho", rho, f"at most the smallest preference, {smallest:g} (Assumption 1)"
    )
