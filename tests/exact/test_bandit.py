"""Linear bandits: published exact values, draws, and features that cannot express the reward."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit

from rsail.exact import gibbs
from rsail.exact.bandit import (
    LinearBandit,
    li_bandit,
    li_features,
    mean_features,
    random_bandit,
    rare_response_bandit,
)
from tests.exact.testbed import assert_regret_identity

CONTEXTS = 20_000


def test_li_bandit_without_a_kl_term():
    rewards = li_bandit(CONTEXTS, beta=0.01).rewards
    assert_allclose([rewards.max(axis=-1).mean(), rewards.mean()], [1.8634, 0.6631], atol=5e-5)


@pytest.mark.parametrize(
    ("beta", "reward", "divergence"), [(0.01, 1.8634, 1.383), (0.1, 1.8609, 1.343), (1.0, 1.3732, 0.328)]
)
def test_li_bandit_with_a_kl_term(beta, reward, divergence):
    bandit = li_bandit(CONTEXTS, beta=beta)
    assert_allclose(gibbs.expected_reward(bandit.optimum, bandit.rewards), reward, atol=5e-5)
    assert_allclose(gibbs.kl(bandit.optimum, bandit.ref_log_probs), divergence, atol=5e-4)


def test_swapped_features_exchange_sine_and_cosine():
    features, swapped = li_features(8), li_features(8, swapped=True)
    action = np.arange(1, 5)
    assert_allclose(swapped[..., 0] / action, features[..., 1] * action, atol=1e-15)
    assert_allclose(swapped[..., 1] * action, features[..., 0] / action, atol=1e-15)


def test_values_and_regret():
    bandit = random_bandit(np.random.default_rng(0), 3, 5, 4, norm=1.5, beta=0.3)
    assert_allclose(np.linalg.norm(bandit.theta), 1.5, atol=1e-14)
    found = assert_regret_identity(
        bandit.ref_log_probs, bandit.rewards, bandit.ref_log_probs, 0.3, bandit.prompt_probs
    )
    assert_allclose(bandit.regret(bandit.ref_log_probs), found, atol=1e-13)
    assert_allclose(bandit.value(bandit.optimum) - bandit.value(bandit.ref_log_probs), found, atol=1e-12)
    mean = mean_features(bandit.features, bandit.optimum, bandit.prompt_probs)
    by_hand = sum(
        bandit.prompt_probs[x] * np.exp(bandit.optimum[x, y]) * bandit.features[x, y]
        for x in range(3)
        for y in range(5)
    )
    assert_allclose(mean, by_hand, atol=1e-14)


def test_draws_follow_prompts_policies_and_bradley_terry():
    features = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 10.0], [0.0, 0.0]]])
    bandit = LinearBandit(features, [2.0, 0.0], 0.1, prompt_probs=[0.75, 0.25])
    always_first = np.log([[1 - 1e-12, 1e-12]] * 2)
    moves, labels = bandit.draw(always_first, bandit.ref_log_probs, 40_000, np.random.default_rng(0))
    kinds, counts = np.unique(moves, axis=0, return_counts=True)
    assert_allclose(kinds, [[0, 0], [0, 10], [1, 0]])
    assert_allclose(counts / 40_000, [0.5, 0.125, 0.375], atol=0.01)
    for move, chance in (([0, 0], 0.5), ([0, 10], 0.5), ([1, 0], expit(2.0))):
        assert_allclose(labels[(moves == move).all(axis=1)].mean(), chance, atol=0.02)


def test_the_rare_response_is_the_best_and_alone_in_its_feature():
    bandit = rare_response_bandit(np.random.default_rng(0), 30, 4, beta=0.1)
    assert bandit.rewards[0, 0] == 3.0 == bandit.rewards.max() and not bandit.features[0, 1:, -1].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LinearBandit(np.zeros((1, 2)), [0.0, 1.0], 1.0), "features.shape must be"),
        (lambda: LinearBandit(np.zeros((1, 2, 3)), [0.0, 1.0], 1.0), "theta.shape must be"),
        (lambda: LinearBandit(np.zeros((1, 2, 1)), [0.0], -1.0), "beta must be"),
        (
            lambda: LinearBandit(np.zeros((1, 2, 1)), [0.0], 1.0, np.log([[0.2, 0.3, 0.5]])),
            "ref_log_probs.shape",
        ),
        (
            lambda: rare_response_bandit(np.random.default_rng(0), 1, 2, beta=1.0),
            "responses must be an integer >= 2",
        ),
        (
            lambda: rare_response_bandit(np.random.default_rng(0), 2, 1, beta=1.0),
            "dimension must be an integer >= 2",
        ),
        (lambda: li_features(0), "contexts must be an integer >= 1"),
        (lambda: li_bandit(10, beta=1.0).draw([[0.0]], [[0.0]], 2.5, None), "size must be an integer"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
