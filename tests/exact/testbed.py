"""What the tests of the exact testbed share: random tasks, and the identity that every solver's output must meet."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.special import expit, log_softmax

from rsail.exact import gibbs


def random_task(seed: int, beta=None):
    """A generator, rewards and reference (X, Y), beta and prompt weights (X,)."""
    rng = np.random.default_rng(seed)
    prompts, responses = int(rng.integers(1, 4)), int(rng.integers(2, 6))
    rewards = rng.normal(size=(prompts, responses)) * rng.choice([0.3, 1.0, 3.0])
    ref = np.log(rng.dirichlet(np.full(responses, 2.0), size=prompts))
    beta = float(rng.choice([0.1, 0.5, 2.0])) if beta is None else beta
    return rng, rewards, ref, beta, rng.dirichlet(np.full(prompts, 3.0))


def random_policy(rng, shape, scale: float = 2.0) -> np.ndarray:
    return log_softmax(scale * rng.normal(size=shape), axis=-1)


def bradley_terry(rewards) -> np.ndarray:
    return expit(rewards[:, :, None] - rewards[:, None, :])


def assert_regret_identity(log_probs, rewards, ref, beta, mu=None) -> float:
    """J(pi_r) - J(pi) = beta KL(pi || pi_r), both sides from their definitions; returns the regret."""
    mu = np.full(len(ref), 1 / len(ref)) if mu is None else mu
    optimum = log_softmax(ref + rewards / beta, axis=-1)

    def value(logs):
        return mu @ np.sum(np.exp(logs) * (rewards - beta * (logs - ref)), axis=-1)

    identity = beta * (mu @ np.sum(np.exp(log_probs) * (log_probs - optimum), axis=-1))
    scale = 1.0 + np.abs(rewards).max()
    assert_allclose(np.exp(log_probs).sum(axis=-1), 1.0, atol=1e-12)
    assert_allclose(value(optimum) - value(log_probs), identity, atol=1e-11 * scale)
    assert_allclose(
        gibbs.regret(log_probs, rewards, ref, beta=beta, prompt_probs=mu), identity, atol=1e-12 * scale
    )
    assert identity >= -1e-13 * scale
    return float(identity)
