"""Do the constants of `rsail.exact.constants` hold, and how much room do they leave? What notebook 03 reports.

    python -m rsail.study.constants_check

measures more than 10,000 random problems and more than 200 optimized ones in float64, and writes
data/results/constants/check.json; about ten minutes on one core. The notebook runs the same functions on fewer
optimization steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

from rsail.study.paths import RESULTS_DIR
from rsail.study.problem_batch import KINDS, MEASURED, ProblemBatch, random_batch, ratios
from rsail.study.results import write_result
from rsail.study.worst_problems import SEARCHED, search

PATH = RESULTS_DIR / "constants" / "check.json"
# A bound counts as kept up to this relative excess, which is rounding: eigenvalues of sums of up to 8 x 64 terms.
TOLERANCE = 1e-9
SHAPES = tuple(product((1, 2, 3), (2, 3, 5, 8), (1, 2, 4)))  # prompts, responses, features
PROMPTS = (1, 3, 8)
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)

CONFIG = {
    "random_per_shape": 300,
    "shapes": SHAPES,
    "prompts": PROMPTS,
    "theta_radius": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    "beta": (0.1, 1.0),
    "starts": 8,
    "steps": 1500,
    "tolerance": TOLERANCE,
}


def random_batches(seed: int, per_shape: int, shapes: Iterable = SHAPES) -> Iterator[ProblemBatch]:
    """`per_shape` random problems of each shape (prompts, responses, features)."""
    rng = np.random.default_rng(seed)
    return (random_batch(rng, per_shape, *shape) for shape in shapes)


def searches(
    seed: int, *, starts: int, steps: int, theta_radius: Iterable[float], beta: Iterable[float]
) -> Iterator[tuple[dict, ProblemBatch]]:
    """Optimized problems for every quantity, number of prompts, D and beta (B = 1); with their settings.

    R does not contain beta, so its two constants are searched at the first beta only.
    """
    beta = tuple(beta)
    for quantity, prompts, radius in product(SEARCHED, PROMPTS, theta_radius):
        for value in beta[:1] if quantity.startswith("penalty") else beta:
            settings = {"quantity": quantity, "prompts": prompts, "theta_radius": radius, "beta": value}
            rest = {name: entry for name, entry in settings.items() if name != "quantity"}
            yield settings, search(quantity, **rest, starts=starts, steps=steps, seed=seed)


def collect(batches: Iterable[ProblemBatch]) -> dict[str, dict[str, np.ndarray]]:
    """measured / bound of all problems of all batches, kind -> quantity -> (N,)."""
    return join([ratios(batch) for batch in batches])


def join(parts: list[dict]) -> dict[str, dict[str, np.ndarray]]:
    """Tables kind -> quantity -> array, one after another."""
    return {
        kind: {name: np.concatenate([part[kind][name] for part in parts]) for name in MEASURED}
        for kind in KINDS
    }


def largest(found: dict) -> dict[str, dict[str, float]]:
    """Largest measured / bound, kind -> quantity."""
    return {kind: {name: float(values.max()) for name, values in found[kind].items()} for kind in found}


def count(found: dict) -> int:
    """Number of problems behind a table of ratios."""
    return len(found["paper"]["slope"])


def require_kept(found: dict, tolerance: float = TOLERANCE) -> None:
    """Raise AssertionError, naming them, if one of the constants is exceeded in one of the problems."""
    exceeded = [
        f"{kind} {name}: measured / bound = {value:.12g}"
        for kind, table in largest(found).items()
        for name, value in table.items()
        if not value <= 1.0 + tolerance
    ]
    assert not exceeded, "; ".join(exceeded)


def quantiles(found: dict) -> dict:
    """The quantiles `QUANTILES` of measured / bound, kind -> quantity -> list."""
    return {
        kind: {name: np.quantile(values, QUANTILES) for name, values in found[kind].items()} for kind in found
    }


def run(seed: int = 0, config: dict = CONFIG) -> dict:
    """Measure, check and write the result file; returns its content."""
    start = time.perf_counter()
    random = collect(random_batches(seed, config["random_per_shape"], config["shapes"]))
    require_kept(random)
    rows, parts = [], []
    sizes = {name: config[name] for name in ("starts", "steps", "theta_radius", "beta")}
    for settings, batch in searches(seed, **sizes):
        parts.append(ratios(batch))
        best = {kind: float(parts[-1][kind][settings["quantity"]].max()) for kind in KINDS}
        rows.append(settings | best)
        print(rows[-1], flush=True)
    optimized = join(parts)
    require_kept(optimized)
    metrics = {
        "random": {"count": count(random), "largest": largest(random), "quantiles": quantiles(random)},
        "optimized": {"count": count(optimized), "largest": largest(optimized)},
    }
    wall_time = time.perf_counter() - start
    return write_result(
        PATH, study="constants", config=config, metrics=metrics, history=rows, seeds=[seed],
        wall_time=wall_time, overwrite=True,
    )  # fmt: skip


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m rsail.study.constants_check", description=__doc__).parse_args()
    run()
