"""Many parameters at once: the same numbers as one at a time, and the price of bringing a response back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem, losses
from rsail.exact.landscape import collapse_slope, monitors, robust_losses
from tests.exact.problems import random_preferences, random_problem, seeds, tabular

few = settings(deadline=None, derandomize=True, max_examples=25)


@few
@given(seed=seeds, rho=st.floats(0.0, 1.0))
def test_losses_are_those_of_one_parameter_at_a_time(seed, rho):
    problem, theta = random_problem(seed)
    thetas = np.stack([theta, problem.theta_ref, -theta])
    expected = [problem.robust_loss(row, rho) for row in thetas]
    assert_allclose(robust_losses(problem, thetas, rho), expected, rtol=1e-12)


@few
@given(seed=seeds)
def test_monitors_are_their_definitions(seed):
    problem, theta = random_problem(seed)
    log_probs = problem.log_probs(theta)
    probs, mu = np.exp(log_probs), problem.prompt_probs
    found = monitors(problem, theta[None])
    assert_allclose(found.entropy[0], mu @ -(probs * log_probs).sum(axis=1), atol=1e-12)
    assert_allclose(found.identical[0], np.einsum("x,xi,xi->", mu, probs, probs), atol=1e-12)
    assert_allclose(found.kl[0], mu @ (probs * (log_probs - problem.ref_log_probs)).sum(axis=1), atol=1e-12)


def test_collapse_shows_in_the_monitors_not_in_the_loss():
    problem = tabular([1.0, 0.0, -1.0])
    far = np.array([[30.0, 0.0, 0.0], [0.0, 30.0, 0.0]])
    assert_allclose(robust_losses(problem, far, 0.2), np.log(2), atol=1e-9)
    assert_allclose(monitors(problem, far).identical, 1.0, atol=1e-9)
    assert_allclose(monitors(problem, far).entropy, 0.0, atol=1e-9)


@few
@given(seed=seeds, rho=st.floats(0.0, 1.0))
def test_the_price_of_a_returning_response(seed, rho):
    rng = np.random.default_rng(seed)
    count, beta = int(rng.integers(2, 6)), float(rng.uniform(0.7, 2.0))  # the limit is reached as e^beta
    preferences, reference = random_preferences(rng, 1, count), np.log(rng.dirichlet(np.full(count, 3.0)))
    alive = np.append(rng.dirichlet(np.full(count - 1, 3.0)), 0.0)

    def rise(epsilon):
        probs = alive * (1 - epsilon)
        probs[-1] = epsilon
        new = losses.robust_loss(np.log([probs]), [reference], preferences, beta=beta, rho=rho)
        rest = slice(0, count - 1)
        old = losses.robust_loss(
            np.log([alive[rest]]), [reference[rest]], preferences[:, rest, rest], beta=beta, rho=rho
        )
        return (new - old) / epsilon

    slope = collapse_slope(preferences[0], rho, beta, alive, count - 1)
    assert slope >= 0
    assert_allclose((rise(1e-7) - rise(1e-5)) / np.log(100), slope, atol=0.01)


def test_it_is_free_only_against_a_certain_oracle():
    certain = np.array([[0.5, 1.0], [0.0, 0.5]])
    assert collapse_slope(certain, 0.0, 1.0, [1.0, 0.0], 1) == 0
    assert collapse_slope(certain, 0.1, 1.0, [1.0, 0.0], 1) == pytest.approx(0.2)


def test_bad_input_is_named():
    problem = FiniteProblem([[[1.0], [0.0]]], [[[0.5, 0.5], [0.5, 0.5]]], 1.0)
    with pytest.raises(ValueError, match=r"thetas.shape must be \(N, 1\)"):
        robust_losses(problem, np.zeros(3), 0.1)
    with pytest.raises(ValueError, match=r"probs\[response\] must be 0"):
        collapse_slope(problem.preferences[0], 0.1, 1.0, [0.5, 0.5], 1)
