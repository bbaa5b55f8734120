"""Estimates from single pairs: unbiased with and without a baseline, by enumeration and by drawing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rsail.exact import sail_family as sail
from rsail.exact.sail_estimates import estimates
from rsail.exact.sail_family import SETTINGS

from .problems import random_problem, seeds
from .test_sail_family import THETA, four_responses, random_pairs

everywhere = settings(deadline=None, derandomize=True, max_examples=40)


@everywhere
@given(seeds, st.floats(0.0, 1.5), st.floats(0.0, 1.5), st.floats(-2.0, 1.0))
def test_the_mean_is_the_damped_gradient_for_every_baseline(
    seed, response_weight, preference_weight, baseline
):
    problem, theta = random_problem(seed)
    pairs = random_pairs(problem, seed)
    for setting in SETTINGS:
        expected = sail.terms(problem, theta, setting, pairs).gradient(response_weight, preference_weight)
        found = estimates(
            problem, theta, setting, pairs,
            response_weight=response_weight, preference_weight=preference_weight, baseline=baseline,
        )  # fmt: skip
        assert_allclose(found.probs.sum(), 1, rtol=1e-12)
        assert_allclose(found.mean, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("with_baseline", [False, True])
def test_monte_carlo_agrees_within_its_standard_error(setting, with_baseline):
    problem, pairs = four_responses()
    baseline = sail.objective(problem, THETA, setting, pairs) if with_baseline else 0.0
    found, count = estimates(problem, THETA, setting, pairs, baseline=baseline), 200_000
    draws = found.draw(np.random.default_rng(0), count)
    errors = draws.mean(axis=0) - sail.gradient(problem, THETA, setting, pairs)
    z = errors / (draws.std(axis=0, ddof=1) / np.sqrt(count))
    assert np.abs(z).max() < 4.5
    assert_allclose(np.cov(draws.T), found.covariance, atol=0.03 * np.trace(found.covariance))
    # The test can fail: a step without its extra terms is many standard errors away.
    lame = sail.terms(problem, THETA, setting, pairs).gradient(0.0, 0.0)
    if setting != "offline":
        away = (draws.mean(axis=0) - lame) / (draws.std(axis=0, ddof=1) / np.sqrt(count))
        assert np.abs(away).max() > 4.5


def test_a_baseline_takes_most_of_the_noise_away():
    problem, pairs = four_responses()
    for setting in ("dpp", "dpr"):
        value = sail.objective(problem, THETA, setting, pairs)
        bare, with_baseline = (
            np.trace(estimates(problem, THETA, setting, pairs, baseline=b).covariance) for b in (0.0, value)
        )
        assert with_baseline < 0.2 * bare
    assert np.array_equal(
        estimates(problem, THETA, "dpp").values, estimates(problem, THETA, "dpp", baseline=0.0).values
    )
    # It does nothing where the policy does not draw the responses.
    for setting in ("offline", "ddp"):
        one, other = (estimates(problem, THETA, setting, pairs, baseline=b).values for b in (0.0, -0.7))
        assert np.array_equal(one, other)


def test_drawing_the_policys_own_label_is_pure_noise():
    """The mean over the label is the preference term; all else of a DDP pair is noise, whatever its weight."""
    problem, pairs = four_responses()
    silent = estimates(problem, THETA, "ddp", pairs, preference_weight=0.0)
    assert_allclose(silent.mean, 0, atol=1e-15)
    assert np.trace(silent.covariance) > 0.1 * np.trace(
        estimates(problem, THETA, "offline", pairs).covariance
    )


def test_bad_arguments_are_named():
    problem, pairs = four_responses()
    with pytest.raises(ValueError, match="baseline"):
        estimates(problem, THETA, "dpr", baseline=np.inf)
    with pytest.raises(ValueError, match="pair_probs"):
        estimates(problem, THETA, "offline")
    with pytest.raises(ValueError, match="setting"):
        estimates(problem, THETA, "online", pairs)
