"""Linear contextual bandits with comparisons: the reward is <theta, phi(x, y)>, everything known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from rsail import checks
from rsail.exact import gibbs
from rsail.exact.arguments import count, policies, prompt_weights


@dataclass(frozen=True, eq=False, repr=False)
class LinearBandit:
    """Prompts, responses, a linear reward and a reference policy.

    Parameters
    ----------
    features : array (X, Y, d)
        phi(x, y).
    theta : array (d,)
        The true reward's parameter.
    beta : float > 0
        Multiplies the KL to the reference.
    ref_log_probs : array (X, Y), optional
        Uniform by default.
    prompt_probs : array (X,), optional
        Uniform by default.
    """

    features: np.ndarray
    theta: np.ndarray
    beta: float
    ref_log_probs: np.ndarray | None = None
    prompt_probs: np.ndarray | None = None

    def __post_init__(self):
        features, theta = checks.finite("features", self.features), checks.finite("theta", self.theta)
        checks.require(
            features.ndim == 3 and min(features.shape) > 0, "features.shape", features.shape, "(X, Y, d)"
        )
        checks.require(theta.shape == features.shape[-1:], "theta.shape", theta.shape, features.shape[-1:])
        shape = features.shape[:2]
        ref = np.full(shape, -np.log(shape[1])) if self.ref_log_probs is None else self.ref_log_probs
        ref = policies(ref, ref)[0]
        checks.require(ref.shape == shape, "ref_log_probs.shape", ref.shape, f"(X, Y) = {shape}")
        keep = object.__setattr__
        keep(self, "features", features)
        keep(self, "theta", theta)
        keep(self, "beta", checks.positive("beta", self.beta))
        keep(self, "ref_log_probs", ref)
        keep(self, "prompt_probs", prompt_weights(self.prompt_probs, shape[0]))

    @property
    def rewards(self) -> np.ndarray:
        """r(x, y) = <theta, phi(x, y)>, shape (X, Y)."""
        return self.features @ self.theta

    @property
    def optimum(self) -> np.ndarray:
        """log pi*(y|x), the Gibbs policy of the true reward, (X, Y)."""
        return gibbs.gibbs_policy(self.rewards, self.ref_log_probs, beta=self.beta)

    def value(self, log_probs) -> float:
        """J(pi) under the true reward."""
        return gibbs.value(log_probs, self.rewards, self.ref_log_probs, **self._settings)

    def regret(self, log_probs) -> float:
        """J* - J(pi)."""
        return gibbs.regret(log_probs, self.rewards, self.ref_log_probs, **self._settings)

    def draw(self, log_probs_1, log_probs_2, size: int, rng: np.random.Generator):
        """`size` prompts with one response of each policy and a Bradley-Terry label.

        Returns
        -------
        moves : array (size, d)
            phi(x, y1) - phi(x, y2).
        labels : array (size,)
            1.0 where the first was preferred, P = sigma(<theta, move>), else 0.0.
        """
        size = count("size", size, least=0)
        prompts = rng.choice(len(self.prompt_probs), size=size, p=self.prompt_probs)
        first, second = (_responses(log_probs, prompts, rng) for log_probs in (log_probs_1, log_probs_2))
        moves = self.features[prompts, first] - self.features[prompts, second]
        return moves, (rng.random(size) < expit(moves @ self.theta)).astype(float)

    @property
    def _settings(self) -> dict:
        return {"beta": self.beta, "prompt_probs": self.prompt_probs}


def mean_features(features, log_probs, prompt_probs=None) -> np.ndarray:
    """E_x E_{y ~ pi} phi(x, y), shape (d,); features (X, Y, d)."""
    features, log_probs = checks.finite("features", features), policies(log_probs, log_probs)[0]
    checks.require(
        features.ndim == 3 and features.shape[:2] == log_probs.shape,
        "features.shape", features.shape, f"(X, Y, d) with (X, Y) = {log_probs.shape}",
    )  # fmt: skip
    mu = prompt_weights(prompt_probs, len(log_probs))
    return np.einsum("x,xy,xyd->d", mu, np.exp(log_probs), features)


def random_bandit(
    rng: np.random.Generator, prompts: int, responses: int, dimension: int, *, norm: float, beta: float
) -> LinearBandit:
    """Features of Gaussian entries with variance 1/d, |theta| = norm, a reference that is not uniform."""
    features = rng.normal(size=(prompts, responses, dimension)) / np.sqrt(dimension)
    theta = rng.normal(size=dimension)
    ref = np.log(rng.dirichlet(np.full(responses, 2.0), size=prompts))
    theta = checks.nonnegative("norm", norm) * theta / np.linalg.norm(theta)
    return LinearBandit(features, theta, beta, ref, rng.dirichlet(np.full(prompts, 5.0)))


def rare_response_bandit(
    rng: np.random.Generator, responses: int, dimension: int, *, beta: float
) -> LinearBandit:
    """One prompt, one response in `responses` that alone shows the feature which pays: its reward is 3, theirs small.

    The uniform reference almost never draws it, so that what a second arm looks for decides how fast it is found.
    """
    features = np.zeros((1, count("responses", responses, least=2), count("dimension", dimension, least=2)))
    features[0, 1:, :-1] = 0.4 * rng.normal(size=(responses - 1, dimension - 1))
    features[0, 0, -1] = 1.0
    return LinearBandit(features, np.append(0.5 * rng.normal(size=dimension - 1), 3.0), beta)


def li_features(contexts: int, *, swapped: bool = False) -> np.ndarray:
    """Features (contexts, 4, 2) of the bandit of Li, Xu and Yu, arXiv 2312.10584, from their code.

    Context s uniform on [0, 1], here at the midpoints of equal cells; actions a = 0 ... 3 with
    phi(s, a) = ((a + 1) cos(pi s), sin(pi s) / (a + 1)). `swapped` exchanges sine and cosine: their policy's features,
    which cannot express the reward.
    """
    state = ((np.arange(count("contexts", contexts)) + 0.5) / contexts)[:, None]
    waves = (np.cos(np.pi * state), np.sin(np.pi * state))
    first, second = waves[::-1] if swapped else waves
    action = np.arange(1.0, 5.0)
    return np.stack([action * first, second / action], axis=-1)


def li_bandit(contexts: int, *, beta: float) -> LinearBandit:
    """Their problem: `li_features`, theta = (1, 2), uniform reference.

    Without a KL term the best policy earns 1.8634 and the uniform one 0.6631. Their data are 20 comparisons of two
    different uniform actions, and beta is 0.01.
    """
    return LinearBandit(li_features(contexts), [1.0, 2.0], beta)


def _responses(log_probs, prompts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One response of pi(.|x) for each of the given prompts, by inversion of the distribution function."""
    cumulative = np.cumsum(np.exp(policies(log_probs, log_probs)[0]), axis=-1)[prompts]
    draws = rng.random(len(prompts)) * cumulative[:, -1]
    return np.sum(draws[:, None] >= cumulative[:, :-1], axis=-1)
