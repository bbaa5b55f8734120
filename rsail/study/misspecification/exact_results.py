"""Make the exact result files of notebook 09 again, and read them.

    python -m rsail.study.misspecification.exact_results [--jobs N]

One file per oracle and objective, each the ends of `exact_oracles.sweep` on every problem at every radius; half a
minute of one free core. Nothing is drawn at random but the problems, so that another machine makes the same numbers to
the tolerance of the descents.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

from rsail.study.misspecification.exact_oracles import (
    OBJECTIVES,
    STORIES,
    SWEEP_RHOS,
    SWEEP_SEEDS,
    Sweep,
    sweep,
)
from rsail.study.misspecification.exact_setting import MEASURES
from rsail.study.paths import RESULTS_DIR
from rsail.study.sweeps import Cell, Outcome, read_sweep, sweep_command

STUDY = "misspecification_exact"
RESULTS = RESULTS_DIR / STUDY


def plan() -> list[Cell]:
    """One cell per oracle and objective."""
    seeds = {"first problem": SWEEP_SEEDS[0], "last problem": SWEEP_SEEDS[-1]}
    common = {"rhos": list(SWEEP_RHOS), "seeds": list(SWEEP_SEEDS)}
    return [
        Cell(
            f"{objective}_{oracle.replace(' ', '_')}",
            {"oracle": oracle, "objective": objective} | common,
            seeds,
        )
        for objective in OBJECTIVES
        for oracle in STORIES
    ]


def run_cell(cell: Cell) -> Outcome:
    """All radii against one oracle: its deviations as metrics, and one row of history per radius."""
    settings = cell.config
    found = sweep(settings["seeds"], settings["oracle"], settings["rhos"], objective=settings["objective"])
    rows = []
    for k, rho in enumerate(found.rhos):
        per_problem = {name: values[k] for name, values in found.measures.items()}
        own = {name: getattr(found, name)[k] for name in ("residual", "certificate", "slack", "first")}
        rows.append({"rho": float(rho)} | per_problem | own)
    return {"deviation": found.deviation}, rows


def load(folder: str | Path = RESULTS) -> dict[str, dict[str, Sweep]]:
    """objective -> oracle -> `Sweep`, from the result files alone; ResultError if one is missing or of another plan."""
    cells = plan()
    results = read_sweep(STUDY, cells, folder)
    found: dict[str, dict[str, Sweep]] = {objective: {} for objective in OBJECTIVES}
    for cell in cells:
        found[cell.config["objective"]][cell.config["oracle"]] = _sweep(results[cell.name])
    return found


def _sweep(result: dict) -> Sweep:
    columns = {name: np.array([row[name] for row in result["history"]]) for name in result["history"][0]}
    values = {
        "oracle": result["config"]["oracle"],
        "objective": result["config"]["objective"],
        "rhos": columns["rho"],
        "measures": {name: columns[name] for name in MEASURES},
        "deviation": np.array(result["metrics"]["deviation"]),
    }
    return Sweep(**values, **{f.name: columns[f.name] for f in fields(Sweep) if f.name not in values})


def main(arguments: list[str] | None = None) -> int:
    return sweep_command(
        arguments,
        prog="rsail.study.misspecification.exact_results",
        description=__doc__,
        study=STUDY,
        cells=plan(),
        run=run_cell,
        folder=RESULTS,
    )


if __name__ == "__main__":
    sys.exit(main())
