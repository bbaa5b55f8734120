"""Planning oracles: ascent and preference fitting end at the Gibbs policy, at the rate and by the moves they state."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax

from rsail.exact import gibbs
from rsail.exact.bandit import li_bandit, li_features
from rsail.exact.planning import clipped_surrogate_ascent, direct_preference_plan, natural_policy_gradient
from tests.exact.problems import central_difference, random_preferences
from tests.exact.testbed import assert_regret_identity, bradley_terry, random_policy, random_task


@pytest.mark.parametrize("seed", range(12))
def test_every_oracle_is_the_gibbs_policy(seed):
    rng, rewards, ref, beta, mu = random_task(seed)
    optimum = gibbs.gibbs_policy(rewards, ref, beta=beta)
    features = rng.normal(size=(*ref.shape, ref.size))  # as many features as there are entries: every table
    given = {"beta": beta, "step_size": 0.4 / beta}
    pairs = np.diag(np.ones(ref.shape[1] - 1), 1) * rng.uniform(
        0.1, 1, size=(len(ref), 1, 1)
    )  # a chain of pairs
    preferences = bradley_terry(rewards)
    plans = [
        natural_policy_gradient(rewards, ref, **given),
        natural_policy_gradient(rewards, ref, **given, features=features, prompt_probs=mu),
        clipped_surrogate_ascent(rewards, ref, beta=beta, step_size=0.1 / beta, clip=0.2, epochs=4),
        direct_preference_plan(preferences, ref, beta=beta),
        direct_preference_plan(preferences, ref, beta=beta, pair_probs=pairs),
    ]
    for plan in plans:
        assert plan.residual <= 1e-11
        assert_allclose(np.exp(plan.log_probs), np.exp(optimum), atol=1e-8)
        assert assert_regret_identity(plan.log_probs, rewards, ref, beta, mu) < 1e-12


def test_the_natural_gradient_shrinks_advantages_by_its_rate():
    _, rewards, ref, _, _ = random_task(1)
    start = np.ptp(rewards, axis=-1).max()
    for share in (0.25, 1.5):
        steps = natural_policy_gradient(rewards, ref, beta=0.5, step_size=share / 0.5).steps
        expected = np.log(1e-11 / start) / np.log(abs(1 - share))
        assert abs(steps - expected) <= 2
    assert natural_policy_gradient(rewards, ref, beta=0.5, step_size=2.0).steps == 1
    with pytest.raises(RuntimeError, match="3 steps left a residual of"):
        natural_policy_gradient(rewards, ref, beta=0.5, step_size=0.2, max_steps=3)


def test_features_that_cannot_express_the_reward_stop_at_a_stationary_point_below():
    bandit = li_bandit(40, beta=0.5)
    features = li_features(40, swapped=True)
    given = {"beta": 0.5, "step_size": 0.5, "features": features}
    plan = natural_policy_gradient(bandit.rewards, bandit.ref_log_probs, **given)
    assert plan.residual <= 1e-11
    assert assert_regret_identity(plan.log_probs, bandit.rewards, bandit.ref_log_probs, 0.5) > 0.05
    assert bandit.value(plan.log_probs) > bandit.value(bandit.ref_log_probs)
    ratios = plan.log_probs - bandit.ref_log_probs
    ratios = (ratios - ratios.mean(axis=-1, keepdims=True)).ravel()
    columns = (features - features.mean(axis=1, keepdims=True)).reshape(-1, 2)
    theta, misfit = np.linalg.lstsq(columns, ratios)[:2]
    assert_allclose(misfit, 0.0, atol=1e-18)

    def value(parameter):
        return bandit.value(log_softmax(bandit.ref_log_probs + features @ parameter, axis=-1))

    assert_allclose(central_difference(value, theta), 0.0, atol=1e-8)
    right = natural_policy_gradient(
        bandit.rewards, bandit.ref_log_probs, **(given | {"features": bandit.features})
    )
    assert_allclose(right.log_probs, bandit.optimum, atol=1e-8)


def test_the_clip_holds_back_what_has_left_its_range():
    ref, rewards = np.log([[0.5, 0.5]]), np.array([[2.0, 0.0]])
    given = {"beta": 1.0, "step_size": 0.25, "max_steps": 1, "tolerance": 1.6}
    # Advantages (1, -1). One step of 0.25 each way: ratios 1.245, 0.755. Both are outside 1 +- 0.2, inside 1 +- 0.3.
    once = clipped_surrogate_ascent(rewards, ref, **given, clip=0.2, epochs=5)
    assert_allclose(once.log_probs, log_softmax([[0.25, -0.25]], axis=-1), atol=1e-14)
    # Inside 1 +- 0.3 a second step is taken: 0.5 each way, ratios 1.462, 0.538; then both are held.
    twice = clipped_surrogate_ascent(rewards, ref, **given, clip=0.3, epochs=5)
    assert_allclose(twice.log_probs, log_softmax([[0.5, -0.5]], axis=-1), atol=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_the_preference_plan_minimizes_the_expected_loss(seed):
    rng, _, ref, beta, _ = random_task(seed)
    preferences = 0.02 + 0.96 * random_preferences(rng, *ref.shape)
    law = rng.uniform(0, 1, size=preferences.shape)
    plan = direct_preference_plan(preferences, ref, beta=beta, pair_probs=law)

    def loss(log_probs):
        ratios = log_probs - ref
        margin = beta * (ratios[:, :, None] - ratios[:, None, :])
        pairs = preferences * np.logaddexp(0, -margin) + (1 - preferences) * np.logaddexp(0, margin)
        return float(np.sum(law * pairs))

    slopes = central_difference(
        lambda flat: loss(log_softmax(flat.reshape(ref.shape), axis=-1)), plan.log_probs.ravel()
    )
    assert_allclose(slopes, 0.0, atol=1e-7)
    assert loss(plan.log_probs) < loss(random_policy(rng, ref.shape))
    assert loss(plan.log_probs) < loss(ref)


def test_for_other_preferences_the_plan_depends_on_the_pairs():
    ring = np.array([[[0.5, 0.9, 0.3], [0.1, 0.5, 0.8], [0.7, 0.2, 0.5]]])
    ref = np.log(np.full((1, 3), 1 / 3))
    even = direct_preference_plan(ring, ref, beta=1.0).log_probs
    weights = np.array([[[0.0, 5.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    assert (
        np.abs(even - direct_preference_plan(ring, ref, beta=1.0, pair_probs=weights).log_probs).max() > 0.1
    )


def test_by_default_the_reference_draws_the_pairs():
    rng, _, ref, beta, _ = random_task(0)
    preferences = 0.05 + 0.9 * random_preferences(rng, *ref.shape)
    law = np.exp(ref)[:, :, None] * np.exp(ref)[:, None, :]
    found, given = (direct_preference_plan(preferences, ref, beta=beta, pair_probs=p) for p in (None, law))
    assert_allclose(found.log_probs, given.log_probs, atol=1e-9)
    other = direct_preference_plan(preferences, ref, beta=beta, pair_probs=np.ones_like(law))
    assert np.abs(found.log_probs - other.log_probs).max() > 0.01


def test_preferences_that_are_all_ties_leave_the_reference():
    plan = direct_preference_plan(np.full((1, 3, 3), 0.5), REF, beta=1.0)
    assert_allclose(plan.log_probs, REF, atol=1e-12)


REF = np.log([[0.2, 0.3, 0.5]])
SURE = np.array([[[0.5, 1.0, 0.5], [0.0, 0.5, 0.5], [0.5, 0.5, 0.5]]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: natural_policy_gradient(np.zeros((1, 3)), REF, beta=1.0, step_size=2.0),
            "step_size must be below",
        ),
        (
            lambda: natural_policy_gradient(np.zeros((1, 2)), REF, beta=1.0, step_size=1.0),
            "rewards.shape must be",
        ),
        (
            lambda: clipped_surrogate_ascent(
                np.zeros((1, 3)), REF, beta=1.0, step_size=0.5, clip=0.2, epochs=4
            ),
            "step_size must be below",
        ),
        (
            lambda: clipped_surrogate_ascent(
                np.zeros((1, 3)), REF, beta=1.0, step_size=0.5, clip=1.0, epochs=1
            ),
            "clip must be",
        ),
        (lambda: direct_preference_plan(SURE, REF, beta=1.0), r"preferences\[0\] must be in \(0, 1\)"),
        (
            lambda: direct_preference_plan(
                0.5 * np.ones((1, 3, 3)), REF, beta=1.0, pair_probs=np.eye(3)[None]
            ),
            r"pair_probs\[0\] must be pairs that connect",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
