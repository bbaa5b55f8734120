"""Learning to convergence with exact gradients, and a certificate of where it ended (an addition).

L^W_rho is the largest SAIL loss over oracles, max over Q of L_SAIL(theta; Q), so by Danskin's theorem its
subdifferential at theta is {grad L_SAIL(theta; Q)}, Q running over the worst-case oracles: unique where h != 0, any
answer of the interval at a tie. Its element of least norm is the certificate, and minus it the way of steepest descent.
Between ties the loss is smooth, so Newton steps along the ties that hold converge fast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import null_space
from scipy.optimize import lsq_linear

from rsail import checks
from rsail.exact.landscape import robust_losses
from rsail.exact.problem import FiniteProblem

TIE = 1e-10  # |h| below this is a tie
SHORTEST = 1e-12  # a step that changes no pair score by more ends the search


@dataclass(frozen=True)
class Descent:
    """Where a descent ended: `residual` = dist(0, subdifferential), `curvature` along the ties that hold."""

    theta: np.ndarray  # (d,)
    loss: float
    residual: float
    curvature: float  # least eigenvalue of the Hessian on the ties' subspace; inf where that is a point
    steps: int
    path: np.ndarray  # (steps + 1, d)


def descend(
    problem: FiniteProblem,
    theta,
    rho: float,
    *,
    reach: float = 0.25,
    tolerance: float = 1e-9,
    max_steps: int = 1000,
) -> Descent:
    """Follow L^W_rho (clipped) downhill from `theta` until no subgradient is longer than `tolerance`.

    Parameters
    ----------
    theta : array (d,)
    reach : float > 0
        No step changes a pair score by more, so that the descent stays in the valley in which it starts.

    Raises
    ------
    RuntimeError
        If `max_steps` do not suffice.
    """
    rho, reach = checks.nonnegative("rho", rho), checks.positive("reach", reach)
    theta = checks.finite("theta", theta).copy()
    path = [theta]
    for _ in range(max_steps):
        subgradient, oracle, held = least_subgradient(problem, theta, rho)
        residual = float(np.linalg.norm(subgradient))
        step = None
        if residual > tolerance:
            step = _step(problem, theta, rho, subgradient, oracle, held, reach)
        if step is None:
            curvature = _reduced(problem, theta, oracle, held)[1]
            least = float(np.linalg.eigvalsh(curvature)[0]) if len(curvature) else np.inf
            loss = problem.robust_loss(theta, rho)
            return Descent(theta, loss, residual, least, len(path) - 1, np.array(path))
        theta = theta + step
        path.append(theta)
    raise RuntimeError(
        f"the descent did not settle in {max_steps} steps; its subgradient has length {residual:.1e}"
    )


def least_subgradient(problem: FiniteProblem, theta, rho: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The subgradient (d,) of least norm, the worst-case oracle (X, Y, Y) that gives it, and the ties that hold.

    The ties that hold, (n, d), are the feature differences of tied pairs whose answer is strictly inside its interval:
    to first order, descent keeps them tied. The others are let go.
    """
    scores = problem.pair_scores(theta)
    scores = np.where(np.abs(scores) <= TIE, 0.0, scores)
    oracle = problem.preferences - np.sign(scores) * np.minimum(
        rho, np.where(scores > 0, problem.preferences, 1.0 - problem.preferences)
    )
    gradient = replace(problem, preferences=oracle).sail_gradient(theta)
    first, second = np.triu_indices(problem.features.shape[1], k=1)
    moves = problem.features[:, first] - problem.features[:, second]
    tied = (scores[:, first, second] == 0) & np.any(moves != 0, axis=-1)
    if not tied.any() or rho == 0:
        return gradient, oracle, np.zeros((0, problem.features.shape[-1]))
    prompt, pair = np.nonzero(tied)
    probs = np.exp(problem.log_probs(theta))
    weights = 2.0 * problem.beta * problem.prompt_probs[prompt]
    weights = weights * probs[prompt, first[pair]] * probs[prompt, second[pair]]
    # What one unit more of P[i, j] adds to the gradient.
    columns = (-weights[:, None] * moves[prompt, pair]).T
    chance = problem.preferences[prompt, first[pair], second[pair]]
    low, high = np.maximum(-rho, -chance), np.minimum(rho, 1.0 - chance)
    scale = np.abs(columns).max()
    answer = lsq_linear(columns / scale, -gradient / scale, (low, high), method="bvls", tol=1e-15).x
    oracle[prompt, first[pair], second[pair]] += answer
    oracle[prompt, second[pair], first[pair]] -= answer
    margin = 1e-9 * rho
    holds = (answer > low + margin) & (answer < high - margin)
    return gradient + columns @ answer, oracle, moves[prompt, pair][holds]


