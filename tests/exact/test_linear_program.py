"""The linear program: an oracle comes back, and it scales."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, log_softmax

from rsail.exact import robust_loss, robust_loss_linear_program, worst_case_linear_program


def large_problem(responses, spread):
    rng = np.random.default_rng(responses)
    policy = log_softmax(rng.normal(size=(3, responses)) * spread, axis=-1)
    reference = log_softmax(rng.normal(size=(3, responses)), axis=-1)
    rewards = rng.normal(size=(3, responses))
    return policy, reference, expit(rewards[:, :, None] - rewards[:, None, :])


def test_its_solution_is_an_antisymmetric_oracle_within_rho():
    tables = large_problem(12, 1.0)
    _, oracle = worst_case_linear_program(*tables, beta=0.3, rho=0.4)
    assert_allclose(oracle + np.swapaxes(oracle, -1, -2), 1.0, rtol=0, atol=1e-9)
    assert np.abs(oracle - tables[2]).max() <= 0.4 + 1e-9
    assert oracle.min() >= -1e-9
    assert oracle.max() <= 1 + 1e-9


def test_antisymmetry_costs_the_adversary_nothing():
    tables = large_problem(12, 1.0)
    coupled, free = (
        robust_loss_linear_program(*tables, beta=0.3, rho=0.4, antisymmetric=a) for a in (True, False)
    )
    assert_allclose(coupled, free, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_340_responses_to_ten_digits(spread):
    tables = large_problem(340, spread)
    closed = robust_loss(*tables, beta=0.3, rho=0.2)
    assert_allclose(robust_loss_linear_program(*tables, beta=0.3, rho=0.2), closed, rtol=0, atol=1e-10)


def test_unlikely_responses_count():
    """Pairs whose weight is far below the solver's tolerance relative to the heaviest one."""
    tables = large_problem(40, 8.0)
    closed = robust_loss(*tables, beta=0.3, rho=0.2)
    assert_allclose(robust_loss_linear_program(*tables, beta=0.3, rho=0.2), closed, rtol=0, atol=1e-12)


def test_at_the_reference_there_is_nothing_to_gain():
    policy, _, preferences = large_problem(5, 1.0)
    value = robust_loss_linear_program(policy, policy, preferences, beta=0.3, rho=0.2)
    assert_allclose(value, np.log(2), rtol=0, atol=1e-12)


def test_bad_radius():
    with pytest.raises(ValueError, match="rho must be"):
        robust_loss_linear_program(*large_problem(3, 1.0), beta=0.3, rho=-1.0)
