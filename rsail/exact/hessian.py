"""Exact gradients and Hessians of L_SAIL and of R for log-linear policies, one problem or a batch of them.

Both are means E[f(h)] over pairs that the policy draws (eq. 9, 12), so both have the gradient
E[f' grad h + (f - b) S] and the Hessian of eq. 39,

    E[f'' grad h grad h' + f' (S grad h' + grad h S') + (f - b)(S S' + grad S)],    grad S = -2 Cov(psi),

with S the gradient of the log pair law and any constant b. Leading axes are batch axes, so thousands of small
problems are one call. Equation numbers are those of arXiv 2602.20457.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, softmax


class Derivatives(NamedTuple):
    """Gradient (..., d) and Hessian (..., d, d) of a mean over pairs."""

    gradient: np.ndarray
    hessian: np.ndarray


def sail_derivatives(features, preferences, theta, theta_ref, beta, prompt_probs) -> Derivatives:
    """Gradient and Hessian of L_SAIL (eq. 9), score terms included.

    Parameters
    ----------
    features : array (..., X, Y, d)
    preferences : array (..., X, Y, Y)
    theta, theta_ref : arrays (..., d)
    beta : float or array (...)
    prompt_probs : array (..., X)
        Nothing is checked here; `FiniteProblem` does that.
    """
    scores = pair_scores(features, theta, theta_ref)
    beta = np.asarray(beta, dtype=np.float64)[..., None, None, None]
    margins = beta * scores
    losses = np.logaddexp(0.0, -margins) + (1.0 - preferences) * margins
    belief = expit(margins)
    slopes, curvatures = beta * (belief - preferences), beta**2 * belief * expit(-margins)
    return mean_derivatives(features, theta, prompt_probs, losses - np.log(2.0), slopes, curvatures)


def penalty_derivatives(features, theta, theta_ref, prompt_probs) -> Derivatives:
    """Subgradient E[sign(h) grad h + |h| S] of R (eq. 12), and the Hessian of R away from its kinks.

    A kink is a theta at which h = 0 for two responses with different features. There R has a convex fold, which no
    matrix describes; what is returned is the Hessian of the other pairs, with sign(0) = 0.
    """
    scores = pair_scores(features, theta, theta_ref)
    return mean_derivatives(features, theta, prompt_probs, np.abs(scores), np.sign(scores), 0.0)


def smoothed_penalty_derivatives(features, theta, theta_ref, prompt_probs, epsilon: float) -> Derivatives:
    """The same for R_eps = E sqrt(h^2 + eps^2), which is smooth (eq. 38, 39); tends to R as eps -> 0."""
    scores = pair_scores(features, theta, theta_ref)
    values = np.hypot(scores, epsilon)
    return mean_derivatives(features, theta, prompt_probs, values, scores / values, epsilon**2 / values**3)


def pair_scores(features, theta, theta_ref) -> np.ndarray:
    """h = (theta - theta_ref) . (psi(x, i) - psi(x, j)), shape (..., X, Y, Y)."""
    values = np.einsum("...xyd,...d->...xy", features, np.asarray(theta) - theta_ref)
    return values[..., :, None] - values[..., None, :]


def mean_derivatives(features, theta, prompt_probs, values, slopes, curvatures) -> Derivatives:
    """Derivatives of E[f(h)] from f, f', f'' at each pair, (..., X, Y, Y); f may differ from pair to pair."""
    features = np.asarray(features, dtype=np.float64)
    policy = softmax(np.einsum("...xyd,...d->...xy", features, theta), axis=-1)
    centered = features - np.einsum("...xy,...xyd->...xd", policy, features)[..., None, :]
    mu = np.asarray(prompt_probs, dtype=np.float64)
    law = mu[..., None, None] * policy[..., :, None] * policy[..., None, :]
    moves = centered[..., :, None, :] - centered[..., None, :, :]
    score = centered[..., :, None, :] + centered[..., None, :, :]
    gradient = np.einsum("...xij,...xijd->...d", law * slopes, moves)
    gradient += np.einsum("...xij,...xijd->...d", law * values, score)
    mixed = np.einsum("...xij,...xijd,...xije->...de", law * slopes, moves, score, optimize=True)
    hessian = np.einsum("...xij,...xijd,...xije->...de", law * values, score, score, optimize=True)
    if np.any(curvatures):
        hessian += np.einsum("...xij,...xijd,...xije->...de", law * curvatures, moves, moves, optimize=True)
    totals = np.sum(law * values, axis=(-2, -1))[..., None]
    covariance = np.einsum("...xy,...xyd,...xye->...de", totals * policy, centered, centered, optimize=True)
    hessian += mixed + np.swapaxes(mixed, -1, -2) - 2.0 * covariance
    return Derivatives(gradient, hessian)
