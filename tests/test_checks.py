"""Argument checks: one standard message whatever comes in, and an accepted table of preferences is an oracle."""

import numpy as np
import pytest
import torch

from rsail import checks
from rsail.exact import FiniteProblem
from rsail.oracles import flip

NO_NUMBERS = [
    None,
    "0.1",
    True,
    np.True_,
    [0.1],
    np.array([0.1]),
    1j,
    object,
    float("nan"),
    float("inf"),
    10**400,
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=str)
@pytest.mark.parametrize(
    ("check", "expected"),
    [(checks.positive, "a finite number > 0"), (checks.nonnegative, "a finite number >= 0")],
)
def test_what_is_no_finite_number_is_refused_by_name(check, expected, value):
    with pytest.raises(ValueError) as caught:
        check("beta", value)
    assert str(caught.value) == f"beta must be {expected}, got {value!r}"


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), torch.tensor(2.0)], ids=repr
)
def test_numbers_of_every_kind_become_a_float(value):
    for found in (checks.positive("beta", value), checks.nonnegative("rho", value)):
        assert found == 2.0 and type(found) is float


def test_zero_is_nonnegative_and_not_positive():
    assert checks.nonnegative("rho", 0) == 0.0
    with pytest.raises(ValueError, match="beta must be a finite number > 0, got 0"):
        checks.positive("beta", 0)


@pytest.mark.parametrize("value", ["text", [[1.0], [1.0, 2.0]], {"a": 1}])
def test_what_is_no_array_of_numbers_is_refused_by_name(value):
    with pytest.raises(ValueError, match="features must be an array of numbers, got "):
        checks.finite("features", value)


def test_tensors_are_read_with_a_gradient_and_in_low_precision():
    found = checks.finite("features", torch.tensor([0.5, 1.5], dtype=torch.bfloat16, requires_grad=True))
    assert found.dtype == np.float64 and found.tolist() == [0.5, 1.5]


def table(upper: float, lower: float) -> np.ndarray:
    return np.array([[[0.5, upper], [lower, 0.5]]])


@pytest.mark.parametrize(
    "single", [lambda t: t.astype(np.float32), lambda t: torch.tensor(t, dtype=torch.float32)]
)
def test_single_precision_may_be_off_by_its_rounding_and_double_precision_may_not(single):
    off = table(0.8, 0.2 + 3e-7)
    found = checks.preferences("preferences", single(off))
    assert found.dtype == np.float64 and found[0, 0, 1] + found[0, 1, 0] == pytest.approx(1, abs=1e-15)
    for array in (off, torch.from_numpy(off), off.tolist(), single(table(0.8, 0.2 + 3e-6))):
        with pytest.raises(ValueError, match="preferences must be antisymmetric"):
            checks.preferences("preferences", array)


def test_an_accepted_table_is_an_oracle_up_to_rounding():
    found = checks.preferences("preferences", table(0.8, 0.2 + 7e-10))
    assert found[0, 0, 1] + found[0, 1, 0] == pytest.approx(1, abs=1e-15)
    assert found[0, 0, 1] == pytest.approx(0.8 - 3.5e-10, abs=1e-15)
    asymmetric_diagonal = np.full((1, 2, 2), 0.5 + 3e-10)
    assert checks.preferences("preferences", asymmetric_diagonal)[0, 0, 0] == 0.5


def test_a_table_that_is_an_oracle_keeps_its_bits():
    for upper in np.random.default_rng(0).random(50):
        array = table(upper, 1 - upper)
        np.testing.assert_array_equal(checks.preferences("preferences", array), array)


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_a_table_that_is_accepted_leaves_the_linear_program_a_solution(rho):
    features = np.array([[[0.0], [1.0]]])
    problem = FiniteProblem(features, table(0.8, 0.2 + 7e-10), beta=0.5)
    assert problem.robust_loss_linear_program([0.3], rho) == pytest.approx(
        problem.robust_loss([0.3], rho), abs=1e-9
    )


@pytest.mark.parametrize("value", [None, "0.1", True, np.array([0.1]), 1.5, float("nan")], ids=str)
def test_a_fraction_of_a_perturbation_is_one_number_from_0_to_1(value):
    with pytest.raises(ValueError, match=r"rate must be a number in \[0, 1\], got "):
        flip(table(0.8, 0.2), value)
