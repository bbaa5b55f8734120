"""Robust SAIL of tabular policies to convergence, many prompts at once, with a certificate (NumPy alone).

A tabular policy shares nothing between prompts, so that every prompt is a problem of its own and thousands of them,
each with its oracle, beta and rho, are solved side by side. The variable is the margin s = beta (log pi - log pi_ref)
per response. Kinks at equal margins become hyperbolas whose width is lowered step by step; at the end margins that the
last width holds together are made equal, and the certificate is the length of an explicit subgradient of the loss
itself: that of SAIL's loss under an oracle within rho of the observed one that is worst for this policy (Danskin).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_softmax

from rsail import checks

WIDTHS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)  # of the hyperbolas, in units of the margin
TOGETHER = 30.0  # last widths between neighbors that count as tied
REACH = 0.1  # longest step in a margin: learning stays in the valley in which it starts
TARGET = 1e-10  # length of the smoothed gradient at which a descent ends
TOLERANCE = 3e-5  # of the certificate: an end above it does not count as converged
BUDGET = 400  # steps per width
CHUNK = 128  # prompts at a time: as many as a processor's cache holds


@dataclass(frozen=True, eq=False)
class Prompts:
    """N prompts with Y responses each, and what is learned on each of them.

    `preferences` are the observed oracle's; the radius is clipped where rho leaves [0, 1].
    """

    ref_log_probs: np.ndarray  # (N, Y)
    preferences: np.ndarray  # (N, Y, Y)
    beta: np.ndarray  # (N,)
    rho: np.ndarray  # (N,)

    def __len__(self) -> int:
        return len(self.beta)

    def rows(self, index) -> Prompts:
        return Prompts(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def log_probs(self, margins: np.ndarray) -> np.ndarray:
        """log pi (N, Y) of the policy pi_ref exp(s / beta) / Z."""
        return log_softmax(self.ref_log_probs + margins / self.beta[:, None], axis=-1)


@dataclass(frozen=True, eq=False)
class Ends:
    """Where the descents ended; the certificate is in units of the margin, per prompt."""

    log_ratio: np.ndarray  # (N, Y), log pi - log pi_ref
    loss: np.ndarray  # (N,), L^W_rho
    residual: np.ndarray  # (N,), length of a subgradient
    steps: np.ndarray  # (N,)

    @property
    def converged(self) -> np.ndarray:
        return self.residual <= TOLERANCE


def make_prompts(ref_log_probs, preferences, *, beta, rho) -> Prompts:
    """`Prompts` with their arguments checked; `beta` and `rho` may be one number for all, or (N,)."""
    preferences = checks.preferences("preferences", preferences)
    ref_log_probs = checks.finite("ref_log_probs", ref_log_probs)
    checks.require(
        ref_log_probs.ndim == 2 and preferences.shape == (*ref_log_probs.shape, ref_log_probs.shape[-1]),
        "preferences.shape", preferences.shape, f"(N, Y, Y) for ref_log_probs of {ref_log_probs.shape}",
    )  # fmt: skip
    count = len(ref_log_probs)
    beta, rho = (
        np.broadcast_to(checks.finite(name, value), (count,)).copy()
        for name, value in (("beta", beta), ("rho", rho))
    )
    checks.require(bool((beta > 0).all()), "beta", beta.min(initial=np.inf), "> 0")
    checks.require(bool((rho >= 0).all()), "rho", rho.min(initial=np.inf), ">= 0")
    return Prompts(log_softmax(ref_log_probs, axis=-1), preferences, beta, rho)


def solve(prompts: Prompts, start=None, *, widths=WIDTHS, budget: int = BUDGET) -> Ends:
    """Descend the robust loss, score term included, from `start` (log-ratios (N, Y)); the reference by default."""
    return in_chunks(_solve, prompts, start, widths, budget)


def in_chunks(solver, prompts: Prompts, start, widths, budget: int) -> Ends:
    """`solver(prompts, margins, widths, budget)` on CHUNK prompts at a time."""
    margins = np.zeros_like(prompts.ref_log_probs) if start is None else prompts.beta[:, None] * start
    margins = centered(margins)
    places = [slice(k, k + CHUNK) for k in range(0, len(prompts), CHUNK)]
    ends = [solver(prompts.rows(place), margins[place], widths, budget) for place in places]
    return Ends(*(np.concatenate([getattr(end, f.name) for end in ends]) for f in fields(Ends)))


def _solve(prompts, margins, widths, budget) -> Ends:
    steps = np.zeros(len(prompts), dtype=int)
    for width, before in zip(widths, (None, *widths), strict=False):
        margins, taken = _descend(prompts, narrowed(margins, before, width), width, budget)
        steps += taken
    margins, loss, residual = certify(prompts, margins, widths[-1])
    return Ends(prompts.log_probs(margins) - prompts.ref_log_probs, loss, residual, steps)


class Pieces(NamedTuple):
    """Of one evaluation: the policy (N, Y), losses and their first two derivatives per pair (N, Y, Y), and means."""

    policy: np.ndarray
    losses: np.ndarray
    slopes: np.ndarray
    bends: np.ndarray
    mean_loss: np.ndarray  # (N, Y), over the second response of the pair
    mean_slope: np.ndarray  # (N, Y)


def certify(prompts: Prompts, margins: np.ndarray, width: float, *, score_weight: float = 1.0):
    """Ties made exact: margins (N, Y), robust loss (N,), and the length (N,) of a subgradient there.

    Within a group of tied responses the oracle answers as the hyperbolas of `width` did, which is within its
    interval; between groups it is at the end that hurts.
    """
    same = _tied(margins, width)
    slope = _hyperbola(_differences(margins), width)[1]
    means = _means(same, margins)
    scores = np.where(same, 0.0, _differences(means))
    side = np.where(same, slope, np.sign(scores))
    center, spread = _interval(prompts)
    # The robust loss of this side of the kinks is SAIL's loss under this oracle.
    oracle = prompts.preferences - center - spread * side
    nominal = replace(prompts, preferences=oracle, rho=np.zeros(len(prompts)))
    loss, pieces = loss_and_slopes(nominal, means, 0.0)
    gradient = margin_gradient(nominal, loss, pieces, score_weight)
    return centered(means), loss, np.linalg.norm(gradient, axis=-1)


def narrowed(margins: np.ndarray, before: float | None, width: float) -> np.ndarray:
    """Margins to go on with at a smaller `width`: what a kink holds together comes closer in proportion."""
    if before is None:
        return margins
    means = _means(_tied(margins, before), margins)
    return means + (margins - means) * (width / before)


def _tied(margins, width):
    """Which responses (N, Y, Y) are in one group, their neighbors in it being within TOGETHER widths."""
    order = np.argsort(margins, axis=-1)
    gaps = np.diff(np.take_along_axis(margins, order, -1), axis=-1) > TOGETHER * width
    group = np.empty_like(order)
    np.put_along_axis(group, order, np.pad(np.cumsum(gaps, axis=-1), ((0, 0), (1, 0))), -1)
    return group[:, :, None] == group[:, None, :]


def _means(same, margins):
    return (same * margins[:, None, :]).sum(-1) / same.sum(-1)


def robust_losses(prompts: Prompts, log_ratio: np.ndarray) -> np.ndarray:
    """L^W_rho (N,) of policies given by log-ratios (N, Y)."""
    return loss_and_slopes(prompts, prompts.beta[:, None] * log_ratio, 0.0)[0]


def hessians(prompts: Prompts, margins: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Gradients (N, Y) and Hessians (N, Y, Y) of the smoothed robust loss in the margins."""
    loss, pieces = loss_and_slopes(prompts, margins, width)
    gradient = margin_gradient(prompts, loss, pieces)
    return gradient, _hessian(prompts, gradient, pieces)


