"""Losses of a ranking of K responses, all callable as ``loss(log_ratio, ranking, beta=..., rho=...)``.

`log_ratio` (..., K) holds log pi(y_i|x) - log pi_ref(y_i|x), sums over response tokens; `ranking` (..., K) the indices
of the responses, best first. Each returns the loss per list, of shape (...). `rsail.exact.listwise` judges them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from rsail.checks import number, positive, require
from rsail.objectives.arguments import floating


def plackett_luce_loss(log_ratio: torch.Tensor, ranking, *, beta: float, rho: float = 0.0) -> torch.Tensor:
    """Plackett-Luce loss of a ranking, worst case over its laws within total variation `rho` (arXiv 2607.01715).

    With scores s = beta log_ratio and l(ranking) = sum over places k of logsumexp_{j >= k} s_(j) - s_(k) it is
    (1 - rho) l(ranking) + rho l(ascending scores): the rest of the mass goes to the worst-scored response first. That
    order is taken from the present scores and carries no gradient; at ties any order is a subgradient. For K = 2 it
    is `tv_robust_loss`. For lists drawn from the policy, `score_surrogate` with the list's summed log-probabilities
    (and zeros) adds the gradient of their law.

    Parameters
    ----------
    log_ratio : floating-point tensor (..., K)
    ranking : integers (..., K)
        Permutations of 0 ... K - 1, best first (looked at on a CPU only).
    beta : float > 0
    rho : float in [0, 1]
        0, the default, is the plain Plackett-Luce loss.

    Raises
    ------
    ValueError
        A rho outside [0, 1], beta <= 0, log-ratios that are not finite, rankings that are no permutations.
    """
    beta = positive("beta", beta)
    require(0 <= number(rho) <= 1, "rho", rho, "in [0, 1]")
    log_ratio = floating("log_ratio", log_ratio)
    require(
        log_ratio.ndim >= 1 and log_ratio.shape[-1] >= 1,
        "log_ratio.shape",
        tuple(log_ratio.shape),
        "(..., K)",
    )
    ranking = torch.as_tensor(ranking, device=log_ratio.device)
    require(
        ranking.shape == log_ratio.shape, "ranking.shape", tuple(ranking.shape), f"{tuple(log_ratio.shape)}"
    )
    require(ranking.dtype == torch.int64, "ranking.dtype", ranking.dtype, "int64")
    if ranking.device.type == "cpu":
        complete = ranking.sort(-1).values == torch.arange(ranking.shape[-1])
        if not complete.all():
            wrong = ranking[~complete.all(-1)][0].tolist() if ranking.ndim > 1 else ranking.tolist()
            raise ValueError(f"ranking must be permutations of 0 ... K - 1, best first, got {wrong}")
    scores = beta * log_ratio
    observed = _plackett_luce(scores, ranking)
    if rho == 0:
        return observed
    return (1 - rho) * observed + rho * _plackett_luce(scores, scores.detach().argsort(stable=True, dim=-1))


def _plackett_luce(scores: torch.Tensor, ranking: torch.Tensor) -> torch.Tensor:
    ordered = scores.gather(-1, ranking)
    return (ordered.flip(-1).logcumsumexp(-1).flip(-1) - ordered).sum(-1)


LIST_LOSSES: dict[str, Callable[..., torch.Tensor]] = {"plackett_luce": plackett_luce_loss}
