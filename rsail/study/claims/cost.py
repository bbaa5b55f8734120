"""Claims about seconds and bytes (notebooks 02b and 10), and about what the tests notice; all from result files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from rsail.study import gini_speed
from rsail.study.claims.claim import Claim, Finding
from rsail.study.cost.statistics import ratio_of_medians
from rsail.study.results import read_result

NOTEBOOK = "10_real_text_and_scale"
RACE, SETTINGS, PHASES, EXACT = (f"cost/{part}.json" for part in ("race", "settings", "phases", "exact"))
GINI, MUTANTS, MUTMUT = "gini_speed/cpu.json", "mutants/record.json", "mutation_score/record.json"


def penalty_and_score_term(results: Path) -> Finding:
    """A step with both over a step of plain online DPO, in turns."""
    found = read_result(results / SETTINGS)
    (both,) = (row for row in found["history"] if row["name"] == "both")
    (plain,) = (row for row in found["history"] if row["name"] == "plain")
    ratio, (low, high) = both["median"] / plain["median"], both["interval"]
    numbers = {"ratio": f"{ratio:.3f} [{low:.3f}, {high:.3f}]", "n": str(found["config"]["rounds"])}
    holds = low <= ratio <= high <= 1.03
    return Finding(holds, numbers)


def race(results: Path) -> Finding:
    """A step's time and memory over those of TRL's trainer, from every step's seconds."""
    found = read_result(results / RACE)
    rows = found["history"]
    ratios = [ratio_of_medians(row["seconds"]["rsail"], row["seconds"]["trl"]) for row in rows]
    memory = [row["peak"]["rsail"] / row["peak"]["trl"] for row in rows]
    numbers = {
        "version": found["config"]["trl"],
        "workloads": str(len(rows)),
        "median": f"{np.median([ratio for ratio, _ in ratios]):.2f}",
        "largest": f"{max(ratios)[0]:.2f}",
        "bound": f"{max(interval[1] for _, interval in ratios):.2f}",
        "memory": f"{max(memory):.2f}",
    }
    holds = max(interval[1] for _, interval in ratios) < 1 and max(memory) < 1
    return Finding(holds, numbers)


def sampling_above_floor(results: Path) -> Finding:
    """The least time of sampling over its floor, one thread, for the smaller and the larger vocabulary."""
    rows = [row for row in read_result(results / PHASES)["history"] if row["workload"]["threads"] == 1]
    times = {
        row["workload"]["vocabulary"]: row["best"]["sample"] / max(row["floors"]["sample"].values())
        for row in rows
        if row["workload"]["new_tokens"] == min(r["workload"]["new_tokens"] for r in rows)
    }
    small, large = min(times), max(times)
    numbers = {
        "small": f"{small:,}",
        "large": f"{large:,}",
        "at_small": f"{times[small]:.1f}",
        "at_large": f"{times[large]:.1f}",
    }
    return Finding(times[small] > times[large] > 1, numbers)


def exact_penalty(results: Path) -> Finding:
    """Seconds of the largest prompt, and the exponent of the growth against that of n log n."""
    rows = [row for row in read_result(results / EXACT)["history"] if row["part"] == "growth"]
    sizes, seconds = (np.array([row[key] for row in rows]) for key in ("size", "seconds"))
    found = gini_speed.fitted_exponent(sizes, seconds)
    limit = gini_speed.fitted_exponent(sizes, sizes * np.log(sizes))
    numbers = {
        "size": f"{sizes[-1]:,}",
        "seconds": f"{seconds[-1]:.2f}",
        "exponent": f"{found:.2f}",
        "limit": f"{limit:.2f}",
    }
    return Finding(bool(found <= limit), numbers, bool(found <= limit))


def sorted_penalty(results: Path) -> Finding:
    """Sorting against all pairs at the largest table."""
    found = gini_speed.summarize(read_result(results / GINI)["history"])
    numbers = {
        "speedup": f"{found['speedup']:,.0f}",
        "size": f"{found['speedup_at']:,}",
        "exponent": f"{found['exponent_sorted']:.2f}",
        "pairs": f"{found['exponent_pairs']:.2f}",
    }
    return Finding(found["speedup"] > 100 and found["largest_difference"] < 1e-12, numbers)


def mutants(results: Path) -> Finding:
    """How many of the recorded changes of a formula some test noticed."""
    rows = read_result(results / MUTANTS)["history"]
    noticed = sum(bool(row["noticed_by"]) for row in rows)
    return Finding(noticed == len(rows), {"mutants": f"{len(rows):,}", "noticed": f"{noticed:,}"})


def mutation_score(results: Path) -> Finding:
    """The share of mutmut's changes that the tests noticed; Wilson's interval, as in the table of modules."""
    rows = read_result(results / MUTMUT)["history"]
    run = sum(len(numbers) for row in rows for numbers in row["ran"].values())
    noticed = sum(row["killed"] + len(row["timeouts"]) for row in rows)
    low, high = binomtest(noticed, run).proportion_ci(0.95, method="wilson")
    numbers = {"n": f"{run:,}", "score": f"{100 * noticed / run:.1f} [{100 * low:.1f}, {100 * high:.1f}] %"}
    return Finding(low > 0.9, numbers)


CLAIMS = (
    Claim(
        "Penalty and score term cost next to nothing: with both, a step takes {ratio} of the time of plain online "
        "DPO (medians of {n} rounds in turns, bootstrap)",
        "timed", NOTEBOOK, penalty_and_score_term, results=(SETTINGS,), key=True,
    ),
    Claim(
        "A step takes {median} of the time of TRL {version}'s OnlineDPOTrainer in the median of {workloads} "
        "workloads, {largest} at most (bootstrap intervals end at {bound} at most), and at most {memory} of its "
        "memory",
        "timed", NOTEBOOK, race, results=(RACE,), key=True,
    ),
    Claim(
        "Sampling is what is left to speed up: with one thread it takes {at_small} times its floor at {small} "
        "tokens of vocabulary and {at_large} times at {large}",
        "timed", NOTEBOOK, sampling_above_floor, results=(PHASES,),
    ),
    Claim(
        "The exact penalty of {size} responses takes {seconds} s, and grows with the exponent {exponent} where n "
        "log n has {limit}",
        "timed", NOTEBOOK, exact_penalty, results=(EXACT,), prediction="no faster than n log n",
    ),
    Claim(
        "The penalty is Gini's mean difference: at {size} responses sorting is {speedup} times faster than all pairs "
        "(exponents {exponent} and {pairs})",
        "timed", "02b_landscapes_and_relatives", sorted_penalty, results=(GINI,),
    ),
    Claim(
        "The tests notice a wrong formula: of {mutants} single changes that were tried, among them every constant "
        "halved and every sign flipped in the exact engine but for those that change no result, {noticed} were "
        "noticed",
        "exact", "", mutants, results=(MUTANTS,),
    ),
    Claim(
        "Of {n} changes that mutmut made to formulas, keywords and conditions, the tests notice {score}",
        "statistical", "", mutation_score, results=(MUTMUT,),
    ),
)  # fmt: skip
