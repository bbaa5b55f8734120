"""An online step of rsail, penalty and score term on, against one of TRL's OnlineDPOTrainer on the same work.

    python -m tests.benchmarks.race --output data/results/cost    # needs trl; 10 to 20 minutes on 2 cores

Both have the same model, prompts, lengths, batch, judge, float32 arithmetic, optimizer, and a KV cache. They run in two
processes that take turns, in random order, a step at a time: what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import time
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np

from rsail.files import make_writable
from rsail.study.cost.statistics import ratio_of_medians
from rsail.study.cost.workload import Workload
from rsail.study.results import write_result

from .contestants import Contestant

GRID = [
    Workload(vocabulary=vocabulary, new_tokens=length, threads=threads)
    for vocabulary, length, threads in product((512, 32_000), (32, 128), (1, 2))
]
WARM_UP = 3  # steps
PAIRS = (10, 60)  # fewest, most
SECONDS = 60.0  # after which no more than the fewest pairs are made


def race(workload: Workload, *, pairs: tuple[int, int] = PAIRS, seconds: float = SECONDS) -> dict:
    """One record: medians, their ratio with a 95 % bootstrap interval, peak memory, and every step's seconds."""
    rng = np.random.default_rng(0)
    racers = {name: Contestant(name, workload) for name in ("rsail", "trl")}
    steps: dict[str, list[dict]] = {name: [] for name in racers}
    try:
        for racer in racers.values():
            for _ in range(WARM_UP):
                racer.step()
        start = time.perf_counter()
        for pair in range(pairs[1]):
            if pair >= pairs[0] and time.perf_counter() - start > seconds:
                break
            for name in rng.permutation(list(racers)):
                steps[str(name)].append(racers[str(name)].step())
    finally:
        for racer in racers.values():
            racer.stop()
    taken = {name: np.array([step["seconds"] for step in found]) for name, found in steps.items()}
    ratio, interval = ratio_of_medians(taken["rsail"], taken["trl"])
    return {
        "vocabulary": workload.vocabulary,
        "new_tokens": workload.new_tokens,
        "threads": workload.threads,
        "pairs": len(taken["rsail"]),
        "ratio": ratio,
        "interval": interval,
        "length": {name: float(np.mean([step["length"] for step in found])) for name, found in steps.items()},
        "median": {name: float(np.median(values)) for name, values in taken.items()},
        "peak": {name: found[-1]["peak"] for name, found in steps.items()},
        "growth": {name: found[-1]["peak"] - racers[name].resident for name, found in steps.items()},
        "seconds": {name: values.tolist() for name, values in taken.items()},
    }


def summarize(records: list[dict]) -> dict:
    """The grid's ratios, and at the large vocabulary the peak memory of ours over theirs."""
    large = max(record["vocabulary"] for record in records)
    return {
        "median_ratio": float(np.median([record["ratio"] for record in records])),
        "largest_ratio": max(record["ratio"] for record in records),
        "largest_upper_bound": max(record["interval"][1] for record in records),
        "largest_memory_ratio": max(
            record["peak"]["rsail"] / record["peak"]["trl"]
            for record in records
            if record["vocabulary"] == large
        ),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Race online steps against TRL.")
    parser.add_argument("--output", required=True, type=Path, help="folder of the result file")
    output = parser.parse_args(arguments).output
    make_writable("output", output)
    start, records = time.perf_counter(), []
    for workload in GRID:
        records.append(race(workload))
        shown = {
            k: records[-1][k] for k in ("vocabulary", "new_tokens", "threads", "pairs", "ratio", "interval")
        }
        print(shown, records[-1]["peak"], flush=True)
    write_result(
        output / "race.json",
        study="cost",
        config={
            "grid": [[w.vocabulary, w.new_tokens, w.threads] for w in GRID], "warm_up": WARM_UP, "pairs": PAIRS,
            "trl": version("trl"), "workload": "8 prompts, 2 responses, 2 layers of 128",
        },
        metrics=summarize(records),
        history=records,
        seeds=[0],
        wall_time=time.perf_counter() - start,
        overwrite=True,
    )  # fmt: skip
    print(summarize(records))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
