"""Envelope and proximal point: certified, equal to what other solvers find, and with the lemmas' inequalities."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from rsail.exact import FiniteProblem, moreau
from rsail.exact.moreau import (
    envelope,
    envelope_gradient,
    near_stationarity,
    project,
    prox,
    prox_residual,
    snap,
    solve_prox,
)
from rsail.exact.subdifferential import stationarity
from rsail.study.envelope_check import independent_prox
from tests.exact.problems import central_difference, random_problem, reference_problem, seeds

few = settings(deadline=None, derandomize=True, max_examples=30)


def random_task(seed):
    """A random problem, a point in or around its ball, rho, smoothing below 1 / kappa, radius, kappa."""
    problem, _ = random_problem(seed)
    rng = np.random.default_rng(seed + 1)
    rho, radius = float(rng.uniform(0, 0.5)), float(10 ** rng.uniform(-1, 0.5))
    curvature = problem.constants(radius, rho).curvature
    smoothing = float(rng.uniform(0.05, 0.95)) / max(curvature, 0.1)
    direction = rng.normal(size=len(problem.theta_ref))
    theta = problem.theta_ref + rng.uniform(0, 1.3) * radius * direction / np.linalg.norm(direction)
    return problem, theta, rho, smoothing, radius, curvature


def flat_problem(preference=0.8, beta=1.0):
    """Example 4.4: one prompt, two responses, one parameter."""
    return FiniteProblem([[[1.0], [0.0]]], [[[0.5, preference], [1 - preference, 0.5]]], beta)


def prox_value(problem, point, theta, rho, smoothing):
    return problem.robust_loss(point, rho) + np.sum((point - theta) ** 2) / (2 * smoothing)


@few
@given(seeds)
def test_the_error_is_certified_to_1e_10_and_no_other_point_is_better(seed):
    problem, theta, rho, smoothing, radius, curvature = random_task(seed)
    found = solve_prox(problem, theta, rho, smoothing, theta_radius=radius, curvature=curvature)
    assert found.error <= 1e-10
    assert np.linalg.norm(found.point - problem.theta_ref) <= radius * (1 + 1e-12)
    assert_allclose(found.value, prox_value(problem, found.point, theta, rho, smoothing), atol=1e-12)
    rng = np.random.default_rng(seed)
    for size in (1e-6, 1e-3, 0.1, 1.0):
        other = found.point + rng.normal(size=len(theta)) * size * radius
        other = project(other, problem.theta_ref, radius)
        # Strong convexity: an inequality that a wrong proximal point would violate on one of its sides.
        growth = (1 / smoothing - curvature) * np.sum((other - found.point) ** 2) / 2
        assert prox_value(problem, other, theta, rho, smoothing) >= found.value + growth - 1e-12


@pytest.mark.parametrize("seed", range(24))
def test_prox_agrees_with_the_ellipsoid_method_to_1e_8(seed):
    problem, theta, rho, smoothing, radius, _ = random_task(seed)
    ours = prox(problem, theta, rho, smoothing, theta_radius=radius)
    theirs = independent_prox(problem, theta, rho, smoothing, theta_radius=radius)
    assert np.linalg.norm(ours - theirs) <= 1e-8


@few
@given(seeds)
def test_envelope_agrees_with_brents_search_in_one_dimension(seed):
    rng = np.random.default_rng(seed)
    problem = flat_problem(rng.uniform(0.1, 0.9), rng.uniform(0.1, 2))
    theta, rho, radius = rng.uniform(-2, 2, size=1), 0.1, float(rng.uniform(0.3, 3))
    smoothing = float(rng.uniform(0.1, 0.9)) / problem.constants(radius, rho).curvature
    search = minimize_scalar(
        lambda u: prox_value(problem, np.array([u]), theta, rho, smoothing),
        bounds=(-radius, radius), options={"xatol": 1e-13},
    )  # fmt: skip
    ends = [prox_value(problem, np.array([u]), theta, rho, smoothing) for u in (-radius, radius)]
    ours = envelope(problem, theta, rho, smoothing, theta_radius=radius)
    assert_allclose(ours, min(search.fun, *ends), atol=1e-12, rtol=1e-12)
    exact = independent_prox(problem, theta, rho, smoothing, theta_radius=radius, accuracy=1e-13)
    assert_allclose(prox(problem, theta, rho, smoothing, theta_radius=radius), exact, atol=1e-12)


@few
@given(seeds)
def test_envelope_gradient_is_the_derivative_of_the_envelope(seed):
    problem, theta, rho, smoothing, radius, _ = random_task(seed)
    setting = {"rho": rho, "smoothing": smoothing, "theta_radius": radius}
    numeric = central_difference(lambda t: envelope(problem, t, **setting), theta, 1e-4 * radius)
    analytic = envelope_gradient(problem, theta, **setting)
    assert_allclose(numeric, analytic, atol=2e-3 * (1e-3 + np.abs(analytic).max()))


@few
@given(seeds)
def test_above_the_local_critical_radius_the_prox_lands_on_all_kinks_at_once(seed):
    problem, _ = reference_problem()
    rho = problem.local_critical_radius() + 0.05
    smoothing = 0.9 / problem.constants(1.0, rho).curvature
    theta = problem.theta_ref + 1e-3 * np.random.default_rng(seed).normal(size=2)
    found = solve_prox(problem, theta, rho, smoothing, theta_radius=1.0)
    assert_allclose(found.point, problem.theta_ref, atol=1e-15)


def test_prox_of_a_minimizer_is_the_minimizer():
    problem = flat_problem()
    smoothing = 0.5 / problem.constants(2.0, 0.4).curvature
    assert_allclose(prox(problem, [0.0], 0.4, smoothing, theta_radius=2.0), [0.0], atol=1e-14)
    assert_allclose(envelope(problem, [0.0], 0.4, smoothing, theta_radius=2.0), np.log(2), atol=1e-14)


def test_a_start_elsewhere_gives_the_same_point():
    problem, theta, rho, smoothing, radius, _ = random_task(5)
    first = solve_prox(problem, theta, rho, smoothing, theta_radius=radius)
    second = solve_prox(problem, theta, rho, smoothing, theta_radius=radius, start=problem.theta_ref)
    assert_allclose(first.point, second.point, atol=1e-11)


@few
@given(seeds)
def test_the_residual_bounds_the_distance_of_any_candidate(seed):
    problem, theta, rho, smoothing, radius, curvature = random_task(seed)
    setting = {"theta_radius": radius, "curvature": curvature}
    exact = solve_prox(problem, theta, rho, smoothing, **setting)
    rng = np.random.default_rng(seed)
    for size in (1e-8, 1e-4, 1.0):
        candidate = exact.point + rng.normal(size=len(theta)) * size * radius
        candidate = project(candidate, problem.theta_ref, radius)
        found = prox_residual(problem, candidate, theta, rho, smoothing, **setting)
        assert np.linalg.norm(candidate - exact.point) <= found.error + 2e-12
        assert np.linalg.norm(exact.gradient) <= found.gradient_bound + 1e-11 / smoothing
        left, right = near_stationarity(problem, found, rho, theta_radius=radius)
        assert left <= right * (1 + 1e-12) + 1e-11 / smoothing  # eq. 52
        away = np.linalg.norm(candidate - exact.point) / smoothing
        assert_allclose(right, np.linalg.norm(exact.gradient) + found.residual + away, rtol=1e-12)
        assert left <= found.stationarity_bound * (1 + 1e-12)


def test_each_term_of_eq_52_is_needed():
    # The kink: F = |theta| around 0, the prox of 0 is 0, and a candidate beside it has all of its slope as residual.
    problem = flat_problem(0.5)
    smoothing = 0.5 / problem.constants(2.0, 0.1).curvature
    found = prox_residual(problem, [1e-6], [0.0], 0.1, smoothing, theta_radius=2.0)
    left, right = near_stationarity(problem, found, 0.1, theta_radius=2.0)
    assert left <= right and left > 100 * (right - found.residual)
    # Exact and smooth: both sides are the envelope's gradient, so that its factor 1 cannot be smaller.
    exact = solve_prox(problem, [1.0], 0.1, smoothing, theta_radius=2.0)
    left, right = near_stationarity(problem, exact, 0.1, theta_radius=2.0)
    assert left > 0.05 and left > 0.999999 * right
    # A concave stretch with 1 / (2 smoothing) < curvature: dropping the distance breaks the inequality. On it
    # F' grows more slowly than the pull falls, so the residual of a near candidate is less than half of the pull.
    a, lam, move = sp.Rational(8, 10), 1, sp.Rational(1, 100)  # F = -a u^2 / 2
    proximal = 1 / (1 - a * lam)  # of theta = 1
    candidate = proximal - move
    residual = abs(-a * candidate + (candidate - 1) / lam)
    gradient = abs((1 - proximal) / lam)
    gap = abs(a * candidate) - gradient
    assert gap <= residual + move / lam  # eq. 52
    upward = abs(a * (proximal + move)) - gradient
    assert upward > abs(-a * (proximal + move) + (proximal + move - 1) / lam)  # eq. 52 without its last term


def test_the_counterexample_has_a_vanishing_envelope_gradient_and_slope_one():
    # F = |theta| (no reverse of Lemma D.1): the robust loss with P = 1/2 near the reference, divided by its slope.
    problem, rho = flat_problem(0.5), 0.4
    smoothing = 0.5 / problem.constants(1.0, rho).curvature
    for theta in (1e-2, 1e-4, 1e-6):
        gradient = envelope_gradient(problem, [theta], rho, smoothing, theta_radius=1.0)
        assert_allclose(gradient, [theta / smoothing], rtol=1e-9)  # the prox is 0
        assert stationarity(problem, [theta], rho, theta_radius=1.0) > 0.19  # rho beta 2 sigma(0)^2 = 0.2


def test_snap_moves_onto_near_kinks_and_no_further_than_needed():
    problem, _ = reference_problem()
    near = (
        problem.theta_ref + np.array([1.0, 1.6]) / 3 + 1e-5
    )  # (psi_1 - psi_2) = (0.8, -0.5) at the first prompt
    there = snap(problem, near, distance=1e-4)
    assert 0 < np.linalg.norm(there - near) < 2e-5
    assert abs(problem.pair_scores(there)[0, 0, 1]) < 1e-15
    assert_allclose(snap(problem, near, distance=1e-9), near, atol=1e-15)
    assert_allclose(snap(problem, near, distance=1e3), problem.theta_ref, atol=1e-15)


@few
@given(seeds)
def test_project_gives_the_nearest_point_of_the_ball(seed):
    rng = np.random.default_rng(seed)
    center, points, radius = rng.normal(size=3), rng.normal(size=(5, 3)) * 3, float(rng.uniform(0.1, 3))
    nearest = project(points, center, radius)
    assert np.all(np.linalg.norm(nearest - center, axis=1) <= radius * (1 + 1e-14))
    inside = np.linalg.norm(points - center, axis=1) <= radius
    assert_allclose(nearest[inside], points[inside], atol=1e-14)
    other = center + radius * (direction := rng.normal(size=3)) / np.linalg.norm(direction)
    assert np.all(np.linalg.norm(points - nearest, axis=1) <= np.linalg.norm(points - other, axis=1) + 1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smoothing": 100.0}, "smoothing must be below 1 / kappa"),
        ({"smoothing": -1.0}, "smoothing"),
        ({"theta_radius": 0.0}, "theta_radius"),
        ({"theta": [0.0]}, "theta.shape"),
        ({"theta": [np.nan, 0.0]}, "theta must be finite"),
        ({"rho": -0.1}, "rho"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    problem, theta = reference_problem()
    arguments = {"theta": theta, "rho": 0.1, "smoothing": 0.1, "theta_radius": 1.0} | change
    with pytest.raises(ValueError, match=message):
        solve_prox(problem, **arguments)


def test_smoothing_ends_at_1_over_kappa():
    problem, theta = reference_problem()
    limit = 1.0 / problem.constants(1.0, 0.1).curvature
    for share in (1.0001, 1.9):
        with pytest.raises(ValueError, match="smoothing must be below 1 / kappa"):
            solve_prox(problem, theta, 0.1, share * limit, theta_radius=1.0)
    assert solve_prox(problem, theta, 0.1, 0.9 * limit, theta_radius=1.0).error < 1e-6


def test_a_tolerance_out_of_reach_is_an_error():
    problem, theta = reference_problem()
    with pytest.raises(RuntimeError, match="not found: error"):
        solve_prox(problem, theta, 0.1, 0.1, theta_radius=1.0, tolerance=1e-30)


def test_project_of_the_center_is_the_center_whatever_the_radius():
    center = np.array([1.0, -2.0])
    assert np.array_equal(project(center, center, 1e3), center)
    assert_allclose(project([1.0, 2e3], center, 1e3), [1.0, 998.0])


@pytest.mark.parametrize("seed", range(20))
def test_near_1_over_kappa_the_default_tolerance_is_within_reach(seed):
    problem, theta, rho, _, radius, curvature = random_task(seed)
    for room in (1e-3, 1e-5):
        smoothing = (1 - room) / curvature
        found = solve_prox(problem, theta, rho, smoothing, theta_radius=radius, curvature=curvature)
        assert found.error <= 1e-13 * (1 + radius + np.linalg.norm(problem.theta_ref)) / room


def test_the_default_tolerance_is_what_rounding_leaves(monkeypatch):
    problem, theta = reference_problem()
    inspect = moreau._inspect

    def never_near(*arguments):
        found = inspect(*arguments)
        return SimpleNamespace(point=found.point, value=found.value, error=np.inf)

    monkeypatch.setattr(moreau, "_inspect", never_near)
    for radius, contraction in ((0.1, 1e-4), (0.1, 0.5)):
        size = 1.0 + radius + np.linalg.norm(problem.theta_ref)
        expected = max(1e-12, 1e-14 * size / contraction)
        with pytest.raises(RuntimeError, match=re.escape(f"above the tolerance {expected:.1e}")):
            solve_prox(problem, theta, 0.1, 1.0 - contraction, theta_radius=radius, curvature=1.0)


def test_the_tolerance_reaches_every_function():
    problem, theta = reference_problem()
    for function in (prox, envelope, envelope_gradient):
        function(problem, theta, 0.1, 0.1, theta_radius=1.0, tolerance=1e-6)
        with pytest.raises(RuntimeError, match=r"above the tolerance 1\.0e-30"):
            function(problem, theta, 0.1, 0.1, theta_radius=1.0, tolerance=1e-30)
