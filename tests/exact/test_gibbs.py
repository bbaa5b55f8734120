"""KL-regularized reward: the optimum, its value, the regret identity, gradients and estimates of the KL."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import log_softmax

from rsail.exact import gibbs
from tests.exact.problems import central_difference
from tests.exact.testbed import assert_regret_identity, random_policy, random_task

TASKS = range(20)


def test_two_responses_by_hand():
    ref = np.log([[0.25, 0.75]])
    found = gibbs.gibbs_policy([[np.log(9.0), 0.0]], ref, beta=1.0)
    assert_allclose(np.exp(found), [[0.75, 0.25]], atol=1e-15)  # 9/4 against 3/4
    assert_allclose(gibbs.log_partition([[np.log(9.0), 0.0]], ref, beta=1.0), [np.log(3.0)], atol=1e-15)
    assert_allclose(
        np.exp(gibbs.gibbs_policy([[np.log(3.0), 0.0]], ref, beta=0.5)), [[0.75, 0.25]], atol=1e-15
    )
    assert_allclose(gibbs.kl(found, ref), 0.75 * np.log(3) + 0.25 * np.log(1 / 3), atol=1e-15)
    skewed = np.log([[0.5, 0.5]])
    assert_allclose(gibbs.kl(skewed, ref), 0.5 * np.log(2) + 0.5 * np.log(2 / 3), atol=1e-15)
    assert_allclose(gibbs.kl(ref, skewed), 0.25 * np.log(0.5) + 0.75 * np.log(1.5), atol=1e-15)


@pytest.mark.parametrize("seed", TASKS)
def test_the_regret_identity_holds_for_every_policy(seed):
    rng, rewards, ref, beta, mu = random_task(seed)
    settings = {"beta": beta, "prompt_probs": mu}
    optimum = gibbs.gibbs_policy(rewards, ref, beta=beta)
    assert abs(assert_regret_identity(optimum, rewards, ref, beta, mu)) < 1e-13
    best = gibbs.optimal_value(rewards, ref, **settings)
    assert_allclose(best, gibbs.value(optimum, rewards, ref, **settings), atol=1e-12)
    for scale in (0.1, 1.0, 4.0):
        policy = random_policy(rng, ref.shape, scale)
        regret = assert_regret_identity(policy, rewards, ref, beta, mu)
        assert regret > 0
        assert_allclose(best - gibbs.value(policy, rewards, ref, **settings), regret, atol=1e-11)


@pytest.mark.parametrize("seed", TASKS)
def test_the_value_of_the_optimum_under_any_calibration_law(seed):
    rng, rewards, ref, beta, mu = random_task(seed)
    best = gibbs.optimal_value(rewards, ref, beta=beta, prompt_probs=mu)
    for _ in range(3):
        law = rng.dirichlet(np.ones(ref.shape[1]), size=len(ref))
        found = gibbs.calibrated_optimal_value(rewards, ref, law, beta=beta, prompt_probs=mu)
        assert_allclose(found, best, atol=1e-12)


def test_a_search_over_logits_ends_at_the_gibbs_policy():
    _, rewards, ref, _, mu = random_task(3)

    def loss(logits):
        policy = log_softmax(logits.reshape(ref.shape), axis=-1)
        return -gibbs.value(policy, rewards, ref, beta=0.5, prompt_probs=mu)

    found = minimize(loss, np.zeros(ref.size), tol=1e-12).x.reshape(ref.shape)
    assert_allclose(log_softmax(found, axis=-1), gibbs.gibbs_policy(rewards, ref, beta=0.5), atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_gradient_of_the_kl_and_the_reference_score(seed):
    rng, _, ref, _, mu = random_task(seed)
    logits = rng.normal(size=ref.size)

    def policy(flat):
        return log_softmax(flat.reshape(ref.shape), axis=-1)

    def chain(coefficients):  # of grad log pi, for a table of logits
        probs = np.exp(policy(logits))
        return (coefficients - probs * coefficients.sum(axis=-1, keepdims=True)).ravel()

    found = chain(gibbs.kl_log_prob_gradient(policy(logits), ref, mu))
    expected = central_difference(lambda flat: gibbs.kl(policy(flat), ref, mu), logits)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    weights = gibbs.reference_score_weights(policy(logits), ref)
    assert_allclose(chain(np.exp(policy(logits)) * weights), chain(np.exp(ref)), atol=1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_estimates_of_the_kl(seed):
    rng, _, ref, _, _ = random_task(seed)
    policy = random_policy(rng, ref.shape)
    estimates = gibbs.kl_estimates(policy - ref)
    means = {name: np.sum(np.exp(policy) * each, axis=-1) for name, each in estimates.items()}
    exact = gibbs.kl_per_prompt(policy, ref)
    assert_allclose(means["k1"], exact, atol=1e-13)
    assert_allclose(means["k3"], exact, atol=1e-12)
    assert np.abs(means["k2"] - exact).max() > 1e-3
    assert estimates["k3"].min() >= 0 > estimates["k1"].min()
    assert_allclose(gibbs.kl_estimates([3.0, -0.5])["k2"], [4.5, 0.125])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gibbs.gibbs_policy([[0.0, 1.0]], np.log([[0.5, 0.5]]), beta=0.0), "beta must be"),
        (lambda: gibbs.gibbs_policy([0.0, 1.0], np.log([[0.5, 0.5]]), beta=1.0), "rewards.shape must be"),
        (lambda: gibbs.gibbs_policy([[0.0, 1.0]], np.log([[0.5, 0.2]]), beta=1.0), "a distribution"),
        (lambda: gibbs.kl(np.log([[0.5, 0.5]]), np.log([[0.5, 0.2]])), "a distribution"),
        (
            lambda: gibbs.calibrated_optimal_value([[0.0, 1.0]], np.log([[0.5, 0.5]]), [0.5, 0.5], beta=1.0),
            "calibration_probs.shape must be",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
