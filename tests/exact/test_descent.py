"""Descent with ties: where it ends is stationary, a local minimum, and what slow methods find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq, minimize

from rsail.exact import FiniteProblem
from rsail.exact.descent import _line_search, descend, least_subgradient
from rsail.exact.landscape import robust_losses
from tests.exact.problems import random_problem, seeds, tabular

few = settings(deadline=None, derandomize=True, max_examples=25)


def directional(problem, theta, rho, way, step=1e-6):
    return (problem.robust_loss(theta + step * way, rho) - problem.robust_loss(theta, rho)) / step


@few
@given(seed=seeds, rho=st.floats(0.0, 0.6), tied=st.booleans())
def test_the_least_subgradient_is_the_steepest_descent(seed, rho, tied):
    """-g/|g| falls at the rate |g| (to first order) and no direction falls faster."""
    problem, theta = random_problem(seed)
    theta = problem.theta_ref if tied else theta
    g, _, _ = least_subgradient(problem, theta, rho)
    size = np.linalg.norm(g)
    rng = np.random.default_rng(seed)
    for way in rng.normal(size=(20, len(theta))):
        way = way / np.linalg.norm(way)
        assert directional(problem, theta, rho, way) >= -size - 1e-4
    if size > 1e-3:
        assert_allclose(directional(problem, theta, rho, -g / size), -size, atol=1e-4)


@few
@given(seed=seeds, rho=st.floats(0.0, 0.6))
def test_off_the_ties_it_is_the_gradient(seed, rho):
    problem, theta = random_problem(seed)
    apart = problem.pair_scores(theta)
    moves = np.any(problem.features[:, :, None] != problem.features[:, None], axis=-1)
    if np.all(np.abs(apart[moves]) > 1e-6):
        g, _, held = least_subgradient(problem, theta, rho)
        assert_allclose(g, problem.robust_subgradient(theta, rho), atol=1e-12)
        assert len(held) == 0


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.1, 0.14, 0.15, 0.2])
def test_a_descent_from_the_reference_ends_at_a_local_minimum(rho):
    problem = tabular([0.4, 0.0, -0.4])
    end = descend(problem, problem.theta_ref, rho)
    assert end.residual <= 1e-9 and end.curvature > 0
    rng = np.random.default_rng(0)
    ways = rng.normal(size=(200, 3))
    around = end.theta + np.concatenate([1e-2 * ways, 1e-1 * ways])
    assert robust_losses(problem, around, rho).min() >= end.loss - 1e-12


@pytest.mark.parametrize(("preference", "rho", "held"), [(0.8, 0.1, 0), (0.2, 0.1, 0), (0.55, 0.1, 1)])
def test_a_tie_holds_where_its_answer_is_inside_its_interval(preference, rho, held):
    """At the reference the gradient is proportional to 1/2 - Q: it vanishes if Q = 1/2 is within rho of P."""
    problem = FiniteProblem(
        [[[1.0], [0.0]]], [[[0.5, preference], [1.0 - preference, 0.5]]], beta=1.0, prompt_probs=[1.0]
    )
    _, oracle, ties = least_subgradient(problem, [0.0], rho)
    assert ties.shape == (held, 1)
    assert_allclose(oracle[0, 0, 1], np.clip(0.5, preference - rho, preference + rho), atol=1e-12)


def test_the_curvature_is_that_of_the_hessian_where_no_tie_holds():
    problem = tabular([0.4, 0.0, -0.4])
    end = descend(problem, problem.theta_ref, 0.0)
    # A shift of all three logits changes nothing: that eigenvalue is zero and does not count.
    assert_allclose(end.curvature, np.linalg.eigvalsh(problem.sail_hessian(end.theta))[1], rtol=1e-6)


def test_a_kink_on_the_way_is_reached_in_one_step():
    """P = 0.55 and rho = 0.1: the loss falls towards h = 0 from both sides, and h = 0 is where it stays."""
    problem = FiniteProblem([[[1.0], [0.0]]], [[[0.5, 0.55], [0.45, 0.5]]], beta=1.0)
    for start in (0.1, -0.1):
        end = descend(problem, [start], 0.1)
        assert (end.steps, end.residual) == (1, 0.0)
        assert_allclose(end.theta, [0.0], atol=1e-15)


def test_a_step_back_to_where_the_loss_is_higher_is_refused():
    """On a slope s < 0, the full step d ends 5e-5 |s| d above its start: shorter ones must be tried."""
    problem = FiniteProblem([[[1.0], [0.0]]], [[[0.5, 0.9], [0.1, 0.5]]], beta=1.0)
    start = np.array([0.5])
    slope = problem.sail_gradient(start)

    def rise(length):
        return problem.sail_loss(start + length) - problem.sail_loss(start) + 5e-5 * float(slope[0]) * length

    length = brentq(rise, 0.5, 20.0)
    step = _line_search(problem, start, 0.0, slope, np.array([length]), reach=100.0)
    assert problem.sail_loss(start + step) < problem.sail_loss(start)


def test_the_loss_never_rises_along_the_path_and_steps_are_short():
    problem = tabular([1.0, 0.0, -1.0])
    end = descend(problem, [3.0, 1.0, -2.0], 0.2, reach=0.2)
    assert np.all(np.diff(robust_losses(problem, end.path, 0.2)) < 0)
    scores = np.array([problem.pair_scores(theta) for theta in end.path])
    assert np.abs(np.diff(scores, axis=0)).max() <= 0.2 + 1e-9
    assert len(end.path) == end.steps + 1 and np.array_equal(end.path[-1], end.theta)


@pytest.mark.parametrize("rho", [0.05, 0.12, 0.2753])
def test_a_smoothed_penalty_and_bfgs_find_the_same_policy(rho):
    """sqrt(h^2 + eps^2) for |h|, eps to 1e-6: another method, no ties in it."""
    problem = tabular([1.0, 0.0, -1.0])
    law = problem.preferences[0]

    def smoothed(theta, eps):
        log_pi = theta - np.log(np.exp(theta).sum())
        h, pi = theta[:, None] - theta[None, :], np.exp(log_pi)
        loss = law * np.logaddexp(0, -0.1 * h) + (1 - law) * np.logaddexp(0, 0.1 * h)
        room = np.minimum(rho, np.where(h > 0, law, 1 - law))
        return pi @ (loss + 0.1 * room * (np.sqrt(h**2 + eps**2) - eps)) @ pi

    end = descend(problem, problem.theta_ref, rho)
    theta = np.array([0.5, 0.0, -0.5])
    for eps in (1e-1, 1e-2, 1e-3, 1e-4):
        theta = minimize(smoothed, theta, args=(eps,), method="BFGS", options={"gtol": 1e-9}).x
    assert_allclose(problem.pair_scores(theta), problem.pair_scores(end.theta), atol=2e-2)
    assert_allclose(problem.robust_loss(theta, rho), end.loss, atol=1e-7)


def test_a_minimum_on_a_tie_is_found_and_certified():
    problem = tabular([1.0, 0.0, -1.0])
    end = descend(problem, problem.theta_ref, 0.9 * problem.local_critical_radius())
    h = problem.pair_scores(end.theta)[0]
    assert abs(h[1, 2]) < 1e-9 and h[0, 1] > 1
    assert end.residual < 1e-9
    plain = np.linalg.norm(problem.robust_subgradient(end.theta, 0.9 * problem.local_critical_radius()))
    assert plain > 1e-4  # the subgradient with sign(0) = 0 is no certificate


@few
@given(seed=seeds)
def test_above_the_local_radius_the_reference_is_where_it_stays(seed):
    problem, _ = random_problem(seed)
    radius = problem.local_critical_radius(clipped=True)
    start = problem.theta_ref
    assert descend(problem, start, min(1.0, radius + 1e-3)).steps == 0
    if radius > 0.02:
        g, _, _ = least_subgradient(problem, start, radius - 1e-2)
        assert np.linalg.norm(g) > 0


def test_too_few_steps_are_an_error():
    with pytest.raises(RuntimeError, match="did not settle in 2 steps"):
        descend(tabular([1.0, 0.0, -1.0]), np.zeros(3), 0.0, max_steps=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rho": -0.1}, "rho must be"), ({"rho": 0.1, "reach": 0.0}, "reach must be")],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        descend(tabular([1.0, 0.0]), np.zeros(2), **options)


def test_with_one_response_per_prompt_it_ends_where_it_starts():
    problem = FiniteProblem(np.ones((2, 1, 3)), np.full((2, 1, 1), 0.5), beta=1.0)
    found = descend(problem, [1.0, 2.0, 3.0], 0.1)
    assert found.steps == 0 and found.residual == 0.0 and found.curvature == np.inf
