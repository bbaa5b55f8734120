"""What lies below the robust loss at a point: gradient, kinks, and the whole set of subgradients.

F = L^W_rho + indicator of the ball ||theta - theta_ref|| <= theta_radius (eq. 16) is smooth except where a pair
score h vanishes, on hyperplanes through theta_ref, and on the ball's boundary. Around each kink the loss
is (smooth weight) times (convex function of h), so the subgradients form a box of slopes times the kinks' normals,
plus the normals of the ball. Equation numbers are those of arXiv 2602.20457.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from rsail import checks
from rsail.exact.losses import LOG2
from rsail.exact.problem import FiniteProblem
from rsail.exact.ties import TIE


@dataclass(frozen=True)
class Pieces:
    """L^W_rho at one parameter, taken apart into a smooth piece and n kinks, one per pair of responses.

    Near theta the loss is ``smooth + sum_k (convex, with slopes from lower[k] to upper[k], of scores[k])``, whose
    gradient is ``gradient + sum_k t_k normals[k]`` with t_k the slope at scores[k].
    """

    value: float  # L^W_rho, nats
    gradient: np.ndarray  # (d,), without the slopes of the kinks
    hessian: np.ndarray  # (d, d), of the piece on which theta lies
    scores: np.ndarray  # (n,), pair scores h, nats
    normals: np.ndarray  # (n, d), weight of the pair times psi(x, i) - psi(x, j)
    lower: np.ndarray  # (n,), slope at h < 0
    upper: np.ndarray  # (n,), slope at h > 0
    reach: np.ndarray  # (n,), norm of psi(x, i) - psi(x, j)


def pieces(problem: FiniteProblem, theta, rho: float) -> Pieces:
    """Value, exact first and second derivatives, and kinks of L^W_rho (eq. 13) at theta (d,).

    The Hessian is that of eq. 38 and 39 without smoothing, E[Hess l + S grad l' + grad l S' + l (S S' + grad S)],
    with the slope 0 for the penalty of tied pairs. Where rho leaves [0, 1] the radius is clipped.
    """
    rho, theta = checks.nonnegative("rho", rho), checks.finite("theta", theta)
    expected = problem.theta_ref.shape
    checks.require(theta.shape == expected, "theta.shape", theta.shape, f"{expected}")
    logits = problem.features @ theta
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    first, second = np.triu_indices(probs.shape[1], k=1)  # identical pairs cost log 2 whatever theta is
    moves = problem.features[:, first] - problem.features[:, second]
    scores = moves @ (theta - problem.theta_ref)
    weights = 2.0 * problem.prompt_probs[:, None] * probs[:, first] * probs[:, second]

    preferences, margins = problem.preferences[:, first, second], problem.beta * scores
    upper = problem.beta * np.minimum(rho, preferences)
    lower = -problem.beta * np.minimum(rho, 1.0 - preferences)
    kink_slopes = np.where(scores > 0, upper, np.where(scores < 0, lower, 0.0))
    losses = preferences * np.logaddexp(0.0, -margins) + (1.0 - preferences) * np.logaddexp(0.0, margins)
    losses += kink_slopes * scores - LOG2  # a constant may be subtracted, because E S = 0
    slopes = problem.beta * (expit(margins) - preferences)
    curvatures = problem.beta**2 * expit(margins) * expit(-margins)

    centered = problem.features - np.einsum("xy,xyd->xd", probs, problem.features)[:, None]
    pair_scores_gradient = centered[:, first] + centered[:, second]  # S = grad log d
    covariances = np.einsum("xy,xyd,xye->xde", probs, centered, centered)
    kept = (weights > 0) & np.any(moves != 0, axis=-1)
    cross = np.einsum("xn,xnd,xne->de", weights * (slopes + kink_slopes), pair_scores_gradient, moves)
    hessian = (
        np.einsum("xn,xnd,xne->de", weights * curvatures, moves, moves)
        + cross
        + cross.T
        + np.einsum("xn,xnd,xne->de", weights * losses, pair_scores_gradient, pair_scores_gradient)
        - 2.0 * np.einsum("xn,xde->de", weights * losses, covariances)
    )
    gradient = np.einsum("xn,xnd->d", weights * slopes, moves)
    gradient += np.einsum("xn,xnd->d", weights * losses, pair_scores_gradient)
    return Pieces(
        value=LOG2 + float(np.sum(weights * losses)),
        gradient=gradient,
        hessian=hessian,
        scores=scores[kept],
        normals=(weights[..., None] * moves)[kept],
        lower=lower[kept],
        upper=upper[kept],
        reach=np.linalg.norm(moves[kept], axis=-1),
    )


@dataclass(frozen=True)
class Subdifferential:
    """The set {base + sum_k t_k normals[k] : lower[k] <= t_k <= upper[k]}, a subdifferential of F."""

    base: np.ndarray  # (d,)
    normals: np.ndarray  # (m, d): tied pairs, then the outward normal if theta lies on the boundary
    lower: np.ndarray  # (m,)
    upper: np.ndarray  # (m,), infinite for the outward normal

    def least(self) -> np.ndarray:
        """Its element (d,) of smallest norm: zero exactly at the stationary points of F."""
        free = self.upper > self.lower
        base = self.base + self.lower[~free] @ self.normals[~free]
        return base + box_least_squares(self.normals[free].T, -base, self.lower[free], self.upper[free])[1]

    def sample(self, rng: np.random.Generator, *, largest: float = 1.0) -> np.ndarray:
        """A random element (d,); the multiple of the outward normal is at most `largest`."""
        upper = np.minimum(self.upper, largest)
        return self.base + rng.uniform(self.lower, np.maximum(self.lower, upper)) @ self.normals


def subdifferential(
    problem: FiniteProblem, theta, rho: float, *, theta_radius: float, shift=0.0
) -> Subdifferential:
    """The subgradients of F (eq. 16) at theta (d,), moved by `shift`.

    Parameters
    ----------
    theta : array (d,), within `theta_radius` of theta_ref
    shift : array (d,), optional
        Gradient of a smooth function that is added to F, such as (theta - center) / smoothing.

    Raises
    ------
    ValueError
        If theta lies outside the ball: F is infinite there.
    """
    return assemble(problem, pieces(problem, theta, rho), theta, theta_radius=theta_radius, shift=shift)


def assemble(
    problem: FiniteProblem, parts: Pieces, theta, *, theta_radius: float, shift=0.0
) -> Subdifferential:
    """`subdifferential` where the pieces at theta are known already."""
    radius = checks.positive("theta_radius", theta_radius)
    offset = np.asarray(theta, dtype=np.float64) - problem.theta_ref
    distance = float(np.linalg.norm(offset))
    checks.require(
        distance <= radius * (1 + TIE), "theta", distance, f"within {radius:g} of theta_ref (its distance)"
    )
    tied = np.abs(parts.scores) <= TIE * radius * parts.reach
    settled = np.where(parts.scores > 0, parts.upper, parts.lower)[~tied]
    base = parts.gradient + settled @ parts.normals[~tied] + shift
    normals, lower, upper = parts.normals[tied], parts.lower[tied], parts.upper[tied]
    if distance >= radius * (1 - TIE):
        normals = np.vstack([normals, offset / distance])
        lower, upper = np.append(lower, 0.0), np.append(upper, np.inf)
    return Subdifferential(base, normals, lower, upper)


def stationarity(problem: FiniteProblem, theta, rho: float, *, theta_radius: float) -> float:
    """dist(0, dF(theta)), the distance of theta from being a stationary point of F."""
    return float(np.linalg.norm(subdifferential(problem, theta, rho, theta_radius=theta_radius).least()))


def box_least_squares(matrix, target, lower, upper, start=None) -> tuple[np.ndarray, np.ndarray]:
    """t (m,) in a box that minimizes ||matrix t - target||, and matrix t; matrix (d, m), m = 0 allowed.

    The active-set method of Stark and Parker (1995): a coordinate is either exactly at a bound or exactly free.
    `start` (m,) is a guess; its coordinates strictly between their bounds begin as free. (SciPy's version stops when
    the cost changes little, which is too early here: a pair of unlikely responses hardly changes it.)
    """
    length = np.linalg.norm(matrix, axis=0)
    used = length > 0
    unit = matrix[:, used] / length[used]
    low, high = lower[used] * length[used], upper[used] * length[used]
    t = np.clip(np.zeros(unit.shape[1]) if start is None else start[used] * length[used], low, high)
    free = (t > low) & (t < high)
    tolerance = 4e-15 * np.linalg.norm(target)
    barred = np.zeros(len(t), dtype=bool)
    for _ in range(20 * (len(t) + 5)):
        t, free = _settle(unit, target, low, high, t, free)
        slope = unit.T @ (target - unit @ t)
        gain = np.where((t < high) & (slope > 0) | (t > low) & (slope < 0), np.abs(slope), 0.0)
        gain[free | barred] = 0.0
        if not gain.size or gain.max() <= tolerance:
            break
        chosen = int(gain.argmax())
        free[chosen] = True
        moved, stays_free = _settle(unit, target, low, high, t, free)
        # With dependent columns rounding may push a freed coordinate straight back: then it is no way down.
        barred[chosen] = bool(np.all(moved == t))
        if not barred[chosen]:
            barred[:] = False
        t, free = moved, stays_free
    solution = np.clip(np.zeros(len(length)), lower, upper)
    solution[used] = np.clip(t / length[used], lower[used], upper[used])
    return solution, unit @ t


def _settle(unit, target, low, high, t, free):
    """Minimize over the free coordinates, stopping at and fixing what reaches a bound on the way."""
    t, free = t.copy(), free.copy()
    while free.any():
        rest = target - unit[:, ~free] @ t[~free]
        move = np.linalg.lstsq(unit[:, free], rest, rcond=1e-12)[0] - t[free]
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(move > 0, (high[free] - t[free]) / move, (low[free] - t[free]) / move)
        room = np.where(move == 0, np.inf, room)
        share = min(1.0, room.min())
        hit = room <= share if share < 1.0 else np.zeros(len(move), dtype=bool)
        inner = t[free] + share * move
        inner[hit] = np.where(move > 0, high[free], low[free])[hit]
        t[free] = inner
        if not hit.any():
            break
        free[np.flatnonzero(free)[hit]] = False
    return t, free
