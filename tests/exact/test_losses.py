"""The pure functions of log-probabilities, for policies that are not log-linear."""

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose
from scipy.special import log_softmax

from rsail.exact import losses

from .problems import central_difference, radii, random_preferences, seeds


def random_tables(seed, prompts=2, responses=5):
    rng = np.random.default_rng(seed)
    policy, reference = log_softmax(rng.normal(size=(2, prompts, responses)) * 2, axis=-1)
    return policy, reference, random_preferences(rng, prompts, responses)


def curved_policy(seed, prompts=2, responses=5, dimension=3):
    """log pi(y|x) of a policy that is far from log-linear, and its Jacobian (X, Y, d)."""
    rng = np.random.default_rng(seed)
    inner = rng.normal(size=(prompts, responses, dimension, dimension))
    outer = rng.normal(size=(prompts, responses, dimension))

    def log_probs(theta):
        return log_softmax(np.einsum("xyd,xyd->xy", outer, np.sin(inner @ theta)), axis=-1)

    def jacobian(theta):
        logits = np.einsum("xyd,xyd,xyde->xye", outer, np.cos(inner @ theta), inner)
        return logits - np.einsum("xy,xye->xe", np.exp(log_probs(theta)), logits)[:, None]

    return log_probs, jacobian


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seeds, radii)
def test_coefficients_give_the_gradient_of_any_policy(seed, rho):
    log_probs, jacobian = curved_policy(seed)
    _, reference, preferences = random_tables(seed)
    theta = np.random.default_rng(seed).normal(size=3)
    scores = np.abs(losses.pair_scores(log_probs(theta), reference))
    if scores[~np.eye(5, dtype=bool)[None].repeat(2, 0)].min() < 1e-3:
        return
    arguments = {"beta": 0.7, "prompt_probs": [0.3, 0.7]}
    coefficients = losses.log_prob_gradient(log_probs(theta), reference, preferences, rho=rho, **arguments)
    expected = central_difference(
        lambda x: losses.robust_loss(log_probs(x), reference, preferences, rho=rho, **arguments), theta
    )
    gradient = np.einsum("xy,xyd->d", coefficients, jacobian(theta))
    assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)
    penalty_gradient = losses.penalty_log_prob_gradient(log_probs(theta), reference, prompt_probs=[0.3, 0.7])
    expected = central_difference(
        lambda x: losses.penalty(log_probs(x), reference, prompt_probs=[0.3, 0.7]), theta
    )
    assert_allclose(np.einsum("xy,xyd->d", penalty_gradient, jacobian(theta)), expected, rtol=1e-6, atol=1e-8)


def test_coefficients_split_into_path_and_score():
    tables = random_tables(0)
    full, path, double = (
        losses.log_prob_gradient(*tables, beta=0.5, rho=0.1, score_weight=w) for w in (1.0, 0.0, 2.0)
    )
    assert np.abs(full - path).max() > 1e-3
    assert_allclose(double - full, full - path, rtol=1e-12, atol=1e-16)


@settings(deadline=None, derandomize=True)
@given(seeds, radii)
def test_the_robust_loss_is_the_loss_under_the_worst_oracle(seed, rho):
    tables = random_tables(seed)
    closed = losses.robust_loss(*tables, beta=0.3, rho=rho)
    assert_allclose(losses.endpoint_loss(*tables, beta=0.3, rho=rho), closed, rtol=1e-12)


def test_the_penalty_has_a_positive_sign():
    policy, reference, _ = random_tables(3)
    fair = np.full((2, 5, 5), 0.5)
    expected = losses.expected_loss(policy, reference, fair, beta=0.3) + 0.03 * losses.penalty(
        policy, reference
    )
    assert_allclose(losses.robust_loss(policy, reference, fair, beta=0.3, rho=0.1), expected, rtol=1e-13)


def test_pair_scores_and_law():
    policy, reference, _ = random_tables(1)
    scores, law = losses.pair_scores(policy, reference), losses.pair_law(policy, [0.2, 0.8])
    expected = policy[1, 3] - reference[1, 3] - policy[1, 0] + reference[1, 0]
    assert_allclose(scores[1, 3, 0], expected, rtol=1e-14)
    assert_allclose(scores, -np.swapaxes(scores, -1, -2), atol=0)
    assert_allclose(law.sum(axis=(1, 2)), [0.2, 0.8], rtol=1e-12)
    assert_allclose(law[1, 3, 0], 0.8 * np.exp(policy[1, 3] + policy[1, 0]), rtol=1e-13)


