"""Hessians of means over pairs by automatic differentiation: they share no formula with `rsail.exact.hessian`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from rsail.exact import FiniteProblem


def mean_hessian(problem: FiniteProblem, theta, pair_function: Callable) -> np.ndarray:
    """Hessian (d, d) at theta of E[f(h, P, beta)] with pairs drawn from the policy (eq. 1), by torch in float64.

    `pair_function` gets the pair scores and the preferences as tensors (X, Y, Y).
    """
    features, mu = torch.from_numpy(problem.features), torch.from_numpy(problem.prompt_probs)
    preferences, theta_ref = torch.from_numpy(problem.preferences), torch.from_numpy(problem.theta_ref)

    def mean(parameter):
        policy = torch.softmax(features @ parameter, -1)
        values = features @ (parameter - theta_ref)
        scores = values[:, :, None] - values[:, None, :]
        law = mu[:, None, None] * policy[:, :, None] * policy[:, None, :]
        return (law * pair_function(scores, preferences, problem.beta)).sum()

    point = torch.from_numpy(np.asarray(theta, dtype=np.float64))
    return torch.autograd.functional.hessian(mean, point).numpy()


def sail_pair_loss(scores, preferences, beta):
    """The integrand of eq. 9."""
    log_sigmoid = torch.nn.functional.logsigmoid
    return -preferences * log_sigmoid(beta * scores) - (1 - preferences) * log_sigmoid(-beta * scores)


def smoothed_absolute(epsilon: float) -> Callable:
    """phi_eps(h) = sqrt(h^2 + eps^2), as a pair function."""
    return lambda scores, preferences, beta: torch.sqrt(scores**2 + epsilon**2)
