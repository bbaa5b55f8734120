"""The subgradients of the robust loss: smooth pieces against finite differences, kinks against directional slopes."""

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose
from scipy.optimize import lsq_linear

from rsail.exact.moreau import snap
from rsail.exact.subdifferential import (
    Subdifferential,
    box_least_squares,
    pieces,
    stationarity,
    subdifferential,
)
from tests.exact.problems import radii, random_problem, reference_problem, seeds

few = settings(deadline=None, derandomize=True, max_examples=40)


def tied_point(problem, rng):
    """A parameter with at least one pair score of two different features at zero."""
    theta = problem.theta_ref + rng.normal(size=len(problem.theta_ref))
    return snap(problem, theta, distance=0.5)


@few
@given(seeds, radii)
def test_pieces_have_the_value_gradient_and_hessian_of_the_robust_loss(seed, rho):
    problem, theta = random_problem(seed)
    parts = pieces(problem, theta, rho)
    slopes = np.where(parts.scores > 0, parts.upper, parts.lower)
    assert_allclose(parts.value, problem.robust_loss(theta, rho), atol=1e-12)
    gradient = parts.gradient + slopes @ parts.normals
    assert_allclose(gradient, problem.robust_subgradient(theta, rho), atol=1e-12)
    assert_allclose(parts.hessian, problem.robust_hessian(theta, rho), atol=1e-11)


def test_large_logits_do_not_overflow():
    problem, _ = reference_problem()
    theta = np.full(problem.theta_ref.shape, 2e3)
    assert_allclose(pieces(problem, theta, 0.1).value, problem.robust_loss(theta, 0.1), rtol=1e-12)


def test_samples_reach_one_outward_normal():
    whole = Subdifferential(np.zeros(2), np.array([[0.6, 0.8]]), np.array([0.0]), np.array([np.inf]))
    rng = np.random.default_rng(0)
    multiples = np.linalg.norm([whole.sample(rng) for _ in range(200)], axis=1)
    assert 0.95 < multiples.max() <= 1.0


def test_a_normal_whose_slope_is_given_is_added_as_it_is():
    normals = np.array([[0.0, 1.0], [1.0, 0.0]])
    whole = Subdifferential(np.array([1.0, 0.0]), normals, np.array([2.0, -3.0]), np.array([2.0, 3.0]))
    assert_allclose(whole.least(), [0.0, 2.0], atol=1e-15)  # the second slope is free to cancel the base


@few
@given(seeds, radii)
def test_directional_slopes_at_a_kink_are_the_largest_over_the_subgradients(seed, rho):
    # F'(theta; v) = max over subgradients of <g, v>, for a regular function such as this one.
    problem, _ = random_problem(seed)
    rng = np.random.default_rng(seed)
    theta, direction = tied_point(problem, rng), rng.normal(size=len(problem.theta_ref))
    below = subdifferential(problem, theta, rho, theta_radius=100.0)
    along = below.normals @ direction
    largest = below.base @ direction + np.maximum(below.lower * along, below.upper * along).sum()
    step = 1e-4
    ahead = [problem.robust_loss(theta + k * step * direction, rho) for k in (0, 1, 2)]
    slope = (4 * ahead[1] - ahead[2] - 3 * ahead[0]) / (2 * step)
    assert_allclose(slope, largest, atol=2e-5 * (1 + np.abs(direction).max() ** 3))


@few
@given(seeds)
def test_the_least_subgradient_is_in_the_set_and_no_sample_is_shorter(seed):
    problem, _ = random_problem(seed)
    rng = np.random.default_rng(seed)
    theta = tied_point(problem, rng)
    radius = float(np.linalg.norm(theta - problem.theta_ref)) or 1.0  # on the boundary, where there is one
    below = subdifferential(problem, theta, 0.2, theta_radius=radius)
    least = below.least()
    for _ in range(50):
        element = below.sample(rng)
        # Convexity: the least element makes an acute angle with the way to any other one.
        assert least @ (element - least) >= -1e-12 * (1 + element @ element)


def test_without_kinks_the_only_subgradient_is_the_gradient():
    problem, theta = reference_problem()
    below = subdifferential(problem, theta, 0.1, theta_radius=5.0)
    assert len(below.normals) == 0
    assert_allclose(below.least(), problem.robust_subgradient(theta, 0.1), atol=1e-15)
    assert_allclose(
        stationarity(problem, theta, 0.1, theta_radius=5.0), np.linalg.norm(below.base), atol=1e-15
    )


def test_on_the_boundary_outward_pull_counts_as_stationary():
    problem, theta = reference_problem()
    radius = float(np.linalg.norm(theta - problem.theta_ref))
    outward = (theta - problem.theta_ref) / radius
    gradient = problem.robust_subgradient(theta, 0.1)
    shift = -gradient - 3.0 * outward  # the sum of both pulls straight out of the ball
    assert (
        np.linalg.norm(subdifferential(problem, theta, 0.1, theta_radius=radius, shift=shift).least()) < 1e-14
    )
    inward = -gradient + 3.0 * outward
    least = subdifferential(problem, theta, 0.1, theta_radius=radius, shift=inward).least()
    assert_allclose(np.linalg.norm(least), 3.0, atol=1e-14)


def test_the_reference_is_stationary_from_the_local_critical_radius_on():
    problem, _ = reference_problem()
    radius = problem.local_critical_radius()
    assert stationarity(problem, problem.theta_ref, radius + 1e-6, theta_radius=1.0) < 1e-12
    assert stationarity(problem, problem.theta_ref, radius - 1e-3, theta_radius=1.0) > 1e-5


def test_outside_the_ball_there_are_no_subgradients():
    problem, theta = reference_problem()
    with pytest.raises(ValueError, match=r"theta must be within 0\.5 of theta_ref"):
        subdifferential(problem, theta, 0.1, theta_radius=0.5)
    with pytest.raises(ValueError, match=r"theta\.shape"):
        pieces(problem, [0.0], 0.1)


@few
@given(seeds)
def test_box_least_squares_agrees_with_scipy(seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 6), rng.integers(1, 30)
    matrix, target = rng.normal(size=(rows, columns)), rng.normal(size=rows) * rng.choice([0.1, 1, 10])
    if rng.random() < 0.3:
        matrix[:, -1] = matrix[:, 0]
    width = rng.uniform(0.01, 1, size=columns)
    start = rng.uniform(-width, width)
    for begin in (None, start, width):
        solution, image = box_least_squares(matrix, target, -width, width, begin)
        assert np.all(np.abs(solution) <= width)
        assert_allclose(image, matrix @ solution, atol=1e-12)
        cost = np.sum((image - target) ** 2) / 2
        assert cost <= lsq_linear(matrix, target, (-width, width), method="bvls").cost * (1 + 1e-12) + 1e-13


def test_box_least_squares_without_columns():
    solution, image = box_least_squares(np.zeros((2, 0)), np.ones(2), np.zeros(0), np.zeros(0))
    assert solution.shape == (0,) and np.all(image == 0)


def test_where_all_pairs_are_tied_the_second_derivative_is_that_of_sail():
    problem, _ = reference_problem()
    at_reference = pieces(problem, problem.theta_ref, 0.3).hessian
    assert_allclose(at_reference, problem.sail_hessian(problem.theta_ref), atol=1e-14)
