"""The program on two levels: implicit derivatives, equal values, gradients by the chain rule, what Z does."""

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

from rsail.exact import FiniteProblem, bilevel, gibbs

from .problems import central_difference, random_preferences, seeds

everywhere = settings(deadline=None, derandomize=True, max_examples=40)


class Case:
    """A random lower level with rewards, an oracle and approvals."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        prompts, size = int(rng.integers(1, 4)), int(rng.integers(2, 6))
        self.beta = float(rng.uniform(0.2, 2.0))
        self.reference = np.log(rng.dirichlet(np.full(size, 2.0), size=prompts))
        self.rewards = rng.normal(size=(prompts, size))
        self.preferences = random_preferences(rng, prompts, size)
        self.approval = rng.uniform(size=(prompts, size))
        self.prompt_probs = rng.dirichlet(np.ones(prompts))

    @property
    def shape(self):
        return self.rewards.shape

    def policy(self, rewards=None):
        rewards = self.rewards if rewards is None else rewards
        return np.exp(gibbs.gibbs_policy(rewards, self.reference, beta=self.beta))

    def pairwise(self, rewards, policy):
        return bilevel.pairwise(rewards, policy, self.preferences, self.prompt_probs)

    def pointwise(self, rewards, policy):
        return bilevel.pointwise(rewards, policy, self.approval, self.prompt_probs)

    def single_level(self):
        """The same in the policy's parameters: one softmax per prompt."""
        prompts, size = self.shape
        features = np.eye(prompts * size).reshape(prompts, size, -1)
        return FiniteProblem(features, self.preferences, self.beta, self.prompt_probs, self.reference.ravel())


def value(case, upper, flat):
    rewards = flat.reshape(case.shape)
    return getattr(case, upper)(rewards, case.policy(rewards)).value


@everywhere
@given(seeds)
def test_the_gibbs_policy_solves_the_lower_level(seed):
    case = Case(seed)
    policy = case.policy()
    assert_allclose(bilevel.stationarity(policy, case.rewards, case.reference, case.beta), 0, atol=1e-13)
    value = case.beta * gibbs.log_partition(case.rewards, case.reference, beta=case.beta)
    gain = np.sum(policy * (case.rewards - case.beta * (np.log(policy) - case.reference)), axis=-1)
    assert_allclose(gain, value, rtol=1e-12, atol=1e-13)
    other = softmax(np.random.default_rng(seed).normal(size=case.shape), axis=-1)
    assert np.abs(bilevel.stationarity(other, case.rewards, case.reference, case.beta)).max() > 1e-6


def test_a_solver_that_knows_no_closed_form_finds_the_same_policy():
    for seed in range(5):
        case = Case(seed)
        for rewards, reference, expected in zip(case.rewards, case.reference, case.policy(), strict=True):

            def loss(logits, rewards=rewards, reference=reference, beta=case.beta):
                log_probs = logits - logsumexp(logits)
                return -np.exp(log_probs) @ (rewards - beta * (log_probs - reference))

            found = minimize(loss, np.zeros(len(rewards)), tol=1e-12)
            assert_allclose(softmax(found.x), expected, atol=1e-5)


@everywhere
@given(seeds)
def test_the_implicit_jacobian_is_that_of_a_softmax(seed):
    case = Case(seed)
    policy = case.policy()
    found = bilevel.policy_jacobian(policy, case.beta)
    outer = policy[:, :, None] * policy[:, None, :]
    expected = (np.einsum("xi,ij->xij", policy, np.eye(case.shape[1])) - outer) / case.beta
    assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert_allclose(found.sum(axis=1), 0, atol=1e-13)  # probabilities stay probabilities
    assert_allclose(found.sum(axis=2), 0, atol=1e-13)  # a constant in the rewards moves nothing


