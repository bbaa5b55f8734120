"""SAIL's program on two levels as it stands, and the one level that it is reduced to (eq. 7 and 8).

Upper level: fit a reward to comparisons of responses that come from the policy which is optimal for this reward.
Lower level, per prompt: pi_r = argmax_pi E_pi[r] - beta KL(pi, pi_ref) over the simplex. Its stationarity conditions,

    r(y) - beta (log pi(y) / pi_ref(y) + 1) - nu = 0 for every y,    sum_y pi(y) = 1,

are a square system in (pi, nu), and the implicit function theorem differentiates its solution in r. Only
`rsail.exact.gibbs` uses that the system has a closed solution. The hypergradient of an upper level U(r, pi) is
dU/dr + (d pi_r / d r)' dU/dpi, by one linear solve with the transposed system per prompt.

A reward here is a table r(x, y), or linear in features. Equation numbers are those of arXiv 2602.20457.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from rsail import checks
from rsail.exact.arguments import distribution, preference_table, prompt_weights


class UpperLevel(NamedTuple):
    """An upper level's value in nats, and its derivatives in rewards and in policy, (X, Y) each, as if independent."""

    value: float
    rewards: np.ndarray
    policy: np.ndarray


def stationarity(policy, rewards, ref_log_probs, beta: float) -> np.ndarray:
    """Residuals (X, Y + 1) of the lower level's conditions at a positive policy (X, Y), with the best nu per prompt."""
    rewards, ref_log_probs, policy = _tables(rewards=rewards, ref_log_probs=ref_log_probs, policy=policy)
    checks.require(bool(np.all(policy > 0)), "policy", float(policy.min()), "positive")
    pull = rewards - checks.positive("beta", beta) * (np.log(policy) - ref_log_probs + 1.0)
    inside = pull - pull.mean(axis=-1, keepdims=True)  # nu is their mean
    return np.concatenate([inside, policy.sum(axis=-1, keepdims=True) - 1.0], axis=-1)


def conditions_jacobian(policy, beta: float) -> np.ndarray:
    """Jacobian (X, Y + 1, Y + 1) of the lower level's conditions in (pi, nu) at its solution.

    Each condition on a response is multiplied by pi(y) > 0, so that nothing is divided by a small probability.
    """
    policy = distribution("policy", policy)
    prompts, size = policy.shape
    jacobian = np.zeros((prompts, size + 1, size + 1))
    jacobian[:, np.arange(size), np.arange(size)] = -checks.positive("beta", beta)
    jacobian[:, :size, size] = -policy
    jacobian[:, size, :size] = 1.0
    return jacobian


def policy_jacobian(policy, beta: float) -> np.ndarray:
    """d pi_r(i) / d r(j), shape (X, Y, Y), by the implicit function theorem from the lower level's conditions."""
    jacobian = conditions_jacobian(policy, beta)
    size = jacobian.shape[-1] - 1
    in_rewards = np.zeros((len(jacobian), size + 1, size))
    in_rewards[:, np.arange(size), np.arange(size)] = policy
    return -np.linalg.solve(jacobian, in_rewards)[:, :size]


def pairwise(rewards, policy, preferences, prompt_probs=None) -> UpperLevel:
    """Eq. 7: E_{i, j ~ policy}[cross-entropy of sigma(r_i - r_j) against P(i > j)]; to be minimized."""
    rewards, policy = _tables(rewards=rewards, policy=policy)
    preferences = preference_table(preferences, rewards.shape)
    mu = prompt_weights(prompt_probs, len(rewards))[:, None, None]
    gaps = rewards[:, :, None] - rewards[:, None, :]
    losses = np.logaddexp(0.0, -gaps) + (1.0 - preferences) * gaps
    law = mu * policy[:, :, None] * policy[:, None, :]
    slopes = law * (expit(gaps) - preferences)
    return UpperLevel(
        float(np.sum(law * losses)),
        slopes.sum(axis=-1) - slopes.sum(axis=-2),
        np.sum(mu * losses * policy[:, None, :], axis=-1) + np.sum(mu * losses * policy[:, :, None], axis=-2),
    )


def pointwise(rewards, policy, approval, prompt_probs=None) -> UpperLevel:
    """E_{y ~ policy}[cross-entropy of sigma(r(y)) against approval(y)]: a thumb up or down for one response.

    An addition, for contrast: it sees the reward itself and not a difference, so that Z does not cancel. `approval`
    (X, Y) holds probabilities.
    """
    rewards, policy, approval = _tables(rewards=rewards, policy=policy, approval=approval)
    checks.require(
        bool(np.all((approval >= 0) & (approval <= 1))), "approval", approval.max(), "probabilities"
    )
    mu = prompt_weights(prompt_probs, len(rewards))[:, None]
    losses = np.logaddexp(0.0, -rewards) + (1.0 - approval) * rewards
    law = mu * policy
    return UpperLevel(float(np.sum(law * losses)), law * (expit(rewards) - approval), mu * losses)


def hypergradient(upper: UpperLevel, policy, beta: float) -> np.ndarray:
    """The gradient (X, Y) of r -> U(r, pi_r), from U's partial derivatives at r and pi_r, by an adjoint solve.

    For a reward that is linear in features, contract it with them: d r / d w = features.
    """
    jacobian = conditions_jacobian(policy, beta)
    size = jacobian.shape[-1] - 1
    checks.require(
        upper.policy.shape == (len(jacobian), size), "upper.policy.shape", upper.policy.shape, "(X, Y)"
    )
    right = np.concatenate([upper.policy, np.zeros((len(jacobian), 1))], axis=-1)
    adjoint = np.linalg.solve(np.swapaxes(jacobian, -1, -2), right[..., None])[..., 0]
    return upper.rewards - policy * adjoint[:, :size]


def implicit_rewards(log_probs, ref_log_probs, beta: float) -> np.ndarray:
    """beta log(pi / pi_ref), (X, Y): a reward whose Gibbs policy is pi, the one with Z = 1 (eq. 8)."""
    log_probs, ref_log_probs = _tables(log_probs=log_probs, ref_log_probs=ref_log_probs)
    return checks.positive("beta", beta) * (log_probs - ref_log_probs)


def _tables(**tables) -> list[np.ndarray]:
    """Tables (X, Y) of the same shape and of finite numbers."""
    found = [checks.finite(name, table) for name, table in tables.items()]
    shape = found[0].shape
    for name, table in zip(tables, found, strict=True):
        checks.require(
            table.ndim == 2 and table.size > 0, f"{name}.shape", table.shape, "(X, Y), prompts first"
        )
        checks.require(
            table.shape == shape, f"{name}.shape", table.shape, f"{shape}, as {next(iter(tables))}"
        )
    return found
