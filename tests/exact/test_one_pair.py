"""One comparison on its own: where its robust loss is least."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from rsail.exact import one_pair_loss, robust_fit, robust_margin, soft_threshold


@settings(deadline=None, derandomize=True)
@given(st.floats(0.03, 0.97), st.floats(0.02, 1.0))
def test_the_soft_threshold_is_the_minimizer(preference, rho):
    found = minimize_scalar(one_pair_loss, args=(preference, rho), bounds=(-6, 6), options={"xatol": 1e-10})
    margin = robust_margin(preference, rho)
    assert_allclose(found.x, margin, atol=1e-5)
    assert one_pair_loss(margin, preference, rho) <= found.fun + 1e-15


def test_comparisons_near_a_coin_toss_are_ignored():
    assert_allclose(robust_fit([0.5, 0.6, 0.65, 0.35], 0.15), 0.5, atol=1e-16)
    assert_allclose(robust_fit([0.9, 0.1], 0.15), [0.75, 0.25], atol=1e-15)
    assert_allclose(robust_fit([0.0, 0.3, 1.0], 0.0), [0.0, 0.3, 1.0], atol=1e-16)


def test_soft_threshold_of_numbers():
    assert_allclose(soft_threshold([-2.0, -0.5, 0.0, 0.5, 2.0], 1.0), [-1.0, 0.0, 0.0, 0.0, 1.0], atol=0)


def test_the_clipped_side_is_linear_in_the_margin():
    """P = 0.1, rho = 0.3: on the side t > 0 the oracle can only say 'never', so the slope is sigma(t)."""
    step = 1e-6
    slope = (one_pair_loss(1.0 + step, 0.1, 0.3) - one_pair_loss(1.0 - step, 0.1, 0.3)) / (2 * step)
    assert_allclose(slope, 1 / (1 + np.exp(-1.0)), rtol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 1.2, 0.1), "preference must be"),
        ((0.0, 0.5, -0.1), "rho must be"),
        ((np.nan, 0.5, 0.1), "margin"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        one_pair_loss(*arguments)
