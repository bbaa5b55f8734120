"""Answers to the plan's questions, from result files alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rsail.checks import require
from rsail.study.imdb import plan
from rsail.study.paths import RESULTS_DIR
from rsail.study.results import ResultError, read_result
from rsail.study.statistics import Interval, holm, mean_interval, paired_test
from rsail.study.sweeps import read_sweep

RESULTS = RESULTS_DIR / plan.STUDY
TUNING = RESULTS_DIR / f"{plan.STUDY}_tuning"
LENGTH, GOLD, KL = f"attribute/{plan.ATTRIBUTE}/open", "gold/reward/sentiment", "objective/kl"
PROXY, TRUE = "proxy/preference/sentiment", "gold/preference/sentiment"
ENTROPY = "objective/entropy"
MOST_KL, LEAST_ENTROPY = 10.0, 0.5  # of the rule by which the learning rate was chosen
LEVEL = 0.05
OVER_STEPS = ("nominal", "robust", "beta_0.3", "online", "online_robust")  # drawn while they train, too


@dataclass(frozen=True)
class Study:
    """The measured reference, and the runs of each method in the order of `seeds`."""

    seeds: tuple[int, ...]
    reference: dict
    runs: dict[str, list[dict]]

    def final(self, method: str, metric: str) -> np.ndarray:
        """The metric of the trained policy, one number per seed."""
        return np.array([run["metrics"][metric] for run in self.runs[method]])

    def path(self, method: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (T,) of the evaluations and the metric at them, (seeds, T)."""
        rows = [run["history"]["evaluations"] for run in self.runs[method]]
        return np.array(rows[0]["step"]), np.array([row[metric] for row in rows])

    def before(self, metric: str) -> float:
        """The metric before training, the same in every run."""
        values = {run["history"]["evaluations"][metric][0] for runs in self.runs.values() for run in runs}
        require(len(values) == 1, metric, sorted(values), "the same before training in every run")
        return values.pop()

    def gain(self, method: str, metric: str) -> np.ndarray:
        """Final minus before, one number per seed."""
        return self.final(method, metric) - self.before(metric)

    def gap(self, method: str) -> np.ndarray:
        """On sentiment prompts: how much more the oracle has come to prefer the policy than the truth has."""
        return self.gain(method, PROXY) - self.gain(method, TRUE)


def load_study(folder: str | Path = RESULTS, size: plan.Size = plan.FULL) -> Study:
    """The planned runs, all of them and no others.

    Raises `ResultError` when a file is missing, damaged, of another plan or of a run that failed.
    """
    folder = Path(folder)
    reference = read_result(folder / "reference.json")
    identity = {key: reference["config"].get(key) for key in ("data", "model_sha256")}
    results = read_sweep(plan.STUDY, plan.cells(size, identity), folder)
    _refuse_failures(results, folder)
    runs = {method: [results[f"{method}_seed{seed}"] for seed in size.seeds] for method in plan.METHODS}
    return Study(size.seeds, reference, runs)


def figure_data(study: Study) -> dict:
    """What `rsail.study.figures.imdb.real_text` draws."""
    metrics = {"length": LENGTH, "gold": GOLD}
    return {
        "steps": study.path("nominal", KL)[0],
        "before": {name: study.before(metric) for name, metric in metrics.items()},
        "paths": {n: {m: study.path(m, metric)[1] for m in OVER_STEPS} for n, metric in metrics.items()},
        "final": {
            m: {"kl": study.final(m, KL)} | {n: study.final(m, metric) for n, metric in metrics.items()}
            for m in plan.METHODS
        },
        "family": plan.BETA_FAMILY,
    }


def load_tuning(folder: str | Path = TUNING, size: plan.Size = plan.FULL) -> list[tuple[str, dict]]:
    """The tuning runs, (name, result) each, failed ones too."""
    first = next(iter(sorted(Path(folder).glob("*.json"))), None)
    if first is None:
        raise ResultError(f"there are no result files in {Path(folder).name}")
    identity = {key: read_result(first)["config"].get(key) for key in ("data", "model_sha256")}
    return list(read_sweep(plan.STUDY, plan.cells(size, identity, tuning=True), folder).items())


