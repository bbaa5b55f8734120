"""Means and t intervals against numbers worked out by hand."""

import numpy as np
import pytest

from rsail.study.statistics import (
    bootstrap_interval,
    holm,
    interquartile_mean,
    mean_interval,
    paired_difference,
    paired_test,
)

# Student's t quantiles at 0.975, from a printed table.
T_2, T_4 = 4.3027, 2.7764


def test_the_interval_of_one_two_three_is_two_plus_minus_t_over_root_three():
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2 and interval.n == 3
    assert interval.high - 2 == pytest.approx(T_2 / np.sqrt(3), abs=1e-4)
    assert interval.low == pytest.approx(4 - interval.high)


def test_pairing_uses_the_spread_of_the_differences_alone():
    # The differences are 1, 2, 3, 4, 5: mean 3, variance 5/2; the seeds' own spread of thousands cancels.
    second = np.array([1e3, -5e3, 2e3, 0.0, 7e3])
    interval = paired_difference(second + np.arange(1, 6), second)
    assert interval.mean == pytest.approx(3)
    assert interval.high - 3 == pytest.approx(T_4 * np.sqrt(2.5 / 5), abs=1e-3)
    assert interval.excludes(0) and not interval.excludes(2)


def test_a_higher_level_gives_a_wider_interval():
    narrow, wide = (mean_interval([1.0, 2.0, 4.0], level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_intervals_cover_the_truth_at_their_level():
    rng = np.random.default_rng(0)
    missed = [mean_interval(rng.normal(size=5)).excludes(0) for _ in range(2000)]
    assert np.mean(missed) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("values", [[1.0], [], [[1.0, 2.0]]])
def test_fewer_than_two_seeds_is_an_error(values):
    with pytest.raises(ValueError, match="at least 2 seeds"):
        mean_interval(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, None])
def test_a_diverged_seed_is_an_error(bad):
    with pytest.raises(ValueError, match="values must be finite"):
        mean_interval([1.0, bad])


def test_pairs_of_different_length_are_an_error():
    with pytest.raises(ValueError, match=r"second\.shape"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="level"):
        paired_difference([1.0, 2.0], [1.0, 2.0], level=1.0)


class TestBootstrap:
    def test_the_mean_of_two_numbers_is_resampled_to_three_values(self):
        # Means of (0, 0), of (0, 1) or (1, 0), and of (1, 1), with chances 1/4, 1/2, 1/4.
        found = bootstrap_interval([0.0, 1.0])
        assert (found.mean, found.low, found.high, found.n) == (0.5, 0.0, 1.0, 2)
        narrow = bootstrap_interval([0.0, 1.0], level=0.4)
        assert (narrow.low, narrow.high) == (0.5, 0.5)

    def test_it_covers_the_mean_about_as_often_as_it_says(self):
        rng = np.random.default_rng(0)
        hits = sum(
            not bootstrap_interval(rng.normal(size=40), draws=400, seed=k).excludes(0.0) for k in range(300)
        )
        assert 0.89 <= hits / 300 <= 0.98

    def test_other_statistics_and_the_same_draws(self):
        values = np.random.default_rng(1).exponential(size=30)
        found = bootstrap_interval(values, statistic=interquartile_mean)
        assert found.mean == pytest.approx(interquartile_mean(values)) and found.low < found.mean < found.high
        assert found == bootstrap_interval(values, statistic=interquartile_mean)
        assert found != bootstrap_interval(values, statistic=interquartile_mean, seed=1)

    @pytest.mark.parametrize("bad", [[1.0], [], [1.0, np.nan], [[1.0, 2.0]]])
    def test_bad_input_is_named(self, bad):
        with pytest.raises(ValueError, match="values"):
            bootstrap_interval(bad)


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end():
    assert interquartile_mean([100.0, 1.0, 2.0, -50.0]) == 1.5
    assert interquartile_mean([9.0, 1.0, 2.0, 3.0, 0.0]) == 2.0  # a quarter of five is one
    assert interquartile_mean([[0, 1, 2, 9], [5, 5, 5, 5]]).tolist() == [1.5, 5.0]


class TestHolm:
    def test_an_example_by_hand(self):
        # 0.01 * 4; 0.02 * 3 = 0.06; 0.03 * 2 = 0.06; 0.9 * 1.
        assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
        assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
        assert holm([0.2]) == pytest.approx([0.2])

    def test_false_rejections_are_as_rare_as_promised(self):
        rng = np.random.default_rng(0)
        any_false = np.mean([(holm(rng.random(8)) <= 0.05).any() for _ in range(4000)])
        assert 0.035 < any_false <= 0.06
        assert np.mean([(rng.random(8) <= 0.05).any() for _ in range(4000)]) > 0.25  # without it

    @pytest.mark.parametrize("bad", [[], [0.5, 1.5], [-0.1], [np.nan], [[0.5]]])
    def test_bad_input_is_named(self, bad):
        with pytest.raises(ValueError, match="p_values"):
            holm(bad)


def test_a_paired_test_agrees_with_its_interval():
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.3, 0.6, 1.0):
        first = rng.normal(size=8)
        second = first + shift + 0.5 * rng.normal(size=8)
        assert (paired_test(first, second) < 0.05) == paired_difference(first, second).excludes(0.0)
    assert paired_test([1.0, 2.0], [1.0, 2.0]) == 1.0 and paired_test([1.0, 2.0], [0.0, 1.0]) == 0.0
