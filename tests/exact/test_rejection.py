"""Choices among draws against enumeration of all draws: best of n, pairs, rejection sampling, ensembles."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import gibbs
from rsail.exact.rejection import (
    best_of_n_estimate,
    best_of_n_kl_bound,
    best_of_n_law,
    best_worst_pair_law,
    multi_step_rejection,
    rejection_sampling,
    uncertainty_weighted_ensemble,
    worst_case_ensemble,
)
from tests.exact.testbed import assert_regret_identity, random_task

TIED = np.array([0.5, 2.0, -1.0, 2.0, 0.5])
PROBS = np.array([0.1, 0.3, 0.25, 0.15, 0.2])


def enumerated(probs, scores, n):
    """The law of (best, worst), each drawn uniformly from the tied draws, over all Y^n draws."""
    joint, same = np.zeros((len(probs), len(probs))), 0.0
    for drawn in product(range(len(probs)), repeat=n):
        chance, values = np.prod(probs[list(drawn)]), scores[list(drawn)]
        best, worst = np.flatnonzero(values == values.max()), np.flatnonzero(values == values.min())
        if values.max() == values.min():
            same += chance
            continue
        for b, w in product(best, worst):
            joint[drawn[b], drawn[w]] += chance / (len(best) * len(worst))
    return joint, same


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("scores", [TIED, np.arange(5.0), np.zeros(5)])
def test_best_and_worst_of_n_by_enumeration(scores, n):
    joint, same = enumerated(PROBS, scores, n)
    best, worst = best_of_n_law(PROBS, scores, n), best_of_n_law(PROBS, -scores, n)
    assert_allclose(best.sum(), 1.0, atol=1e-14)
    if np.ptp(scores) == 0:
        assert_allclose(best, PROBS, atol=1e-14)
        return
    # Where all draws tie, the choice has the base law within the tie.
    tie = np.array([PROBS[scores == s].sum() for s in scores])
    assert_allclose(best, joint.sum(axis=1) + PROBS / tie * tie**n, atol=1e-14)
    assert_allclose(worst, joint.sum(axis=0) + PROBS / tie * tie**n, atol=1e-14)
    if n > 1:
        law, kept = best_worst_pair_law(PROBS, scores, n)
        assert_allclose(kept, 1 - same, atol=1e-14)
        assert_allclose(law, joint / (1 - same), atol=1e-14)


def test_laws_come_in_batches():
    rng = np.random.default_rng(0)
    probs, scores = rng.dirichlet(np.ones(4), size=(2, 3)), rng.normal(size=(2, 3, 4)).round(0)
    scores[..., 0] += 5.0
    laws, (pairs, kept) = best_of_n_law(probs, scores, 3), best_worst_pair_law(probs, scores, 3)
    for at in product(range(2), range(3)):
        assert_allclose(laws[at], best_of_n_law(probs[at], scores[at], 3), atol=1e-15)
        assert_allclose(pairs[at], best_worst_pair_law(probs[at], scores[at], 3)[0], atol=1e-15)
        assert_allclose(kept[at], best_worst_pair_law(probs[at], scores[at], 3)[1], atol=1e-15)


@pytest.mark.parametrize(("n", "published"), [(2, 0.193), (4, 0.636), (8, 1.204), (16, 1.835)])
def test_the_kl_of_best_of_n_and_its_bound(n, published):
    assert_allclose(best_of_n_kl_bound(n), published, atol=5e-4)
    rare = np.full((1, 4000), 1 / 4000)
    law = best_of_n_law(rare, np.arange(4000.0)[None], n)
    found = gibbs.kl(np.log(law), np.log(rare))
    assert best_of_n_kl_bound(n) - 0.02 < found <= best_of_n_kl_bound(n)
    assert_allclose(
        law @ (np.arange(4000) / 4000)[:, None], n / (n + 1), atol=1e-3
    )  # its win rate over the base
    for scores in (TIED, np.arange(5.0)):
        coarse = best_of_n_law(PROBS[None], scores[None], n)
        assert 0 < gibbs.kl(np.log(np.maximum(coarse, 1e-300)), np.log(PROBS[None])) < best_of_n_kl_bound(n)


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_the_estimate_of_best_of_n_is_the_mean_over_all_subsets(n):
    rng = np.random.default_rng(n)
    proxy, gold = rng.integers(0, 4, size=7).astype(float), rng.normal(size=7)
    total = 0.0
    for subset in combinations(range(7), n):
        values = proxy[list(subset)]
        total += gold[list(subset)][values == values.max()].mean()
    assert_allclose(best_of_n_estimate(proxy, gold, n), total / comb(7, n), atol=1e-13)


def test_the_estimate_is_unbiased_and_safe_for_many_draws():
    gold, n, size = np.array([0.3, -1.0, 2.0, 0.7, -0.2]), 2, 4
    mean = sum(
        np.prod(PROBS[list(drawn)]) * best_of_n_estimate(TIED[list(drawn)], gold[list(drawn)], n)
        for drawn in product(range(5), repeat=size)
    )
    assert_allclose(mean, best_of_n_law(PROBS, TIED, n) @ gold, atol=1e-13)
    many = np.random.default_rng(0).normal(size=12_600)
    assert_allclose(best_of_n_estimate(many, np.ones(12_600), 3000), 1.0, atol=1e-9)
    assert_allclose(best_of_n_estimate(many, many, 12_600), many.max(), atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_rejection_sampling_gives_the_gibbs_policy(seed):
    _, rewards, ref, beta, mu = random_task(seed)
    found = rejection_sampling(np.exp(ref), rewards, beta=beta)
    assert found.acceptance.max() == 1.0
    assert_allclose(
        found.acceptance, np.exp((rewards - rewards.max(axis=-1, keepdims=True)) / beta), atol=1e-15
    )
    log_partition = gibbs.log_partition(rewards, ref, beta=beta)
    assert_allclose(np.log(found.rate), log_partition - rewards.max(axis=-1) / beta, atol=1e-12)
    assert abs(assert_regret_identity(np.log(found.probs), rewards, ref, beta, mu)) < 1e-13


def test_a_low_bound_tilts_less_and_keeps_more():
    low = rejection_sampling(PROBS, TIED, beta=0.7, bound=0.5)
    assert_allclose(low.acceptance, [1, 1, np.exp(-1.5 / 0.7), 1, 1], atol=1e-15)
    assert_allclose(low.probs, PROBS * low.acceptance / (PROBS @ low.acceptance), atol=1e-15)
    assert low.rate > rejection_sampling(PROBS, TIED, beta=0.7).rate
    unreached = rejection_sampling([0.5, 0.5, 0.0], [0.0, 1.0, 50.0], beta=1.0)
    assert_allclose(unreached.acceptance[:2], [np.exp(-1), 1.0])


@pytest.mark.parametrize("seed", range(10))
def test_hops_end_at_the_last_gibbs_policy_and_share_its_rate(seed):
    _, rewards, ref, _, mu = random_task(seed)
    betas = [2.0, 1.0, 0.5, 0.2]
    hops = multi_step_rejection(np.exp(ref), rewards, betas)
    for beta, hop in zip(betas, hops, strict=True):
        assert abs(assert_regret_identity(np.log(hop.probs), rewards, ref, beta, mu)) < 1e-12
    once = rejection_sampling(np.exp(ref), rewards, beta=betas[-1])
    rates = np.array([hop.rate for hop in hops])
    assert_allclose(rates.prod(axis=0), once.rate, rtol=1e-11)
    assert np.all(rates.min(axis=0) >= once.rate)
    assert_allclose(
        hops[1].acceptance, np.exp(0.5 * (rewards - rewards.max(axis=-1, keepdims=True))), atol=1e-14
    )


def test_published_ensemble_scores():
    scores = np.array([1.0, 2.0, 4.0])
    assert_allclose(scores.mean(), 2.3333, atol=5e-5)
    assert worst_case_ensemble(scores) == 1.0
    assert_allclose(uncertainty_weighted_ensemble(scores, weight=0.5, unbiased=False), 1.5556, atol=5e-5)
    assert_allclose(uncertainty_weighted_ensemble(scores, weight=0.5, unbiased=True), 1.1667, atol=5e-5)
    table = np.stack([scores, scores[::-1]], axis=-1)
    assert_allclose(
        uncertainty_weighted_ensemble(table, weight=0.5, unbiased=True), [1.166667] * 2, atol=1e-6
    )
    assert_allclose(worst_case_ensemble(table), [1.0, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_of_n_law(PROBS, TIED, 0), "n must be an integer >= 1"),
        (lambda: best_of_n_law(PROBS, TIED[:3], 2), "scores.shape must be"),
        (lambda: best_of_n_law(2 * PROBS, TIED, 2), "probs must be a distribution"),
        (lambda: best_worst_pair_law(PROBS, np.ones(5), 2), "scores must be different"),
        (lambda: best_worst_pair_law(PROBS, TIED, 1), "n must be an integer >= 2"),
        (lambda: best_of_n_estimate([1.0], [1.0], 2), "n must be at most"),
        (lambda: rejection_sampling(PROBS, TIED, beta=0.0), "beta must be"),
        (lambda: multi_step_rejection(PROBS, TIED, [0.5, 1.0]), "betas must be positive and falling"),
        (lambda: uncertainty_weighted_ensemble([1.0], weight=1.0, unbiased=True), "scores.shape must be"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
