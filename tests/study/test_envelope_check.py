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
def ratios():
    return lemma_ratios(POINTS, seed=0)


@pytest.mark.parametrize("name", envelope_check.LEMMAS)
def test_the_lemma_holds_at_every_random_point(ratios, name):
    assert ratios[name].shape == (POINTS,)
    assert ratios[name].max() <= 1


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
    assert max(lemma(point, rng, length=length) for point in some_points) <= 1


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


def test_random_points_cover_kinks_the_boundary_and_the_interior(some_points):
    tied = sum(len(point.subgradients(point.theta).normals) > 0 for point in some_points)
    offsets = np.array([np.linalg.norm(p.theta - p.problem.theta_ref) / p.theta_radius for p in some_points])
    assert tied > 20 and np.sum(offsets > 1 - 1e-9) > 10 and np.sum(offsets < 0.9) > 50
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
