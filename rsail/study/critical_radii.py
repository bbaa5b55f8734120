"""What a learner ends up with across the critical radii, measured by descents to convergence (notebook 02b)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from rsail.exact import FiniteProblem
from rsail.exact.descent import Descent, descend
from rsail.exact.landscape import monitors
from rsail.exact.losses import LOG2

COLLAPSED = np.array([0.0, -6.0, 0.0])  # the middle response has a probability of about 1e-3
FLAT = np.array([0.0, -21.0, 0.0])  # and here one at which its own gradient is below 1e-9


def three_responses(step: float, beta: float) -> FiniteProblem:
    """One prompt, free log-ratios of three responses with Bradley-Terry rewards (step, 0, -step), uniform reference."""
    return FiniteProblem.from_rewards(np.eye(3)[None], [[step, 0.0, -step]], beta=beta)


def best_and_worst(problem: FiniteProblem) -> FiniteProblem:
    """The problem that is left when the middle response has died out."""
    keep = np.ix_([0], [0, 2], [0, 2])
    return FiniteProblem(np.eye(2)[None], problem.preferences[keep], problem.beta)


def sweep(problem: FiniteProblem, start, radii: Sequence[float]) -> dict[str, list[float]]:
    """Descents from `start`: gain = log 2 - L^W in 1e-3 nats, KL to the reference, the middle one's probability."""
    ends = [descend(problem, start, rho) for rho in radii]
    found = monitors(problem, np.array([end.theta for end in ends]))
    return {
        "rho": [float(rho) for rho in radii],
        "gain": [1e3 * (LOG2 - end.loss) for end in ends],
        "kl": found.kl.tolist(),
        "middle": [float(np.exp(problem.log_probs(end.theta)[0, 1])) for end in ends],
        "residual": [end.residual for end in ends],
    }


def last_radius(learns: Callable[[float], bool], low: float, high: float, width: float) -> float:
    """The radius at which `learns` turns from true (at `low`) to false (at `high`), by bisection."""
    if not learns(low) or learns(high):
        raise ValueError(f"learns must be true at low = {low} and false at high = {high}")
    while high - low > width:
        middle = (low + high) / 2.0
        low, high = (middle, high) if learns(middle) else (low, middle)
    return (low + high) / 2.0


def measured_local_radius(problem: FiniteProblem, *, width: float = 1e-7) -> float:
    """The largest radius at which the least subgradient at the reference is not zero: descent leaves it."""
    start = problem.theta_ref
    return last_radius(lambda rho: descend(problem, start, rho, max_steps=10_000).steps > 0, 0.0, 0.5, width)


def measured_critical_radius(problem: FiniteProblem, *, width: float = 1e-5) -> float:
    """The largest radius at which descent from the collapsed policy still prefers the best response to the worst."""

    def learns(rho: float) -> bool:
        end: Descent = descend(problem, FLAT, rho)
        return bool(problem.beta * problem.pair_scores(end.theta)[0, 0, 2] > 1e-4)

    return last_radius(learns, 0.0, 0.5, width)


def crossing_radius(problem: FiniteProblem) -> float:
    """From which radius on collapse onto best and worst is better than what descent from the reference finds.

    0 if it is better without any robustness. The infimum over the collapsed policies is the minimum of the problem
    with two responses.
    """

    def learning_is_better(rho: float) -> bool:
        pair = best_and_worst(problem)
        collapsed = descend(pair, pair.theta_ref, rho).loss
        return descend(problem, problem.theta_ref, rho).loss < collapsed

    if not learning_is_better(0.0):
        return 0.0
    return last_radius(learning_is_better, 0.0, problem.local_critical_radius() - 1e-3, 1e-6)


def drawn_path(
    problem: FiniteProblem, start, rho: float, *, limit: float, points: int = 40
) -> list[list[float]]:
    """A descent as `points` places along its way, [x, y] each, to where it ends or leaves |x|, |y| <= limit.

    For problems with two parameters. Three decimals: how many steps the descent took must not show.
    """
    path = descend(problem, start, rho, tolerance=1e-6).path
    outside = np.flatnonzero(np.abs(path).max(axis=1) > limit)
    path = path[: outside[0] + 1] if len(outside) else path
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    along = np.linspace(0.0, length[-1], points)
    return np.stack([np.interp(along, length, values) for values in path.T], axis=1).round(3).tolist()


def line_marks(
    problem: FiniteProblem, radii: Sequence[float], *, end: float
) -> dict[str, dict[str, list[float]]]:
    """Minimum and ridge of a one-parameter landscape to the right of the reference: rho, theta, L^W - log 2 of each."""
    marks = {key: {"rho": [], "theta": [], "excess": []} for key in ("minimum", "ridge")}
    for rho in radii:
        low = max(0.0, _extreme(problem, rho, 1.0, (0.0, end / 3.0)))
        for key, theta in (("minimum", low), ("ridge", _extreme(problem, rho, -1.0, (low, end)))):
            theta = round(theta, 3) + 0.0
            excess = round(problem.robust_loss([theta], rho) - LOG2, 6) + 0.0
            for name, value in (("rho", rho), ("theta", theta), ("excess", excess)):
                marks[key][name].append(value)
    return marks


def _extreme(problem: FiniteProblem, rho: float, sign: float, bounds: tuple[float, float]) -> float:
    """Where sign L^W is least between the bounds; a minimum closer than 1e-4 to the reference is the reference."""
    found = minimize_scalar(
        lambda x: sign * problem.robust_loss([x], rho), bounds=bounds, options={"xatol": 1e-9}
    ).x
    return float(found) if abs(found) > 1e-4 else 0.0
