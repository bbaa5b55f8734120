"""Games with an uncertain payoff: maximin over a class with a certificate, stated guarantees, optimism."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from rsail.exact import game
from rsail.exact.game_uncertainty import (
    label_likelihood,
    optimistic_round,
    pessimistic_nash,
    uncertainty,
    version_space,
)
from tests.exact.testbed import assert_regret_identity, random_policy, random_task


def task(seed, size=None):
    """Payoffs (M, X, Y, Y) around one, a reference, beta, prompt weights."""
    rng, _, ref, _, mu = random_task(seed)
    size = int(rng.integers(1, 6)) if size is None else size
    shape = (size, *ref.shape, ref.shape[1])
    payoffs = 1.5 * rng.normal(size=shape[1:]) + 0.7 * rng.normal(size=shape)
    return rng, payoffs - np.swapaxes(payoffs, -1, -2), ref, float(rng.choice([0.1, 0.4, 2.0])), mu


def draw(rng, ref, mu, behavior, count):
    prompts = rng.choice(len(mu), size=count, p=mu)
    arms = [np.array([rng.choice(ref.shape[1], p=np.exp(behavior[x])) for x in prompts]) for _ in range(2)]
    return prompts, *arms


@pytest.mark.parametrize("seed", range(12))
def test_the_maximin_policy_of_a_class_and_its_certificate(seed):
    rng, payoffs, ref, beta, mu = task(seed)
    given = {"payoffs": payoffs, "ref_log_probs": ref, "beta": beta, "prompt_probs": mu}
    found = pessimistic_nash(**given)
    assert abs(found.gap) <= 1e-9
    assert found.weights.min() >= 0 and abs(found.weights.sum() - 1) < 1e-12
    values = game.mixture_value(found.log_probs, payoffs, ref, beta=beta, prompt_probs=mu)
    by_game = [
        game.guaranteed_value(found.log_probs, payoff, ref, beta=beta, prompt_probs=mu) for payoff in payoffs
    ]
    assert_allclose(values, by_game, atol=1e-11)
    assert_allclose(values.min(), found.value, atol=1e-12)
    for scale in (0.1, 1.0, 4.0):
        rival = random_policy(rng, ref.shape, scale)
        assert game.mixture_value(rival, payoffs, ref, beta=beta, prompt_probs=mu).min() < found.value + 1e-10
    if len(payoffs) == 1:
        assert_allclose(found.log_probs, game.nash_policy(payoffs[0], ref, beta=beta), atol=1e-9)
    # It is a Gibbs policy: of what the mixture of replies pays.
    pull = np.einsum("xi,kxij->kxj", np.exp(found.log_probs), payoffs)
    replies = np.exp(log_softmax(ref - pull / beta, axis=-1))
    rewards = np.einsum("k,kxij,kxj->xi", found.weights, payoffs, replies)
    assert abs(assert_regret_identity(found.log_probs, rewards, ref, beta, mu)) < 1e-9


@pytest.mark.parametrize("seed", [0, 3])
def test_the_maximin_policy_by_a_search_over_logits(seed):
    _, payoffs, ref, beta, mu = task(seed, size=3)

    def slack(variables):  # every value minus the level
        policy = log_softmax(variables[1:].reshape(ref.shape), axis=-1)
        return game.mixture_value(policy, payoffs, ref, beta=beta, prompt_probs=mu) - variables[0]

    search = minimize(
        lambda v: -v[0], np.append(-5.0, ref.ravel()), method="SLSQP",
        constraints={"type": "ineq", "fun": slack}, options={"maxiter": 1000, "ftol": 1e-13},
    )  # fmt: skip
    value = pessimistic_nash(payoffs, ref, beta=beta, prompt_probs=mu).value
    assert value - 1e-4 < -search.fun < value + 1e-8


def test_the_second_player_of_the_optimistic_side_is_the_same_policy():
    """min over q of max over p and k of J_k(p, q): no q does better than the pessimist's policy."""
    rng, payoffs, ref, beta, mu = task(4, size=3)
    found = pessimistic_nash(payoffs, ref, beta=beta, prompt_probs=mu)

    def highest(policy):
        worst = []
        for payoff in payoffs:
            reply = game.best_response(policy, payoff, ref, beta=beta, player=1)
            worst.append(game.game_value(reply, policy, payoff, ref, beta=beta, prompt_probs=mu))
        return max(worst)

    assert_allclose(highest(found.log_probs), -found.value, atol=1e-9)
    for scale in (0.05, 1.0):
        nearby = log_softmax(found.log_probs + scale * rng.normal(size=ref.shape), axis=-1)
        assert highest(nearby) > highest(found.log_probs)


