"""`python -m tests.mutation_score`: mutmut over `rsail.exact` and `rsail.objectives`; fails below 90 %.

All mutants of the modules in `COMPLETE`, a random sample of each other module's. Mutants that change nothing but the
text of an error message are counted and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.mutants.copies import project_files

from . import record, report
from .found import Change, changes, sample

ROOT = record.ROOT
WORK = ROOT / "build" / "mutation_score"
FOLDERS = ("rsail/exact", "rsail/objectives")
COMPLETE = (
    "rsail/exact/estimators.py",
    "rsail/exact/gini.py",
    "rsail/exact/losses.py",
    "rsail/exact/problem.py",
    "rsail/objectives/estimators.py",
    "rsail/objectives/losses.py",
    "rsail/objectives/ratios.py",
    "rsail/objectives/regression.py",
    "rsail/objectives/reweighting.py",
)
LEAST = 0.9


def main(arguments: list[str] | None = None) -> int:
    """Draw, run, record; 1 if the score is below 90 %."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation_score", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--per-module", type=int, default=40, help="mutants drawn of every other module (40)")
    parser.add_argument("--all", action="store_true", help="every mutant of every module (hours)")
    parser.add_argument(
        "--alive", action="store_true", help="those that lived, and functions that have changed"
    )
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="a part of a file's name")
    parser.add_argument("--seed", type=int, default=0, help="draws the sample (default 0)")
    parser.add_argument("--processes", type=int, default=1, help="how many at a time (default 1)")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    copy_project(WORK)
    os.chdir(WORK)  # where mutmut looks for its settings
    old = record.read()
    held = {entry["module"]: entry for entry in old["history"]}
    files = [
        path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).glob("[!_]*.py"))
    ]
    asked = [file for file in files if not options.only or any(part in str(file) for part in options.only)]
    found = {file: changes(file, WORK) for file in asked}
    chosen = {file: choose(file, found[file], held.get(str(file)), options) for file in asked}
    chosen = {file: some for file, some in chosen.items() if some}
    results = run_mutmut(chosen, options.processes) if chosen else {}
    for file in asked:
        before = record.outcomes_of(held.get(str(file)), found[file]) if options.alive else {}
        held[str(file)] = record.entry(file, found[file], before | results.get(file, {}))
    entries = [held[str(file)] for file in files if held.get(str(file), {}).get("ran")]
    seconds = time.perf_counter() - start + (old["wall_time"] if options.alive or options.only else 0.0)
    config = {"per_module": None if options.all else options.per_module, "complete": list(COMPLETE)}
    if options.alive or options.only:
        config = old["config"] or config
    record.write(record.RECORD, entries, config, options.seed, seconds)
    report.update()
    score = report.total(entries)
    print(f"{score.noticed} of {score.run} mutants were killed: {100 * score.share:.1f} %")
    return int(score.share < LEAST)


def choose(file: Path, found: list[Change], entry: dict | None, options) -> list[str]:
    """Names of the mutants of a module that are to be run."""
    worth = [change for change in found if not change.message_only]
    if options.alive and entry:
        holds = record.outcomes_of(entry, worth)
        sampled = set(record.names(entry)) if str(file) not in COMPLETE else {change.name for change in worth}
        again = [change.name for change in worth if change.name in sampled]
        return [name for name in again if holds.get(name) not in ("killed", "timeout")]
    if not options.all and str(file) not in COMPLETE:
        worth = sample(worth, options.per_module, f"{options.seed}:{file}")
    return [change.name for change in worth]


def run_mutmut(chosen: dict[Path, list[str]], processes: int) -> dict[Path, dict[str, str]]:
    """Outcomes by file and mutant, as mutmut names them ("killed", "survived", "no tests", "timeout", ...)."""
    from mutmut.stats import status_by_exit_code

    full = {
        file: [f"{'.'.join(file.with_suffix('').parts)}.{name}" for name in some]
        for file, some in chosen.items()
    }
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONPATH", None)
    command = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", str(processes)]
    names = [name for some in full.values() for name in some]
    subprocess.run([*command, *names], cwd=WORK, env=environment, check=True)
    outcomes = {}
    for file, some in full.items():
        codes = json.loads((WORK / "mutants" / f"{file}.meta").read_text())["exit_code_by_key"]
        outcomes[file] = {name.rpartition(".")[2]: status_by_exit_code[codes[name]] for name in some}
    return outcomes


def copy_project(folder: Path) -> None:
    """Bring the copy in which mutmut works up to date; what it keeps of unchanged modules stays."""
    for name in project_files():
        old, new = ROOT / name, folder / name
        if not new.is_file() or new.read_bytes() != old.read_bytes():
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(old.read_bytes())
            if name.startswith("tests/"):  # which tests reach a function is no longer known
                (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
