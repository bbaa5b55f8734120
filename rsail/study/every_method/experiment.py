"""The experiment behind notebook 06: tune every method, run it on other problems, sweep beta, write result files.

Options are chosen per method and oracle by mean regret on the TUNING problems, among those whose objective has a
minimum there; the chosen ones are then run on the SEEDS. Everything is exact, so that a cell can be computed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rsail.checks import one_of
from rsail.study.every_method import basins, collection, problem
from rsail.study.every_method.measures import MEASURES, measure
from rsail.study.every_method.methods import METHODS
from rsail.study.every_method.setting import make_setting
from rsail.study.every_method.solver import LARGEST, REACH, SHORT, TOLERANCE, WIDTHS
from rsail.study.paths import RESULTS_DIR
from rsail.study.results import ResultError, read_result, write_result

NAME = "every_method"
RESULTS = RESULTS_DIR / NAME
TUNING = (0, 1)
SEEDS = (10, 11, 12, 13, 14, 15)
REFERENCE, OPTIMUM = "reference", "optimum"  # rows of the tables that no method makes
AT_EQUAL_KL = "robust SAIL"  # whose distance at the problem's beta the others are brought to
START_ORACLES = "truth", "bias"
PESSIMISM_SEEDS, EXPLORATION_SEEDS = range(100), range(20)
FRONTIER_ORACLE = "bias"
FRONTIER_BETAS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
FRONTIER: dict[str, dict] = {  # methods whose beta is swept, the other options fixed at the true radius
    "DPO": {},
    "SAIL": {},
    "cDPO": {"smoothing": 0.2},
    "IPO": {},
    "χPO": {},
    "DPO-PRO": {"radius": 0.09},
    "TV, hard label": {
        "radius": 3 / 13
    },  # its dead zone, p <= 1 / (2 (1 - radius)), ends at 0.65 as robust DPO's
    "robust DPO": {"rho": 0.15},
    "robust SAIL": {"rho": 0.15},
}
_SOLVERS = {"DPO": "DPO, β tuned", "SAIL": "SAIL, β tuned"}  # the entries that take beta as an option


def run_cell(method: str, oracle: str, seed: int, options: dict) -> dict:
    """Solve one method on one problem and measure what comes out; a row of a result file."""
    one_of("method", method, METHODS)
    torch.set_num_threads(1)
    testbed = problem.make_testbed(seed)
    found = METHODS[method].solve(make_setting(testbed, oracle), **options)
    return {
        "method": method,
        "seed": seed,
        "options": options,
        "converged": found.converged,
        "ran_away": found.ran_away,
        "bounded": found.bounded,
        "residual": found.residual,
        "rounds": found.rounds,
        **measure(testbed, oracle, found.log_ratio),
    }


def fixed_rows(oracle: str, seed: int) -> list[dict]:
    """The reference, and the Gibbs policy of the true reward, as rows without a solver."""
    testbed = problem.make_testbed(seed)
    tilt = testbed.rewards / problem.BETA
    normalizer = np.logaddexp.reduce(testbed.ref_log_probs + tilt, axis=1, keepdims=True)
    policies = {REFERENCE: np.zeros_like(tilt), OPTIMUM: tilt - normalizer}
    return [
        {"method": name, "seed": seed, **measure(testbed, oracle, log_ratio)}
        for name, log_ratio in policies.items()
    ]


def tune(oracle: str, report: Callable[[str], None] = print) -> tuple[dict[str, dict], list[dict]]:
    """The chosen options of every method under an oracle, and all rows that chose them."""
    chosen, rows = {}, []
    for name, method in METHODS.items():
        scores = []
        for options in method.grid:
            cells = [run_cell(name, oracle, seed, options) for seed in TUNING]
            rows += cells
            bounded = all(cell["converged"] and cell["bounded"] for cell in cells)
            scores.append((not bounded, float(np.mean([cell["regret"] for cell in cells]))))
        chosen[name] = method.grid[scores.index(min(scores))]
        report(f"{oracle}: {name} {chosen[name]}")
    return chosen, rows


def configuration(**more) -> dict:
    """What the rows of a file share."""
    return {
        "prompts": problem.PROMPTS,
        "responses": problem.RESPONSES,
        "beta": problem.BETA,
        "bias": problem.BIAS,
        "flip_rate": problem.FLIP_RATE,
        "minority": problem.MINORITY,
        "taste": problem.TASTE,
        "tolerance": TOLERANCE,
        "reach": [REACH, SHORT],
        "widths": WIDTHS,
        "largest_margin": LARGEST,
        "measures": MEASURES,
        **more,
    }


def run(folder: Path, oracles: Iterable[str], report: Callable[[str], None] = print) -> None:
    """Write tuning_ORACLE.json and ORACLE.json for each oracle, and frontier.json under the biased one."""
    for oracle in oracles:
        one_of("oracle", oracle, problem.ORACLES)
        start = time.perf_counter()
        chosen, rows = tune(oracle, report)
        config = configuration(oracle=oracle, grids={name: m.grid for name, m in METHODS.items()})
        _write(folder / f"tuning_{oracle}.json", config, {"chosen": chosen}, rows, list(TUNING), start)
        start, rows = time.perf_counter(), []
        for seed in SEEDS:
            rows += fixed_rows(oracle, seed)
            rows += [run_cell(name, oracle, seed, chosen[name]) for name in METHODS]
        config = configuration(oracle=oracle, options=chosen)
        _write(folder / f"{oracle}.json", config, means(rows), rows, list(SEEDS), start)
        if oracle == FRONTIER_ORACLE:
            start, rows = time.perf_counter(), []
            for name, options in FRONTIER.items():
                for beta in FRONTIER_BETAS:
                    for seed in SEEDS:
                        cell = run_cell(_SOLVERS.get(name, name), oracle, seed, {"beta": beta, **options})
                        rows.append(cell | {"method": name})
            config = configuration(oracle=oracle, betas=FRONTIER_BETAS, options=FRONTIER)
            _write(folder / "frontier.json", config, {}, rows, list(SEEDS), start)
            start, rows = time.perf_counter(), equal_kl_rows(load_frontier(folder))
            config = configuration(oracle=oracle, distance_of=AT_EQUAL_KL, options=FRONTIER)
            _write(folder / "equal_kl.json", config, {}, rows, list(SEEDS), start)


def equal_kl_rows(frontier: dict[str, dict[str, np.ndarray]]) -> list[dict]:
    """Every method of the sweep on every problem at the beta that brings it as far as AT_EQUAL_KL is at BETA."""
    shared = frontier[AT_EQUAL_KL]["kl"][FRONTIER_BETAS.index(problem.BETA)]
    rows = []
    for name, options in FRONTIER.items():
        solver = _SOLVERS.get(name, name)
        for k, seed in enumerate(SEEDS):
            sweep = FRONTIER_BETAS, frontier[name]["kl"][:, k]
            beta = problem.BETA
            if name != AT_EQUAL_KL:
                beta = basins.at_distance(solver, options, FRONTIER_ORACLE, seed, shared[k], *sweep)
            rows.append(run_cell(solver, FRONTIER_ORACLE, seed, {"beta": beta, **options}) | {"method": name})
    return rows


def run_starts(folder: Path) -> None:
    """Write starts.json: SAIL's and robust SAIL's losses descended from several starts."""
    start = time.perf_counter()
    rows = [
        basins.descend_from(name, loss, oracle, seed)
        for oracle in START_ORACLES
        for loss in basins.RADII
        for name in basins.STARTS
        for seed in SEEDS
    ]
    config = configuration(oracles=START_ORACLES, radii=basins.RADII, spread=basins.SPREAD)
    _write(folder / "starts.json", config, {}, rows, list(SEEDS), start)


def run_collection(folder: Path) -> None:
    """Write collection.json: pessimism and exploration on linear bandits, many problems each."""
    start = time.perf_counter()
    trials = collection.pessimism_trials(PESSIMISM_SEEDS)
    regrets = collection.exploration_runs(EXPLORATION_SEEDS)
    rows = [{"study": "pessimism", **{name: values for name, values in trials.items()}}]
    rows += [{"study": "exploration", "scheme": name, "regret": values} for name, values in regrets.items()]
    seeds = {"pessimism": list(PESSIMISM_SEEDS), "exploration": list(EXPLORATION_SEEDS)}
    _write(folder / "collection.json", {"ridge": collection.RIDGE}, {}, rows, seeds, start)


def _write(path: Path, config: dict, metrics: dict, rows: list[dict], seeds, start: float) -> None:
    write_result(
        path,
        study=NAME,
        config=config,
        metrics=metrics,
        history=rows,
        seeds=seeds,
        wall_time=time.perf_counter() - start,
        overwrite=True,
    )


def means(rows: list[dict]) -> dict[str, float]:
    """Mean regret per method."""
    names = dict.fromkeys(row["method"] for row in rows)
    return {name: float(np.mean([row["regret"] for row in rows if row["method"] == name])) for name in names}


@dataclass(frozen=True)
class Table:
    """The rows of one oracle's result file."""

    oracle: str
    rows: list[dict]
    options: dict[str, dict]

    def values(self, method: str, measure: str) -> np.ndarray:
        """One number per seed, in the order of SEEDS."""
        found = {row["seed"]: row[measure] for row in self.rows if row["method"] == method}
        return np.array([found[seed] for seed in SEEDS])

    def mean(self, method: str, measure: str) -> float:
        """Mean over the problems."""
        return float(self.values(method, measure).mean())

    def bounded(self, method: str) -> bool:
        """Whether the method's descents converged on every seed, on objectives that are bounded below."""
        return all(row["converged"] and row["bounded"] for row in self.rows if row["method"] == method)


