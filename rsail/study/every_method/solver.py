"""Minimize an objective of a tabular policy to a stated tolerance (torch for derivatives, SciPy for the descent).

The variable is the margin beta (log pi - log pi_ref) per response, up to a constant per prompt. Second derivatives
make the smooth objectives converge in a few steps. Losses with a kink are replaced near it by a hyperbola of a width
that is lowered step by step: |t| becomes sqrt(t^2 + width^2), so that the smoothed objective exceeds the exact one by
at most half the kink's jump times the last width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize as scipy_minimize

WIDTHS = (1e-3, 1e-4, 1e-5)  # of the hyperbolas, in units of the margin
TARGET = 1e-8  # length of the gradient in the margins at which a descent stops, objective summed over prompts
TOLERANCE = 1e-5  # up to which it counts as converged: rounding, and what L-BFGS reaches
REACH = 3.0  # longest step of a convex objective
SHORT = 0.3  # of one that is not: learning stays in the valley in which it starts
BUDGET = 300  # steps per width
LARGEST = 30.0  # margin at which a descent is stopped: its objective has no minimum

Objective = Callable[[torch.Tensor, float], torch.Tensor]


@dataclass(frozen=True)
class Solution:
    """Where a descent ended: log-ratios (X, Y) normalized to a policy, and whether its gradient vanished."""

    log_ratio: np.ndarray
    residual: float  # length of the gradient in the margins
    converged: bool  # residual <= TOLERANCE
    ran_away: bool = False  # stopped at LARGEST
    bounded: bool = True  # False: the objective, or one round's, was shown to fall for ever
    rounds: int = 1
    path: tuple[np.ndarray, ...] = ()  # log-ratios after each round


def log_ratios(log_weights: torch.Tensor, ref_log_probs: torch.Tensor) -> torch.Tensor:
    """log pi - log pi_ref of the policy pi proportional to pi_ref exp(log_weights); all (X, Y)."""
    return torch.log_softmax(ref_log_probs + log_weights, dim=-1) - ref_log_probs


class _Derivatives:
    """Value, gradient and Hessian at the last point asked for."""

    def __init__(self, objective, ref_log_probs, beta, width, separable):
        self.objective, self.ref_log_probs, self.beta, self.width = objective, ref_log_probs, beta, width
        self.separable = separable
        self.point: np.ndarray | None = None

    def at(self, point: np.ndarray) -> None:
        if self.point is not None and np.array_equal(point, self.point):
            return
        self.point = point.copy()
        self.margins = torch.tensor(point, requires_grad=True)
        weights = self.margins.view(self.ref_log_probs.shape)
        value = len(weights) * self.objective(log_ratios(weights / self.beta, self.ref_log_probs), self.width)
        # A shift of all margins of a prompt changes nothing; this term, zero at the solution, forbids it.
        self.value = value + 0.5 * weights.mean(dim=1).square().sum()
        (self.gradient,) = torch.autograd.grad(self.value, self.margins, create_graph=True)

    def far(self, point) -> bool:
        return bool(np.abs(point).max() > LARGEST)

    def stop_if_far(self, point) -> None:
        if self.far(point):
            raise StopIteration

    def fun(self, point):
        self.at(point)
        return self.value.item()

    def jac(self, point):
        self.at(point)
        return self.gradient.detach().numpy()

    def hess(self, point):
        self.at(point)
        prompts, responses = self.ref_log_probs.shape
        if not self.separable:
            directions = torch.eye(len(point), dtype=torch.float64)
            return self._times(directions).numpy()
        # Prompts do not interact: one direction per response serves all of them at once.
        directions = torch.eye(responses, dtype=torch.float64).repeat(1, prompts)
        blocks = self._times(directions).view(responses, prompts, responses).transpose(0, 1)
        return torch.block_diag(*blocks).numpy()

    def _times(self, directions: torch.Tensor) -> torch.Tensor:
        (rows,) = torch.autograd.grad(
            self.gradient, self.margins, directions, is_grads_batched=True, retain_graph=True
        )
        return rows


def minimize(
    objective: Objective,
    ref_log_probs: torch.Tensor,
    beta: float,
    *,
    start=None,
    widths=(0.0,),
    curvature: str = "prompt",
    reach: float = REACH,
    budget: int = BUDGET,
) -> Solution:
    """Descend from `start` (log-ratios (X, Y); the reference by default) to a stationary point.

    Parameters
    ----------
    objective : callable
        (log-ratios (X, Y), width) -> scalar, a mean over prompts; float64.
    widths : sequence of float
        Of the hyperbolas, one descent each; WIDTHS for an objective with kinks.
    curvature : "prompt", "full" or "none"
        The Hessian in blocks, for objectives that are a sum over prompts; in full; or L-BFGS, for objectives whose
        graph does not hold the second derivative.
    reach : float
        Longest step, Euclidean, in the margins.
    budget : int
        Steps of one descent. What an unbounded objective reaches within it is returned, not converged.
    """
    scale = torch.zeros_like(ref_log_probs) if start is None else torch.as_tensor(start)
    point = (beta * scale).reshape(-1).numpy()
    for width in widths:
        derivatives = _Derivatives(objective, ref_log_probs, beta, width, curvature == "prompt")
        if curvature != "none":
            point = scipy_minimize(
                derivatives.fun,
                point,
                jac=derivatives.jac,
                hess=derivatives.hess,
                callback=derivatives.stop_if_far,
                method="trust-exact",
                options={
                    "gtol": TARGET,
                    "maxiter": budget,
                    "initial_trust_radius": 0.99 * reach,
                    "max_trust_radius": reach,
                },
            ).x
        else:
            point = scipy_minimize(
                derivatives.fun,
                point,
                jac=derivatives.jac,
                callback=derivatives.stop_if_far,
                method="L-BFGS-B",
                options={"gtol": TARGET, "ftol": 0.0, "maxiter": 10 * budget, "maxcor": 30},
            ).x
        if derivatives.far(point):
            break
    residual = float(np.linalg.norm(derivatives.jac(point)))
    margins = torch.tensor(point).view(ref_log_probs.shape)
    found = log_ratios(margins / beta, ref_log_probs).numpy()
    return Solution(found, residual, residual <= TOLERANCE, derivatives.far(point))


def smooth_kinks(loss: Callable, preference: torch.Tensor, beta: float, kinks=(0.0,), **options) -> Callable:
    """`loss` as a function (pair scores, width): near each kink (a margin) its jump of slope is spread over `width`.

    The jumps are read off the loss itself. With width 0 it is the loss.
    """
    jumps = []
    for kink in kinks:
        sides = []
        for side in (-1e-9, 1e-9):
            score = torch.full_like(preference, (kink + side) / beta, requires_grad=True)
            sides.append(torch.autograd.grad(loss(score, preference, beta=beta, **options).sum(), score)[0])
        jumps.append((sides[1] - sides[0]) / beta)

    def smoothed(pair_score: torch.Tensor, width: float) -> torch.Tensor:
        value = loss(pair_score, preference, beta=beta, **options)
        for kink, jump in zip(kinks, jumps, strict=True):
            away = beta * pair_score - kink
            if width:
                value = value + 0.5 * jump * (torch.sqrt(away.square() + width**2) - away.abs())
        return value

    return smoothed
