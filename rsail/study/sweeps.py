"""Many runs from one plan: in parallel, restartable, one result file each, no failure dropped.

A `Cell` is one planned run: the name of its file and the data that it is made from. `run_sweep` makes what is
missing, in processes of this machine (loky's, of joblib) or on a cluster (dask), and returns what became of every
cell. A cell is written atomically when it is done, so that a sweep that was killed loses no more than the cells in
flight; started again it goes on with the others. A cell that raises, or whose process dies, is a result that says so.
"""

from __future__ import annotations

import argparse
import itertools
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from rsail.checks import require
from rsail.study.results import ResultError, read_result, write_result
from rsail.study.workers import results
from rsail.versions import differences, versions

Outcome = tuple[dict, list | dict]  # metrics, history


@dataclass(frozen=True)
class Cell:
    """One planned run: the stem of its file, all that decides its numbers as plain data, and its seeds."""

    name: str
    config: dict
    seeds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What became of the cells of a sweep, by name; every planned cell is in exactly one of the first three."""

    made: list[str]
    kept: list[str]  # were there already
    failed: dict[str, str]  # the error of each cell that raised or was killed, now or in the sweep before
    damaged: dict[str, str]  # files that could not be read, and why; they were made again
    strangers: list[str]  # files of the folder that belong to no cell of the plan
    older: dict[str, str]  # kept cells that were made with other versions of Python or libraries, and which

    def __str__(self) -> str:
        planned = len(self.made) + len(self.kept) + len(self.failed)
        lines = [
            f"{planned} planned: {len(self.made)} made, {len(self.kept)} kept, {len(self.failed)} failed"
        ]
        lines += [f"failed: {name}: {error}" for name, error in sorted(self.failed.items())]
        lines += [f"damaged and made again: {name}: {why}" for name, why in sorted(self.damaged.items())]
        lines += [f"of no planned run: {name}" for name in self.strangers]
        lines += [f"{n} kept of other versions: {which}" for which, n in Counter(self.older.values()).items()]
        return "\n".join(lines)


def grid(**axes: Iterable) -> Iterator[dict]:
    """All combinations of the values of the axes, as dicts; the last axis changes fastest."""
    values = [list(axis) for axis in axes.values()]
    for combination in itertools.product(*values):
        yield dict(zip(axes, combination, strict=True))


def run_sweep(
    study: str,
    cells: list[Cell],
    run: Callable[[Cell], Outcome],
    folder: str | Path,
    *,
    jobs: int = 1,
    cluster: str | None = None,
    retry: bool = False,
    progress: bool | None = None,
) -> Report:
    """Make the result file ``folder/NAME.json`` of every cell that has none.

    Parameters
    ----------
    study : str
        Name that every file carries.
    run : callable
        ``run(cell)`` returns metrics and history. Whatever it raises but KeyboardInterrupt becomes the file's
        ``metrics.error`` (type and message) and ``metrics.traceback``, and so does what cannot be written as JSON. It
        must be importable by other processes where `jobs` > 1.
    jobs : int
        1: cells run in this process, and one that is killed ends the sweep. More: processes at once on this machine,
        each with one thread for linear algebra; a cell whose process dies, also when it is tried again alone, has
        failed.
    cluster : str, optional
        Address of a dask scheduler, as ``tcp://host:8786``: cells run there, on workers that see the same folder. A
        cell has failed whose workers die until the scheduler gives it up (``distributed.scheduler.allowed-failures``).
    retry : bool
        Make the cells again whose files say that they failed.
    progress : bool, optional
        A bar on stderr; None shows one on a terminal.

    Raises
    ------
    ValueError
        If two cells have one name.
    ResultError
        If the file of a cell holds another run: another study, configuration or seed; or if it is a folder.
    """
    folder = Path(folder)
    names = [cell.name for cell in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, "cells", twice[:3], "a plan in which no name stands twice")
    require(jobs >= 1, "jobs", jobs, ">= 1")
    kept, failed, damaged, missing, older, now = [], {}, {}, [], {}, versions()
    for cell in cells:
        state, why = _state(study, cell, folder, now)
        if state == "damaged":
            damaged[cell.name] = why
        if state == "kept" or (state == "failed" and not retry):
            kept += [cell.name] if state == "kept" else []
            failed |= {cell.name: why} if state == "failed" else {}
            older |= {cell.name: why} if state == "kept" and why else {}
        else:
            missing.append(cell)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    make, died = partial(_make, run, study, folder), partial(_record_death, study, folder)
    done = results(make, missing, died, jobs=jobs, cluster=cluster)
    for name, error in tqdm(done, study, len(missing), disable=None if progress is None else not progress):
        if error is None:
            made.append(name)
        else:
            failed[name] = error
    strangers = sorted(path.stem for path in folder.glob("*.json") if path.stem not in set(names))
    return Report(sorted(made), kept, failed, damaged, strangers, older)


def read_sweep(study: str, cells: list[Cell], folder: str | Path) -> dict[str, dict]:
    """The results of all cells of `study` by name, failed ones too.

    Raises
    ------
    ResultError
        If one is missing, damaged, of another study, or of another configuration than the plan's; the message names
        it.
    """
    found = {}
    for cell in cells:
        path = Path(folder) / f"{cell.name}.json"
        found[cell.name] = read_result(path)
        _require_planned(found[cell.name], study, cell, path)
    return found


def _state(study: str, cell: Cell, folder: Path, now: dict) -> tuple[str, str]:
    """What there is of a cell, and what is to be told about it; `now` are the versions."""
    path = folder / f"{cell.name}.json"
    if not path.exists():
        return "missing", ""
    if not path.is_file():
        raise ResultError(
            f"{path} must be a result file or nothing, it is a folder or a device; move it away"
        )
    try:
        result = read_result(path)
    except ResultError as error:
        return "damaged", str(error)
    _require_planned(result, study, cell, path)
    if (error := result["metrics"].get("error")) is not None:
        return "failed", error
    made_with = {name: result["provenance"].get(name) for name in now}
    return "kept", ", ".join(differences(made_with, now, now="now"))


def _require_planned(result: dict, study: str, cell: Cell, path: Path) -> None:
    if result["study"] != study:
        raise ResultError(f"result file {path} is of study {result['study']!r}, expected {study!r}")
    for key, planned in (("config", cell.config), ("seeds", cell.seeds)):
        found = result[key]
        if found != planned:
            known = found if isinstance(found, dict) else {}
            differing = sorted(k for k in known.keys() | planned.keys() if known.get(k) != planned.get(k))
            raise ResultError(
                f"result file {path} holds another run than the plan's: {key} differs in {', '.join(differing)}; "
                "move it away, or plan the run under another name"
            )


def _make(run: Callable[[Cell], Outcome], study: str, folder: Path, cell: Cell) -> tuple[str, str | None]:
    started, error = time.perf_counter(), None
    try:
        metrics, history = run(cell)
        _write(study, folder, cell, metrics, history, time.perf_counter() - started)
    except (Exception, SystemExit) as raised:
        # A run that fails is a result. Where nothing can be written (a full disk), this raises, too.
        error = f"{type(raised).__name__}: {raised}"
        metrics = {"error": error, "traceback": traceback.format_exc()}
        _write(study, folder, cell, metrics, [], time.perf_counter() - started)
    return cell.name, error


def _record_death(
    study: str, folder: Path, cell: Cell, error: Exception, wall_time: float
) -> tuple[str, str]:
    told = f"{type(error).__name__}: {' '.join(str(error).split())}"
    _write(study, folder, cell, {"error": told, "traceback": ""}, [], wall_time)
    return cell.name, told


def _write(
    study: str, folder: Path, cell: Cell, metrics: dict, history: list | dict, wall_time: float
) -> None:
    write_result(
        folder / f"{cell.name}.json",
        study=study,
        config=cell.config,
        metrics=metrics,
        history=history,
        seeds=cell.seeds,
        wall_time=wall_time,
        overwrite=True,
    )


def sweep_command(
    arguments: list[str] | None,
    *,
    prog: str,
    description: str,
    study: str,
    cells: list[Cell],
    run: Callable[[Cell], Outcome],
    folder: Path,
) -> int:
    """The command line of a sweep with one plan: make what is missing in `folder`; 1 if a run failed."""
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=description)
    parser.add_argument("--output", type=Path, default=folder, help="folder of the result files")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    options = parser.parse_args(arguments)
    report = run_sweep(study, cells, run, options.output, jobs=options.jobs)
    print(report)
    return 1 if report.failed else 0