def test_a_tie_moves_no_preference():
    preferences = np.array([[[0.5, 0.9], [0.1, 0.5]]])
    worst = losses.worst_case_preferences(preferences, np.zeros((1, 2, 2)), 0.3)
    assert_allclose(worst, preferences, atol=0)


def test_an_oracle_that_ignores_its_limits_is_clipped():
    preferences, scores = np.array([[[0.5, 0.9], [0.1, 0.5]]]), np.array([[[0.0, -1.0], [1.0, 0.0]]])
    worst = losses.worst_case_preferences(preferences, scores, 0.3)
    assert_allclose(worst, [[[0.5, 1.0], [0.0, 0.5]]], atol=1e-16)


def test_pair_scores_may_be_off_by_rounding_at_their_scale_and_by_no_more():
    preferences = np.full((1, 2, 2), 0.5)
    for size, off, fits in ((1e6, 1e-5, True), (1.0, 1e-5, False), (1.0, 0.5, False), (1e6, 0.1, False)):
        scores = np.array([[[0.0, size], [off - size, 0.0]]])
        if fits:
            assert_allclose(
                losses.worst_case_preferences(preferences, scores, 0.1), [[[0.5, 0.4], [0.6, 0.5]]]
            )
        else:
            with pytest.raises(ValueError, match=r"pair_scores must be antisymmetric"):
                losses.worst_case_preferences(preferences, scores, 0.1)
    assert losses.worst_case_preferences(np.zeros((0, 2, 2)), np.zeros((0, 2, 2)), 0.1).shape == (0, 2, 2)


def test_pair_losses_of_single_precision_are_in_double():
    assert all(loss.dtype == np.float64 for loss in losses.pair_losses(np.float32([0.5, -40.0]), 0.3))


def test_far_apart_policies_stay_finite():
    policy = log_softmax([[0.0, -900.0, -1800.0]], axis=-1)
    reference = log_softmax([[-900.0, 0.0, 0.0]], axis=-1)
    fair = np.full((1, 3, 3), 0.5)
    assert np.isfinite(losses.robust_loss(policy, reference, fair, beta=5.0, rho=0.2))
    assert np.all(np.isfinite(losses.log_prob_gradient(policy, reference, fair, beta=5.0, rho=0.2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_probs": np.zeros((1, 2))}, r"exp\(log_probs\) must be a distribution"),
        ({"log_probs": [[0.0, -np.inf]]}, "log_probs must be finite"),
        ({"log_probs": np.log([0.5, 0.5])}, "log_probs.shape"),
        ({"ref_log_probs": np.log([[0.4, 0.3, 0.3]])}, "ref_log_probs.shape"),
        ({"preferences": np.full((2, 2, 2), 0.5)}, "preferences.shape"),
        ({"preferences": np.full((1, 2, 2), 0.4)}, "preferences must be antisymmetric"),
        ({"beta": 0.0}, "beta must be"),
        ({"rho": -0.1}, "rho must be"),
        ({"prompt_probs": [0.5]}, "prompt_probs must be"),
    ],
)
@pytest.mark.parametrize("function", [losses.robust_loss, losses.endpoint_loss, losses.log_prob_gradient])
def test_bad_input(function, change, message):
    half = np.log([[0.5, 0.5]])
    arguments = {"log_probs": half, "ref_log_probs": half, "preferences": np.full((1, 2, 2), 0.5)}
    arguments |= {"beta": 0.1, "rho": 0.1} | change
    with pytest.raises(ValueError, match=message):
        function(**arguments)


def test_scores_of_a_selector_must_be_antisymmetric():
    preferences = np.full((1, 2, 2), 0.5)
    with pytest.raises(ValueError, match="pair_scores must be antisymmetric"):
        losses.worst_case_preferences(preferences, np.ones((1, 2, 2)), 0.1)
    with pytest.raises(ValueError, match=r"pair_scores\.shape"):
        losses.worst_case_preferences(preferences, np.zeros((1, 3, 3)), 0.1)
