"""The smallest ball that holds given points, by a finite walk of its center."""

from __future__ import annotations

import numpy as np

from rsail import checks


def smallest_ball(points) -> tuple[np.ndarray, float]:
    """Center (d,) and radius of the smallest Euclidean ball that holds `points`, (n, d).

    The walk of Fischer, Gaertner and Kutz (2003): the center of a ball that holds all points, with the support
    on its surface, moves towards the circumcenter of the support until another point stops it and joins. At a
    circumcenter the support loses a point that pulls the wrong way; if none does, the ball is the smallest.
    The radius is the largest distance from the center found, so that the ball holds all points whatever rounding did.
    """
    points = checks.finite("points", points)
    checks.require(points.ndim == 2 and min(points.shape) > 0, "points.shape", points.shape, "(n, d)")
    origin = points.mean(axis=0)
    scale = np.abs(points - origin).max()
    if scale == 0.0:
        return points[0].copy(), 0.0
    center = _walk((points - origin) / scale) * scale + origin
    return center, float(np.linalg.norm(points - center, axis=1).max())


def _walk(points: np.ndarray, tolerance: float = 1e-10) -> np.ndarray:
    center = points[0].copy()
    support = [int(_squares(points, center).argmax())]
    best, least, most = center, 0.0, np.inf  # least <= squared radius <= most, the latter around best
    for _ in range(20 * (len(points) + points.shape[1])):
        target, weights = _circumcenter(points[support], center)
        if np.linalg.norm(target - center) > tolerance:
            step, stopped_by = _longest_step(points, support, center, target - center)
            center = center + step * (target - center)
            if stopped_by is not None:
                support.append(stopped_by)
            continue
        middle, spread = _mean_and_spread(points[support], np.maximum(weights, 0.0))
        reach = float(_squares(points, middle).max())
        best, most = (middle, reach) if reach < most else (best, most)
        least = max(least, spread)
        if weights.min() >= -tolerance:
            return best
        support.pop(int(weights.argmin()))
    # Points that are equally far from the center up to rounding can send the walk in a circle around the answer.
    if np.isfinite(most) and most - least <= 1e-8 * most:
        return best
    raise RuntimeError(f"the smallest ball around {len(points)} points was not found: the walk does not end")


def _mean_and_spread(support: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean and variance of the points under the weights: the variance is at most the squared radius of any ball."""
    weights = weights / weights.sum()
    mean = weights @ support
    return mean, float(weights @ _squares(support, mean))


def _squares(points, center) -> np.ndarray:
    return np.sum((points - center) ** 2, axis=1)


def _circumcenter(support: np.ndarray, center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Projection of `center`, equally far from all of `support`, on their affine hull, and its weights there."""
    edges = (support[1:] - support[0]).T
    along = np.linalg.lstsq(edges, center - support[0], rcond=None)[0] if edges.shape[1] else np.zeros(0)
    weights = np.concatenate([[1.0 - along.sum()], along])
    return weights @ support, weights


def _longest_step(points, support, center, move) -> tuple[float, int | None]:
    """How far, at most 1, the center may go along `move` with every point inside, and the point that stops it."""
    approach = 2.0 * (points[support[0]] - points) @ move
    slack = np.maximum(_squares(points, center)[support[0]] - _squares(points, center), 0.0)
    approach[support] = 0.0
    # A point that comes nearer more slowly than this lies, to rounding, in the affine hull of the support.
    blocking = approach > 1e-11 * np.linalg.norm(move)
    if not blocking.any():
        return 1.0, None
    steps = np.where(blocking, slack / np.where(blocking, approach, 1.0), np.inf)
    first = int(steps.argmin())
    return (float(steps[first]), first) if steps[first] < 1.0 else (1.0, None)
