"""Means and t intervals against numbers worked out by hand."""

import numpy as np
import pytest

from rsail.study.statistics import mean_interval, paired_difference

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