@pytest.mark.parametrize("seed", range(8))
def test_the_offline_guarantee(seed):
    """With R* in the version space, pi_hat lacks at most the uncertainty about (pi*, its worst reply)."""
    rng, payoffs, ref, beta, mu = task(seed, size=5)
    truth, center = payoffs[0], payoffs[1]
    behavior = random_policy(rng, ref.shape, 1.0)
    data = draw(rng, ref, mu, behavior, 30)
    radius = float(np.sqrt(np.sum((truth - center)[data] ** 2)))
    inside = version_space(payoffs, center, data, radius=radius * (1 + 1e-12))
    by_hand = [np.sum((payoff - center)[data] ** 2) <= radius**2 * (1 + 1e-9) for payoff in payoffs]
    assert inside[0] and inside[1] and list(inside) == by_hand
    space = payoffs[inside]
    given = {"ref_log_probs": ref, "beta": beta, "prompt_probs": mu}
    found = pessimistic_nash(space, **given)
    nash = game.nash_policy(truth, ref, beta=beta)
    lacks = -game.guaranteed_value(found.log_probs, truth, **given)
    assert found.value <= -lacks + 1e-10  # the truth is in the class
    # p2~: the reply and the payoff with which the class hurts pi* most.
    values = game.mixture_value(nash, space, **given)
    reply = game.best_response(nash, space[values.argmin()], ref, beta=beta, player=2)
    at_pair = np.einsum("x,xi,kxij,xj->k", mu, np.exp(nash), space - truth, np.exp(reply))
    assert lacks <= np.abs(at_pair).max() + 1e-9
    # In terms of coverage: C = max (E[R - center] under the pair)^2 / mean over the data of (R - center)^2.
    shift = np.einsum("x,xi,kxij,xj->k", mu, np.exp(nash), space - center, np.exp(reply))
    seen = np.mean((space - center)[:, *data] ** 2, axis=-1)
    known = seen > 1e-15
    coverage = np.max(shift[known] ** 2 / seen[known], initial=0.0)
    assert np.all(np.abs(shift[~known]) < 1e-9)
    assert lacks <= 2 * radius * np.sqrt(coverage / 30) + 1e-9
    # Both players being one policy, the duality gap is twice what it lacks.
    gap = game.duality_gap(found.log_probs, found.log_probs, truth, **given)
    assert_allclose(gap, 2 * lacks, atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_optimism_and_its_guarantee(seed):
    rng, payoffs, ref, beta, mu = task(seed, size=5)
    truth, center = payoffs[0], payoffs[1]
    data = draw(rng, ref, mu, ref, 12)
    gamma = uncertainty(payoffs, center, data, ridge=0.5, batch=3)
    gaps = payoffs - center
    by_hand = max(
        abs(g[0, 0, 1]) / np.sqrt(0.5 + sum(g[z] ** 2 for z in zip(*data, strict=True)) / 3) for g in gaps
    )
    assert_allclose(gamma[0, 0, 1], by_hand, atol=1e-13)
    # The least width with |R* - center| <= width Gamma by the definition of Gamma.
    width = float(np.sqrt(0.5 + np.sum((truth - center)[data] ** 2) / 3))
    assert np.all(np.abs(truth - center) <= width * gamma + 1e-12)
    given = {"ref_log_probs": ref, "beta": beta, "prompt_probs": mu}
    found = optimistic_round(center, width * gamma, **given)
    assert game.guaranteed_value(found.main, center + width * gamma, **given) >= -1e-10  # optimism
    upper = {"payoff": center + width * gamma, **given}
    answer = game.best_response(found.main, center + width * gamma, ref, beta=beta, player=2)
    assert abs(game.duality_gap(found.main, answer, **upper)) <= 1e-10  # maximin of the upper payoff
    lacks = -game.guaranteed_value(found.main, truth, **given)
    assert -1e-12 <= lacks <= found.bound + 1e-10
    learned = np.einsum("x,xi,xij,xj->", mu, np.exp(found.main), gamma, np.exp(found.second))
    assert_allclose(found.bound, 2 * width * learned, rtol=1e-12)
    pull = -np.einsum("xi,xij->xj", np.exp(found.main), center - width * gamma)
    assert abs(assert_regret_identity(found.second, pull, ref, beta, mu)) < 1e-9
    known = optimistic_round(truth, 0.0 * gamma, **given)
    assert known.bound == 0
    assert_allclose(np.exp(known.main), np.exp(game.nash_policy(truth, ref, beta=beta)), atol=1e-9)


def test_likelihood_of_labels():
    payoffs = np.array([[[[0.0, 2.0], [-2.0, 0.0]]], [[[0.0, -1.0], [1.0, 0.0]]]])
    data, labels = ([0, 0, 0], [0, 0, 1], [1, 1, 0]), [1.0, 0.25, 0.0]
    expected = [
        np.log(expit(r)) + 0.25 * np.log(expit(r)) + 0.75 * np.log(expit(-r)) + np.log(expit(r))
        for r in (2.0, -1.0)
    ]
    assert_allclose(label_likelihood(payoffs, data, labels), expected, atol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pessimistic_nash(np.ones((1, 1, 2, 2)), np.log([[0.5, 0.5]]), beta=1.0),
            "payoffs must be anti",
        ),
        (
            lambda: label_likelihood(np.zeros((1, 1, 2, 2)), ([0], [0], [1]), [1.0, 0.0]),
            "labels.shape must be",
        ),
        (
            lambda: version_space(np.zeros((1, 1, 2, 2)), np.zeros((1, 2, 2)), ([0], [0], [1]), radius=-1.0),
            "radius must be",
        ),
        (
            lambda: uncertainty(np.zeros((1, 1, 2, 2)), np.zeros((1, 2, 2)), ([0], [0], [1]), ridge=0.0),
            "ridge must be",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