def load_table(oracle: str, folder: str | Path = RESULTS) -> Table:
    """Read one oracle's file; ResultError if it lacks a method or a seed."""
    result = read_result(Path(folder) / f"{oracle}.json")
    rows = result["history"]
    wanted = {(name, seed) for name in (REFERENCE, OPTIMUM, *METHODS) for seed in SEEDS}
    if missing := wanted - {(row["method"], row["seed"]) for row in rows}:
        raise ResultError(f"{oracle}.json lacks {len(missing)} cells, such as {sorted(missing)[0]}")
    return Table(oracle, rows, result["config"]["options"])


def load_collection(folder: str | Path = RESULTS) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What `pessimism_trials` and `exploration_runs` of the collection module returned."""
    rows = read_result(Path(folder) / "collection.json")["history"]
    trials = {key: np.array(rows[0][key]) for key in collection.POLICIES}
    return trials, {row["scheme"]: np.array(row["regret"]) for row in rows[1:]}


def load_starts(folder: str | Path = RESULTS) -> dict[tuple[str, str], dict[str, dict[str, np.ndarray]]]:
    """(loss, oracle) -> start -> "objective", "regret", "spurious" and "converged", each (seeds,)."""
    rows = read_result(Path(folder) / "starts.json")["history"]
    found = {(row["loss"], row["oracle"], row["start"], row["seed"]): row for row in rows}
    return {
        (loss, oracle): {
            name: {
                key: np.array([found[loss, oracle, name, seed][key] for seed in SEEDS])
                for key in ("objective", "regret", "spurious", "converged")
            }
            for name in basins.STARTS
        }
        for loss in basins.RADII
        for oracle in START_ORACLES
    }


def load_frontier(folder: str | Path = RESULTS) -> dict[str, dict[str, np.ndarray]]:
    """method -> measure -> array (betas, seeds), in the orders of FRONTIER_BETAS and SEEDS."""
    rows = read_result(Path(folder) / "frontier.json")["history"]
    found = {(row["method"], row["options"]["beta"], row["seed"]): row for row in rows}
    return {
        name: {
            measure: np.array(
                [[found[name, beta, seed][measure] for seed in SEEDS] for beta in FRONTIER_BETAS]
            )
            for measure in MEASURES
        }
        for name in FRONTIER
    }


def load_equal_kl(folder: str | Path = RESULTS) -> dict[str, dict[str, np.ndarray]]:
    """method -> measure -> array (seeds,), every method at the distance of AT_EQUAL_KL; and "beta"."""
    rows = read_result(Path(folder) / "equal_kl.json")["history"]
    found = {(row["method"], row["seed"]): {**row, "beta": row["options"]["beta"]} for row in rows}
    return {
        name: {key: np.array([found[name, seed][key] for seed in SEEDS]) for key in (*MEASURES, "beta")}
        for name in FRONTIER
    }
