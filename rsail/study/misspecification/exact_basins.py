"""How much the exact results depend on the descent: other starts, and the flow of training itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsail.study.every_method.problem import BETA
from rsail.study.misspecification.exact_setting import Bench, measure
from rsail.study.misspecification.exact_solver import make_prompts, robust_losses, solve
from rsail.study.misspecification.exact_training import flow

SPREAD = 5.0  # standard deviation of a random start's log-ratios
SAME = 1e-5  # nats; ends whose losses differ by less are one minimum


@dataclass(frozen=True)
class Basins:
    """Measures (problems,) of the lowest end found from several starts, and how the descent's own compares with it."""

    lowest: dict[str, np.ndarray]
    from_reference: dict[str, np.ndarray]
    lower_elsewhere: float  # share of prompts where another start ends lower
    as_training: float  # share of prompts where the gradient flow ends at the descent's own loss
    training: dict[str, np.ndarray]  # measures of the flow's end


def basins(
    bench: Bench, preferences: np.ndarray, *, rho: float, beta: float = BETA, starts: int = 6
) -> Basins:
    """Descend from the reference, from random starts, and along the gradient flow, on every prompt of the bench."""
    prompts = make_prompts(bench.ref_log_probs, preferences, beta=beta, rho=rho)
    own = solve(prompts)
    best, loss = own.log_ratio.copy(), own.loss.copy()
    rng = np.random.default_rng([9, 1])
    for _ in range(starts):
        end = solve(prompts, start=SPREAD * rng.normal(size=best.shape))
        lower = end.loss < loss - SAME
        best[lower], loss[lower] = end.log_ratio[lower], end.loss[lower]
    # The flow's last policy is not quite at rest: a descent from it ends in the same valley.
    trained = solve(prompts, start=flow(prompts)[-1])
    return Basins(
        measure(bench, best),
        measure(bench, own.log_ratio),
        float((loss < own.loss).mean()),
        float((np.abs(robust_losses(prompts, trained.log_ratio) - own.loss) < SAME).mean()),
        measure(bench, trained.log_ratio),
    )
