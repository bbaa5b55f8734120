"""One number per response, and rankings, from an oracle of pairs."""

import itertools

import numpy as np
import pytest

from rsail.oracles import bias, draw_rankings, oracle_scores, rank, truth
from rsail.oracles.scores import SUREST


def test_scores_of_a_bradley_terry_oracle_are_its_rewards_less_their_mean():
    rewards = np.random.default_rng(0).normal(size=(4, 5))
    np.testing.assert_allclose(
        oracle_scores(truth(rewards)), rewards - rewards.mean(1, keepdims=True), atol=1e-12
    )


def test_scores_of_another_oracle_are_the_least_squares_fit_to_its_log_odds():
    rng = np.random.default_rng(1)
    preferences = bias(truth(rng.normal(size=(1, 4))), rng.normal(size=(1, 4)), 0.1)
    odds = np.log(preferences[0] / (1 - preferences[0]))
    pairs = list(itertools.combinations(range(4), 2))
    gaps = np.array([np.eye(4)[i] - np.eye(4)[j] for i, j in pairs])
    wanted = np.linalg.lstsq(gaps, np.array([odds[i, j] for i, j in pairs]), rcond=None)[0]
    np.testing.assert_allclose(oracle_scores(preferences)[0], wanted, atol=1e-12)


def test_a_certain_oracle_has_finite_scores():
    sure = np.array([[[0.5, 1.0], [0.0, 0.5]]])
    gap = np.diff(oracle_scores(sure)[0])[0]
    assert gap == pytest.approx(-np.log(SUREST / (1 - SUREST)))


def test_ranks_go_from_the_best_down_and_keep_the_order_of_ties():
    assert rank([[0.0, 3.0, 1.0, 3.0]]).tolist() == [[1, 3, 2, 0]]


def test_rankings_are_drawn_from_the_plackett_luce_law():
    scores, rng = np.array([0.5, -0.3, 1.0]), np.random.default_rng(0)
    drawn = [tuple(row) for row in draw_rankings(np.tile(scores, (20_000, 1)), rng)]
    for ranking in itertools.permutations(range(3)):
        ordered = np.exp(scores[list(ranking)])
        law = np.prod([ordered[k] / ordered[k:].sum() for k in range(3)])
        assert drawn.count(ranking) / len(drawn) == pytest.approx(law, abs=4 * np.sqrt(law / len(drawn)))


def test_bad_tables_are_named():
    with pytest.raises(ValueError, match=r"scores.shape must be \(X, K\)"):
        rank([1.0, 2.0])
    with pytest.raises(ValueError, match="scores must be finite"):
        draw_rankings([[1.0, np.nan]], np.random.default_rng(0))
    with pytest.raises(ValueError, match="preferences must be antisymmetric"):
        oracle_scores(np.full((1, 2, 2), 0.9))