def test_the_conditions_jacobian_is_that_of_the_conditions():
    """Conditions on responses times pi(y), then the sum of probabilities, in (pi, nu) at the solution."""
    case = Case(2)
    policy = case.policy()
    for x, found in enumerate(bilevel.conditions_jacobian(policy, case.beta)):
        pull = case.rewards[x] - case.beta * (np.log(policy[x]) - case.reference[x] + 1.0)

        def conditions(point, x=x):
            probs, nu = point[:-1], point[-1]
            inside = case.rewards[x] - case.beta * (np.log(probs) - case.reference[x] + 1.0) - nu
            return np.append(probs * inside, probs.sum() - 1.0)

        solution = np.append(policy[x], pull.mean())
        assert_allclose(conditions(solution), 0, atol=1e-13)
        rows = [central_difference(lambda z, k=k: conditions(z)[k], solution) for k in range(len(solution))]
        assert_allclose(found, rows, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("upper", ["pairwise", "pointwise"])
def test_hypergradients_are_derivatives(upper):
    for seed in range(12):
        case = Case(seed)
        found = bilevel.hypergradient(
            getattr(case, upper)(case.rewards, case.policy()), case.policy(), case.beta
        )
        slope = central_difference(lambda x, c=case: value(c, upper, x), case.rewards.ravel())
        assert_allclose(found.ravel(), slope, rtol=1e-6, atol=1e-9)
        # Without the response of the lower level it is another vector.
        partial = getattr(case, upper)(case.rewards, case.policy()).rewards
        assert np.abs(partial - found).max() > 1e-3


@everywhere
@given(seeds)
def test_two_levels_and_one_have_equal_values_and_gradients(seed):
    case = Case(seed)
    single, theta = case.single_level(), (case.reference + case.rewards / case.beta).ravel()
    upper = case.pairwise(case.rewards, case.policy())
    assert_allclose(single.sail_loss(theta), upper.value, rtol=1e-12)
    hyper = bilevel.hypergradient(upper, case.policy(), case.beta)
    assert_allclose(hyper.ravel(), single.sail_gradient(theta) / case.beta, rtol=0, atol=1e-12)
    assert_allclose(hyper.sum(axis=-1), 0, atol=1e-13)  # a constant per prompt is not seen


@everywhere
@given(seeds)
def test_linear_rewards_are_log_linear_policies(seed):
    """r = features . w: theta = theta_ref + w / beta, and the gradient in w is the one in theta over beta."""
    case, rng = Case(seed), np.random.default_rng(seed)
    features, theta_ref, w = rng.normal(size=(*case.shape, 3)), rng.normal(size=3), rng.normal(size=3)
    single = FiniteProblem(features, case.preferences, case.beta, case.prompt_probs, theta_ref)
    log_probs = gibbs.gibbs_policy(features @ w, single.ref_log_probs, beta=case.beta)
    theta = theta_ref + w / case.beta
    assert_allclose(log_probs, single.log_probs(theta), atol=1e-12)
    upper = case.pairwise(features @ w, np.exp(log_probs))
    hyper = np.einsum("xy,xyd->d", bilevel.hypergradient(upper, np.exp(log_probs), case.beta), features)
    assert_allclose(hyper, single.sail_gradient(theta) / case.beta, rtol=0, atol=1e-11)


@everywhere
@given(seeds)
def test_z_cancels_in_differences_only(seed):
    case = Case(seed)
    log_probs = gibbs.gibbs_policy(case.rewards, case.reference, beta=case.beta)
    value = case.beta * gibbs.log_partition(case.rewards, case.reference, beta=case.beta)
    implicit = bilevel.implicit_rewards(log_probs, case.reference, case.beta)
    assert_allclose(case.rewards - implicit, value[:, None] + np.zeros(case.shape), atol=1e-12)
    assert_allclose(gibbs.log_partition(implicit, case.reference, beta=case.beta), 0, atol=1e-13)  # Z = 1
    policy = np.exp(log_probs)
    one, other = (case.pairwise(r, policy).value for r in (case.rewards, implicit))
    assert_allclose(one, other, rtol=1e-12)
    one, other = (case.pointwise(r, policy).value for r in (case.rewards, implicit))
    assert abs(one - other) > 1e-6 * np.abs(value).max()


def test_pointwise_losses_are_cross_entropies():
    case = Case(3)
    policy, belief = case.policy(), expit(case.rewards)
    expected = -case.approval * np.log(belief) - (1 - case.approval) * np.log1p(-belief)
    found = case.pointwise(case.rewards, policy)
    assert_allclose(found.value, case.prompt_probs @ np.sum(policy * expected, axis=-1), rtol=1e-12)


def test_bad_arguments_are_named():
    case = Case(0)
    with pytest.raises(ValueError, match="beta"):
        bilevel.conditions_jacobian(case.policy(), 0.0)
    with pytest.raises(ValueError, match=r"ref_log_probs.shape"):
        bilevel.stationarity(case.policy(), case.rewards, case.reference[:, :1], 1.0)
    with pytest.raises(ValueError, match="approval"):
        bilevel.pointwise(case.rewards, case.policy(), case.approval + 1.0)
    with pytest.raises(ValueError, match="policy"):
        bilevel.policy_jacobian(2 * case.policy(), 1.0)
    with pytest.raises(ValueError, match="policy"):
        bilevel.stationarity(0 * case.policy(), case.rewards, case.reference, 1.0)
