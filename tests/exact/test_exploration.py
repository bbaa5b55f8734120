"""The enhancer by scans over directions and policies, the ensemble's pair, and online runs of every scheme."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax

from rsail.exact import gibbs
from rsail.exact.bandit import mean_features, random_bandit, rare_response_bandit
from rsail.exact.exploration import (
    SCHEMES,
    enhancer,
    ensemble_pair,
    explore,
    information_gain,
    policy_set_slack,
)
from rsail.exact.pessimism import design_matrix, dual_norm, fit_reward, whitening
from tests.exact.testbed import assert_regret_identity, random_policy


def task(seed, dimension):
    rng = np.random.default_rng(seed)
    bandit = random_bandit(
        rng, int(rng.integers(1, 4)), int(rng.integers(2, 6)), dimension, norm=1.0, beta=1.0
    )
    moves = bandit.draw(bandit.ref_log_probs, bandit.ref_log_probs, 10, rng)[0]
    given = {
        "beta": float(rng.choice([0.1, 0.5, 2.0])),
        "width": float(rng.choice([0.3, 1.0])),
        "prompt_probs": bandit.prompt_probs,
    }
    main = random_policy(rng, bandit.ref_log_probs.shape, 1.0)
    return rng, bandit.features, main, design_matrix(moves, ridge=0.2, batch=5), given


def gain(log_probs, features, main, design, given):
    return information_gain(
        log_probs, main, features, design, width=given["width"], prompt_probs=given["prompt_probs"]
    )


def test_published_design_and_bonus():
    design = design_matrix([[1, 0], [1, 0], [0.5, 0], [0, 0.2]], ridge=1.0, batch=4)
    assert_allclose(design, np.diag([1.5625, 1.01]), atol=1e-15)
    assert_allclose(dual_norm([[0.0, 1.0], [1.0, 0.0]], design), [0.99504, 0.8], atol=5e-6)
    # The same through policies: the main one plays the origin, a rival an axis.
    features, main = np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]), np.log([[1 - 2e-9, 1e-9, 1e-9]])
    rivals = np.log([[1e-9, 1 - 2e-9, 1e-9]]), np.log([[1e-9, 1e-9, 1 - 2e-9]])
    found = [information_gain(rival, main, features, design, width=3.0) for rival in rivals]
    assert_allclose(found, [2.4, 2.98511], atol=5e-6)
    # Against an even main policy the enhancer goes to the unexplored axis.
    even = np.log(np.full((1, 3), 1 / 3))
    second = enhancer(features, even, design, beta=0.01, width=1.0)
    assert np.exp(second[0, 2]) > 0.99


@pytest.mark.parametrize("seed", range(10))
def test_the_enhancer_is_in_its_set_and_the_best_of_all_directions(seed):
    _, features, main, design, given = task(seed, dimension=2)
    found = enhancer(features, main, design, **given)
    slack = policy_set_slack(found, main, features, design, **given)
    assert slack >= -1e-9
    angles = np.linspace(0, 2 * np.pi, 73)[:-1]
    scan = enhancer(
        features, main, design, **given, directions=np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    )
    best = gain(found, features, main, design, given)
    assert_allclose(best, gain(scan, features, main, design, given), rtol=1e-6)
    # Either all that the set allows is spent, or a response is taken for certain in every prompt.
    assert slack < 1e-8 or np.exp(found).max(axis=-1).min() > 1 - 1e-9


def test_where_nothing_forbids_it_the_enhancer_never_draws_the_other_response():
    """The set holds the policy that is sure of the response that pi1 avoids: 0.99 width > 5 beta."""
    main = log_softmax([[0.0, -5.0]], axis=-1)
    found = enhancer(np.array([[[0.0], [1.0]]]), main, np.eye(1), beta=0.1, width=1.0)
    assert found[0, 0] <= -60


@pytest.mark.parametrize("seed", range(10))
def test_no_policy_of_the_set_has_a_larger_gain(seed):
    rng, features, main, design, given = task(seed, dimension=3)
    best = gain(enhancer(features, main, design, **given), features, main, design, given)
    inside = 0
    for _ in range(800):
        direction = whitening(design) @ rng.normal(size=3)
        length = rng.uniform(0, 3) * given["width"] / given["beta"]
        tilted = main + length * (features @ direction) + rng.choice([0.0, 0.2]) * rng.normal(size=main.shape)
        rival = tilted - np.log(np.exp(tilted).sum(axis=-1, keepdims=True))
        if policy_set_slack(rival, main, features, design, **given) >= 0:
            inside += 1
            assert gain(rival, features, main, design, given) <= best + 1e-9
    assert inside > 50


@pytest.mark.parametrize("seed", range(5))
def test_the_set_per_prompt_is_larger(seed):
    rng, features, main, design, given = task(seed, dimension=3)
    rival = random_policy(rng, main.shape)
    wide = policy_set_slack(rival, main, features, design, **given, per_prompt=True)
    narrow = policy_set_slack(rival, main, features, design, **given)
    assert wide >= narrow - 1e-12
    cost = given["beta"] * gibbs.kl(rival, main, given["prompt_probs"])
    shares = np.exp(rival) - np.exp(main)
    by_hand = sum(
        given["prompt_probs"][x] * given["width"] * dual_norm(shares[x] @ features[x], design)
        for x in range(len(main))
    )
    assert_allclose(wide, by_hand - cost, atol=1e-12)


def test_one_known_direction_leaves_the_enhancer_with_the_main_policy():
    features = np.ones((2, 3, 2))
    main = random_policy(np.random.default_rng(0), (2, 3))
    assert_allclose(enhancer(features, main, np.eye(2), beta=1.0, width=1.0), main, atol=1e-12)


def test_the_pair_of_an_ensemble():
    scores = np.array([[1.0, 0.0, 0.5], [1.0, 2.0, 0.5], [1.0, -2.0, 1.1]])
    first, second = ensemble_pair(scores, 0)
    assert (first, second) == (0, 1)
    assert ensemble_pair(scores, 1) == (1, 2)  # the variance of r_1 - r_0 is 4, that of r_1 - r_2 is 5.32
    assert ensemble_pair(np.tile([0.0, 3.0, 1.0], (4, 1)), 2) == (1, 1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_run_is_reproducible_and_its_numbers_are_what_they_say(scheme):
    bandit = random_bandit(np.random.default_rng(0), 2, 4, 3, norm=2.0, beta=0.3)
    given = {"rounds": 5, "batch": 8, "width": 1.0, "ridge": 0.1}
    run = explore(bandit, scheme, **given, rng=np.random.default_rng(1))
    again = explore(bandit, scheme, **given, rng=np.random.default_rng(1))
    assert_allclose(run.log_probs, again.log_probs, atol=0)
    assert_allclose(run.log_probs[0], bandit.ref_log_probs, atol=1e-12)  # no data yet
    for main, regret in zip(run.log_probs, run.regret, strict=True):
        arguments = (bandit.rewards, bandit.ref_log_probs, bandit.beta, bandit.prompt_probs)
        assert_allclose(assert_regret_identity(main, *arguments), regret, atol=1e-12)
    if scheme != "enhancer":
        # The first round has no data: Sigma = 0.1 I.
        uniform = np.full((2, 4), np.log(0.25))
        second = uniform if scheme == "uniform" else run.log_probs[0]
        moves, _ = bandit.draw(run.log_probs[0], second, 8, np.random.default_rng(1))
        assert_allclose(run.potential[0], np.mean(np.sum(moves**2, axis=-1) / 0.1), rtol=1e-12)
    if scheme == "on_policy":
        assert_allclose(run.second_regret, run.regret)
        assert_allclose(run.gain, 0.0, atol=1e-12)
    if scheme == "reference":
        assert_allclose(run.second_regret, bandit.regret(bandit.ref_log_probs))
    if scheme == "uniform":
        assert_allclose(run.second_regret, bandit.regret(uniform))
        move = mean_features(bandit.features, run.log_probs[0], bandit.prompt_probs)
        move = move - mean_features(bandit.features, uniform, bandit.prompt_probs)
        assert_allclose(run.gain[0], np.linalg.norm(move) / np.sqrt(0.1), atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_a_run_can_learn_is_bounded(scheme):
    """sum_t log(1 + mean |move|^2_{Sigma_t^-1}) <= log det(Sigma_T / ridge) <= d log(1 + T L^2 / (ridge d))."""
    bandit = random_bandit(np.random.default_rng(3), 2, 6, 3, norm=2.0, beta=0.3)
    run = explore(bandit, scheme, rounds=12, batch=6, width=1.0, ridge=0.1, rng=np.random.default_rng(1))
    learned = np.cumsum(np.log1p(run.potential))[:-1]
    assert np.all(learned <= run.log_det[1:] + 1e-10)
    moves = bandit.features[:, :, None] - bandit.features[:, None]
    longest = np.sum(moves**2, axis=-1).max()
    rounds = np.arange(12)
    assert np.all(run.log_det <= 3 * np.log1p(rounds * longest / (0.1 * 3)) + 1e-10)
    assert np.all(np.diff(run.log_det) > 0) and run.log_det[0] == 0


def test_offline_comparisons_give_a_run_a_better_start():
    bandit = random_bandit(np.random.default_rng(0), 2, 5, 3, norm=2.0, beta=0.2)
    rng = np.random.default_rng(1)
    data = bandit.draw(bandit.ref_log_probs, bandit.ref_log_probs, 400, rng)
    given = {"rounds": 1, "batch": 8, "width": 1.0, "ridge": 0.1}
    run = explore(bandit, "reference", **given, rng=rng, offline=data)
    assert run.regret[0] < 0.2 * bandit.regret(bandit.ref_log_probs)


def test_the_hybrid_scheme_compares_with_the_reference_and_learns_from_both_sets():
    bandit = random_bandit(np.random.default_rng(0), 2, 5, 3, norm=2.0, beta=0.2)
    ref, given = bandit.ref_log_probs, {"rounds": 4, "batch": 8, "width": 1.0, "ridge": 0.1}
    rng = np.random.default_rng(1)
    moves, labels = bandit.draw(ref, ref, 30, rng)
    run = explore(bandit, "reference", **given, rng=rng, offline=(moves, labels))
    rng = np.random.default_rng(1)
    assert_allclose(bandit.draw(ref, ref, 30, rng)[0], moves, atol=0)
    for t in range(4):
        # Sigma and the estimate see the offline pairs and those of all rounds so far, each with weight 1 / 8.
        design = 0.1 * np.eye(3) + moves.T @ moves / 8
        assert_allclose(run.log_det[t], np.linalg.slogdet(design / 0.1)[1], rtol=1e-12)
        main = gibbs.gibbs_policy(
            bandit.features @ fit_reward(moves, labels, ridge=0.1, batch=8), ref, beta=0.2
        )
        assert_allclose(run.log_probs[t], main, atol=1e-12)
        difference = mean_features(bandit.features, main, bandit.prompt_probs)
        difference = difference - mean_features(bandit.features, ref, bandit.prompt_probs)
        assert_allclose(run.gain[t], np.sqrt(difference @ np.linalg.solve(design, difference)), rtol=1e-9)
        assert run.second_regret[t] == bandit.regret(ref)
        new_moves, new_labels = bandit.draw(main, ref, 8, rng)
        assert_allclose(
            run.potential[t], np.mean(np.sum(new_moves * np.linalg.solve(design, new_moves.T).T, axis=1))
        )
        moves, labels = np.concatenate([moves, new_moves]), np.concatenate([labels, new_labels])


def test_the_hybrid_scheme_goes_on_from_what_the_offline_set_teaches():
    last, offline_only = [], []
    for seed in range(8):
        bandit = random_bandit(np.random.default_rng(seed), 2, 5, 3, norm=2.0, beta=0.2)
        rng = np.random.default_rng(100 + seed)
        data = bandit.draw(bandit.ref_log_probs, bandit.ref_log_probs, 20, rng)
        given = {"rounds": 12, "batch": 20, "width": 1.0, "ridge": 0.1}
        run = explore(bandit, "reference", **given, rng=rng, offline=data)
        last.append(run.regret[-1])
        offline_only.append(run.regret[0])
    assert np.mean(last) < 0.5 * np.mean(offline_only)


def test_the_enhancer_finds_a_rare_response_that_others_miss():
    total = {}
    for scheme in ("enhancer", "on_policy", "uniform"):
        runs = []
        for seed in range(5):
            bandit = rare_response_bandit(np.random.default_rng(seed), 60, 4, beta=0.1)
            rng = np.random.default_rng(seed)
            runs.append(
                explore(bandit, scheme, rounds=10, batch=10, width=0.5, ridge=0.1, rng=rng).regret.sum()
            )
        total[scheme] = np.mean(runs)
    assert total["enhancer"] < 0.6 * total["uniform"] < 0.6 * total["on_policy"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda b: explore(b, "best", rounds=1, batch=1, width=1.0, ridge=1.0, rng=None),
            "scheme must be one of",
        ),
        (
            lambda b: explore(b, "uniform", rounds=0, batch=1, width=1.0, ridge=1.0, rng=None),
            "rounds must be",
        ),
        (lambda b: enhancer(b.features, b.ref_log_probs, np.eye(3), beta=1.0, width=0.0), "width must be"),
        (lambda b: ensemble_pair([[1.0, 2.0]], 0), "scores.shape must be"),
        (lambda b: ensemble_pair([[1.0, 2.0], [1.0, 2.0]], 2), "head must be in 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_bandit(np.random.default_rng(0), 2, 4, 3, norm=2.0, beta=0.3))
