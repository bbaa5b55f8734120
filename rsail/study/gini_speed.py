"""How long the penalty of one prompt takes: sorting against listing all pairs.

    python -m rsail.study.gini_speed --output data/results/gini_speed

times both routes over the number of responses and writes one result file, which notebook 02b reads: times differ from
machine to machine and from run to run, so no notebook measures them itself. A few seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

from rsail.exact.gini import gini_mean_difference
from rsail.study.results import write_result

STUDY = "gini_speed"
SIZES = tuple(2**k for k in range(4, 18))  # above, the arrays leave the cache and memory sets the pace
LARGEST_TABLE = 2**12  # responses whose table of pairs, 128 MiB, is still listed
REPEATS = 7


def all_pairs(values, probs) -> float:
    """E|s - s'| from the definition, over the n x n table of pairs: O(n^2) time and memory."""
    values, probs = np.asarray(values), np.asarray(probs)
    return float(probs @ np.abs(values[:, None] - values[None, :]) @ probs)


def prompt(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Log-ratios and policy of `size` responses."""
    return rng.normal(size=size), np.exp(log_softmax(rng.normal(size=size)))


def best_time(function: Callable[[], float], repeats: int) -> float:
    """Least seconds of one call: whatever else the machine does can only add to it."""
    seconds = []
    for _ in range(repeats):
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < 0.02:
            function()
            calls += 1
        seconds.append((time.perf_counter() - start) / calls)
    return min(seconds)


def measure(
    sizes: Sequence[int] = SIZES, largest_table: int = LARGEST_TABLE, repeats: int = REPEATS
) -> list[dict]:
    """One record per size: seconds of each route (`pairs` None where the table is too large), and their difference."""
    records = []
    for size in sizes:
        law = prompt(size, np.random.default_rng([0, size]))
        record = {"size": size, "sorted": best_time(lambda law=law: gini_mean_difference(*law), repeats)}
        listed = size <= largest_table
        record["pairs"] = best_time(lambda law=law: all_pairs(*law), repeats) if listed else None
        record["difference"] = abs(gini_mean_difference(*law) - all_pairs(*law)) if listed else None
        records.append(record)
    return records


def fitted_exponent(sizes, seconds) -> float:
    """Slope of log seconds over log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def summarize(records: list[dict]) -> dict:
    """Exponents over the four largest sizes of each route, and the speed-up at the largest size of both."""
    both = [record for record in records if record["pairs"] is not None]
    tail, sorted_tail = both[-4:], records[-4:]
    return {
        "exponent_pairs": fitted_exponent([r["size"] for r in tail], [r["pairs"] for r in tail]),
        "exponent_sorted": fitted_exponent(
            [r["size"] for r in sorted_tail], [r["sorted"] for r in sorted_tail]
        ),
        "speedup": both[-1]["pairs"] / both[-1]["sorted"],
        "speedup_at": both[-1]["size"],
        "largest_difference": max(record["difference"] for record in both),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time the penalty of one prompt, sorted and over all pairs.")
    parser.add_argument("--output", required=True, type=Path, help="folder of the result file")
    output = parser.parse_args(arguments).output
    start = time.perf_counter()
    records = measure()
    write_result(
        output / "cpu.json",
        study=STUDY,
        config={"sizes": SIZES, "largest_table": LARGEST_TABLE, "repeats": REPEATS},
        metrics=summarize(records),
        history=records,
        seeds=[0],
        wall_time=time.perf_counter() - start,
        overwrite=True,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