def _descend(prompts, margins, width, budget):
    """Newton's steps with absolute curvatures and a line search; prompts drop out when they are done."""
    margins, taken = margins.copy(), np.zeros(len(prompts), dtype=int)
    left = np.arange(len(prompts))
    for _ in range(budget):
        active, point = prompts.rows(left), margins[left]
        loss, pieces = loss_and_slopes(active, point, width)
        gradient = margin_gradient(active, loss, pieces)
        going = np.linalg.norm(gradient, axis=-1) > TARGET
        if not going.any():
            break
        left, active, point, loss, gradient = (
            left[going], active.rows(going), point[going], loss[going], gradient[going],
        )  # fmt: skip
        hessian = _hessian(active, gradient, Pieces(*(piece[going] for piece in pieces)))
        values, vectors = np.linalg.eigh(hessian + 1.0 / hessian.shape[-1])
        along = np.einsum("nij,ni->nj", vectors, gradient)
        floor = 1e-9 * np.abs(values).max(axis=-1, keepdims=True)
        way = -np.einsum("nij,nj->ni", vectors, along / np.maximum(np.abs(values), floor))
        way *= np.minimum(1.0, REACH / np.maximum(np.ptp(way, axis=-1, keepdims=True), 1e-300))
        moved, point = _line_search(active, point, way, loss, gradient, width)
        margins[left] = centered(point)
        taken[left] += 1
        left = left[moved]
        if not len(left):
            break
    return margins, taken


