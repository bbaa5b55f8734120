"""Theorem 5.2 and Corollary 5.3: the numbers are those of the formulas, and the formulas follow from each other."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from rsail.exact import rates
from rsail.exact.constants import paper_constants, sharp_constants

SETTING = {"smoothing": 0.2, "curvature": 1.5, "second_moment": 3.0}
GAP, STEPS = 0.7, 400


@pytest.mark.parametrize("sharp", [False, True])
def test_the_corollary_is_the_theorem_at_its_best_step_size(sharp):
    def bound(log_step):
        return rates.stationarity_bound(GAP, np.exp(log_step), STEPS, **SETTING, sharp=sharp)

    best = minimize_scalar(bound, bounds=(-12, 2), options={"xatol": 1e-10})
    step = rates.corollary_step_size(GAP, STEPS, **SETTING, sharp=sharp)
    assert_allclose(np.log(step), best.x, atol=1e-6)
    assert_allclose(
        rates.corollary_bound(GAP, STEPS, **SETTING, sharp=sharp), bound(np.log(step)), rtol=1e-13
    )


def test_the_numbers_are_those_of_the_formulas():
    assert_allclose(rates.envelope_smoothness(0.2, 1.5), 1 / (0.2 * 0.7))
    assert_allclose(rates.envelope_smoothness(0.2, 1.5, sharp=True), 5.0)
    assert_allclose(rates.stationarity_bound(GAP, 0.1, STEPS, **SETTING), 0.7 / 28 + 0.3 / (0.28 * 0.7))
    assert_allclose(rates.corollary_step_size(GAP, STEPS, **SETTING), np.sqrt(2 * 0.2 * 0.7 * 0.7 / 1200))
    assert_allclose(rates.corollary_bound(GAP, STEPS, **SETTING), np.sqrt(4.2 / (0.2 * 0.7**3 * 400)))


@pytest.mark.parametrize(("sharp", "best"), [(False, 0.25), (True, 1 / 3)])
def test_the_bound_is_smallest_at_a_quarter_and_with_the_sharp_constant_at_a_third_of_1_over_kappa(
    sharp, best
):
    def bound(share):
        setting = {"smoothing": share / 1.5, "curvature": 1.5, "second_moment": 3.0}
        return rates.corollary_bound(GAP, STEPS, **setting, sharp=sharp)

    assert_allclose(minimize_scalar(bound, bounds=(0.01, 0.99), options={"xatol": 1e-10}).x, best, atol=1e-6)


def test_after_the_iteration_count_the_bound_is_the_accuracy():
    count = rates.iteration_count(1e-3, GAP, **SETTING)
    assert_allclose(rates.corollary_bound(GAP, count, **SETTING), 1e-3, rtol=1e-12)
    assert_allclose(rates.iteration_count(5e-4, GAP, **SETTING), 4 * count, rtol=1e-12)


def test_the_lipschitz_constant_is_that_of_the_two_quadratics_that_need_it():
    # F = a u^2 / 2 has grad F_env = a theta / (1 + a smoothing): a = -kappa is one end, a = infinity the other.
    for smoothing, curvature in ((0.2, 1.5), (0.6, 1.5)):
        slopes = [a / (1 + a * smoothing) for a in (-curvature, 1e12)]
        constant = rates.gradient_lipschitz(smoothing, curvature)
        assert_allclose(max(map(abs, slopes)), constant, rtol=1e-9)
        assert constant <= rates.envelope_smoothness(smoothing, curvature)


def test_the_second_moment_without_the_factor_four():
    constants = sharp_constants(1.0, 1.0, 0.1, 0.1)
    expected = (0.3 + 0.01 * (1 + np.sqrt(2))) ** 2 + (0.2 + 0.01 * 0.4) ** 2 / 8
    assert_allclose(rates.sharp_second_moment(constants, 0.2, 0.4, 8), expected)
    assert rates.sharp_second_moment(constants) == constants.slope**2  # no noise
    for noise in (0.0, 0.1, 1.0):
        for other in (constants, paper_constants(2.0, 0.5, 0.3, 0.2)):
            sharp = rates.sharp_second_moment(other, noise, 2 * noise, 4)
            assert sharp <= other.total_second_moment(noise, 2 * noise, 4)


def test_smoothing_at_or_above_1_over_kappa_is_refused():
    with pytest.raises(ValueError, match="smoothing must be below 1 / kappa"):
        rates.envelope_smoothness(1.0, 1.0)
    with pytest.raises(ValueError, match="accuracy"):
        rates.iteration_count(0.0, GAP, **SETTING)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gap": -0.1}, "gap must be a finite number >= 0, got -0.1"),
        ({"steps": 0}, "steps must be a finite number > 0, got 0"),
        ({"second_moment": -1.0}, "second_moment"),
        ({"second_moment": np.nan}, "second_moment"),
    ],
)
def test_a_bad_gap_number_of_steps_or_second_moment_is_refused(change, message):
    arguments = SETTING | {"gap": GAP, "steps": STEPS} | change
    for function in (rates.corollary_step_size, rates.corollary_bound):
        with pytest.raises(ValueError, match=message):
            function(**arguments)
    with pytest.raises(ValueError, match=message):
        rates.stationarity_bound(**arguments, step_size=0.1)
    if "steps" not in change:
        with pytest.raises(ValueError, match=message):
            rates.iteration_count(1e-3, **{key: value for key, value in arguments.items() if key != "steps"})


def test_steps_of_size_zero_and_an_empty_batch_are_refused():
    with pytest.raises(ValueError, match="step_size must be a finite number > 0"):
        rates.stationarity_bound(GAP, 0.0, STEPS, **SETTING)
    with pytest.raises(ValueError, match="second_moment must be a finite number > 0"):
        rates.corollary_step_size(GAP, STEPS, **SETTING | {"second_moment": 0.0})
    with pytest.raises(ValueError, match="batch must be a whole number >= 1"):
        rates.sharp_second_moment(sharp_constants(1.0, 1.0, 0.1, 0.1), batch=0)
