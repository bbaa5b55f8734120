"""Radii from agreement, gold labels and a second model: known values, coverage of the bounds, and what is refused."""

import numpy as np
import pytest

from rsail.oracles import (
    bias,
    draw_labels,
    flip,
    flip_rate,
    radius_from_agreement,
    radius_from_labels,
    radius_from_reward_model,
    sup_deviation,
    truth,
)

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 0.5])
def test_the_flip_rate_inverts_the_agreement_of_two_annotators(rate):
    assert flip_rate(1 - 2 * rate * (1 - rate)) == pytest.approx(rate, abs=1e-7)


def test_openness_is_not_taken_for_mistakes_when_it_is_known():
    preferences = truth(RNG.normal(size=(1, 6)))[0]
    pairs = ~np.eye(6, dtype=bool)
    honest = np.mean((preferences**2 + (1 - preferences) ** 2)[pairs])
    seen = flip(preferences[None], 0.2)[0]
    agreement = np.mean((seen**2 + (1 - seen) ** 2)[pairs])
    assert flip_rate(agreement, honest=honest) == pytest.approx(0.2)
    assert flip_rate(agreement) > 0.25
    assert flip_rate(0.3) == 0.5 and flip_rate(0.9, honest=0.8) == 0.0


def test_a_shared_bias_raises_agreement_and_stays_unseen():
    open_question = np.full((1, 2, 2), 0.5)
    biased = bias(open_question, np.array([[0.0, 1.0]]), 0.3)[0, 0, 1]
    agreement = biased**2 + (1 - biased) ** 2
    assert agreement > 0.5 and flip_rate(agreement, honest=0.5 + 1e-9) == 0.0


def test_the_upper_end_of_agreement_covers_the_rate():
    rate, pairs, covered = 0.1, 300, 0
    for _ in range(400):
        agreed = RNG.binomial(pairs, 1 - 2 * rate * (1 - rate))
        found = radius_from_agreement(agreed, pairs)
        assert found.radius <= found.upper
        covered += found.upper >= rate
    assert 0.92 <= covered / 400 <= 1.0
    assert radius_from_agreement(0, 10).upper == 0.5


def _comparisons(observed, true, count):
    """`count` random pairs of different responses: indices, the oracle's probability, a gold label."""
    x = RNG.integers(len(true), size=count)
    i = RNG.integers(true.shape[1], size=count)
    j = (i + RNG.integers(1, true.shape[1], size=count)) % true.shape[1]
    return x, i, j, observed[x, i, j], (RNG.random(count) < true[x, i, j]).astype(float)


@pytest.fixture(scope="module")
def biased():
    rewards = RNG.uniform(0, 1.5, (20, 6)) * (np.arange(20) % 2)[:, None]
    attribute = RNG.random((20, 6))
    true = truth(rewards)
    return true, bias(true, attribute, 0.15), attribute


def test_gold_labels_find_the_bias_within_the_attribute_and_bound_it(biased):
    true, observed, attribute = biased
    x, i, j, seen, labels = _comparisons(observed, true, 40_000)
    side = np.sign(attribute[x, i] - attribute[x, j])
    found = radius_from_labels(seen, labels, groups=side, bins=5, coverage=0.5)
    assert found.radius == pytest.approx(0.15, abs=0.02)
    assert radius_from_labels(seen, labels, groups=side, bins=5).upper >= sup_deviation(observed, true)


def test_mistakes_of_both_signs_cancel_in_bins_that_do_not_know_them():
    labels = np.tile([0.0, 1.0], 5_000)
    seen = np.full(10_000, 0.5) + 0.2 * np.where(np.arange(10_000) % 4 < 2, 1.0, -1.0)
    order = np.argsort(seen, kind="stable")
    group = np.where(seen > 0.5, "above", "below")
    assert radius_from_labels(seen, labels, bins=1).radius < 0.02
    assert radius_from_labels(seen[order], labels, groups=group[order], bins=1).radius > 0.15


def test_labels_of_a_right_oracle_give_a_small_radius_and_the_bound_shrinks():
    true = truth(RNG.uniform(0, 1.5, (10, 6)))
    ends = []
    for count in (500, 8_000):
        *_, seen, labels = _comparisons(true, true, count)
        found = radius_from_labels(seen, labels)
        ends.append(found.upper)
    assert found.radius < 0.05 and ends[1] < ends[0] / 2
    drawn = draw_labels(true, RNG)  # a table of labels works as well as pairs
    upper = np.triu_indices(6, 1)
    assert radius_from_labels(true[:, *upper].ravel(), drawn[:, *upper].ravel()).upper <= 1.0


def test_coverage_orders_the_bins_by_their_deviation():
    seen = np.repeat([0.1, 0.5, 0.9], 100)
    labels = np.concatenate([np.zeros(100), np.tile([0.0, 1.0], 50), np.zeros(100)])
    radii = [radius_from_labels(seen, labels, bins=3, coverage=share).radius for share in (0.3, 0.6, 1.0)]
    assert radii[0] == pytest.approx(0.0, abs=0.05)
    assert radii[1] == pytest.approx(0.1) and radii[2] == pytest.approx(0.9)


def test_a_second_model_shows_its_quantile_and_its_own_error():
    first, second = np.array([0.5, 0.6, 0.7, 0.8]), np.array([0.5, 0.5, 0.5, 0.4])
    assert radius_from_reward_model(first, second, coverage=1.0).radius == pytest.approx(0.4)
    found = radius_from_reward_model(first, second, coverage=0.5, error=0.05)
    assert (found.radius, found.upper) == (pytest.approx(0.1), pytest.approx(0.15))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: flip_rate(1.2), "agreement"),
        (lambda: flip_rate(0.8, honest=0.5), "honest"),
        (lambda: radius_from_agreement(5, 0), "pairs"),
        (lambda: radius_from_agreement(11, 10), "agreed"),
        (lambda: radius_from_agreement(2.5, 10), "pairs"),
        (lambda: radius_from_agreement(float("nan"), 10), "agreed"),
        (lambda: radius_from_agreement(1, 10, level=1.0), "level"),
        (lambda: radius_from_labels([0.5], [0.5]), "labels"),
        (lambda: radius_from_labels([0.5, 0.4], [1.0]), "labels.shape"),
        (lambda: radius_from_labels([1.5], [1.0]), "preferences"),
        (lambda: radius_from_labels([], []), "preferences.shape"),
        (lambda: radius_from_labels([0.5], [1.0], groups=[1, 2]), "groups.shape"),
        (lambda: radius_from_labels([0.5], [1.0], bins=0), "bins"),
        (lambda: radius_from_labels([0.5], [1.0], coverage=0.0), "coverage"),
        (lambda: radius_from_reward_model([0.5], [0.5, 0.5]), "second_preferences.shape"),
        (lambda: radius_from_reward_model([0.5], [0.5], error=-1), "error"),
    ],
)
def test_bad_input_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        call()
