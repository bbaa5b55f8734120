"""Gao's curves: peaks of published coefficients, and the normal maximum."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from rsail.exact import overoptimization as curves

# Proxy size, a and b of best-of-n, b of PPO (a = 0.384), and the peaks (KL, gold) of both. Coefficients are read off
# arXiv 2210.10760's figures by a third party; the paper prints none.
GAO = [
    ("3M", 0.4908, 0.1198, 0.1750, 4.2, 0.50, 10.9, 0.58),
    ("12M", 0.5132, 0.1196, 0.1675, 4.6, 0.55, 13.3, 0.61),
    ("85M", 0.5991, 0.1066, 0.1371, 7.9, 0.84, 36.7, 0.83),
    ("300M", 0.6332, 0.0995, 0.1242, 10.1, 1.01, 65.6, 1.01),
    ("1.2B", 0.6538, 0.0966, 0.1221, 11.5, 1.11, 73.0, 1.04),
    ("3B", 0.6626, 0.0901, 0.1183, 13.5, 1.22, 89.3, 1.12),
]


@pytest.mark.parametrize("row", GAO, ids=[row[0] for row in GAO])
def test_peaks_of_the_published_table(row):
    _, a, b, b_ppo, kl, gold, kl_ppo, gold_ppo = row
    distance, height = curves.best_of_n_peak(a, b)
    assert abs(distance**2 - kl) <= 0.0501 and abs(height - gold) <= 0.00501
    distance, height = curves.ppo_peak(0.384, b_ppo)
    assert abs(distance**2 - kl_ppo) <= 0.0501 and abs(height - gold_ppo) <= 0.00501


def test_the_peaks_are_those_of_the_curves():
    for curve, peak in ((curves.best_of_n_gold, curves.best_of_n_peak), (curves.ppo_gold, curves.ppo_peak)):
        distance, height = peak(0.5, 0.12)
        found = minimize_scalar(lambda d: -curve(d, 0.5, 0.12), bounds=(0.01, 60), options={"xatol": 1e-10})  # noqa: B023
        assert_allclose([found.x, -found.fun], [distance, height], rtol=1e-6)
        assert_allclose(curve(np.array([distance]), 0.5, 0.12), [height], rtol=1e-12)


@pytest.mark.parametrize(("n", "published"), [(2, 0.564), (4, 1.029), (16, 1.766), (64, 2.344), (256, 2.827)])
def test_the_mean_of_the_normal_maximum(n, published):
    assert_allclose(curves.expected_maximum(n), published, atol=5e-4)
    assert_allclose(curves.gaussian_best_of_n(n, correlation=0.5, gold_std=3.0), 1.5 * published, atol=8e-4)


def test_known_maxima_and_a_gold_score_that_never_falls():
    exact = [0.0, 1 / np.sqrt(np.pi), 1.5 / np.sqrt(np.pi)]
    assert_allclose([curves.expected_maximum(n) for n in (1, 2, 3)], exact, atol=1e-11)
    gold = [curves.gaussian_best_of_n(2**k, correlation=0.3, gold_std=1.0) for k in range(12)]
    assert np.all(np.diff(gold) > 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curves.best_of_n_peak(1.0, 0.0), "b must be"),
        (lambda: curves.ppo_gold(0.0, 1.0, 1.0), "distance must be > 0"),
        (lambda: curves.expected_maximum(0), "n must be an integer"),
        (lambda: curves.gaussian_best_of_n(2, correlation=2.0, gold_std=1.0), "correlation must be"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