def _reduced(problem, theta, oracle, held) -> tuple[np.ndarray, np.ndarray]:
    """A basis (d, k) of the moves that keep the ties and change a pair, and the Hessian (k, k) in it."""
    first, second = np.triu_indices(problem.features.shape[1], k=1)
    moves = (problem.features[:, first] - problem.features[:, second]).reshape(-1, problem.features.shape[-1])
    _, sizes, rows = np.linalg.svd(moves, full_matrices=False)
    # The span of all feature differences: nothing else matters.
    basis = rows[sizes > 1e-10 * sizes.max(initial=0.0)].T
    if len(held):
        basis = basis @ null_space(held @ basis, rcond=1e-10)
    # On this piece the robust loss is SAIL's with a fixed oracle.
    smooth = replace(problem, preferences=oracle)
    size = 1e-5
    columns = [
        (smooth.sail_gradient(theta + size * way) - smooth.sail_gradient(theta - size * way)) / (2.0 * size)
        for way in basis.T
    ]
    hessian = basis.T @ np.array(columns).T if columns else np.zeros((0, 0))
    return basis, (hessian + hessian.T) / 2.0


def _step(problem, theta, rho, subgradient, oracle, held, reach) -> np.ndarray | None:
    """A step that lowers the loss, along Newton's direction if that is downhill; None if there is none left."""
    basis, hessian = _reduced(problem, theta, oracle, held)
    values, vectors = np.linalg.eigh(hessian) if len(hessian) else (np.zeros(0), np.zeros((0, 0)))
    reduced = vectors.T @ basis.T @ subgradient
    floor = 1e-6 * max(np.abs(values).max(initial=0.0), 1e-12)
    newton = -basis @ (vectors @ (reduced / np.maximum(np.abs(values), floor)))
    # Near a kink Newton's step may end at once; the steepest way, as far as it goes, is then the better one.
    steepest = (
        -subgradient * reach / max(np.abs(problem.pair_scores(problem.theta_ref - subgradient)).max(), 1e-300)
    )
    tried = [_line_search(problem, theta, rho, subgradient, way, reach) for way in (newton, steepest)]
    steps = [step for step in tried if step is not None]
    if not steps:
        return None
    return steps[robust_losses(problem, theta + np.array(steps), rho).argmin()]


def _line_search(problem, theta, rho, subgradient, direction, reach) -> np.ndarray | None:
    """Step back along `direction` from the first pair score that changes sign, or from `reach`."""
    scores = problem.pair_scores(theta)
    scores = np.where(np.abs(scores) <= TIE, 0.0, scores)
    speed = problem.pair_scores(problem.theta_ref + direction)
    fastest = np.abs(speed).max()
    if not fastest > 0:
        return None
    length = min(reach / fastest, 1.0)
    closing = scores * speed < 0
    length = min(length, np.min(-scores[closing] / speed[closing], initial=np.inf))
    lengths = length * 0.5 ** np.arange(max(0, 1 + int(np.log2(max(length * fastest / SHORTEST, 0.5)))))
    losses = robust_losses(problem, theta + np.append(0.0, lengths)[:, None] * direction, rho)
    enough = losses[1:] < losses[0] + np.minimum(0.0, 1e-4 * lengths * float(subgradient @ direction))
    return lengths[enough.argmax()] * direction if enough.any() else None
