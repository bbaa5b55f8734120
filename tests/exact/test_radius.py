"""Critical radii: published digits, enumeration over sets, and what they promise."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem, critical_radius, local_critical_radius

from .problems import random_preferences, random_problem, seeds, tabular


@pytest.mark.parametrize(
    ("rewards", "local", "critical"),
    [([0.4, 0.0, -0.4], 0.14433, 0.18997), ([1.0, 0.0, -1.0], 0.30593, 0.38080)],
)
def test_known_values(rewards, local, critical):
    problem = tabular(rewards)
    assert_allclose(problem.local_critical_radius(), local, rtol=0, atol=5e-6)
    assert_allclose(problem.local_critical_radius(clipped=True), local, rtol=0, atol=5e-6)
    assert_allclose(problem.critical_radius(), critical, rtol=0, atol=5e-6)


def test_a_prompt_that_is_never_asked_does_not_count():
    features, preferences = (
        np.eye(4).reshape(2, 2, 4),
        np.array([[[0.5, 0.6], [0.4, 0.5]], [[0.5, 1.0], [0.0, 0.5]]]),
    )
    problem = FiniteProblem(features, preferences, beta=0.1, prompt_probs=[1.0, 0.0])
    assert_allclose([problem.critical_radius(), problem.local_critical_radius()], 0.1)
    assert_allclose(problem.local_critical_radius(clipped=True), 0.1)


def best_set(problem) -> float:
    """max over sets S of the mean of P - 1/2 over S x complement, pairs weighted by the reference."""
    probs, preferences = np.exp(problem.ref_log_probs[0]), problem.preferences[0]
    everything = range(len(probs))
    best = 0.0
    for size in range(1, len(probs)):
        for inside in map(list, combinations(everything, size)):
            outside = [k for k in everything if k not in inside]
            weights = np.outer(probs[inside], probs[outside])
            best = max(best, np.average(preferences[np.ix_(inside, outside)] - 0.5, weights=weights))
    return best


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seeds)
def test_tabular_value_is_the_best_set(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 7))
    problem = tabular(rng.normal(size=size), theta_ref=rng.normal(size=size))
    assert_allclose(problem.local_critical_radius(), best_set(problem), rtol=1e-9)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seeds)
def test_order_of_the_radii(seed):
    problem, _ = random_problem(seed)
    local, clipped = problem.local_critical_radius(), problem.local_critical_radius(clipped=True)
    assert -1e-12 <= local <= clipped + 1e-9
    assert clipped <= problem.critical_radius() + 1e-9


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seeds)
def test_no_parameter_beats_the_reference_from_the_critical_radius_on(seed):
    problem, theta = random_problem(seed)
    rho = problem.critical_radius()
    for scale in (0.1, 1.0, 3.0):
        assert problem.robust_loss(scale * theta, rho) >= np.log(2) - 1e-12
    assert_allclose(problem.robust_loss(problem.theta_ref, rho), np.log(2), rtol=1e-14)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seeds)
def test_the_clipped_radius_separates_escape_from_rest(seed):
    """Just below it one of 720 directions lowers the robust loss, just above it none does."""
    rng = np.random.default_rng(seed)
    preferences = random_preferences(rng, 2, 4)
    problem = FiniteProblem(rng.normal(size=(2, 4, 2)), preferences, beta=1.0, theta_ref=rng.normal(size=2))
    rho = problem.local_critical_radius(clipped=True)
    angles, step = np.linspace(0, 2 * np.pi, 720, endpoint=False), 1e-6
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def steepest(radius):
        losses = [problem.robust_loss(problem.theta_ref + step * v, radius) for v in directions]
        return (min(losses) - np.log(2)) / step

    assert steepest(rho + 0.005) > 0
    assert steepest(rho - 0.005) < 0


def test_the_clipped_loss_can_hold_out_longer():
    """One direction, two kinds of pairs: the rare one is against it, with P too near 0 to be moved by rho."""
    features = np.array([[[1.0], [0.0]], [[1.0], [0.0]]])
    preferences = np.array([[[0.5, 0.9], [0.1, 0.5]], [[0.5, 0.01], [0.99, 0.5]]])
    problem = FiniteProblem(features, preferences, beta=0.1, prompt_probs=[0.9, 0.1])
    local, clipped = problem.local_critical_radius(), problem.local_critical_radius(clipped=True)
    assert_allclose(local, 0.9 * 0.4 - 0.1 * 0.49, rtol=1e-12)  # 0.311
    assert_allclose(clipped, 0.4 - 0.05 / 0.9, rtol=1e-9)  # 0.344...
    between, step = (local + clipped) / 2, np.array([1e-4])
    assert problem.robust_loss(step, between) < np.log(2) < problem.robust_loss(step, clipped + 1e-3)


def test_features_restrict_the_directions():
    free = tabular([1.0, 0.0, -1.0]).local_critical_radius()
    narrow = FiniteProblem.from_rewards([[[1.0], [2.0], [0.0]]], [[1.0, 0.0, -1.0]], beta=0.1)
    assert narrow.local_critical_radius() < free - 0.01


def test_without_a_direction_the_reference_stays():
    blind = FiniteProblem(np.ones((1, 2, 1)), [[[0.5, 0.9], [0.1, 0.5]]], beta=0.1)
    assert blind.local_critical_radius() == 0.0
    fair = FiniteProblem([[[1.0], [0.0]]], np.full((1, 2, 2), 0.5), beta=0.1)
    assert fair.local_critical_radius() == 0.0
    assert fair.critical_radius() == 0.0


def test_prompts_that_are_never_asked_do_not_count():
    preferences = np.array([[[0.5, 0.6], [0.4, 0.5]], [[0.5, 0.9], [0.1, 0.5]]])
    assert_allclose(critical_radius(preferences), 0.4, rtol=1e-12)
    assert_allclose(critical_radius(preferences, prompt_probs=[1.0, 0.0]), 0.1, rtol=1e-12)
    features, half = np.array([[[1.0], [0.0]]] * 2), np.log(np.full((2, 2), 0.5))
    local = local_critical_radius(features, preferences, half, prompt_probs=[1.0, 0.0])
    assert_allclose(local, 0.1, rtol=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="preferences must be antisymmetric"):
        critical_radius(np.full((1, 2, 2), 0.4))
    with pytest.raises(ValueError, match=r"features\.shape"):
        local_critical_radius(np.ones((1, 3, 1)), np.full((1, 2, 2), 0.5), np.log([[0.5, 0.5]]))


@pytest.mark.parametrize("clipped", [False, True])
def test_with_one_response_per_prompt_nothing_moves(clipped):
    problem = FiniteProblem(np.ones((2, 1, 3)), np.full((2, 1, 1), 0.5), beta=1.0)
    assert problem.local_critical_radius(clipped=clipped) == 0.0 == problem.critical_radius()


@pytest.mark.parametrize("clipped", [False, True])
def test_pairs_a_billion_times_rarer_than_the_likeliest_count_as_never_drawn(clipped):
    rewards = np.array([1.0, 0.0, -1.0])
    for rare in (1e-14, 6e-14, 1e-12, 0.9e-9):
        problem = tabular(rewards, theta_ref=[0.0, 0.0, np.log(rare)])
        kept = tabular(rewards[:2])
        found = problem.local_critical_radius(clipped=clipped)
        assert_allclose(found, kept.local_critical_radius(clipped=clipped), rtol=1e-9)
    almost = tabular(rewards, theta_ref=[0.0, 0.0, np.log(2e-9)])
    assert_allclose(almost.local_critical_radius(clipped=clipped), best_set(almost), rtol=1e-6)


def test_a_rare_response_leaves_the_linear_program_bounded():
    # With the rare pairs HiGHS called this one unbounded.
    rng = np.random.default_rng(194)
    size = int(rng.integers(3, 6))
    rare = np.append(np.zeros(size - 1), np.log(10 ** rng.uniform(-15, -9)))
    rewards = rng.normal(size=size)
    found = tabular(rewards, theta_ref=rare).local_critical_radius()
    assert_allclose(found, best_set(tabular(rewards[:-1])), rtol=1e-6)
