"""KL penalties in both directions: values, derivatives, eigenvalues, and the coefficient that makes J concave."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from numpy.testing import assert_allclose
from scipy.special import rel_entr

from rsail.exact import FiniteProblem
from rsail.exact import reference_kl as kl
from rsail.exact import sail_family as sail
from rsail.exact.constants import centered_feature_bound, refined_constants

from .problems import central_difference, random_problem, seeds
from .test_sail_family import THETA, four_responses, random_pairs, sum_zero_eigenvalues

everywhere = settings(deadline=None, derandomize=True, max_examples=40)
REF_FIRST, POLICY_FIRST = kl.DIRECTIONS


def in_ball(rng, problem, radius):
    direction = rng.normal(size=len(problem.theta_ref))
    return problem.theta_ref + radius * rng.uniform() * direction / np.linalg.norm(direction)


def test_eigenvalues_of_the_test_vectors():
    problem, pairs = four_responses()
    penalized = kl.penalized(problem, THETA, "dpr", 0.5, REF_FIRST, pairs)
    assert_allclose(
        sum_zero_eigenvalues(problem, penalized.hessian), [-0.2287, -0.0957, -0.0895], rtol=0, atol=5.01e-5
    )
    far = np.array([3.0, -2.0, 1.0, 0.0])
    assert_allclose(
        sum_zero_eigenvalues(problem, kl.reference_kl(problem, far, POLICY_FIRST).hessian)[0],
        -0.126, rtol=0, atol=5.01e-4,
    )  # fmt: skip
    assert sum_zero_eigenvalues(problem, kl.reference_kl(problem, far, REF_FIRST).hessian)[0] > 0.007


@everywhere
@given(seeds)
def test_values_are_relative_entropies_and_derivatives_are_derivatives(seed):
    problem, theta = random_problem(seed)
    policy, reference = np.exp(problem.log_probs(theta)), np.exp(problem.ref_log_probs)
    expected = {
        REF_FIRST: problem.prompt_probs @ rel_entr(reference, policy).sum(axis=-1),
        POLICY_FIRST: problem.prompt_probs @ rel_entr(policy, reference).sum(axis=-1),
    }
    for direction, value in expected.items():
        found = kl.reference_kl(problem, theta, direction)
        assert_allclose(found.value, value, rtol=1e-11, atol=1e-14)
        slope = central_difference(lambda x, d=direction: kl.reference_kl(problem, x, d).value, theta)
        assert_allclose(found.gradient, slope, rtol=1e-6, atol=1e-8)
        rows = [
            central_difference(lambda x, d=direction, k=k: kl.reference_kl(problem, x, d).gradient[k], theta)
            for k in range(len(theta))
        ]
        assert_allclose(found.hessian, rows, rtol=1e-6, atol=1e-7)
    assert np.linalg.eigvalsh(kl.reference_kl(problem, theta, REF_FIRST).hessian).min() > -1e-12


@everywhere
@given(seeds)
def test_the_penalized_objective_adds_up(seed):
    problem, theta = random_problem(seed)
    pairs = random_pairs(problem, seed)
    for setting in sail.SETTINGS:
        found = kl.penalized(problem, theta, setting, 0.3, POLICY_FIRST, pairs)
        slope = central_difference(
            lambda x, s=setting: kl.penalized(problem, x, s, 0.3, POLICY_FIRST, pairs).value, theta
        )
        assert_allclose(found.gradient, slope, rtol=1e-6, atol=1e-8)
    plain = kl.penalized(problem, theta, "dpr", 0.0, REF_FIRST)
    assert plain.value == sail.objective(problem, theta, "dpr")


@everywhere
@given(seeds)
def test_bounds_hold_on_the_ball(seed):
    problem, _ = random_problem(seed)
    rng, basis = np.random.default_rng(seed), kl.identifiable_basis(problem.features)
    assume(basis.size > 0)
    radius = rng.uniform(0.1, 2.0)
    bound = centered_feature_bound(problem.features)
    rise = kl.curvature_bound(bound, radius, problem.beta)
    assert refined_constants(bound, radius, problem.beta, 0.0).curvature < rise
    coefficient, floor = kl.concave_coefficient(problem, radius), kl.fisher_floor(problem, radius)
    for _ in range(5):
        theta = in_ball(rng, problem, radius)
        top = np.linalg.eigvalsh(basis.T @ sail.hessian(problem, theta, "dpr") @ basis)[-1]
        fisher = np.linalg.eigvalsh(basis.T @ kl.reference_kl(problem, theta, REF_FIRST).hessian @ basis)[0]
        assert top <= rise and fisher >= floor * (1 - 1e-9)
        penalized = kl.penalized(problem, theta, "dpr", coefficient, REF_FIRST).hessian
        assert np.linalg.eigvalsh(basis.T @ penalized @ basis)[-1] <= 1e-9 * coefficient


def test_bounds_are_the_formulas_stated():
    B, D, beta = 1.3, 0.7, 0.4
    expected = 4 * np.sqrt(2) * beta * B**2 + 2 * B**2 * np.log(1 + np.exp(2 * beta * D * B))
    assert_allclose(kl.curvature_bound(B, D, beta), expected, rtol=1e-13)
    two = FiniteProblem(
        [[[B], [-B]]], np.full((1, 2, 2), 0.5), beta
    )  # the uniform reference has variance B^2
    assert_allclose(kl.fisher_floor(two, D), np.exp(-2 * D * B) * B**2, rtol=1e-13)
    rise = refined_constants(B, D, beta, 0.0).curvature
    assert_allclose(kl.concave_coefficient(two, D), rise / (np.exp(-2 * D * B) * B**2), rtol=1e-13)


def test_beyond_the_coefficient_the_pl_inequality_holds():
    """(1/2) |grad|^2 >= modulus (maximum - value) at points of the ball, the maximum inside it."""
    problem, _ = four_responses()
    radius, basis = 0.5, kl.identifiable_basis(problem.features)
    least = kl.concave_coefficient(problem, radius)
    coefficient = 1.2 * least
    modulus = (coefficient - least) * kl.fisher_floor(problem, radius)
    best = problem.theta_ref.copy()
    for _ in range(50):
        found = kl.penalized(problem, best, "dpr", coefficient, REF_FIRST)
        best = best - basis @ np.linalg.solve(basis.T @ found.hessian @ basis, basis.T @ found.gradient)
    top = kl.penalized(problem, best, "dpr", coefficient, REF_FIRST)
    assert np.linalg.norm(top.gradient) < 1e-14 and np.linalg.norm(best - problem.theta_ref) < radius
    rng = np.random.default_rng(0)
    for _ in range(200):
        found = kl.penalized(problem, in_ball(rng, problem, radius), "dpr", coefficient, REF_FIRST)
        assert 0.5 * found.gradient @ found.gradient >= modulus * (top.value - found.value)


def test_the_basis_spans_what_pair_scores_see():
    problem, _ = four_responses()
    basis = kl.identifiable_basis(problem.features)
    assert_allclose(basis @ basis.T, np.eye(4) - 0.25, atol=1e-14)
    shared = np.stack([np.eye(3)[:2], np.eye(3)[:2]])  # the third feature is never used
    assert kl.identifiable_basis(shared).shape == (3, 1)


def test_bad_arguments_are_named():
    problem, _ = four_responses()
    with pytest.raises(ValueError, match=r"policy_to_reference, reference_to_policy, got 'reverse'"):
        kl.reference_kl(problem, THETA, "reverse")
    with pytest.raises(ValueError, match="coefficient"):
        kl.penalized(problem, THETA, "dpr", -1.0, REF_FIRST)
    with pytest.raises(ValueError, match="features"):
        kl.fisher_floor(FiniteProblem(np.ones((1, 2, 1)), np.full((1, 2, 2), 0.5), 1.0), 1.0)
    with pytest.raises(ValueError, match="theta_radius"):
        kl.curvature_bound(1.0, -1.0, 0.5)
