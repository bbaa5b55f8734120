"""The envelope's lemmas at 1,000 random points, and that none of their constants can be smaller where that is said."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from rsail.exact import FiniteProblem, rates
from rsail.exact.subdifferential import pieces
from rsail.study import envelope_check
from rsail.study.envelope_check import Point, independent_prox, lemma_ratios, random_point

POINTS = 1000


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    return [random_point(rng) for _ in range(POINTS)]


@pytest.fixture(scope="module")
def ratios(points):
    return lemma_ratios(points, seed=0)


@pytest.mark.parametrize("name", envelope_check.LEMMAS)
def test_the_lemma_holds_at_every_random_point_where_it_says_something(points, ratios, name):
    trivial = envelope_check.places(points)["with a vanishing envelope gradient"]
    assert POINTS - trivial <= len(ratios[name]) <= POINTS
    assert ratios[name].max() <= 1


@pytest.mark.parametrize("name", ["Lemma C.1", "Lemma D.1"])
def test_stationary_points_do_not_count(points, ratios, name):
    trivial = envelope_check.places(points)["with a vanishing envelope gradient"]
    assert 0 < trivial < POINTS / 4 and len(ratios[name]) == POINTS - trivial
    still = next(p for p in points if not np.any(p.found.gradient))
    assert np.isnan(envelope_check.LEMMAS[name](still, np.random.default_rng(0)))


@pytest.mark.parametrize("name", ["Lemma 4.11, gradient", "Lemma 4.11, near-stationarity", "Lemma D.3"])
def test_the_constant_cannot_be_smaller(ratios, name):
    assert (ratios[name] / 0.999).max() > 1


@pytest.fixture(scope="module")
def some_points():
    rng = np.random.default_rng(1)
    return [random_point(rng) for _ in range(150)]


@pytest.mark.parametrize("lemma", [envelope_check.lemma_4_11_smooth, envelope_check.lemma_c2])
@pytest.mark.parametrize("length", [rates.gradient_lipschitz, lambda s, k: rates.envelope_smoothness(s, k)])
def test_the_addition_holds_with_a_smaller_smoothness_constant(some_points, lemma, length):
    rng = np.random.default_rng(2)
    assert (
        max(lemma(point, rng, length=length) for point in some_points) <= 1 + 1e-12
    )  # rounding: it is attained


def test_the_one_step_inequality_holds_with_1_over_smoothing_and_with_nothing_smaller(some_points):
    rng = np.random.default_rng(3)

    def sharp(smoothing, curvature):
        return rates.envelope_smoothness(smoothing, curvature, sharp=True)

    assert max(envelope_check.lemma_c2(point, rng, length=sharp) for point in some_points) <= 1
    # At a kink that attracts a neighborhood the envelope is the quadratic itself, so that the step pays all of it.
    kink = Point(two_responses(0.6), np.zeros(1), rho=0.4, theta_radius=1.0, share=0.01)
    exact = max(envelope_check.lemma_c2(kink, rng, length=sharp) for _ in range(10))
    assert 0.999999 < exact <= 1


def test_the_lipschitz_constant_of_the_addition_cannot_be_smaller(some_points):
    rng = np.random.default_rng(4)

    def smaller(smoothing, curvature):
        return 0.95 * rates.gradient_lipschitz(smoothing, curvature)

    kink = Point(two_responses(0.6), np.zeros(1), rho=0.4, theta_radius=1.0, share=0.01)
    assert max(envelope_check.lemma_4_11_smooth(kink, rng, length=smaller) for _ in range(50)) > 1


@pytest.mark.parametrize("lemma", [envelope_check.lemma_c1, envelope_check.lemma_d1])
def test_with_less_than_the_problems_own_curvature_the_lemma_fails(lemma):
    # Near the ridge between the reference and collapse (Example 4.4) the loss is a concave parabola.
    problem, rho = two_responses(0.5), 0.4
    ridge = minimize_scalar(
        lambda t: -problem.robust_loss([t], rho), bounds=(0.5, 2.5), options={"xatol": 1e-12}
    )
    own = -pieces(problem, ridge.x * np.ones(1), rho).hessian[0, 0]
    assert own > 0.05
    beside = Point(problem, ridge.x * np.ones(1) + 1e-4, rho, theta_radius=3.0, share=0.5)
    assert beside.curvature > own
    rng = np.random.default_rng(0)
    assert lemma(beside, rng) <= lemma(beside, rng, curvature=1.001 * own) <= 1
    assert lemma(beside, rng, curvature=0.99 * own) > 1
    assert lemma(beside, rng, curvature=0.0) > 1


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_where_the_loss_is_most_concave_the_lipschitz_constant_cannot_be_smaller(share):
    # Beyond kappa smoothing = 1/2 the concave parabola decides, not the kink.
    problem, rho = two_responses(0.5), 0.4
    found = minimize_scalar(
        lambda t: problem.robust_hessian([t], rho)[0, 0], bounds=(0.1, 2.0), options={"xatol": 1e-12}
    )
    curvature, steepest = -found.fun, np.array([found.x])
    assert all(problem.robust_hessian([t], rho)[0, 0] >= -curvature for t in np.linspace(1e-3, 3, 500))
    theta = steepest + share / curvature * problem.robust_subgradient(steepest, rho)  # its prox is `steepest`
    point = Point(problem, theta, rho, theta_radius=3.0, share=share)
    vars(point)["curvature"] = curvature  # the loss's own, which is less than what is proved for all losses
    np.testing.assert_allclose(point.found.point, steepest, atol=1e-9)
    rng = np.random.default_rng(0)

    def smaller(smoothing, curvature):
        return 0.99 * rates.gradient_lipschitz(smoothing, curvature)

    def largest(length):
        return max(envelope_check.lemma_4_11_smooth(point, rng, length=length) for _ in range(100))

    assert largest(rates.gradient_lipschitz) <= 1 + 1e-9
    assert (largest(smaller) > 1) == (share > 0.5)


def test_on_a_ridge_the_factor_of_lemma_c2_cannot_be_larger():
    problem, rho = two_responses(0.5), 0.4
    ridge = minimize_scalar(
        lambda t: -problem.robust_loss([t], rho), bounds=(0.5, 2.5), options={"xatol": 1e-12}
    ).x
    own = -problem.robust_hessian([ridge], rho)[0, 0]
    point, rng = Point(problem, np.array([ridge + 0.02]), rho, theta_radius=3.0, share=0.5), None
    step = 1e-6 * point.smoothing  # so small that the right side, which is quadratic in it, does not help
    assert envelope_check.lemma_c2(point, rng, step=step) <= 1
    assert envelope_check.lemma_c2(point, rng, step=step, curvature=own) <= 1
    assert envelope_check.lemma_c2(point, rng, step=step, curvature=0.95 * own) > 1


def test_random_points_cover_kinks_the_boundary_and_the_interior(points, some_points):
    found = envelope_check.places(points)
    assert found["on a kink elsewhere"] > 150 and found["on the boundary"] > 100
    assert 50 < found["at the reference"] < 200
    reference = Point(two_responses(0.6), np.zeros(1), 0.4, 1.0, 0.5)
    assert envelope_check.places([reference])["at the reference"] == 1
    corner = FiniteProblem(np.eye(2)[None], two_responses(0.6).preferences, beta=1.0)
    kink = Point(corner, np.full(2, 0.5), 0.3, 1.0, 0.5)
    assert envelope_check.places([kink, reference])["on a kink elsewhere"] == 1
    offsets = np.array([np.linalg.norm(p.theta - p.problem.theta_ref) / p.theta_radius for p in some_points])
    assert np.sum(offsets < 0.9) > 50
    solved = [point.subgradients(point.found.point).normals for point in some_points]
    assert sum(len(normals) > 0 for normals in solved) > 10


def test_the_independent_prox_knows_the_soft_threshold():
    # P = 1/2 and beta small: F is 0.5 lam |theta| to third order, so the prox is close to soft thresholding.
    problem, rho, smoothing = two_responses(0.5, beta=0.01), 0.5, 0.2
    slope = 0.5 * rho * problem.beta
    found = independent_prox(problem, np.array([0.01]), rho, smoothing, theta_radius=1.0, accuracy=1e-12)
    np.testing.assert_allclose(found, [0.01 - smoothing * slope], atol=1e-7)
    inside = independent_prox(problem, np.array([1e-5]), rho, smoothing, theta_radius=1.0, accuracy=1e-12)
    assert abs(inside[0]) <= 1e-12


def two_responses(preference, beta=1.0):
    """Example 4.4: one prompt, two responses, one parameter."""
    return FiniteProblem([[[1.0], [0.0]]], [[[0.5, preference], [1 - preference, 0.5]]], beta)
