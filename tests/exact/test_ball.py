"""The smallest enclosing ball: holds all points, and an independent certificate says that no smaller one does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize, nnls

from rsail.exact import ball, smallest_ball

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


def nearly_coincident(seed: int) -> np.ndarray:
    """Up to 15 points around up to 4 centers, some at the same distance from 0, at distances from 1e-9 to 0.1."""
    rng = np.random.default_rng(seed)
    count, groups, dimension = rng.integers(2, 16), rng.integers(1, 5), rng.integers(1, 9)
    centers = rng.normal(size=(groups, dimension))
    if rng.random() < 0.5:
        centers = np.concatenate([np.eye(dimension), -np.eye(dimension)])[
            rng.integers(2 * dimension, size=groups)
        ]
    sizes = 10.0 ** rng.uniform(-9, -1, size=(count, 1) if rng.random() < 0.5 else (1, 1))
    noise = rng.normal(size=(count, dimension))
    if rng.random() < 0.3:
        noise *= 10.0 ** rng.uniform(-8, 0, size=dimension)  # clusters that are nearly flat
    points = centers[rng.integers(groups, size=count)] + sizes * noise
    return np.concatenate([points, centers]) if rng.random() < 0.3 else points


@pytest.mark.parametrize("first", range(0, 2000, 500))
def test_the_ball_around_nearly_coincident_points_is_certified(first):
    """A convex combination of the points has a variance of at least (1 - 1e-9)^2 squared radii of the ball."""
    for seed in range(first, first + 500):
        points = nearly_coincident(seed)
        points = points - points[0]  # the center is then found to all digits
        center, radius = smallest_ball(points)
        offsets = (points - center) / radius
        distances = np.linalg.norm(offsets, axis=1)
        assert distances.max() <= 1 + 1e-12
        surface = offsets[distances > 1 - 1e-9]
        weights = nnls(np.vstack([surface.T, np.ones(len(surface))]), np.eye(points.shape[1] + 1)[-1])[0]
        weights /= weights.sum()
        mean = weights @ surface
        assert weights @ np.sum((surface - mean) ** 2, axis=1) >= (1 - 1e-9) ** 2, seed


def test_a_ball_that_is_not_proved_to_be_the_smallest_is_an_error(monkeypatch):
    monkeypatch.setattr(ball, "_change", lambda support, center: np.zeros(len(support)))
    with pytest.raises(RuntimeError, match="the smallest ball around 2 points was not found"):
        smallest_ball([[0.0], [1.0]])


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
        (
            [
                [0.999999961, -1.2e-8, 4.9e-8, -2.7e-8, 5.8e-8, -7e-9],
                np.eye(6)[0],
                [-1, 2e-9, 1e-9, 0, -6e-9, -3e-9],
                -np.eye(6)[0],
            ],
            1.0,
        ),  # twice two points that are nearly one
    ],
)
def test_known_radii(points, radius):
    assert_allclose(smallest_ball(points)[1], radius, rtol=1e-12, atol=1e-20)


@pytest.mark.parametrize("points", [[1.0, 2.0], np.zeros((0, 2)), [[np.nan]]])
def test_bad_points_are_named(points):
    with pytest.raises(ValueError, match="points"):
        smallest_ball(points)