def _refuse_failures(results: dict[str, dict], folder: Path) -> None:
    for name, result in results.items():
        if "error" in result["metrics"]:
            raise ResultError(f"run {name} of {folder.name} failed: {result['metrics']['error']}")


def chosen_rate(tuning: list[tuple[str, dict]]) -> float:
    """The largest learning rate at which every tuning run obeys the plan's rule.

    Raises `ResultError` where there is none.
    """
    obeys: dict[float, bool] = {}
    for _, result in tuning:
        rate = result["config"]["changes"]["learning_rate"]
        obeys[rate] = obeys.get(rate, True) and _is_tame(result)
    rates = [rate for rate, tame in obeys.items() if tame]
    if not rates:
        raise ResultError("no learning rate of the tuning runs obeys the plan's rule")
    return max(rates)


def _is_tame(result: dict) -> bool:
    if "error" in result["metrics"]:
        return False
    before = result["history"]["evaluations"][ENTROPY][0]
    metrics = result["metrics"]
    return metrics[ENTROPY] > LEAST_ENTROPY * before and metrics[KL] < MOST_KL


def at_equal_kl(study: Study, method: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """`metric` of nominal SAIL at the KL that `method` ended with, and whether that KL lies in the range of its runs.

    Both have one entry per seed. Linear between the reference (KL 0) and the runs of `plan.BETA_FAMILY` of the same
    seed, sorted by KL; beyond the largest KL it is the value there.
    """
    kl = study.final(method, KL)
    values, inside = [], []
    for seed in range(len(study.seeds)):
        points = sorted(
            [(0.0, study.before(metric))]
            + [(study.final(name, KL)[seed], study.final(name, metric)[seed]) for name in plan.BETA_FAMILY]
        )
        places, levels = np.transpose(points)
        values.append(np.interp(kl[seed], places, levels))
        inside.append(places[0] <= kl[seed] <= places[-1])
    return np.array(values), np.array(inside)


def differences(study: Study) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The two sides of every question of the plan, one number per seed each; the answer is first minus second."""
    zero = np.zeros(len(study.seeds))

    def distance(method: str) -> np.ndarray:
        return np.abs(study.gain(method, LENGTH))

    alike = np.abs(at_equal_kl(study, "robust", LENGTH)[0] - study.before(LENGTH))
    sides = {
        "excess_nominal": (study.gain("nominal", LENGTH), zero),
        "gap_nominal": (study.gap("nominal"), zero),
        "gain_nominal": (study.gain("nominal", GOLD), zero),
        "excess_robust": (distance("robust"), distance("nominal")),
        "gap_robust": (study.gap("robust"), study.gap("nominal")),
        "gain_robust": (study.gain("robust", GOLD), study.gain("nominal", GOLD)),
        "excess_online": (distance("online_robust"), distance("online")),
        "gain_online": (study.gain("online_robust", GOLD), study.gain("online", GOLD)),
        "excess_equal_kl": (distance("robust"), alike),
        "gain_equal_kl": (study.final("robust", GOLD), at_equal_kl(study, "robust", GOLD)[0]),
    }
    require(tuple(sides) == plan.QUESTIONS, "questions", list(sides), f"{plan.QUESTIONS}")
    return sides


@dataclass(frozen=True)
class Answer:
    """One question of the plan: its difference, and its p-value before and after Holm's correction."""

    question: str
    difference: Interval  # 95 % t interval, of this question alone
    p_value: float
    adjusted: float

    @property
    def verdict(self) -> str:
        """larger, smaller or undecided, at 5 % over all questions."""
        if self.adjusted > LEVEL:
            return "undecided"
        return "larger" if self.difference.mean > 0 else "smaller"


def answers(study: Study) -> dict[str, Answer]:
    """Every question of the plan, in its order."""
    sides = differences(study)
    p_values = [paired_test(*pair) for pair in sides.values()]
    return {
        name: Answer(name, mean_interval(first - second), p, float(adjusted))
        for (name, (first, second)), p, adjusted in zip(sides.items(), p_values, holm(p_values), strict=True)
    }
