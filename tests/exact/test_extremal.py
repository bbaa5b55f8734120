"""C_STAR: its variational problem, the law that attains it, and that no other law does better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad

from rsail.exact import C_STAR
from rsail.exact.extremal import (
    TWO_POINTS_FROM,
    extremal_gap,
    extremal_law,
    largest_for_mean,
    projection_bound,
    projection_value,
)
from rsail.exact.gini import gini_mean_difference

from .problems import seeds

means = st.floats(0.02, 0.98)


def value_of(points, probs) -> float:
    """2 E|a1^2 - a2^2| of a finite law, from its definition."""
    centered = points - probs @ points
    squares = centered**2
    return float(2 * probs @ np.abs(squares[:, None] - squares) @ probs)


def test_c_star_is_the_largest_value_over_all_means():
    law = extremal_law()
    assert_allclose(law["value"], C_STAR, rtol=0, atol=1e-14)
    assert_allclose([law["mean"], law["gap"], law["left"]], [0.569362, 0.327973, 0.211982], rtol=0, atol=5e-7)
    grid = np.linspace(0.01, 0.99, 981)
    assert max(map(largest_for_mean, grid)) <= C_STAR


@settings(deadline=None, derandomize=True, max_examples=200)
@given(seeds, st.sampled_from([2, 3, 6, 30]), st.floats(0.01, 2.0))
def test_no_law_exceeds_its_dual_bound(seed, size, gap):
    rng = np.random.default_rng(seed)
    points, probs = np.clip(rng.uniform(-1.3, 1.3, size), -1, 1), rng.dirichlet(np.full(size, 0.5))
    mean = probs @ points
    if mean < 0:
        points, mean = -points, -mean
    if 1e-6 < mean < 1 - 1e-6:
        assert value_of(points, probs) <= projection_bound(mean, gap) + 1e-12
    assert value_of(points, probs) <= C_STAR


@settings(deadline=None, derandomize=True, max_examples=50)
@given(means)
def test_the_bound_is_attained_for_every_mean(mean):
    gap, best = extremal_gap(mean), largest_for_mean(mean)
    if mean >= TWO_POINTS_FROM:
        assert_allclose(best, 4 * mean * (1 - mean**2), rtol=1e-12)
    else:
        assert_allclose(projection_value(mean, gap)[0], best, rtol=1e-11)
    nearby = [projection_bound(mean, gap * factor) for factor in (0.9, 0.99, 1.01, 1.1)]
    assert best <= min(nearby) + 1e-13


def test_the_law_is_one_and_has_the_value_and_mean_that_it_claims():
    law = extremal_law()
    m, gap, length = law["mean"], law["gap"], 1 - law["mean"]
    middle = (1 + gap / gap) / 2 - (1 + gap / length) / 2
    assert_allclose(law["left"] + middle + law["right"], 1, rtol=1e-12)
    density = quad(lambda y: (m + y) * gap / (2 * y**2), gap, length)[0]
    assert_allclose(-law["left"] + density + law["right"], m, rtol=1e-9)

    def tail(y):  # P(|a| > y)
        if y < gap:
            return 1.0
        return (1 + gap / y) / 2 if y < length else law["left"]

    pieces = ((gap, length), (length, 1 + m))
    value = sum(quad(lambda y: 8 * y * tail(y) * (1 - tail(y)), *piece)[0] for piece in pieces)
    assert_allclose(value, C_STAR, rtol=1e-10)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(seeds, st.sampled_from([2, 4, 9]))
def test_short_proof(seed, size):
    """E|X1 - X2| <= 2 V (1 - V / M) <= 1 for X = a^2 in [0, M], so that 2 E|X1 - X2| <= 2."""
    rng = np.random.default_rng(seed)
    points, probs = rng.uniform(-1, 1, size), rng.dirichlet(np.ones(size))
    mean = probs @ points
    squares = (points - mean) ** 2
    variance, top = probs @ squares, (1 + abs(mean)) ** 2
    assert gini_mean_difference(squares, probs) <= 2 * variance * (1 - variance / top) + 1e-12
    assert 2 * variance * (1 - variance / top) <= 1 + 1e-12


@pytest.mark.parametrize("mean", [0.0, 1.0, -0.2])
def test_bad_means_are_named(mean):
    with pytest.raises(ValueError, match="mean"):
        extremal_gap(mean)
