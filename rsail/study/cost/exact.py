"""The exact engine: the penalty of one prompt by sorting against the sum over all pairs, and sweeps against cores."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from rsail.exact.gini import gini_mean_difference
from rsail.study.gini_speed import best_time, prompt

COMPARED = 20_000  # responses
SIZES = tuple(round(10 ** (3 + k / 4)) for k in range(13))  # 10^3 ... 10^6
ROWS = 64  # of the table of pairs that are held at a time


def by_pairs(values: np.ndarray, probs: np.ndarray) -> float:
    """E|s - s'| from the definition, the n x n table of pairs a few rows at a time: O(n^2) time, O(n) memory."""
    total = 0.0
    for start in range(0, len(values), ROWS):
        gaps = np.abs(values[start : start + ROWS, None] - values)
        total += probs[start : start + ROWS] @ gaps @ probs
    return float(total)


def compare(size: int = COMPARED, repeats: int = 3) -> dict:
    """Seconds of both ways at `size` responses, the speed-up, and how far apart the results are, relatively."""
    law = prompt(size, np.random.default_rng([0, size]))
    seconds = {
        "sorted": best_time(lambda: gini_mean_difference(*law), repeats),
        "pairs": best_time(lambda: by_pairs(*law), repeats),
    }
    one, other = gini_mean_difference(*law), by_pairs(*law)
    return {
        "size": size,
        **seconds,
        "speedup": seconds["pairs"] / seconds["sorted"],
        "difference": abs(one - other) / abs(other),
    }


def growth(sizes: Sequence[int] = SIZES, repeats: int = 5) -> list[dict]:
    """Seconds of sorting, and seconds over n log n (natural logarithm)."""
    records = []
    for size in sizes:
        law = prompt(size, np.random.default_rng([0, size]))
        seconds = best_time(lambda law=law: gini_mean_difference(*law), repeats)
        records.append({"size": size, "seconds": seconds, "per_n_log_n": seconds / (size * np.log(size))})
    return records


def against_cores(tasks: int = 16, size: int = 200_000, repeats: int = 10) -> list[dict]:
    """Seconds of a sweep of `tasks` problems over 1, 2, 4, ... processes, up to the cores that this one may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    records = []
    for workers in [2**k for k in range(cores.bit_length()) if 2**k <= cores]:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_sweep_task, [(seed, 10, 1) for seed in range(workers)]))  # the processes start
            start = time.perf_counter()
            found = list(pool.map(_sweep_task, [(seed, size, repeats) for seed in range(tasks)]))
            records.append({"workers": workers, "seconds": time.perf_counter() - start, "sum": sum(found)})
    return records


def _sweep_task(task: tuple[int, int, int]) -> float:
    seed, size, repeats = task
    rng = np.random.default_rng(seed)
    return sum(gini_mean_difference(*prompt(size, rng)) for _ in range(repeats))
