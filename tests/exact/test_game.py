"""Preference games: Nash policies with certificates, Bradley-Terry, cycles, and a stated consequence that is false."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit

from rsail.exact import game, gibbs
from tests.exact.problems import random_preferences
from tests.exact.testbed import assert_regret_identity, bradley_terry, random_policy, random_task


def cycle(*entries):
    """The payoff (3, 3) of R12, R23, R31."""
    payoff = np.zeros((3, 3))
    payoff[0, 1], payoff[1, 2], payoff[2, 0] = entries
    return payoff - payoff.T


def random_payoff(seed):
    rng, _, ref, _, mu = random_task(seed)
    payoff = rng.normal(size=(*ref.shape, ref.shape[1])) * rng.choice([0.3, 2.0, 10.0])
    return rng, payoff - np.swapaxes(payoff, -1, -2), ref, float(rng.choice([0.02, 0.2, 2.0])), mu


@pytest.mark.parametrize("seed", range(24))
def test_the_nash_policy_and_its_certificate(seed):
    rng, payoff, ref, beta, mu = random_payoff(seed)
    given = {"payoff": payoff, "ref_log_probs": ref, "beta": beta, "prompt_probs": mu}
    nash = game.nash_policy(payoff, ref, beta=beta)
    assert abs(game.duality_gap(nash, nash, **given)) <= 1e-10
    assert_allclose(game.game_value(nash, nash, **given), 0.0, atol=1e-12)
    assert_allclose(game.guaranteed_value(nash, **given), 0.0, atol=1e-10)
    first, second = game.equilibrium(payoff, ref, beta=beta)
    assert_allclose(first, second, atol=1e-7)  # unique, hence symmetric
    for scale in (0.3, 3.0):
        rival = random_policy(rng, ref.shape, scale)
        assert game.game_value(nash, rival, **given) >= -1e-10
        assert game.guaranteed_value(rival, **given) < 0 < game.duality_gap(rival, rival, **given)
    rewards = np.einsum("xij,xj->xi", payoff, np.exp(nash))
    assert abs(assert_regret_identity(nash, rewards, ref, beta, mu)) < 1e-10


@pytest.mark.parametrize("seed", range(12))
def test_the_gap_by_its_definition_and_best_responses(seed):
    rng, payoff, ref, beta, mu = random_payoff(seed)
    payoff = payoff + rng.normal(size=payoff.shape)  # no longer antisymmetric
    given = {"payoff": payoff, "ref_log_probs": ref, "beta": beta, "prompt_probs": mu}
    first, second = (random_policy(rng, ref.shape) for _ in range(2))
    replies = [
        game.best_response(other, payoff, ref, beta=beta, player=player)
        for player, other in ((1, second), (2, first))
    ]
    gap = game.game_value(replies[0], second, **given) - game.game_value(first, replies[1], **given)
    assert_allclose(game.duality_gap(first, second, **given), gap, rtol=1e-10)
    for _ in range(20):
        rival = random_policy(rng, ref.shape)
        assert game.game_value(rival, second, **given) <= game.game_value(replies[0], second, **given) + 1e-12
        assert game.game_value(first, rival, **given) >= game.game_value(first, replies[1], **given) - 1e-12
    assert abs(game.duality_gap(*game.equilibrium(payoff, ref, beta=beta), **given)) <= 1e-10
    against = np.einsum("xij,xj->xi", payoff, np.exp(second))
    assert abs(assert_regret_identity(replies[0], against, ref, beta, mu)) < 1e-10 * (
        1 + np.abs(payoff).max()
    )
    assert_allclose(
        game.mixture_value(first, payoff[None], ref, beta=beta, prompt_probs=mu),
        [game.guaranteed_value(first, **given)],
        atol=1e-11,
    )


def test_one_sided_game_value_by_hand():
    payoff, ref = np.array([[[0.0, 1.0], [-1.0, 0.0]]]), np.log([[0.5, 0.5]])
    first, second = np.log([[0.75, 0.25]]), np.log([[0.2, 0.8]])
    won = 0.75 * 0.8 - 0.25 * 0.2
    cost = 0.75 * np.log(1.5) + 0.25 * np.log(0.5) - 0.2 * np.log(0.4) - 0.8 * np.log(1.6)
    assert_allclose(game.game_value(first, second, payoff, ref, beta=2.0), won - 2 * cost, atol=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_under_bradley_terry_the_nash_policy_is_the_gibbs_policy(seed):
    rng, rewards, ref, beta, mu = random_task(seed)
    payoff = game.log_odds_payoff(bradley_terry(rewards))
    assert_allclose(payoff, rewards[:, :, None] - rewards[:, None, :], atol=1e-10)
    optimum = gibbs.gibbs_policy(rewards, ref, beta=beta)
    assert_allclose(np.exp(game.nash_policy(payoff, ref, beta=beta)), np.exp(optimum), atol=1e-9)
    # J(pi*, p2) >= 0 against 20,000 rivals, 0 against itself; it is the rival's regret.
    given = {"payoff": payoff, "ref_log_probs": ref, "beta": beta, "prompt_probs": mu}
    assert_allclose(game.game_value(optimum, optimum, **given), 0.0, atol=1e-12)
    rivals = rng.dirichlet(np.ones(ref.shape[1]), size=(20_000, len(ref)))
    won = np.einsum("x,xi,xij,nxj->n", mu, np.exp(optimum), payoff, rivals)
    costs = np.sum(rivals * (np.log(np.maximum(rivals, 1e-300)) - ref), axis=-1) @ mu
    values = won - beta * gibbs.kl(optimum, ref, mu) + beta * costs
    assert values.min() > 0
    some = np.log(np.maximum(rivals[0], 1e-300))
    assert_allclose(values[0], gibbs.regret(some, rewards, ref, beta=beta, prompt_probs=mu), atol=1e-10)


def test_a_fair_cycle_is_played_evenly():
    uniform = np.log(np.full((1, 3), 1 / 3))
    assert_allclose(game.nash_policy(cycle(2, 2, 2)[None], uniform, beta=0.1), uniform, atol=1e-10)
    assert_allclose(game.zero_sum_nash(cycle(2, 2, 2)), np.full(3, 1 / 3), atol=1e-9)
    skewed = np.log([[0.6, 0.3, 0.1]])
    close = [np.exp(game.nash_policy(cycle(2, 2, 2)[None], skewed, beta=beta)) for beta in (100.0, 0.003)]
    assert_allclose(close, [np.exp(skewed), np.full((1, 3), 1 / 3)], atol=0.02)


def test_with_log_odds_an_even_game_does_not_mean_an_even_win_rate():
    """A Nash policy for R is not preferred over every rival with probability 1/2: 0.349 against the second response."""
    payoff = cycle(10, 1, 1)
    law = game.zero_sum_nash(payoff)
    assert_allclose(law, np.array([1, 1, 10]) / 12, atol=1e-9)
    assert (law @ payoff).min() >= -1e-9  # nothing is lost in R ...
    wins = law @ expit(payoff)
    assert_allclose(wins[1], 0.349, atol=5e-4)  # ... yet the second response wins most of the time
    # With a small KL term the same: far below the promised 1 / (1 + e^eps) at eps = 0.
    given = {"payoff": payoff[None], "ref_log_probs": np.log(np.full((1, 3), 1 / 3)), "beta": 0.01}
    nash = game.nash_policy(**given)
    assert game.guaranteed_value(nash, **given) >= -1e-12
    assert np.exp(nash[0]) @ expit(payoff[:, 1]) < 0.36


@pytest.mark.parametrize("seed", range(10))
def test_with_win_rates_as_payoff_the_consequence_holds(seed):
    rng = np.random.default_rng(seed)
    preferences = random_preferences(rng, 1, 6)
    payoff = game.win_rate_payoff(preferences)
    assert (game.zero_sum_nash(payoff[0]) @ preferences[0]).min() >= 0.5 - 1e-9
    ref = np.log(rng.dirichlet(np.full(6, 2.0))[None])
    nash = np.exp(game.nash_policy(payoff, ref, beta=0.01))
    # The KL term costs at most beta (KL of the rival to the reference).
    assert (nash[0] @ preferences[0] - 0.5 >= 0.01 * ref[0]).all()


REF = np.log([[0.5, 0.5]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: game.log_odds_payoff([[[0.5, 1.0], [0.0, 0.5]]]), r"preferences must be in \(0, 1\)"),
        (lambda: game.log_odds_payoff([[0.5, 0.5], [0.5, 0.5]]), "preferences.shape must be"),
        (lambda: game.nash_policy(np.ones((1, 2, 2)), REF, beta=1.0), "payoff must be antisymmetric"),
        (
            lambda: game.best_response(REF, np.zeros((1, 2, 2)), REF, beta=1.0, player=3),
            "player must be one of",
        ),
        (lambda: game.game_value(REF, REF, np.zeros((2, 2)), REF, beta=1.0), "payoff.shape must be"),
        (lambda: game.nash_policy(np.zeros((1, 2, 2)), REF, beta=0.0), "beta must be"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
