"""Losses and monitors at many parameters at once: what a landscape is drawn from (an addition)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import entr, log_softmax

from rsail import checks
from rsail.exact.losses import effective_radius, pair_losses
from rsail.exact.problem import FiniteProblem


class Monitors(NamedTuple):
    """What tells collapse from learning, each (N,), averaged over prompts."""

    entropy: np.ndarray  # of the policy, nats
    identical: np.ndarray  # probability that both responses of a pair are the same one
    kl: np.ndarray  # KL(policy, reference), nats


def robust_losses(problem: FiniteProblem, thetas, rho: float) -> np.ndarray:
    """L^W_rho (clipped) at each row of `thetas` (N, d), shape (N,)."""
    thetas = _rows(problem, thetas)
    probs = np.exp(_log_probs(problem, thetas))
    values = np.einsum("xyd,nd->nxy", problem.features, thetas - problem.theta_ref)
    scores = values[..., :, None] - values[..., None, :]
    preferred, rejected = pair_losses(scores, problem.beta)
    radius = effective_radius(problem.preferences, scores, rho)
    loss = problem.preferences * preferred + (1.0 - problem.preferences) * rejected
    loss = loss + problem.beta * np.abs(scores) * radius
    return np.einsum("x,nxi,nxj,nxij->n", problem.prompt_probs, probs, probs, loss)


def monitors(problem: FiniteProblem, thetas) -> Monitors:
    """Entropy, share of identical pairs and KL to the reference at each row of `thetas` (N, d)."""
    log_probs = _log_probs(problem, _rows(problem, thetas))
    probs, mu = np.exp(log_probs), problem.prompt_probs
    kl = np.sum(probs * (log_probs - problem.ref_log_probs), axis=-1)
    return Monitors(entr(probs).sum(axis=-1) @ mu, (probs**2).sum(axis=-1) @ mu, kl @ mu)


def collapse_slope(preferences, rho: float, beta: float, probs, response: int) -> float:
    """c > 0 such that giving `response` the small probability e instead of 0 raises L^W_rho by c e log(1/e) + O(e).

    `probs` (Y,) is a policy without that response, one prompt. c = 2 beta sum_j pi_j (1 - P(j > response) + radius):
    positive, so from a collapsed policy there is no way back by descent, whatever rho is.
    """
    preferences = checks.preferences("preferences", preferences)
    probs = checks.finite("probs", probs)
    checks.require(probs[response] == 0, "probs[response]", float(probs[response]), "0")
    beaten = preferences[:, response]
    return float(
        2.0 * checks.positive("beta", beta) * probs @ (1.0 - beaten + effective_radius(beaten, 1.0, rho))
    )


def _rows(problem: FiniteProblem, thetas) -> np.ndarray:
    thetas = checks.finite("thetas", thetas)
    expected = problem.features.shape[-1]
    checks.require(
        thetas.ndim == 2 and thetas.shape[1] == expected, "thetas.shape", thetas.shape, f"(N, {expected})"
    )
    return thetas


def _log_probs(problem: FiniteProblem, thetas: np.ndarray) -> np.ndarray:
    return log_softmax(np.einsum("xyd,nd->nxy", problem.features, thetas), axis=-1)
