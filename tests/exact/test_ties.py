"""Ties: what is zero but for rounding is zero, and nothing else is."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem
from rsail.exact.rscgd import triples
from rsail.exact.ties import TIE, log_linear_scores


def on_a_kink(rng):
    """Features (1, 3, 5), and a move of some length that leaves the first two responses tied but for rounding."""
    features, move = rng.normal(size=(1, 3, 5)), rng.normal(size=5) * 10.0 ** rng.integers(-8, 8)
    normal = features[0, 0] - features[0, 1]
    return features, move - (normal @ move) / (normal @ normal) * normal


def test_a_tie_is_exactly_zero_where_rounding_left_something():
    rng, left = np.random.default_rng(0), 0
    for _ in range(100):
        features, move = on_a_kink(rng)
        scores = log_linear_scores(features, move)
        assert scores[0, 0, 1] == scores[0, 1, 0] == 0 and (np.diagonal(scores[0]) == 0).all()
        assert np.count_nonzero(scores) == 4
        left += (features @ move)[0, 0] != (features @ move)[0, 1]
    assert left > 20  # else the test would show nothing


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_a_small_score_is_kept(shift):
    features = np.array([[[1.0, 0.0], [1.0, 1e-10], [-1.0, 0.0]]]) + shift
    scores = log_linear_scores(features, np.array([1.0, 1.0]))
    assert scores[0, 1, 0] == pytest.approx(1e-10, rel=1e-3) and scores[0, 0, 2] == pytest.approx(2.0)
    assert log_linear_scores(features - shift, np.array([1.0, 0.1 * TIE / 1e-10]))[0, 1, 0] == 0


def test_a_problem_and_its_triples_agree_on_signs():
    rng = np.random.default_rng(1)
    features, move = on_a_kink(rng)
    problem = FiniteProblem.from_rewards(features, rng.normal(size=(1, 3)), beta=0.5)
    both = np.stack([move, rng.normal(size=5)])
    expected = np.stack([problem.pair_scores(theta) for theta in both])
    found = triples(problem, both).scores
    assert np.array_equal(np.sign(found), np.sign(expected)) and expected[0, 0, 0, 1] == 0
    assert np.allclose(found[0], expected[0], rtol=0, atol=1e-14 * np.linalg.norm(move))
    assert np.allclose(found[1], expected[1], rtol=0, atol=1e-14)
    assert (np.abs(expected[1]) > 0).sum() == 6
    assert np.allclose(
        expected[1], (features @ both[1])[:, :, None] - (features @ both[1])[:, None], atol=1e-14
    )


def test_neither_a_common_offset_nor_another_move_widens_the_ties():
    features = np.array([[[1e8, 0.0], [1e8, 1e-5]]])
    small = log_linear_scores(features, np.array([0.0, 1.0]))
    assert_allclose(small, [[[0.0, -1e-5], [1e-5, 0.0]]], rtol=1e-12)
    both = log_linear_scores(features, np.array([[0.0, 1.0], [0.0, 1e14]]))
    assert np.array_equal(both[0], small)
