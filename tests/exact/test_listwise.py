"""Rankings: the worst of all K!, the worst law of a total-variation ball, and where the pairwise case differs."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rsail.exact import one_pair_loss
from rsail.exact.listwise import (
    all_rankings,
    plackett_luce_gradient,
    plackett_luce_loss,
    ranking_law,
    robust_listwise_gradient,
    robust_listwise_loss,
    total_variation_linear_program,
    total_variation_worst_case,
    worst_ranking,
)
from tests.exact.problems import central_difference, seeds

shares = st.floats(0.0, 1.0)
few = settings(deadline=None, derandomize=True, max_examples=40)


def draw(seed, largest=5):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, largest + 1))
    scores = 2 * rng.normal(size=count)
    if count > 2 and rng.random() < 0.3:
        scores[0] = scores[1]  # a tie
    return rng, scores, rng.permutation(count)


def losses_of_all(scores):
    rankings = all_rankings(len(scores))
    return plackett_luce_loss(np.broadcast_to(scores, rankings.shape), rankings)


def test_reference_vector():
    scores, seen = [1.0, 0.0, -0.5, 2.0], [3, 0, 1, 2]
    assert_allclose(plackett_luce_loss(scores, seen), 1.399219, atol=5e-7)
    assert list(worst_ranking(scores)) == [2, 1, 0, 3]
    assert_allclose(plackett_luce_loss(scores, worst_ranking(scores)), 6.681641, atol=5e-7)
    assert_allclose(robust_listwise_loss(scores, seen, 0.2), 2.455704, atol=5e-7)


@few
@given(seed=seeds)
def test_the_loss_is_the_sequential_choice_of_plackett_and_luce(seed):
    _, scores, ranking = draw(seed)
    left, probability = list(ranking), 1.0
    for item in ranking:
        probability *= np.exp(scores[item]) / sum(np.exp(scores[j]) for j in left)
        left.remove(item)
    assert_allclose(plackett_luce_loss(scores, ranking), -np.log(probability), atol=1e-12)


def test_the_laws_of_all_rankings_sum_to_one():
    assert_allclose(ranking_law([0.3, -1.0, 2.0, 0.0]).sum(), 1.0, atol=1e-14)


def test_two_responses_are_bradley_terry():
    assert_allclose(ranking_law([0.7, -0.2]), [1 / (1 + np.exp(-0.9)), 1 / (1 + np.exp(0.9))], atol=1e-15)


@few
@given(seed=seeds)
def test_the_worst_ranking_is_the_worst_of_all(seed):
    _, scores, _ = draw(seed, largest=6)
    assert_allclose(
        plackett_luce_loss(scores, worst_ranking(scores)), losses_of_all(scores).max(), atol=1e-12
    )


@few
@given(seed=seeds, rho=shares)
def test_the_robust_loss_is_the_linear_program_over_all_laws(seed, rho):
    _, scores, ranking = draw(seed)
    losses = losses_of_all(scores)
    center = (all_rankings(len(scores)) == ranking).all(axis=1).astype(float)
    assert_allclose(
        robust_listwise_loss(scores, ranking, rho),
        total_variation_linear_program(losses, center, rho),
        atol=1e-9,
    )


@few
@given(seed=seeds, rho=shares)
def test_the_worst_law_is_in_the_ball_and_attains_the_linear_program(seed, rho):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 8))
    losses, probs = rng.normal(size=size).round(1), rng.dirichlet(np.ones(size))
    value, law = total_variation_worst_case(losses, probs, rho)
    assert law.min() >= 0 and abs(law.sum() - 1) < 1e-12
    assert 0.5 * np.abs(law - probs).sum() <= rho + 1e-12
    assert_allclose(value, law @ losses, atol=1e-14)
    assert_allclose(value, total_variation_linear_program(losses, probs, rho), atol=1e-9)


@few
@given(seed=seeds, rho=shares)
def test_the_gradient_is_that_of_central_differences_and_sums_to_zero(seed, rho):
    rng, scores, ranking = draw(seed)
    scores = scores + 0.01 * rng.permutation(len(scores))  # no ties: the loss is smooth there
    scores = scores + 1e-3 * np.arange(len(scores))
    gradient = robust_listwise_gradient(scores, ranking, rho)
    expected = central_difference(lambda s: robust_listwise_loss(s, ranking, rho), scores)
    if len(scores) < 2 or np.diff(np.sort(scores)).min() > 1e-4:
        assert_allclose(gradient, expected, atol=1e-7)
    assert_allclose(gradient.sum(), 0.0, atol=1e-12)


def test_lists_may_come_in_batches():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, 2, 4))
    rankings = np.argsort(rng.random(size=scores.shape), axis=-1)
    batch = robust_listwise_loss(scores, rankings, 0.3)
    slopes = robust_listwise_gradient(scores, rankings, 0.3)
    for at in product(range(3), range(2)):
        assert_allclose(batch[at], robust_listwise_loss(scores[at], rankings[at], 0.3), atol=1e-14)
        assert_allclose(slopes[at], robust_listwise_gradient(scores[at], rankings[at], 0.3), atol=1e-14)


@few
@given(margin=st.floats(-8, 8), chance=shares, rho=shares)
def test_around_a_soft_label_two_responses_give_the_clipped_oracle_robust_loss(margin, chance, rho):
    value, _ = total_variation_worst_case(np.logaddexp(0, [-margin, margin]), [chance, 1 - chance], rho)
    assert_allclose(value, one_pair_loss(margin, chance, rho), atol=1e-12)


@few
@given(margin=st.floats(-8, 8), rho=shares)
def test_around_a_hard_label_two_responses_give_a_one_sided_penalty(margin, rho):
    value = robust_listwise_loss([margin, 0.0], [0, 1], rho)
    assert_allclose(value, np.logaddexp(0, -margin) + rho * max(margin, 0.0), atol=1e-12)


@few
@given(margin=st.floats(-8, 8), chance=shares, rho=shares)
def test_averaged_over_drawn_labels_it_is_a_contamination_set_and_smaller(margin, chance, rho):
    averaged = chance * robust_listwise_loss([margin, 0.0], [0, 1], rho) + (
        1 - chance
    ) * robust_listwise_loss([margin, 0.0], [1, 0], rho)
    ends = [(1 - rho) * chance, (1 - rho) * chance + rho]
    contaminated = max(q * np.logaddexp(0, -margin) + (1 - q) * np.logaddexp(0, margin) for q in ends)
    assert_allclose(averaged, contaminated, atol=1e-12)
    assert averaged <= one_pair_loss(margin, chance, rho) + 1e-12


def test_the_plain_gradient_of_the_last_place_is_small():
    gradient = plackett_luce_gradient([5.0, 0.0, -5.0], [0, 1, 2])
    assert gradient[0] < 0 and abs(gradient).max() < 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plackett_luce_loss([0.0, 1.0], [0, 0]), "ranking must be permutations"),
        (lambda: plackett_luce_loss([0.0, 1.0], [0, 1, 2]), "ranking.shape must be"),
        (lambda: plackett_luce_loss([0.0, np.nan], [0, 1]), "scores must be finite"),
        (lambda: robust_listwise_loss([0.0, 1.0], [0, 1], 1.5), r"rho must be in \[0, 1\]"),
        (lambda: robust_listwise_loss([0.0, 1.0], [0, 1], -0.1), "rho must be"),
        (lambda: all_rankings(8), "count must be in 1 ... 7"),
        (lambda: total_variation_worst_case([0.0, 1.0], [0.5, 0.6], 0.1), "probs must be a distribution"),
        (lambda: total_variation_worst_case([0.0, 1.0], [1.0], 0.1), "probs.shape must be"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