def _line_search(prompts, point, way, loss, gradient, width):
    """The first of the steps 1, 1/2, 1/4, ... along `way` that lowers the loss; which prompts have one."""
    point, expected = point.copy(), np.einsum("ni,ni->n", gradient, way)
    size = np.linalg.norm(gradient, axis=-1)
    left, moved = np.arange(len(point)), np.zeros(len(point), dtype=bool)
    for length in 0.5 ** np.arange(40):
        trial = point[left] + length * way[left]
        rows = prompts.rows(left)
        new_loss, pieces = loss_and_slopes(rows, trial, width)
        new_gradient = margin_gradient(rows, new_loss, pieces)
        lower = new_loss <= loss[left] + 1e-4 * length * expected[left]
        # Near the end the loss no longer changes in its last digit; the gradient still does.
        shorter = np.linalg.norm(new_gradient, axis=-1) < 0.9 * size[left]
        good = (lower & (new_loss < loss[left])) | (shorter & (new_loss <= loss[left] + 1e-14))
        point[left[good]] = trial[good]
        moved[left[good]] = True
        left = left[~good]
        if not len(left):
            break
    return moved, point


def loss_and_slopes(prompts: Prompts, margins: np.ndarray, width: float) -> tuple[np.ndarray, Pieces]:
    """The robust loss (N,) of margins (N, Y), kinks smoothed by `width`, and what its derivatives are made of."""
    policy = np.exp(prompts.log_probs(margins))
    scores = _differences(margins)
    center, spread = _interval(prompts)
    value, slope, bend = _hyperbola(scores, width)
    belief = expit(scores)
    losses = np.logaddexp(0.0, -scores) + (1.0 - prompts.preferences + center) * scores + spread * value
    slopes = belief - prompts.preferences + center + spread * slope
    bends = belief * (1.0 - belief) + spread * bend
    mean_loss = np.einsum("nij,nj->ni", losses, policy)
    mean_slope = np.einsum("nij,nj->ni", slopes, policy)
    loss = np.einsum("ni,ni->n", policy, mean_loss)
    return loss, Pieces(policy, losses, slopes, bends, mean_loss, mean_slope)


def slope_jacobian(prompts: Prompts, pieces: Pieces) -> np.ndarray:
    """Derivative (N, Y, Y) of the mean slopes in the margins: of the slopes themselves, and of the policy."""
    column, eye = pieces.policy[:, None, :], np.eye(pieces.policy.shape[-1])
    jacobian = eye * np.einsum("nij,nj->ni", pieces.bends, pieces.policy)[:, :, None] - column * pieces.bends
    return jacobian + column * (pieces.slopes - pieces.mean_slope[:, :, None]) / prompts.beta[:, None, None]


def margin_gradient(
    prompts: Prompts, loss: np.ndarray, pieces: Pieces, score_weight: float = 1.0
) -> np.ndarray:
    """Gradient (N, Y) of the loss in the margins, from the pieces of `loss_and_slopes`."""
    score = (pieces.mean_loss - loss[:, None]) / prompts.beta[:, None]
    return 2.0 * pieces.policy * (pieces.mean_slope + score_weight * score)


def _hessian(prompts, gradient, pieces) -> np.ndarray:
    beta, row, column = prompts.beta[:, None, None], pieces.policy[:, :, None], pieces.policy[:, None, :]
    eye = np.eye(pieces.policy.shape[-1])
    score = column * ((pieces.losses - pieces.mean_loss[:, :, None]) / beta - pieces.slopes)
    score += eye * pieces.mean_slope[:, :, None] - gradient[:, None, :]
    inner = slope_jacobian(prompts, pieces) + score / beta
    hessian = (eye - column) * gradient[:, :, None] / beta + 2.0 * row * inner
    return (hessian + hessian.transpose(0, 2, 1)) / 2.0


def _interval(prompts):
    """The adversary moves P down by center + spread where h > 0, and up by spread - center where h < 0."""
    rho = prompts.rho[:, None, None]
    down, up = np.minimum(rho, prompts.preferences), np.minimum(rho, 1.0 - prompts.preferences)
    return (down - up) / 2.0, (down + up) / 2.0


def _hyperbola(scores, width):
    """sqrt(t^2 + w^2) - w, which is 0 at ties, and its two derivatives; |t| and its sign for w = 0."""
    if not width:
        return np.abs(scores), np.sign(scores), np.zeros_like(scores)
    root = np.sqrt(scores**2 + width**2)
    return root - width, scores / root, width**2 / root**3


def _differences(values):
    return values[:, :, None] - values[:, None, :]


def centered(margins: np.ndarray) -> np.ndarray:
    """Margins of mean zero: what they say of a policy is the same."""
    return margins - margins.mean(axis=-1, keepdims=True)
