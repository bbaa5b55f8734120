"""Exact Hessians: against differences of exact gradients, automatic differentiation, and across kinks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem
from rsail.exact.hessian import penalty_derivatives, sail_derivatives, smoothed_penalty_derivatives
from rsail.study.autodiff import mean_hessian, sail_pair_loss, smoothed_absolute

from .problems import central_difference, random_problem, seeds


def arguments(problem, theta):
    return theta, problem.theta_ref


def away_from_kinks(problem, theta, distance=1e-3) -> bool:
    """No pair of different features has |h| < distance, so finite differences stay on one side."""
    scores = problem.pair_scores(theta)
    moves = np.linalg.norm(problem.features[:, :, None] - problem.features[:, None], axis=-1)
    return bool(np.all((np.abs(scores) > distance * moves) | (moves == 0)))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seeds)
def test_gradients_are_those_of_the_other_modules(seed):
    problem, theta = random_problem(seed)
    sail = sail_derivatives(
        problem.features, problem.preferences, *arguments(problem, theta), problem.beta, problem.prompt_probs
    )
    penalty = penalty_derivatives(problem.features, *arguments(problem, theta), problem.prompt_probs)
    assert_allclose(sail.gradient, problem.sail_gradient(theta), rtol=0, atol=1e-13)
    assert_allclose(penalty.gradient, problem.penalty_subgradient(theta), rtol=0, atol=1e-13)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seeds, st.floats(0.0, 0.7))
def test_hessians_are_the_derivatives_of_the_exact_gradients(seed, rho):
    problem, theta = random_problem(seed)
    if not away_from_kinks(problem, theta):
        return
    pairs = (
        (problem.sail_hessian(theta), problem.sail_gradient),
        (problem.penalty_hessian(theta), problem.penalty_subgradient),
        (problem.robust_hessian(theta, rho), lambda point: problem.robust_subgradient(point, rho)),
    )
    for hessian, gradient in pairs:
        rows = [central_difference(lambda x, k=k, g=gradient: g(x)[k], theta) for k in range(len(theta))]
        assert_allclose(hessian, rows, rtol=1e-6, atol=1e-7)
        assert_allclose(hessian, hessian.T, rtol=0, atol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seeds, st.floats(0.01, 2.0))
def test_hessians_agree_with_automatic_differentiation(seed, epsilon):
    problem, theta = random_problem(seed)
    smooth = smoothed_penalty_derivatives(
        problem.features, *arguments(problem, theta), problem.prompt_probs, epsilon
    ).hessian
    expected = mean_hessian(problem, theta, smoothed_absolute(epsilon))
    assert_allclose(smooth, expected, rtol=1e-9, atol=1e-10)
    assert_allclose(
        problem.sail_hessian(theta), mean_hessian(problem, theta, sail_pair_loss), rtol=0, atol=1e-10
    )
    if away_from_kinks(problem, theta, 1e-9):
        absolute = mean_hessian(problem, theta, lambda h, p, beta: h.abs())
        assert_allclose(problem.penalty_hessian(theta), absolute, rtol=1e-9, atol=1e-10)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seeds)
def test_smoothed_hessian_tends_to_the_hessian_away_from_kinks(seed):
    problem, theta = random_problem(seed)
    if not away_from_kinks(problem, theta, 1e-2):
        return
    limit = problem.penalty_hessian(theta)

    def gap(epsilon):
        point = (problem.features, *arguments(problem, theta), problem.prompt_probs)
        return np.abs(smoothed_penalty_derivatives(*point, epsilon).hessian - limit).max()

    assert gap(1e-8) < 1e-6


def test_example_has_its_known_least_curvature():
    """Example 4.4: on theta > 0 the least second derivative of R, to 12 digits."""
    example = FiniteProblem([[[1.0], [0.0]]], [[[0.5, 0.8], [0.2, 0.5]]], beta=1.0)
    at = 0.961311585174823
    assert_allclose(example.penalty_hessian([at])[0, 0], -0.434765340683537, rtol=1e-12)
    nearby = [example.penalty_hessian([at + step])[0, 0] for step in (-1e-3, 1e-3)]
    assert min(nearby) > -0.434765340683537


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seeds, st.floats(0.0, 0.7))
def test_robust_hessian_is_the_sum_of_its_parts_where_the_radius_is_not_clipped(seed, share):
    problem, theta = random_problem(seed)
    scores = problem.pair_scores(theta)
    relevant = np.abs(scores) > 0
    rho = share * min(problem.preferences[relevant].min(initial=1.0), 1.0)
    parts = problem.sail_hessian(theta) + rho * problem.beta * problem.penalty_hessian(theta)
    assert_allclose(problem.robust_hessian(theta, rho), parts, rtol=0, atol=1e-11)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seeds, st.floats(0.05, 0.95), st.floats(0.0, 1.0))
def test_weak_convexity_along_segments_across_kinks(seed, share, rho):
    """f(mix) <= mix of f + kappa/2 t (1 - t) |difference|^2, for R and for the (clipped) robust loss."""
    problem, one = random_problem(seed)
    other = 2 * problem.theta_ref - one * np.random.default_rng(seed).uniform(0.2, 1.0)
    radius = max(np.linalg.norm(point - problem.theta_ref) for point in (one, other))
    mix = share * one + (1 - share) * other
    room = 0.5 * share * (1 - share) * np.sum((one - other) ** 2)
    refined = problem.constants(radius, rho, "refined")
    for function, kappa in (
        (problem.penalty, refined.penalty_curvature),
        (lambda point: problem.robust_loss(point, rho), refined.curvature),
    ):
        chord = share * function(one) + (1 - share) * function(other)
        assert function(mix) <= chord + kappa * room + 1e-10


def test_a_batch_is_its_problems_one_by_one():
    rng = np.random.default_rng(0)
    features, theta, ref = rng.normal(size=(5, 2, 3, 2)), rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    mu = rng.dirichlet(np.ones(2), size=5)
    together = penalty_derivatives(features, theta, ref, mu)
    for k in range(5):
        alone = penalty_derivatives(features[k], theta[k], ref[k], mu[k])
        assert_allclose(together.hessian[k], alone.hessian, rtol=1e-12)
        assert_allclose(together.gradient[k], alone.gradient, rtol=1e-12)


@pytest.mark.parametrize("method", ["sail_hessian", "penalty_hessian"])
def test_a_parameter_of_the_wrong_shape_is_named(method):
    problem, _ = random_problem(1)
    with pytest.raises(ValueError, match="theta"):
        getattr(problem, method)(np.zeros(9))
