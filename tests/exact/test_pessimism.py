"""Offline pessimism: estimates, the version space's closed form and certificate, bounds, and safety at any coverage."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from rsail.exact import gibbs, newton
from rsail.exact.bandit import mean_features, random_bandit
from rsail.exact.pessimism import (
    design_matrix,
    dual_norm,
    fit_reward,
    pointwise_pessimism,
    version_space_pessimism,
    worst_value,
)
from tests.exact.testbed import assert_regret_identity, random_policy


def offline(seed, slack=1.0):
    """A bandit, its estimate, Sigma, and the width at which theta* is on the border of Theta (times `slack`)."""
    rng = np.random.default_rng(seed)
    prompts, responses, dimension = int(rng.integers(1, 4)), int(rng.integers(2, 6)), int(rng.integers(1, 5))
    beta = float(rng.choice([0.02, 0.1, 1.0]))
    bandit = random_bandit(rng, prompts, responses, dimension, norm=float(rng.uniform(0.1, 4)), beta=beta)
    # A behavior that hardly leaves one response per prompt, and none, few or many comparisons.
    behavior = random_policy(rng, bandit.features.shape[:2], 4.0)
    moves, labels = bandit.draw(behavior, behavior, int(rng.choice([0, 0, 3, 30, 300])), rng)
    design = design_matrix(moves, ridge=0.1)
    estimate = fit_reward(moves, labels, ridge=0.1)
    error = bandit.theta - estimate
    return rng, bandit, estimate, design, slack * float(np.sqrt(error @ design @ error))


def settings(bandit, estimate, design, width, center=None):
    return {
        "features": bandit.features, "estimate": estimate, "design": design, "ref_log_probs": bandit.ref_log_probs,
        "beta": bandit.beta, "width": width, "center": center, "prompt_probs": bandit.prompt_probs,
    }  # fmt: skip


def test_design_matrix_and_norm_by_hand():
    design = design_matrix([[1.0, 2.0], [0.0, 1.0]], ridge=0.5, batch=2)
    assert_allclose(design, [[1.0, 1.0], [1.0, 3.0]])
    assert_allclose(dual_norm([[1.0, 0.0], [2.0, -1.0]], design), np.sqrt([1.5, 8.5]), atol=1e-14)
    assert_allclose(design_matrix(np.zeros((0, 2)), ridge=0.5), 0.5 * np.eye(2))


@pytest.mark.parametrize("seed", range(8))
def test_the_estimate_minimizes_the_penalized_likelihood(seed):
    rng = np.random.default_rng(seed)
    moves, labels = rng.normal(size=(20, 3)), (rng.random(20) < 0.5).astype(float)

    def loss(theta):
        margin = moves @ theta
        value = (labels @ np.logaddexp(0, -margin) + (1 - labels) @ np.logaddexp(0, margin)) / 4
        return value + 0.3 / 2 * theta @ theta

    found = minimize(loss, np.zeros(3), tol=1e-13).x
    assert_allclose(fit_reward(moves, labels, ridge=0.3, batch=4), found, atol=1e-6)
    assert_allclose(
        fit_reward(moves, labels, ridge=1.2), fit_reward(moves, labels, ridge=0.3, batch=4), atol=1e-10
    )


def test_soft_labels_give_back_the_reward_and_separable_data_a_finite_one():
    rng = np.random.default_rng(0)
    moves, theta = rng.normal(size=(50, 3)), np.array([1.0, -2.0, 0.5])
    assert_allclose(fit_reward(moves, expit(moves @ theta), ridge=1e-9), theta, atol=1e-6)
    separable = fit_reward([[1.0], [2.0]], [1.0, 1.0], ridge=1e-3)
    assert 3 < separable[0] < 100
    assert_allclose(fit_reward(np.zeros((0, 2)), [], ridge=1.0), 0.0)


@pytest.mark.parametrize("seed", range(12))
def test_the_worst_parameter_in_closed_form(seed):
    rng, bandit, estimate, design, width = offline(seed, 1.3)
    center = rng.normal(size=len(estimate)) if seed % 2 else None
    policy = random_policy(rng, bandit.ref_log_probs.shape)
    mean = mean_features(bandit.features, policy, bandit.prompt_probs) - (0 if center is None else center)
    directions = rng.normal(size=(2000, len(estimate)))
    directions /= np.sqrt(np.einsum("nd,de,ne->n", directions, design, directions))[:, None]
    cost = bandit.beta * gibbs.kl(policy, bandit.ref_log_probs, bandit.prompt_probs)
    values = (estimate + width * directions) @ mean - cost
    exact = worst_value(policy, **settings(bandit, estimate, design, width, center))
    assert values.min() >= exact - 1e-12
    ray = np.linalg.solve(design, mean)
    attained = estimate - width * ray / np.sqrt(ray @ design @ ray)
    assert_allclose(attained @ mean - cost, exact, atol=1e-11)


@pytest.mark.parametrize("seed", range(40))
def test_the_maximin_policy_and_its_certificate(seed):
    rng, bandit, estimate, design, width = offline(seed, 1.3)
    center = mean_features(bandit.features, bandit.ref_log_probs, bandit.prompt_probs) if seed % 2 else None
    given = settings(bandit, estimate, design, width, center)
    found = version_space_pessimism(**given)
    assert abs(found.gap) <= 1e-10
    error = found.theta - estimate
    assert error @ design @ error <= width**2 * (1 + 1e-9)
    assert_allclose(worst_value(found.log_probs, **given), found.value, atol=1e-12)
    shift = 0.0 if center is None else found.theta @ center
    at_worst = bandit.features @ found.theta
    # It is the optimum of the least favorable parameter ...
    assert (
        abs(
            assert_regret_identity(
                found.log_probs, at_worst, bandit.ref_log_probs, bandit.beta, bandit.prompt_probs
            )
        )
        < 1e-11
    )
    best = gibbs.optimal_value(
        at_worst, bandit.ref_log_probs, beta=bandit.beta, prompt_probs=bandit.prompt_probs
    )
    assert_allclose(found.value, best - shift, atol=1e-10)
    # ... and every other policy guarantees less, by beta KL at least.
    for scale in (0.3, 3.0):
        policy = random_policy(rng, bandit.ref_log_probs.shape, scale)
        lost = bandit.beta * gibbs.kl(policy, found.log_probs, bandit.prompt_probs)
        assert worst_value(policy, **given) <= found.value - lost + 1e-10
    assert_regret_identity(
        found.log_probs, bandit.rewards, bandit.ref_log_probs, bandit.beta, bandit.prompt_probs
    )


@pytest.mark.parametrize(
    "seed", [12, 14, 19, 24, 29]
)  # away from the kink at mean = 0, where a search gets stuck
def test_the_maximin_policy_by_a_search_over_logits(seed):
    _, bandit, estimate, design, width = offline(seed, 1.3)
    given = settings(bandit, estimate, design, width)

    def loss(logits):
        return -worst_value(log_softmax(logits.reshape(bandit.ref_log_probs.shape), axis=-1), **given)

    search = minimize(loss, bandit.ref_log_probs.ravel(), tol=1e-9)
    value = version_space_pessimism(**given).value
    assert value - 1e-5 < -search.fun < value + 1e-9


@pytest.mark.parametrize("seed", range(80))
def test_never_worse_than_the_reference_whatever_the_coverage(seed):
    rng, bandit, estimate, design, width = offline(seed, float([1.0, 1.0, 2.0, 20.0][seed % 4]))
    safe = bandit.ref_log_probs if seed % 3 else random_policy(rng, bandit.ref_log_probs.shape, 1.0)
    center = mean_features(bandit.features, safe, bandit.prompt_probs)
    found = version_space_pessimism(**settings(bandit, estimate, design, width, center))
    assert bandit.value(found.log_probs) >= bandit.value(safe) - 1e-10


def test_without_data_it_stays_at_the_reference():
    rng = np.random.default_rng(0)
    bandit = random_bandit(rng, 2, 4, 3, norm=2.0, beta=0.1)
    design, estimate = design_matrix(np.zeros((0, 3)), ridge=0.1), np.zeros(3)
    center = mean_features(bandit.features, bandit.ref_log_probs, bandit.prompt_probs)
    found = version_space_pessimism(**settings(bandit, estimate, design, np.sqrt(0.1) * 2.0, center))
    assert_allclose(found.log_probs, bandit.ref_log_probs, atol=1e-10)
    assert_allclose(found.theta, 0.0, atol=1e-10)


def test_without_a_reference_policy_it_can_be_worse_than_the_reference():
    lost = []
    for seed in range(25):
        _, bandit, estimate, design, width = offline(seed)
        given = settings(bandit, estimate, design, width)
        given.pop("prompt_probs")
        pointwise = pointwise_pessimism(**given)
        found = version_space_pessimism(**given, prompt_probs=bandit.prompt_probs).log_probs
        floor = bandit.value(bandit.ref_log_probs)
        lost.append([floor - bandit.value(found), floor - bandit.value(pointwise)])
    assert np.all(np.max(lost, axis=0) > 0.05)


@pytest.mark.parametrize("seed", range(30))
def test_the_stated_bounds_hold_against_every_policy(seed):
    rng, bandit, estimate, design, width = offline(seed)
    mean = mean_features(bandit.features, bandit.ref_log_probs, bandit.prompt_probs)
    rivals = [bandit.optimum, bandit.ref_log_probs]
    rivals += [random_policy(rng, bandit.ref_log_probs.shape, scale) for scale in (0.5, 2.0, 8.0)]
    for center in (None, mean):
        given = settings(bandit, estimate, design, width, center)
        found = version_space_pessimism(**given).log_probs
        given.pop("prompt_probs")
        pointwise = pointwise_pessimism(**given)
        assert_regret_identity(
            pointwise, bandit.rewards, bandit.ref_log_probs, bandit.beta, bandit.prompt_probs
        )
        center = np.zeros_like(mean) if center is None else center
        spread = dual_norm(bandit.features - center, design)
        for rival in rivals:
            value = bandit.value(rival)
            average = mean_features(bandit.features, rival, bandit.prompt_probs) - center
            bound = 2 * width * dual_norm(average, design)
            assert value - bandit.value(found) <= bound + 1e-10
            wide = 2 * width * gibbs.expected_reward(rival, spread, bandit.prompt_probs)
            assert bound <= wide + 1e-12  # Jensen: the norm of the mean is the smaller one
            wide -= bandit.beta * gibbs.kl(rival, pointwise, bandit.prompt_probs)
            assert value - bandit.value(pointwise) <= wide + 1e-10


def test_the_pointwise_form_sees_a_shift_of_the_features_unless_centered():
    _, bandit, estimate, design, width = offline(7)
    given = settings(bandit, estimate, design, width)
    given.pop("prompt_probs")
    mean = mean_features(bandit.features, bandit.ref_log_probs, bandit.prompt_probs)
    per_prompt = np.einsum("xy,xyd->xd", np.exp(bandit.ref_log_probs), bandit.features)
    shift = np.full(len(mean), 3.0)
    moved = given | {"features": bandit.features + shift}
    assert np.abs(pointwise_pessimism(**moved) - pointwise_pessimism(**given)).max() > 0.1
    for center in (mean, per_prompt):
        here = pointwise_pessimism(**(given | {"center": center}))
        assert_allclose(pointwise_pessimism(**(moved | {"center": center + shift})), here, atol=1e-10)
    assert_allclose(
        pointwise_pessimism(**(given | {"width": 0.0})),
        gibbs.gibbs_policy(bandit.features @ estimate, bandit.ref_log_probs, beta=bandit.beta),
        atol=1e-12,
    )


@pytest.mark.parametrize("seed", [1, 7, 13])
def test_a_preference_loss_with_an_uncertainty_gap_ends_at_the_pointwise_policy(seed):
    """-log sigma(beta Delta + Gamma_w - Gamma_l): a more uncertain winner is raised less (GSHF's direct form)."""
    _, bandit, estimate, design, width = offline(seed)
    given = settings(bandit, estimate, design, width)
    given.pop("prompt_probs")
    gamma = width * dual_norm(bandit.features, design)
    rewards = bandit.features @ estimate
    chance = expit(rewards[:, :, None] - rewards[:, None, :])

    def loss(flat):
        score = flat.reshape(rewards.shape) + gamma  # beta log(pi / pi_ref) + Gamma
        margin = score[:, :, None] - score[:, None, :]
        return np.sum(chance * np.logaddexp(0, -margin) + (1 - chance) * np.logaddexp(0, margin))

    found = minimize(loss, np.zeros(rewards.size), tol=1e-9).x.reshape(rewards.shape)
    policy = log_softmax(bandit.ref_log_probs + found / bandit.beta, axis=-1)
    assert_allclose(np.exp(policy), np.exp(pointwise_pessimism(**given)), atol=1e-4)


def pessimist(**changes):
    given = {"features": np.zeros((1, 2, 2)), "estimate": [0.0, 0.0], "design": np.eye(2), "beta": 1.0}
    given |= {"width": 1.0, "ref_log_probs": np.log([[0.5, 0.5]])}
    return version_space_pessimism(**(given | changes))


def test_without_uncertainty_it_is_the_gibbs_policy_of_the_estimate():
    features = np.random.default_rng(0).normal(size=(1, 2, 2))
    expected = gibbs.gibbs_policy(features @ [1.0, -2.0], np.log([[0.5, 0.5]]), beta=1.0)
    found = pessimist(features=features, estimate=[1.0, -2.0], width=0.0)
    assert_allclose(found.log_probs, expected, atol=1e-14)
    assert_allclose(
        pessimist().log_probs, np.log([[0.5, 0.5]]), atol=1e-14
    )  # no response differs from another


def test_newton_says_when_it_fails():
    with pytest.raises(RuntimeError, match="Newton's method stopped at a residual of"):
        newton.solve(lambda x: (np.exp(x) + 1.0, np.diag(np.exp(x))), np.zeros(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: design_matrix([1.0], ridge=1.0), "moves.shape must be"),
        (lambda: design_matrix([[1.0]], ridge=0.0), "ridge must be"),
        (lambda: fit_reward([[1.0]], [2.0], ridge=1.0), r"labels must be in \[0, 1\]"),
        (lambda: fit_reward([[1.0]], [1.0, 0.0], ridge=1.0), "labels.shape must be"),
        (lambda: dual_norm([1.0, 0.0], [[1.0, 0.0], [0.0, -1.0]]), "design must be positive definite"),
        (lambda: dual_norm([1.0], [[1.0, 0.0]]), "design.shape must be"),
        (lambda: pessimist(estimate=[0.0]), "estimate.shape must be"),
        (lambda: pessimist(center=[[0.0, 0.0]]), "center.shape must be"),
        (lambda: pessimist(features=np.zeros((2, 2))), "features.shape must be"),
        (lambda: pessimist(width=-1.0), "width must be"),
        (lambda: pessimist(beta=0.0), "beta must be"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
