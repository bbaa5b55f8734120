"""Gradient estimates against enumeration: what is unbiased passes, what is biased is caught."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax
from scipy.stats import chi2

from rsail.exact import log_prob_gradient
from rsail.objectives import BASELINES
from rsail.study import gradient_check as gradients
from rsail.study.gradient_check import LEAVE_ONE_OUT, Estimator
from rsail.study.numerical_check import random_oracle

SETTINGS = {"beta": 0.7, "rho": 0.05}
BATCHES = 20_000


@pytest.fixture(scope="module")
def problem():
    """A tabular policy with 2 prompts and 4 responses: the derivatives of log pi along its 8 logits."""
    rng = np.random.default_rng(0)
    policy, reference = log_softmax(rng.normal(size=(2, 2, 4)) * 1.2, axis=-1)
    tables = (policy, reference, random_oracle(rng, 2, 4, 0.1))
    logits = np.zeros((8, 2, 4))
    for x in range(2):
        for k in range(4):
            logits[4 * x + k, x] = (np.arange(4) == k) - np.exp(policy[x, k])
    return tables, logits[[0, 1, 2, 4, 5, 6]]  # three logits of each prompt determine the law


def t_squared(problem, estimator, target, *, count=4, seed=1):
    tables, derivatives = problem
    rng = np.random.default_rng(seed)
    drawn = gradients.draw_responses(tables[0], BATCHES, count, rng)
    c = gradients.estimate_coefficients(estimator, drawn, tables, **SETTINGS, rng=rng)
    exact = np.einsum("xy,dxy->d", log_prob_gradient(*tables, **SETTINGS, score_weight=target), derivatives)
    return gradients.hotelling(gradients.project(c, drawn, derivatives), exact)


@pytest.mark.parametrize("labels", ["probability", "drawn"])
@pytest.mark.parametrize("kind", sorted(BASELINES))
def test_every_baseline_is_unbiased(problem, kind, labels):
    assert chi2.sf(t_squared(problem, Estimator("", kind, labels), 1.0), 6) > 1e-3


@pytest.mark.parametrize("count", [3, 4, 6])
def test_leaving_one_pair_out_shrinks_the_score_term(problem, count):
    estimator = Estimator("", LEAVE_ONE_OUT)
    shrunk = (count - 1) / (count + 1)
    assert chi2.sf(t_squared(problem, estimator, shrunk, count=count), 6) > 1e-3
    assert chi2.sf(t_squared(problem, estimator, 1.0, count=count), 6) < 1e-12


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_score_weight_is_what_it_says(problem, weight):
    estimator = Estimator("", score_weight=weight)
    assert chi2.sf(t_squared(problem, estimator, weight), 6) > 1e-3
    assert chi2.sf(t_squared(problem, estimator, 1.0), 6) < 1e-12


@pytest.mark.parametrize("count", [4, 5, 7])
def test_disjoint_and_per_response_baselines_give_the_same_gradient(problem, count):
    tables, _ = problem
    drawn = gradients.draw_responses(tables[0], 50, count, np.random.default_rng(2))
    same = [
        gradients.estimate_coefficients(Estimator("", kind), drawn, tables, **SETTINGS)
        for kind in ("disjoint", "per_response")
    ]
    assert_allclose(same[0], same[1], rtol=0, atol=1e-13)


def test_projection_and_mean_coefficients_are_the_same_mean(problem):
    tables, derivatives = problem
    rng = np.random.default_rng(3)
    drawn = gradients.draw_responses(tables[0], 100, 4, rng)
    c = gradients.estimate_coefficients(Estimator(""), drawn, tables, **SETTINGS)
    mean = gradients.mean_coefficients(c, drawn, 4)
    projected, error = gradients.mean_and_error(gradients.project(c, drawn, derivatives))
    assert_allclose(np.einsum("xy,dxy->d", mean, derivatives), projected, rtol=0, atol=1e-14)
    assert (error > 0).all()


def test_drawn_responses_follow_the_law(problem):
    tables, _ = problem
    drawn = gradients.draw_responses(tables[0], 5000, 2, np.random.default_rng(4))
    drawn = drawn.swapaxes(0, 1).reshape(2, -1)
    statistic, freedom = gradients.chi_square(drawn, tables[0])
    assert freedom == 6
    assert chi2.sf(statistic, freedom) > 1e-3
    assert chi2.sf(gradients.chi_square(drawn, tables[1])[0], freedom) < 1e-12


def test_chi_square_by_hand_with_rare_responses_as_one():
    law = np.log([[0.5, 0.46, 0.03, 0.01]])
    drawn = np.repeat([0, 1, 2, 3], [40, 55, 3, 2])[None]
    statistic, freedom = gradients.chi_square(drawn, law)
    assert freedom == 2
    assert_allclose(statistic, 10**2 / 50 + 9**2 / 46 + 1**2 / 4)


def test_cosine_and_relative_error():
    assert_allclose(gradients.cosine([1.0, 0.0], [1.0, 1.0]), np.sqrt(0.5))
    assert_allclose(gradients.relative_error([1.0, 1.0], [1.0, 0.0]), 1.0)


def test_bad_input(problem):
    with pytest.raises(ValueError, match="baseline must be one of"):
        Estimator("", "mean")
    with pytest.raises(ValueError, match="labels must be one of"):
        Estimator("", labels="guessed")
    with pytest.raises(ValueError, match="2 batches or more"):
        gradients.mean_and_error(np.zeros((1, 3)))
