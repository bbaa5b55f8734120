"""Problems that the tests of the exact engine share."""

import numpy as np
from hypothesis import strategies as st

from rsail.exact import FiniteProblem

seeds = st.integers(0, 2**32 - 1)
radii = st.floats(0.0, 1.0)


def reference_problem() -> tuple[FiniteProblem, np.ndarray]:
    """The test vectors' problem and theta: two prompts, three responses, two features."""
    features = [[[0.6, 0.0], [-0.2, 0.5], [0.1, -0.7]], [[0.3, 0.4], [-0.5, 0.1], [0.0, -0.3]]]
    rewards = [[0.8, -0.3, 0.1], [-0.2, 0.5, 0.0]]
    problem = FiniteProblem.from_rewards(
        features, rewards, beta=0.5, prompt_probs=[0.25, 0.75], theta_ref=[0.2, -0.1]
    )
    return problem, np.array([1.1, 0.4])


def random_preferences(rng: np.random.Generator, prompts: int, responses: int) -> np.ndarray:
    """Any oracle, not only Bradley-Terry: about a fifth of the comparisons are certain."""
    table = np.clip(rng.uniform(-0.1, 1.1, size=(prompts, responses, responses)), 0.0, 1.0)
    upper = np.triu(table, 1)
    lower = np.tril(1.0 - np.swapaxes(upper, -1, -2), -1)
    return upper + lower + 0.5 * np.eye(responses)


def random_problem(seed: int) -> tuple[FiniteProblem, np.ndarray]:
    """A random problem of up to 3 prompts, 6 responses and 4 features, and a parameter; some with ties."""
    rng = np.random.default_rng(seed)
    prompts, responses, dimension = rng.integers(1, 4), rng.integers(2, 7), rng.integers(1, 5)
    features = rng.normal(size=(prompts, responses, dimension))
    if rng.random() < 0.3:
        features[:, -1] = features[:, 0]  # two responses that no parameter tells apart: h = 0
    problem = FiniteProblem(
        features,
        random_preferences(rng, prompts, responses),
        beta=float(rng.uniform(0.05, 2.0)),
        prompt_probs=rng.dirichlet(np.ones(prompts)),
        theta_ref=rng.normal(size=dimension),
    )
    return problem, problem.theta_ref + rng.normal(size=dimension) * rng.uniform(0.1, 3.0)


def tabular(rewards, **settings) -> FiniteProblem:
    """One prompt, one-hot features, Bradley-Terry preferences, uniform reference."""
    return FiniteProblem.from_rewards(np.eye(len(rewards))[None], [rewards], beta=0.1, **settings)


def central_difference(function, theta, step: float = 1e-5) -> np.ndarray:
    """Gradient of `function` at `theta` by central differences with one Richardson step."""

    def slope(direction, size):
        return (function(theta + size * direction) - function(theta - size * direction)) / (2 * size)

    directions = np.eye(len(theta))
    return np.array([(4 * slope(e, step) - slope(e, 2 * step)) / 3 for e in directions])
