"""The smallest enclosing ball: holds all points, and an independent certificate says that no smaller one does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize, nnls

from rsail.exact import smallest_ball

from .problems import seeds


def random_points(seed: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    count, dimension = rng.integers(1, 25), rng.integers(1, 7)
    points = rng.normal(size=(count, dimension))
    if kind == "grid":
        points = np.round(points)
    if kind == "sphere":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    if kind == "repeated":
        points = np.repeat(points, 2, axis=0)
    if kind == "far":
        points += 1e4 * rng.normal(size=dimension)
    return points


@settings(deadline=None, derandomize=True, max_examples=150)
@given(seeds, st.sampled_from(["normal", "grid", "sphere", "repeated", "far"]))
def test_it_holds_all_points_and_its_center_is_a_mean_of_points_on_its_surface(seed, kind):
    points = random_points(seed, kind)
    center, radius = smallest_ball(points)
    distances = np.linalg.norm(points - center, axis=1)
    assert distances.max() <= radius
    if radius == 0:
        return
    # No smaller ball holds the points on the surface if the center is a convex combination of them.
    surface = points[distances > radius * (1 - 1e-7)]
    system = np.vstack([((surface - center) / radius).T, np.ones(len(surface))])
    assert nnls(system, np.eye(len(system))[-1])[1] < 1e-7


def test_radius_agrees_with_a_general_solver():
    points = np.random.default_rng(3).normal(size=(12, 3))
    start = np.append(points.mean(axis=0), 10.0)
    inside = {"type": "ineq", "fun": lambda v: v[-1] - np.sum((points - v[:-1]) ** 2, axis=1)}
    found = minimize(lambda v: v[-1], start, method="SLSQP", constraints=inside, options={"ftol": 1e-14})
    assert_allclose(smallest_ball(points)[1], np.sqrt(found.fun), rtol=1e-8)


@pytest.mark.parametrize(
    ("points", "radius"),
    [
        ([[1.0], [4.0], [2.0]], 1.5),
        ([[0.0, 0.0], [2.0, 0.0], [1.0, 0.1]], 1.0),  # an obtuse triangle: the longest side is a diameter
        (np.eye(5), np.sqrt(1 - 1 / 5)),
        ([[3.0, 4.0]], 0.0),
        ([[1e-8, 0.0], [-1e-8, 0.0]], 1e-8),
        (
            [
                [1, 3e-5, 1e-5],
                [-1, 3e-6, -9e-6],
                [-1, -3e-5, -6e-6],
                [-1, -9e-6, -8e-6],
                [-1 + 1e-9, -4e-5, -1e-5],
            ],
            1.000000000482,
        ),  # four points that are nearly one
    ],
)
def test_known_radii(points, radius):
    assert_allclose(smallest_ball(points)[1], radius, rtol=1e-12, atol=1e-20)


@pytest.mark.parametrize("points", [[1.0, 2.0], np.zeros((0, 2)), [[np.nan]]])
def test_bad_points_are_named(points):
    with pytest.raises(ValueError, match="points"):
        smallest_ball(points)
