"""What published codes do where it differs from their formulas. FOR COMPARISON ONLY: none of it is advised.

The formulas themselves: `score_surrogate` for SAIL, `kl_penalty` for KLDPO, `chi2_ball` for chi2-REBEL.
"""

from __future__ import annotations

import torch

from rsail.checks import nonnegative, positive, require
from rsail.objectives.arguments import base_law, floating


def sail_response_hook(
    pair_loss: torch.Tensor, log_prob_1: torch.Tensor, log_prob_2: torch.Tensor, *, weight: float
) -> torch.Tensor:
    """SAIL's code in place of the score term: gradient weight l / log pi(y_i) in each log pi(y_i), value zero.

    l = -F is DPO's loss, held fixed. The exact score term has weight l: the hook divides it by a log-probability, so
    it has the OPPOSITE sign and is hundreds of times smaller. The code adds it per pair, not divided by the batch size
    as the rest of the gradient is. A response without a scored token (log pi = 0) gives NaN, there as here.
    """
    weight = nonnegative("weight", weight)
    require(
        pair_loss.shape == log_prob_1.shape == log_prob_2.shape,
        "log_prob shapes", (tuple(log_prob_1.shape), tuple(log_prob_2.shape)),
        f"{tuple(pair_loss.shape)}, as pair_loss",
    )  # fmt: skip
    loss = floating("pair_loss", pair_loss).detach()
    return weight * loss * (log_prob_1 / log_prob_1.detach() + log_prob_2 / log_prob_2.detach() - 2)


def kldpo_weights(losses: torch.Tensor, *, temperature: float, limit: float = 10.0) -> torch.Tensor:
    """KLDPO's code: exp((l - mean) / temperature), cut at `limit` and NOT normalized, (n,), without graph.

    Its loss is the mean of weight times loss. The weights of its formula are those of `kl_penalty`.
    """
    temperature, limit = positive("temperature", temperature), positive("limit", limit)
    losses = base_law(losses, None)[0].detach()
    return ((losses - losses.mean()) / temperature).exp().clamp(max=limit)


def chi2_without_one(
    losses: torch.Tensor, *, radius: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """chi2-REBEL's code: the dual of `chi2_ball` with sqrt(2 radius) in place of sqrt(1 + 2 radius).

    The smallest value over the candidates min - 1, every loss, max + 1 for eta. For radius < 1/2 that objective has
    no minimum and the first candidate wins; the weights [l - eta]_+ / (n lambda) do not sum to 1.

    Returns
    -------
    (eta, value, weights (n,)), without graph.
    """
    radius = positive("radius", radius)
    losses = base_law(losses, None)[0].detach()
    candidates = torch.cat([losses.min()[None] - 1, losses, losses.max()[None] + 1])
    excess = (losses - candidates[:, None]).clamp(min=0)
    roots = (2 * radius * excess.square().mean(1)).sqrt()
    best = (candidates + roots).argmin()[None]  # as an index tensor: a number would have to be waited for
    eta, root = candidates[best][0], roots[best][0]
    return eta, eta + root, excess[best][0] / torch.where(root > 0, len(losses) * root, 1)
