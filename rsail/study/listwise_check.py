"""The closed forms for rankings against enumeration and linear programs, on random lists (notebook 02b)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rsail.exact import one_pair_loss
from rsail.exact.listwise import (
    all_rankings,
    plackett_luce_loss,
    ranking_law,
    robust_listwise_gradient,
    robust_listwise_loss,
    total_variation_linear_program,
    total_variation_worst_case,
    worst_ranking,
)


def all_losses(scores) -> np.ndarray:
    """Plackett-Luce loss of every ranking of one list, (K!,), in the order of `all_rankings`."""
    rankings = all_rankings(len(scores))
    return plackett_luce_loss(np.broadcast_to(scores, rankings.shape), rankings)


def hard_center(
    rng: np.random.Generator, counts: Sequence[int], *, largest_program: int = 5
) -> dict[str, float]:
    """Largest differences on one random list per entry of `counts`: worst ranking, robust loss, its gradient."""
    gaps = {"worst ranking": 0.0, "robust loss": 0.0, "gradient": 0.0}
    for count in counts:
        scores, radius = 2.0 * rng.normal(size=count), float(rng.uniform())
        losses = all_losses(scores)
        seen = int(rng.integers(len(losses)))
        ranking = all_rankings(count)[seen]
        found = {"worst ranking": plackett_luce_loss(scores, worst_ranking(scores)) - losses.max()}
        if count <= largest_program:
            program = total_variation_linear_program(losses, np.eye(len(losses))[seen], radius)
            found["robust loss"] = robust_listwise_loss(scores, ranking, radius) - program
        slope = robust_listwise_gradient(scores, ranking, radius)
        step = 1e-5 * np.eye(count)
        ends = [
            robust_listwise_loss(scores + s * step, np.tile(ranking, (count, 1)), radius) for s in (1, -1)
        ]
        found["gradient"] = np.abs((ends[0] - ends[1]) / 2e-5 - slope).max()
        gaps = {name: max(gap, abs(float(found.get(name, 0.0)))) for name, gap in gaps.items()}
    return gaps


def soft_center(rng: np.random.Generator, pairs: int, lists: int) -> tuple[float, float, np.ndarray]:
    """Balls around a law of the ranking: largest differences, and by how much averaging hard labels falls short.

    For `pairs` random pairs against the clipped oracle-robust loss; for `lists` random lists of four against the linear
    program; and, for the same lists, the worst case around the law minus the average of the worst cases around drawn
    rankings, (lists,).
    """
    pair_gap, list_gap, short = 0.0, 0.0, []
    for _ in range(pairs):
        margin, chance, radius = 3.0 * rng.normal(), rng.uniform(), float(rng.uniform())
        worst, _ = total_variation_worst_case(
            np.logaddexp(0, [-margin, margin]), [chance, 1 - chance], radius
        )
        pair_gap = max(pair_gap, abs(worst - float(one_pair_loss(margin, chance, radius))))
    for _ in range(lists):
        losses, law = all_losses(2.0 * rng.normal(size=4)), ranking_law(rng.normal(size=4))
        radius = float(rng.uniform())
        worst, _ = total_variation_worst_case(losses, law, radius)
        list_gap = max(list_gap, abs(worst - total_variation_linear_program(losses, law, radius)))
        short.append(worst - averaged_hard_center(losses, law, radius))
    return pair_gap, list_gap, np.array(short)


def averaged_hard_center(losses, law, rho: float) -> float:
    """Mean over drawn rankings of the worst case around each: (1 - rho) E loss + rho max loss."""
    return float((1.0 - rho) * (law @ losses) + rho * np.max(losses))


def radius_curves(losses, law, radii, checked) -> tuple[dict, dict]:
    """Worst case over the radius around drawn rankings and around their law; both by linear program at `checked`."""
    drawn, soft = "around each drawn ranking, averaged", "around the law of the rankings"
    curves = {
        drawn: np.array([averaged_hard_center(losses, law, r) for r in radii]),
        soft: np.array([total_variation_worst_case(losses, law, r)[0] for r in radii]),
    }
    each = [[total_variation_linear_program(losses, e, r) for e in np.eye(len(law))] for r in checked]
    programs = {
        drawn: np.array(each) @ law,
        soft: np.array([total_variation_linear_program(losses, law, r) for r in checked]),
    }
    return curves, programs
