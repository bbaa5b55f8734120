"""Gini's mean difference against the enumeration of all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rsail.exact import gini_mean_difference

from .problems import seeds


def enumerate_pairs(values, probs):
    return np.sum(probs[:, None] * probs[None, :] * np.abs(values[:, None] - values[None, :]))


@settings(deadline=None, derandomize=True)
@given(seeds, st.integers(1, 30), st.booleans())
def test_equals_the_enumeration(seed, size, with_ties):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=size).round(1 if with_ties else 15)
    probs = rng.dirichlet(np.full(size, 0.3))
    expected = enumerate_pairs(values, probs)
    assert_allclose(gini_mean_difference(values, probs), expected, rtol=1e-12, atol=1e-16)


def test_works_along_the_last_axis():
    rng = np.random.default_rng(0)
    values, probs = rng.normal(size=(2, 3, 7)), rng.dirichlet(np.ones(7), size=(2, 3))
    result = gini_mean_difference(values, probs)
    assert result.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert_allclose(result[index], enumerate_pairs(values[index], probs[index]), rtol=1e-12)
    assert_allclose(
        gini_mean_difference(values, probs[0, 0])[1, 2], enumerate_pairs(values[1, 2], probs[0, 0])
    )


def test_known_laws():
    assert gini_mean_difference([3.0], [1.0]) == 0.0
    assert gini_mean_difference([0.0, 1.0], [0.5, 0.5]) == 0.5
    assert type(gini_mean_difference([0.0, 1.0], [0.5, 0.5])) is float
    assert (
        gini_mean_difference([0.0, 1.0], [0.5, 0.50005]) == 2 * 0.5 * 0.50005
    )  # single precision's rounding passes


def test_a_common_offset_costs_no_digits():
    rng = np.random.default_rng(1)
    values, probs = rng.integers(0, 100, size=50) / 64.0, rng.dirichlet(np.ones(50))
    expected = gini_mean_difference(values, probs)
    assert_allclose(gini_mean_difference(values + 2.0**40, probs), expected, rtol=1e-12)


def test_is_not_quadratic_in_memory():
    size = 200_000  # all pairs would take 320 GB
    values = np.arange(size) / size
    assert_allclose(gini_mean_difference(values, np.full(size, 1 / size)), 1 / 3, rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "probs", "message"),
    [
        ([0.0, np.nan], [0.5, 0.5], "values must be finite"),
        ([0.0, 1.0], [0.5, 0.6], "probs must be a distribution"),
        ([0.0, 1.0], [-0.5, 1.5], "probs must be probabilities"),
        ([0.0, 1.0, 2.0], [0.5, 0.5], "probs.shape must be"),
        ([], [], "values.shape must be"),
        (1.0, 1.0, "values.shape must be"),
    ],
)
def test_bad_input(values, probs, message):
    with pytest.raises(ValueError, match=message):
        gini_mean_difference(values, probs)
