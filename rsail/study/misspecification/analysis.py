"""What the language model's runs say: the comparisons of the plan, from result files alone.

Every comparison is paired by seed, with a 95 % t interval. Spurious is the number of filler words on open prompts
minus that of the reference model; gold is the gold reward on requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rsail.checks import one_of, require
from rsail.study.misspecification.plan import COMPARED, STUDY, plan
from rsail.study.paths import RESULTS_DIR
from rsail.study.results import ResultError
from rsail.study.statistics import Interval, mean_interval, paired_difference
from rsail.study.sweeps import read_sweep

RESULTS = RESULTS_DIR / STUDY
GOLD, FILLER, KL = "gold/reward/request", "attribute/filler/open", "objective/kl"
HALF_ENTROPY, IDENTICAL = 0.5, 0.2  # a run below the first or above the second counts as collapsed


@dataclass(frozen=True)
class Runs:
    """All runs of a part: results by setting, in the order of the plan's seeds, and the errors of those that failed."""

    part: str
    results: dict[str, list[dict]]
    failed: dict[str, str]

    @property
    def started(self) -> int:
        return sum(map(len, self.results.values()))

    def of(self, setting: str) -> list[dict]:
        """The results of a setting, one per seed; ResultError if one of them failed."""
        one_of("setting", setting, self.results)
        if errors := [error for name, error in self.failed.items() if name.rsplit("_seed", 1)[0] == setting]:
            raise ResultError(f"{len(errors)} run(s) of {self.part}/{setting} failed: {errors[0]}")
        return self.results[setting]

    def final(self, setting: str, metric: str) -> np.ndarray:
        """The metric after training, (seeds,)."""
        return np.array([run["metrics"][metric] for run in self.of(setting)])

    def reference(self, setting: str, metric: str) -> float:
        """The metric before training, the same for every seed."""
        values = {run["history"]["evaluations"][0][metric] for run in self.of(setting)}
        require(len(values) == 1, metric, sorted(values), "the same before training in every run")
        return values.pop()

    def spurious(self, setting: str) -> np.ndarray:
        """Filler words on open prompts beyond those of the reference, (seeds,)."""
        return self.final(setting, FILLER) - self.reference(setting, FILLER)

    def gain(self, setting: str) -> np.ndarray:
        """Gold reward on requests beyond that of the reference, (seeds,)."""
        return self.final(setting, GOLD) - self.reference(setting, GOLD)

    def curve(self, setting: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps of the evaluations (T,) and the metric at them, (seeds, T)."""
        rows = [run["history"]["evaluations"] for run in self.of(setting)]
        return np.array([row["step"] for row in rows[0]]), np.array(
            [[row[metric] for row in run] for run in rows]
        )


def load(part: str, folder: str | Path = RESULTS) -> Runs:
    """Every planned run of `part`; ResultError names one that is missing, damaged or of another configuration."""
    cells = plan(part)
    found = read_sweep(STUDY, cells, Path(folder) / part)
    results: dict[str, list[dict]] = {}
    for cell in cells:
        results.setdefault(cell.name.rsplit("_seed", 1)[0], []).append(found[cell.name])
    failed = {name: r["metrics"]["error"] for name, r in found.items() if "error" in r["metrics"]}
    return Runs(part, results, failed)


# How filler words and KL go into a straight line between two trained beta: as they are, or as logarithms.
INTERPOLATIONS = {
    "log KL": (np.log, None),  # the planned one
    "log KL and log filler": (np.log, np.log),
    "KL": (None, None),
}
PLANNED = "log KL"


@dataclass(frozen=True)
class EqualKL:
    """Gold and spurious of another setting where its KL equals a target's, one per seed."""

    gold: np.ndarray
    spurious: np.ndarray
    extrapolated: int  # seeds whose target lies outside, at which the nearest end was taken


def along_betas(runs: Runs, settings: list[str], target: np.ndarray, interpolation: str = PLANNED) -> EqualKL:
    """Trained policies of a sweep over beta, interpolated at each seed's `target` KL (seeds,).

    Gold is interpolated as it is, over the KL of the interpolation. ValueError if a logarithm of filler words is
    asked for where a policy has no more of them than the reference.
    """
    one_of("interpolation", interpolation, INTERPOLATIONS)
    of_kl, of_filler = INTERPOLATIONS[interpolation]
    kl = np.array([runs.final(name, KL) for name in settings])
    gold, spurious = (np.array([f(name) for name in settings]) for f in (runs.gain, runs.spurious))
    x, at = kl, target
    if of_kl is not None:
        x, at = of_kl(np.maximum(kl, 1e-12)), of_kl(target)
    if of_filler is not None:
        require(bool((spurious > 0).all()), "spurious", spurious.min(), "above 0 to take its logarithm")
        spurious = of_filler(spurious)
    values = np.empty((2, target.size))
    for seed in range(target.size):
        order = np.argsort(kl[:, seed])
        for row, column in enumerate((gold, spurious)):
            values[row, seed] = np.interp(at[seed], x[order, seed], column[order, seed])
    outside = int(np.sum((target < kl.min(axis=0)) | (target > kl.max(axis=0))))
    return EqualKL(values[0], values[1] if of_filler is None else np.exp(values[1]), outside)


def held_out(runs: Runs, settings: list[str], interpolation: str) -> dict[str, np.ndarray]:
    """Error of an interpolation at trained beta: filler words found without a setting, minus its own, (seeds,).

    For every setting of the sweep but its ends. The gap that is bridged is about twice as wide as between neighbors.
    """
    found = {}
    for name in settings[1:-1]:
        others = [other for other in settings if other != name]
        without = along_betas(runs, others, runs.final(name, KL), interpolation)
        found[name] = without.spurious - runs.spurious(name)
    return found


def along_training(runs: Runs, setting: str, target: np.ndarray) -> EqualKL:
    """Early stopping: one setting's training curve where its KL first reaches each seed's `target` (seeds,).

    Linear in the root of the KL between two evaluations: near the reference, effects grow with the step and the KL
    with its square.
    """
    _, kl = runs.curve(setting, KL)
    _, gold = runs.curve(setting, GOLD)
    _, filler = runs.curve(setting, FILLER)
    root = np.sqrt(np.maximum(kl, 0.0))
    values, outside = np.empty((2, target.size)), 0
    for seed, goal in enumerate(np.sqrt(target)):
        reached = np.flatnonzero(root[seed] >= goal)
        last = reached[0] if reached.size else root.shape[1] - 1
        outside += not reached.size
        low, high = root[seed, last - 1], root[seed, last]
        share = (goal - low) / (high - low) if reached.size else 1.0
        for row, column in enumerate((gold, filler)):
            start = column[seed, last - 1]
            values[row, seed] = start + share * (column[seed, last] - start) - column[seed, 0]
    return EqualKL(values[0], values[1], outside)


def before_first_evaluation(runs: Runs, setting: str, target: np.ndarray) -> int:
    """Seeds whose run has `target` KL (seeds,) before its first evaluation after the start.

    There `along_training` is a straight line from the untrained model to that evaluation.
    """
    _, kl = runs.curve(setting, KL)
    return int((kl[:, 1] >= target).sum())


def less_spurious(robust: np.ndarray, other: np.ndarray) -> Interval:
    """By how much |spurious| of the first is smaller than that of the second, paired by seed."""
    return paired_difference(np.abs(other), np.abs(robust))


def verdict(interval: Interval, p_value: float | None = None) -> str:
    """more, less or undecided: by the interval, or by an adjusted p-value at 0.05."""
    told = interval.excludes(0) if p_value is None else p_value <= 0.05
    return ("more" if interval.mean > 0 else "less") if told else "undecided"


def chosen(tuning: Runs) -> dict[str, float]:
    """The value of each method's tuned setting with the most gold on requests, mean over the tuning seeds."""
    found = {}
    for name, (*_, values) in COMPARED.items():
        gold = [tuning.final(f"{name}_{value:g}", GOLD).mean() for value in values]
        found[name] = values[int(np.argmax(gold))]
    return found


def over_optimisation(runs: Runs, setting: str) -> dict[str, Interval]:
    """What the oracle's mistake does to a setting: spurious, the oracle's preference beyond 1/2, gold below its best.

    ``lost`` is the best evaluation's gold minus the last one's. The best of several noisy numbers lies above the last
    one without any over-optimisation; so the best evaluation is that of the seeds' mean, the same for all of them.
    """
    _, gold = runs.curve(setting, GOLD)
    best = int(gold.mean(axis=0).argmax())
    return {
        "spurious": mean_interval(runs.spurious(setting)),
        "proxy": mean_interval(runs.final(setting, "proxy/preference") - 0.5),
        "lost": paired_difference(gold[:, best], gold[:, -1]),
    }


def collapsed(runs: Runs, setting: str) -> np.ndarray:
    """(seeds,) bool: less than half of the reference's entropy, or more than 0.2 identical pairs."""
    entropy = runs.final(setting, "objective/entropy") / runs.reference(setting, "objective/entropy")
    return (entropy < HALF_ENTROPY) | (runs.final(setting, "robust/identical_pairs") > IDENTICAL)


def certificates(parts: Iterable[Runs]) -> dict[str, np.ndarray]:
    """Every evaluation after the first step: rho, the oracle's measured deviation, and L^W_rho(P_obs) - L_SAIL(P*).

    Of the runs of the robust loss, whose rho may be 0. Before the first step h = 0, and the gap is 0 for any oracle.
    """
    rows = [
        (run["config"]["rho"], row["oracle/deviation"], row["robust/certificate_gap"])
        for runs in parts
        for results in runs.results.values()
        for run in results
        for row in run["history"]["evaluations"]
        if run["config"]["loss"] == "robust_sail" and row["step"] > 0
    ]
    rho, deviation, gap = np.array(rows).T
    return {"rho": rho, "deviation": deviation, "gap": gap}
