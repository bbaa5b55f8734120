"""The smallest ball that holds given points, by an active-set method for the weights of its center."""

from __future__ import annotations

import numpy as np

from rsail import checks


def smallest_ball(points) -> tuple[np.ndarray, float]:
    """Center (d,) and radius of the smallest Euclidean ball that holds `points`, (n, d).

    The center is a mean of the points. Its weights maximize the variance of the points, a concave function on the
    simplex, and the largest variance is the squared radius (Elzinga and Hearn, 1972). As in Wolfe's method for the
    nearest point of a polytope (1976) the farthest point joins the support, the center moves towards the
    circumcenter of the support, and a point whose weight vanishes on the way leaves it.

    The radius is the largest distance from the center found, so that the ball holds all points whatever rounding
    did. It exceeds the smallest by less than 1e-9 of itself and by what rounding the center's coordinates adds.

    Raises
    ------
    RuntimeError
        If the variance found does not prove that.
    """
    points = checks.finite("points", points)
    checks.require(points.ndim == 2 and min(points.shape) > 0, "points.shape", points.shape, "(n, d)")
    origin = points[0]
    scale = np.abs(points - origin).max()
    if scale == 0.0:
        return origin.copy(), 0.0
    center = _center((points - origin) / scale) * scale + origin
    return center, float(np.linalg.norm(points - center, axis=1).max())


def _center(points: np.ndarray) -> np.ndarray:
    weights, support, stopped = np.eye(len(points))[0], [0], False
    best, gap = points[0], np.inf
    for _ in range(20 * sum(points.shape)):
        center = weights @ points
        squares = np.sum((points - center) ** 2, axis=1)
        farthest = int(squares.argmax())
        # No ball that holds the points has a squared radius below the variance.
        excess = (squares[farthest] - weights @ squares) / squares[farthest]
        best, gap = (center, excess) if excess < gap else (best, gap)
        if not stopped:
            if farthest in support:
                break
            support.append(farthest)
        change = _change(points[support], center)
        share = weights[support]
        steps = np.divide(-share, change, out=np.full(len(share), np.inf), where=change < 0)
        first = int(steps.argmin())
        stopped = bool(steps[first] < 1.0)
        weights[support] = share + (steps[first] if stopped else 1.0) * change
        if stopped:
            weights[support.pop(first)] = 0.0
        weights /= weights.sum()
    if not gap <= 1e-9:
        raise RuntimeError(
            f"the smallest ball around {len(points)} points was not found: a share {gap:.1e} of the squared radius "
            "is in doubt"
        )
    return best


def _change(support: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Change of the weights (k,) that takes `center`, a mean of the points (k, d), to their circumcenter.

    Edges u sigma v^T have the circumcenter at 2 u sigma^2 u^T change = pull. Where the points are affinely
    dependent, up to rounding, the change is so long that one of them leaves the support: every sigma > 0 gives a
    direction in which the variance rises.
    """
    edges = support[1:] - support[0]
    # Squared distances from the center minus that of the first point, without loss of digits where points almost agree.
    pull = np.sum(edges * (support[1:] + support[0] - 2.0 * center), axis=1)
    # With columns of zeros there are as many directions as edges, also where those are dependent.
    left, sizes, _ = np.linalg.svd(np.pad(edges, ((0, 0), (0, len(edges)))), full_matrices=False)
    sizes = np.maximum(sizes, 1e-15 * sizes[0])
    along = left @ (left.T @ pull / (2.0 * sizes**2))
    return np.append(-along.sum(), along)
