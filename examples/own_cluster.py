"""A sweep on a cluster of your own: one run per cell, on the workers of a dask scheduler.

    .venv/bin/python examples/own_cluster.py
    .venv/bin/python examples/own_cluster.py --scheduler tcp://HOST:8786 --output /shared/sweep --seeds 8 steps=300

Start `dask scheduler`, and for each device `dask worker tcp://HOST:8786 --nthreads 1`, in the same environment;
--output must be a folder that all of them see. Without --scheduler two workers start here and end with the program.
Called again, it makes what is missing; a run that fails, or whose worker dies, is a result that says so.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from rsail.study.sweeps import Cell, grid, read_sweep, run_sweep


def run(cell: Cell) -> tuple[dict, list]:
    """One run, in a worker: its settings are the cell's, its metrics what the sweep keeps."""
    # Here, because the workers need it and the program that plans does not.
    from rsail.study.paths import DATA_DIR
    from rsail.training import load_config, train
    from rsail.training.checkpoint import read_log

    with tempfile.TemporaryDirectory() as folder:
        settings = [f"model={DATA_DIR / 'models' / 'preference_language'}"]
        settings += [f"{name}={value}" for name, value in cell.config.items()]
        train(load_config(None, [*settings, f"output_dir={folder}"]), progress=False)
        *_, last = read_log(Path(folder) / "evaluations.jsonl")
    return {name: last[name] for name in ("gold/reward", "attribute/filler", "objective/kl")} | {
        "pid": os.getpid()
    }, []


def radius(text: str) -> float:
    """rho of the command line: what the oracle's probabilities may be off by."""
    if not 0 <= float(text) < 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1), got {text}")
    return float(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scheduler", help="address of a dask scheduler (default: a cluster of two processes, made now)"
    )
    parser.add_argument("--output", help="folder of the result files (default: a new temporary one)")
    parser.add_argument("--rho", type=radius, nargs="+", default=[0.0, 0.15])
    parser.add_argument("--seeds", type=int, default=1, help="runs of each radius")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of all runs")
    given = parser.parse_args()
    if wrong := [item for item in given.settings if "=" not in item]:
        parser.error(f"settings must be key=value, got {wrong[0]!r}")

    small = {"oracle.kind": "bias", "oracle.strength": "0.15", "steps": "4", "prompts_per_step": "8"}
    fixed = small | {"evaluation_prompts": "16"} | dict(item.split("=", 1) for item in given.settings)
    cells = [
        Cell(f"rho{axes['rho']:g}_seed{axes['seed']}", {**fixed, **axes}, {"run": axes["seed"]})
        for axes in grid(rho=given.rho, seed=range(given.seeds))
    ]
    folder = given.output or tempfile.mkdtemp()
    with contextlib.ExitStack() as stack:
        address = given.scheduler
        if address is None:
            from distributed import LocalCluster

            cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
            address = stack.enter_context(cluster).scheduler_address
        report = run_sweep("own_cluster", cells, run, folder, cluster=address)
    print(report)
    if report.failed:
        sys.exit(
            f"{len(report.failed)} of {len(cells)} runs failed; their files in {folder} have the tracebacks"
        )
    print(f"planned by process {os.getpid()}, made by:")
    for name, result in read_sweep("own_cluster", cells, folder).items():
        print(name, {key: round(value, 3) for key, value in result["metrics"].items()})


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # of what was given: one line
        sys.exit(f"{Path(__file__).name}: {' '.join(str(error).split())}")
