"""Oracles: probabilities, antisymmetry, bounded deviation, and an adversary that attains the supremum."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rsail import exact
from rsail.oracles import (
    annotator_groups,
    bias,
    cyclic,
    draw_labels,
    drift,
    flatten,
    flip,
    grouped_bias,
    sup_deviation,
    truth,
    worst_case,
)

SETTINGS = settings(deadline=None, derandomize=True, max_examples=80)
STRENGTHS = st.floats(0, 1)
# Coarse values, so that ties between responses are common.
SCALES = st.integers(-12, 12).map(lambda value: value / 4)


def tables(prompts=2, responses=4):
    return arrays(np.float64, (prompts, responses), elements=SCALES)


def differences(values):
    return values[:, :, None] - values[:, None, :]


def perturbed(kind, rewards, values, strength):
    true = truth(rewards)
    return {
        "flip": lambda: flip(true, strength),
        "bias": lambda: bias(true, values, strength),
        "worst_case": lambda: worst_case(true, differences(values), strength),
        "flatten": lambda: flatten(true, strength),
        "groups": lambda: grouped_bias(true, values, [0, 1], count=2, strength=strength),
        "drift": lambda: drift(true, values, strength, 0.7),
        "cyclic": lambda: cyclic(true, values, strength),
    }[kind]()


ALL = pytest.mark.parametrize("kind", ["flip", "bias", "worst_case", "flatten", "groups", "drift", "cyclic"])


@ALL
@SETTINGS
@given(rewards=tables(), values=tables(), strength=STRENGTHS)
def test_every_oracle_is_antisymmetric_and_a_probability(kind, rewards, values, strength):
    observed = perturbed(kind, rewards, values, strength)
    assert observed.min() >= 0 and observed.max() <= 1
    assert np.abs(observed + observed.swapaxes(-1, -2) - 1).max() < 1e-15
    assert np.all(np.diagonal(observed, axis1=-2, axis2=-1) == 0.5)


@ALL
@SETTINGS
@given(rewards=tables(), values=tables(), strength=STRENGTHS)
def test_no_probability_moves_by_more_than_the_strength(kind, rewards, values, strength):
    observed = perturbed(kind, rewards, values, strength)
    bound = strength / 2 if kind == "flatten" else strength
    assert sup_deviation(observed, truth(rewards)) <= bound + 1e-15


@ALL
@SETTINGS
@given(rewards=tables(), values=tables())
def test_strength_zero_is_the_truth(kind, rewards, values):
    assert np.array_equal(perturbed(kind, rewards, values, 0.0), truth(rewards))


@SETTINGS
@given(rewards=tables())
def test_the_truth_is_bradley_terry(rewards):
    observed = truth(rewards)
    assert np.allclose(np.log(observed / (1 - observed)), differences(rewards), atol=1e-10)
    assert np.abs(observed + observed.swapaxes(-1, -2) - 1).max() <= 2**-53


def test_extreme_rewards_stay_probabilities():
    assert np.array_equal(truth([[1e300, -1e300]]), [[[0.5, 1.0], [0.0, 0.5]]])


@SETTINGS
@given(rewards=tables(), values=tables(), radius=st.floats(0, 0.6))
def test_the_worst_case_attains_the_supremum_of_the_expected_loss(rewards, values, radius):
    ref = np.full(rewards.shape, -np.log(rewards.shape[1]))
    log_probs = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    scores = exact.pair_scores(log_probs, ref)
    adversary = worst_case(truth(rewards), scores, radius)
    attained = exact.expected_loss(log_probs, ref, adversary, beta=0.5)
    supremum = exact.robust_loss(log_probs, ref, truth(rewards), beta=0.5, rho=radius)
    assert attained == pytest.approx(supremum, abs=1e-12)


@SETTINGS
@given(rewards=tables(1, 3), values=tables(1, 3), radius=st.floats(0, 0.6), seed=st.integers(0, 999))
def test_no_other_oracle_of_the_set_costs_more(rewards, values, radius, seed):
    true, scores = truth(rewards), differences(values)
    moves = np.random.default_rng(seed).uniform(-radius, radius, true.shape)
    other = np.clip(
        true + moves - moves.swapaxes(-1, -2), np.maximum(true - radius, 0), np.minimum(true + radius, 1)
    )
    assert np.abs(other + other.swapaxes(-1, -2) - 1).max() < 1e-12

    def loss(preferences):  # eq. 9 pair by pair, written out
        return preferences * np.logaddexp(0, -scores) + (1 - preferences) * np.logaddexp(0, scores)

    assert np.all(loss(worst_case(true, scores, radius)) >= loss(other) - 1e-12)


def test_the_worst_case_leaves_ties_alone():
    scores = differences(np.array([[0.0, 0.0, 1.0]]))
    observed = worst_case(np.full((1, 3, 3), 0.5), scores, 0.2)
    assert np.array_equal(observed[0], [[0.5, 0.5, 0.7], [0.5, 0.5, 0.7], [0.3, 0.3, 0.5]])


def test_the_bias_favors_the_larger_attribute_and_clips():
    observed = bias(truth([[4.0, 0.0, 0.0]]), [[3.0, 1.0, 1.0]], 0.15)
    assert observed[0, 0, 1] == 1.0  # sigmoid(4) + 0.15 would be above 1
    assert observed[0, 1, 2] == 0.5  # equal attributes, equal rewards
    assert sup_deviation(
        bias(truth([[0.0, 0.0]]), [[1.0, 0.0]], 0.15), np.full((1, 2, 2), 0.5)
    ) == pytest.approx(0.15)


def test_every_group_of_annotators_has_its_own_bias():
    true, filler = truth([[0.2, 0.0, 0.1]] * 4), np.array([[0.0, 2.0, 1.0]] * 4)
    observed = grouped_bias(true, filler, [2, 0, 1, 1], count=3, strength=0.2)
    for row, strength in enumerate((0.2, 0.0, 0.1, 0.1)):
        assert np.allclose(observed[row], bias(true, filler, strength)[row], atol=1e-15)
    deviations = [sup_deviation(o, t) for o, t in zip(observed, true, strict=True)]
    assert deviations == pytest.approx([0.2, 0.0, 0.1, 0.1])


def test_a_prompt_has_the_same_annotators_wherever_it_stands():
    prompts = [f"prompt {k}" for k in range(600)]
    groups = annotator_groups(prompts, 3)
    assert np.array_equal(annotator_groups(prompts[::-1], 3), groups[::-1])
    assert np.array_equal(annotator_groups(["some birds", "anything"], 1000), [694, 754])  # by sha256sum
    assert np.bincount(groups, minlength=3).min() > 150 and set(groups) == {0, 1, 2}


def test_a_drift_grows_in_equal_steps():
    true, filler = truth([[0.0, 0.0]]), [[1.0, 0.0]]
    shifts = [drift(true, filler, 0.2, step / 4)[0, 0, 1] - 0.5 for step in range(5)]
    assert shifts == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


def test_a_cycle_has_no_best_response_and_ties_within_a_phase():
    observed = cyclic(truth(np.zeros((1, 5))), [[0.0, 4.0, 2.9, 3.0, -1.0]], 0.2)[0]  # phases 0, 1, 2, 0, 2
    assert observed[1, 0] == observed[2, 1] == observed[0, 2] == observed[4, 1] == 0.7
    assert observed[0, 1] == observed[1, 2] == observed[2, 0] == pytest.approx(0.3)
    assert observed[0, 3] == observed[2, 4] == 0.5
    scores = np.log(observed / (1 - observed))  # of a reward they would add up to 0 around any cycle
    assert scores[1, 0] + scores[0, 2] + scores[2, 1] > 2


def test_a_cycle_is_clipped_at_certainty():
    assert cyclic(truth([[4.0, 0.0]]), [[1.0, 0.0]], 0.15)[0].tolist() == [[0.5, 1.0], [0.0, 0.5]]


def test_flips_and_flattening_are_one_map_at_twice_the_weight():
    true = truth([[1.0, 0.3, -0.7]])
    assert np.allclose(flip(true, 0.2), flatten(true, 0.4), atol=1e-15)
    assert np.allclose(flip(true, 1.0), true.swapaxes(-1, -2), atol=1e-15)
    assert np.allclose(flatten(true, 1.0), 0.5, atol=1e-15)


def test_the_deviation_is_measured_off_the_diagonal_and_is_zero_without_pairs():
    true, other = np.full((2, 2, 2), 0.5), np.full((2, 2, 2), 0.5)
    other[1] = [[0.5, 0.9], [0.1, 0.5]]
    assert sup_deviation(other, true) == pytest.approx(0.4)
    assert sup_deviation(np.full((3, 1, 1), 0.5), np.full((3, 1, 1), 0.5)) == 0.0
    assert sup_deviation(np.empty((0, 2, 2)), np.empty((0, 2, 2))) == 0.0


def test_labels_are_antisymmetric_coins_with_the_stated_probabilities():
    preferences = truth([[1.0, 0.0, -0.5]])
    rng = np.random.default_rng(0)
    labels = np.stack([draw_labels(preferences, rng) for _ in range(4000)])
    assert np.array_equal(labels + labels.swapaxes(-1, -2), np.ones_like(labels))
    assert set(np.unique(labels)) == {0.0, 0.5, 1.0}
    assert np.abs(labels.mean(axis=0) - preferences).max() < 4 * 0.5 / np.sqrt(4000)


def test_certain_preferences_are_never_contradicted():
    certain = np.array([[[0.5, 1.0], [0.0, 0.5]]])
    labels = draw_labels(np.repeat(certain, 500, axis=0), np.random.default_rng(1))
    assert np.array_equal(labels, np.repeat(certain, 500, axis=0))


def test_labels_follow_their_own_generator():
    preferences = truth(np.random.default_rng(2).normal(size=(20, 4)))
    first, again = (draw_labels(preferences, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, draw_labels(preferences, np.random.default_rng(8)))


HALF = np.full((1, 2, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: truth([0.0, 1.0]), "rewards.shape must be (X, K)"),
        (lambda: truth([[0.0, np.nan]]), "rewards must be finite, got nan"),
        (lambda: flip(HALF, -0.1), "rate must be a number in [0, 1], got -0.1"),
        (lambda: flip(HALF + 0.1, 0.1), "preferences must be antisymmetric"),
        (lambda: flatten(HALF * 3, 0.1), "preferences must be probabilities in [0, 1], got 1.5"),
        (lambda: flatten(HALF, np.nan), "weight must be a number in [0, 1], got nan"),
        (
            lambda: bias(HALF, [[1.0]], 0.1),
            "attribute.shape must be (1, 2), one number per response, got (1, 1)",
        ),
        (lambda: bias(HALF, [[1.0, np.inf]], 0.1), "attribute must be finite, got inf"),
        (lambda: bias(HALF, [[1.0, 0.0]], 1.1), "strength must be a number in [0, 1], got 1.1"),
        (
            lambda: cyclic(HALF, [[1.0]], 0.1),
            "attribute.shape must be (1, 2), one number per response, got (1, 1)",
        ),
        (lambda: cyclic(HALF, [[1.0, 0.0]], -0.1), "strength must be a number in [0, 1], got -0.1"),
        (lambda: drift(HALF, [[1.0, 0.0]], 0.1, 1.01), "progress must be a number in [0, 1], got 1.01"),
        (lambda: drift(HALF, [[1.0, 0.0]], 2, 0.1), "strength must be a number in [0, 1], got 2"),
        (
            lambda: grouped_bias(HALF, [[1.0, 0.0]], [0, 1], count=2, strength=0.1),
            "groups.shape must be (1,), got (2,)",
        ),
        (
            lambda: grouped_bias(HALF, [[1.0, 0.0]], [2], count=2, strength=0.1),
            "groups must be whole numbers from 0 to 1, got [2.0]",
        ),
        (
            lambda: grouped_bias(HALF, [[1.0, 0.0]], [0], count=1, strength=0.1),
            "count must be at least 2, got 1",
        ),
        (
            lambda: grouped_bias(HALF, [[1.0, 0.0]], [0], count=2, strength=1.1),
            "strength must be a number in [0, 1], got 1.1",
        ),
        (
            lambda: grouped_bias(HALF[0], [1.0, 0.0], [0], count=2, strength=0.1),
            "preferences.shape must be (X, K, K), got (2, 2)",
        ),
        (lambda: annotator_groups(["a"], 1), "count must be at least 2, got 1"),
        (lambda: worst_case(HALF, np.zeros((2, 2)), 0.1), "pair_scores.shape must be (1, 2, 2)"),
        (lambda: worst_case(HALF, np.ones((1, 2, 2)), 0.1), "pair_scores + pair_scores^T must be 0"),
        (lambda: worst_case(HALF, np.zeros((1, 2, 2)), 2), "radius must be a number in [0, 1], got 2"),
        (
            lambda: sup_deviation(HALF, np.full((1, 3, 3), 0.5)),
            "truth.shape must be (1, 2, 2), got (1, 3, 3)",
        ),
        (lambda: draw_labels(HALF[0, 0], np.random.default_rng(0)), "preferences.shape must be (..., K, K)"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
