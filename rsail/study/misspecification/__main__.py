"""Make the language model's result files: ``python -m rsail.study.misspecification central --jobs 2``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rsail.study.misspecification.lm import run_cell
from rsail.study.misspecification.models import RECIPES, model_folder
from rsail.study.misspecification.plan import PARTS, STUDY, plan
from rsail.study.paths import RESULTS_DIR
from rsail.study.sweeps import run_sweep


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rsail.study.misspecification", description=__doc__)
    parser.add_argument("part", choices=PARTS, help="which runs of the plan")
    parser.add_argument("--output", type=Path, default=RESULTS_DIR / STUDY, help="folder of the result files")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once on this machine")
    parser.add_argument("--cluster", help="address of a dask scheduler, instead of this machine")
    parser.add_argument("--retry", action="store_true", help="make failed runs again")
    options = parser.parse_args(arguments)
    cells = plan(options.part)
    for name in sorted({cell.config["model"] for cell in cells} & RECIPES.keys()):
        model_folder(name)  # before the runs, which would pretrain it side by side
    report = run_sweep(
        STUDY, cells, run_cell, options.output / options.part,
        jobs=options.jobs, cluster=options.cluster, retry=options.retry,
    )  # fmt: skip
    print(report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
