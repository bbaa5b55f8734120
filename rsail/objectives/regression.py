"""Regression on reward differences (REBEL, arXiv 2404.16767) and its Wasserstein-robust forms (DRO-REBEL, WDPO)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.linalg import vector_norm

from rsail.checks import nonnegative, positive, require
from rsail.objectives.arguments import alike, base_law, floating


def rebel_residual(pair_score: torch.Tensor, reward_gap, *, beta: float) -> torch.Tensor:
    """beta h - (r1 - r2) per pair: what REBEL squares. At the sampler it is r2 - r1."""
    beta = positive("beta", beta)
    pair_score = floating("pair_score", pair_score)
    return beta * pair_score - alike("reward_gap", reward_gap, "pair_score", pair_score)


def rebel_loss(pair_score: torch.Tensor, reward_gap, *, beta: float) -> torch.Tensor:
    """REBEL's (beta h - (r1 - r2))^2 per pair (arXiv 2404.16767).

    `pair_score` is h = [log pi(y1|x) - log pi_t(y1|x)] - [log pi(y2|x) - log pi_t(y2|x)] against the SAMPLER pi_t,
    not against pi_ref; `reward_gap` is r(x, y1) - r(x, y2), one number or of the shape of h. beta = 1 / eta of the
    paper: an exact fit is pi_t exp(r / beta), one step of mirror descent. The authors' code minimizes
    (h - eta (r1 - r2))^2, which is eta^2 times this: learning rates do not carry over.
    """
    return rebel_residual(pair_score, reward_gap, beta=beta) ** 2


def w_rebel_loss(
    residuals: torch.Tensor,
    slope: torch.Tensor,
    *,
    radius: float,
    reward_shifts: bool = False,
    probs=None,
) -> torch.Tensor:
    """Worst mean square over a type-2 Wasserstein ball, exact for a log-linear policy: (RMS + radius |slope|)^2.

    For residuals r_i = slope . z_i - reward_gap_i with z = psi(y1) - psi(y2) and slope = beta (theta - theta_t), both
    with graph, the ball moves z at Euclidean cost (arXiv 2509.19104's set; closed form derived here). Where it moves
    the reward gap as well (`reward_shifts`), |slope| is the norm of (slope, -1).

    Parameters
    ----------
    residuals : tensor (n,), from `rebel_residual`
    slope : tensor (d,)
    radius : float >= 0, in units of z
    probs : tensor (n,), optional
        Base law; 1/n each by default.

    Returns
    -------
    scalar. It exceeds the form with the gradient's norm, E r^2 + 2 radius |slope| RMS, by radius^2 |slope|^2.
    """
    radius = nonnegative("radius", radius)
    residuals, probs = base_law(residuals, probs, name="residuals")
    slope = floating("slope", slope)
    require(slope.ndim == 1, "slope.shape", tuple(slope.shape), "(d,)")
    if reward_shifts:
        slope = torch.cat([slope, slope.new_tensor([-1.0])])
    # Norms, not roots of sums: their subgradient at zero is zero, not NaN.
    return (vector_norm(probs.sqrt() * residuals) + radius * vector_norm(slope)) ** 2


def wasserstein_penalty(
    losses: torch.Tensor,
    inputs: torch.Tensor | Sequence[torch.Tensor],
    *,
    radius: float,
    squared: bool = False,
    probs=None,
) -> torch.Tensor:
    """radius sqrt(E |grad_z l|^2), to add to the mean loss: a type-2 Wasserstein ball to first order (WDPO, W-REBEL).

    arXiv 2502.01930 and 2509.19104 take z = the embedded tokens of both responses. The gradients keep their graph
    (double backward, so attention must not run in a fused kernel that has none).

    Parameters
    ----------
    losses : tensor (n,) with graph
    inputs : tensor (m n, ...) with graph, or a sequence of such
        What the losses are computed from. The m rows i m ... i m + m - 1 belong to loss i, and to no other.
    radius : float >= 0
    squared : bool
        True: radius E |grad_z l|^2, what the authors optimize at scale; its radius has other units.
    probs : tensor (n,), optional
        Base law of the losses; 1/n each by default.

    Raises
    ------
    ValueError
        A radius that is no finite number >= 0; inputs that are not in the graph of the losses, or whose rows are no
        multiple of n.
    """
    radius = nonnegative("radius", radius)
    losses, probs = base_law(losses, probs)
    inputs = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
    require(len(inputs) > 0, "inputs", inputs, "at least one tensor")
    for tensor in inputs:
        fits = tensor.ndim >= 1 and len(tensor) > 0 and len(tensor) % len(losses) == 0
        require(fits, "inputs.shape", tuple(tensor.shape), f"(a multiple of {len(losses)}, ...)")
        require(tensor.requires_grad, "inputs.requires_grad", tensor.requires_grad, "True")
    require(losses.requires_grad, "losses.requires_grad", losses.requires_grad, "True")
    gradients = torch.autograd.grad(losses.sum(), inputs, create_graph=True, allow_unused=True)
    require(
        all(gradient is not None for gradient in gradients),
        "inputs",
        "tensors outside the graph",
        "inputs of losses",
    )
    rows = torch.cat([gradient.reshape(len(losses), -1) for gradient in gradients], dim=1).to(losses.dtype)
    if squared:
        return radius * (probs * rows.square().sum(1)).sum()
    return radius * vector_norm(probs.sqrt()[:, None] * rows)


REWARD_LOSSES: dict[str, Callable[..., torch.Tensor]] = {"rebel": rebel_loss}
