"""KL-regularized reward by enumeration: its optimum, its value, and the identity that judges every solver.

J(pi) = E_x[E_pi r - beta KL(pi || pi_ref)] has the Gibbs policy pi_r proportional to pi_ref exp(r / beta) as its
maximizer, and J(pi_r) - J(pi) = beta E_x KL(pi || pi_r) for every policy. beta multiplies the KL here; papers
that write eta^-1 KL mean beta = 1 / eta. Policies are tables of log-probabilities, (X, Y).

Sources: arXiv 2305.18290 (eq. 4); arXiv 2312.11456 (the regret identity); arXiv 2405.19320 (the value under a
calibration law); J. Schulman, "Approximating KL divergence", 2020 (the estimates k1, k2, k3).
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from rsail import checks
from rsail.exact.arguments import distribution, policies, prompt_weights, reward_table


def log_partition(rewards, ref_log_probs, *, beta: float) -> np.ndarray:
    """log Z(x) = log sum_y pi_ref(y|x) exp(r(x, y) / beta), shape (X,); rewards and ref_log_probs (X, Y)."""
    _, ref_log_probs = policies(ref_log_probs, ref_log_probs)
    rewards = reward_table(rewards, ref_log_probs.shape)
    return logsumexp(ref_log_probs + rewards / checks.positive("beta", beta), axis=-1)


def gibbs_policy(rewards, ref_log_probs, *, beta: float) -> np.ndarray:
    """log pi_r(y|x), shape (X, Y): the maximizer of J."""
    partition = log_partition(rewards, ref_log_probs, beta=beta)
    return np.asarray(ref_log_probs) + np.asarray(rewards) / beta - partition[:, None]


def kl_per_prompt(log_probs, ref_log_probs) -> np.ndarray:
    """KL(pi || pi_ref) in nats for each prompt, shape (X,); both policies must be normalized."""
    log_probs, ref_log_probs = policies(log_probs, ref_log_probs)
    policies(ref_log_probs, ref_log_probs)
    return np.sum(np.exp(log_probs) * (log_probs - ref_log_probs), axis=-1)


def kl(log_probs, ref_log_probs, prompt_probs=None) -> float:
    """E_x KL(pi || pi_ref) in nats; swap the arguments for the other direction."""
    values = kl_per_prompt(log_probs, ref_log_probs)
    return float(prompt_weights(prompt_probs, len(values)) @ values)


def expected_reward(log_probs, rewards, prompt_probs=None) -> float:
    """E_x E_{y ~ pi} r(x, y)."""
    log_probs, _ = policies(log_probs, log_probs)
    rewards = reward_table(rewards, log_probs.shape)
    mu = prompt_weights(prompt_probs, len(log_probs))
    return float(mu @ np.sum(np.exp(log_probs) * rewards, axis=-1))


def value(log_probs, rewards, ref_log_probs, *, beta: float, prompt_probs=None) -> float:
    """J(pi) = E r - beta KL(pi || pi_ref)."""
    beta = checks.positive("beta", beta)
    return expected_reward(log_probs, rewards, prompt_probs) - beta * kl(
        log_probs, ref_log_probs, prompt_probs
    )


def optimal_value(rewards, ref_log_probs, *, beta: float, prompt_probs=None) -> float:
    """J* = beta E_x log Z(x)."""
    partition = log_partition(rewards, ref_log_probs, beta=beta)
    return float(beta * (prompt_weights(prompt_probs, len(partition)) @ partition))


def regret(log_probs, rewards, ref_log_probs, *, beta: float, prompt_probs=None) -> float:
    """J* - J(pi), computed as beta E_x KL(pi || pi_r): no digits are lost near the optimum."""
    optimum = gibbs_policy(rewards, ref_log_probs, beta=beta)
    return float(beta * kl(log_probs, optimum, prompt_probs))


def calibrated_optimal_value(
    rewards, ref_log_probs, calibration_probs, *, beta: float, prompt_probs=None
) -> float:
    """J* once more, as E_c[r] - beta E_c[log pi_r - log pi_ref] for any law c(y|x), (X, Y)."""
    optimum = gibbs_policy(rewards, ref_log_probs, beta=beta)
    law = distribution("calibration_probs", calibration_probs)
    checks.require(
        law.shape == optimum.shape, "calibration_probs.shape", law.shape, f"(X, Y) = {optimum.shape}"
    )
    terms = np.asarray(rewards) - beta * (optimum - np.asarray(ref_log_probs))
    return float(prompt_weights(prompt_probs, len(law)) @ np.sum(law * terms, axis=-1))


def kl_log_prob_gradient(log_probs, ref_log_probs, prompt_probs=None) -> np.ndarray:
    """Coefficients c (X, Y) with grad KL(pi || pi_ref) = sum c grad log pi: mu(x) pi(y|x) log(pi / pi_ref).

    The derivative of log(pi / pi_ref) itself has mean zero, so only the score is left.
    """
    log_probs, ref_log_probs = policies(log_probs, ref_log_probs)
    mu = prompt_weights(prompt_probs, len(log_probs))
    return mu[:, None] * np.exp(log_probs) * (log_probs - ref_log_probs)


def reference_score_weights(log_probs, ref_log_probs) -> np.ndarray:
    """exp(-h) = pi_ref / pi, (X, Y): E_ref[grad log pi] is the policy's own mean of exp(-h) grad log pi."""
    log_probs, ref_log_probs = policies(log_probs, ref_log_probs)
    return np.exp(ref_log_probs - log_probs)


def kl_estimates(log_ratio) -> dict[str, np.ndarray]:
    """Estimates of KL(pi || pi_ref) from h = log pi - log pi_ref at samples y ~ pi; arrays of h's shape.

    k1 = h and k3 = exp(-h) - 1 + h are unbiased, k3 is never negative; k2 = h^2 / 2 is biased.
    """
    h = checks.finite("log_ratio", log_ratio)
    return {"k1": h, "k2": h**2 / 2.0, "k3": np.expm1(-h) + h}
