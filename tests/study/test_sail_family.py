"""What notebook 05 computes: ascent ends where gradients vanish, fits satisfy their equation, roots are roots."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit

from rsail.exact import sail_family as sail
from rsail.study import sail_family as study


def test_ascent_follows_the_gradient_and_climbs():
    problem, pairs = study.three_responses()
    for setting in sail.SETTINGS:
        path = study.ascent(problem, setting, pairs, [0.5, 0.3, 0.2], 20.0, points=30)
        assert_allclose(path.sum(axis=1), 1, atol=1e-9)
        assert_allclose(path[0], [0.5, 0.3, 0.2], atol=1e-12)
        values = [sail.objective(problem, np.log(policy), setting, pairs) for policy in path]
        assert np.all(np.diff(values) > 0)
        # The first step points where the gradient in the logits does, seen from the simplex.
        theta, policy = np.log(path[0]), path[0]
        push = sail.gradient(problem, theta, setting, pairs)
        along = policy * (push - policy @ push)
        step = path[1] - path[0]
        assert along @ step > 0.99 * np.linalg.norm(along) * np.linalg.norm(step)


def test_stationary_points_run_from_the_true_reward_to_the_maximizer():
    problem, _ = study.three_responses()
    best = study.best_policy(problem, study.REWARDS)
    first, last = study.stationary_points(problem, best, np.linspace(0, 1, 11))[[0, -1]]
    assert_allclose(problem.log_probs(first), problem.log_probs(best), atol=1e-8)
    assert_allclose(problem.sail_gradient(last), 0, atol=1e-10)
    assert np.linalg.norm(problem.sail_gradient(first)) > 1e-2


def test_a_search_without_a_stationary_point_says_so():
    problem, _ = study.three_responses()
    with pytest.raises(RuntimeError, match="no stationary point for weight 5"):
        study.stationary_points(problem, np.array([0.4, -0.2, -0.2]), [5.0])


def test_stationary_policies_are_distinct_sorted_and_stationary():
    def step(z):  # zeros at -1, 0 and 1, the outer two with probabilities that are kept
        return z**3 - z

    found, largest = study.stationary_policies(
        step,
        lambda z: np.array([expit(6 * z[0]), expit(-6 * z[0])]),
        np.array([[-0.9], [0.1], [0.8], [1.1]]),
        0.01,
    )
    assert_allclose(found, [[0.5, 0.5]], atol=1e-9)
    everything, largest = study.stationary_policies(
        step, lambda z: np.array([expit(z[0]), expit(-z[0])]), np.array([[-0.9], [0.1], [0.8], [1.1]])
    )
    assert_allclose(everything[:, 0], expit(np.array([-1.0, 0.0, 1.0])), atol=1e-9)
    assert largest < 1e-10


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 2.0])
def test_fitted_preferences_solve_their_equation(ratio):
    preference = np.linspace(0.02, 0.98, 24)
    fitted = study.fitted_preference(preference, ratio)
    margin = np.log(fitted / (1 - fitted))
    assert_allclose(preference - fitted + ratio * fitted * (1 - fitted) * margin, 0, atol=1e-9)
    assert_allclose(fitted + fitted[::-1], 1, atol=1e-9)
    assert np.all((fitted > 0.5) == (preference > 0.5))
    if ratio == 0:
        assert_allclose(fitted, preference, atol=1e-12)


def test_drawn_steps_average_to_the_preference_term():
    margins = np.linspace(-4, 4, 17)
    for weight in (0.0, 0.3, 1.0):
        first, second = study.drawn_steps(margins, weight)
        mean = expit(margins) * first + expit(-margins) * second
        assert_allclose(mean, weight * expit(margins) * expit(-margins) * margins, atol=1e-14)


def test_simplex_points_are_policies_up_to_the_edges():
    points = study.simplex_points(10)
    assert_allclose(points.sum(axis=1), 1, rtol=1e-12)
    assert points.min() > 0 and points.shape == (66, 3) and points.max() > 0.99


def test_cosines_and_ratios():
    problem, theta = study.random_softmax(np.random.default_rng(0))
    exact = sail.terms(problem, theta, "dpr").response
    cosine, ratio = study.released_against_exact(problem, theta, [0.0, 1e6])
    released = sail.released_response(problem, theta, "dpr")
    assert_allclose(
        cosine[0], released @ exact / np.linalg.norm(released) / np.linalg.norm(exact), rtol=1e-12
    )
    assert_allclose(ratio[0], np.linalg.norm(released) / np.linalg.norm(exact), rtol=1e-12)
    assert_allclose([cosine[1], ratio[1] * 1e6], [-1, 1], atol=1e-3)
