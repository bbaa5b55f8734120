"""Learning without the score term: where pairs are drawn from the policy, but their law counts as given.

Online DPO descends the loss of the policy's own pairs at their present law, and never asks how the law will change. It
is not the gradient of anything, but it rests where the slope of every response's mean loss is zero,
D_i = sum_j pi_j (sigma(s_i - s_j) - P_ij + rho sign(s_i - s_j)) = 0: there the policy is the minimizer of the convex
loss on the very pairs that it draws. Implicit steps of the
flow ds/dt = -D lead there from the reference.
"""

from __future__ import annotations

import numpy as np

from rsail.study.misspecification.exact_solver import (
    BUDGET,
    REACH,
    WIDTHS,
    Ends,
    Pieces,
    Prompts,
    centered,
    certify,
    in_chunks,
    loss_and_slopes,
    narrowed,
    slope_jacobian,
)

TARGET = 1e-9  # length of D at which the steps end
FIRST_TIME = 1.0  # of the first step, in units of the margin's inverse slope


def solve_fixed_law(prompts: Prompts, start=None, *, widths=WIDTHS, budget: int = BUDGET) -> Ends:
    """The resting point of learning without the score term, from `start` (log-ratios (N, Y)) or the reference.

    Its `residual` is the length of the gradient with the law of pairs held fixed, for an oracle within the radius.
    """
    return in_chunks(_solve, prompts, start, widths, budget)


def _solve(prompts, margins, widths, budget) -> Ends:
    steps = np.zeros(len(prompts), dtype=int)
    for width, before in zip(widths, (None, *widths), strict=False):
        margins, taken = _flow(prompts, narrowed(margins, before, width), width, budget)
        steps += taken
    margins, loss, residual = certify(prompts, margins, widths[-1], score_weight=0.0)
    return Ends(prompts.log_probs(margins) - prompts.ref_log_probs, loss, residual, steps)


def _flow(prompts, margins, width, budget):
    """Implicit steps of the flow ds/dt = -D, longer as D shrinks: Newton's steps in the end."""
    margins, taken = margins.copy(), np.zeros(len(prompts), dtype=int)
    time = np.full(len(prompts), FIRST_TIME)
    left = np.arange(len(prompts))
    eye = np.eye(margins.shape[-1])
    for _ in range(budget):
        active, point = prompts.rows(left), margins[left]
        _, pieces = loss_and_slopes(active, point, width)
        size = np.linalg.norm(pieces.mean_slope, axis=-1)
        going = size > TARGET
        if not going.any():
            break
        left, active, point, size = left[going], active.rows(going), point[going], size[going]
        pieces = Pieces(*(piece[going] for piece in pieces))
        system = slope_jacobian(active, pieces) + 1.0 / len(eye) + eye / time[left, None, None]
        way = -np.linalg.solve(system, pieces.mean_slope[..., None])[..., 0]
        way *= np.minimum(1.0, REACH / np.maximum(np.ptp(way, axis=-1, keepdims=True), 1e-300))
        new_size = np.linalg.norm(loss_and_slopes(active, point + way, width)[1].mean_slope, axis=-1)
        # The flow need not lower |D|; a step that raises it much was too long.
        good = new_size < 1.1 * size
        margins[left[good]] = centered(point[good] + way[good])
        growth = np.clip((size / np.maximum(new_size, 1e-300)) ** 2, 0.5, 10.0)
        time[left] = np.clip(time[left] * np.where(good, growth, 0.25), 1e-3, 1e12)
        taken[left] += 1
    return margins, taken
