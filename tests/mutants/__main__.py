"""`python -m tests.mutants`: every mutant in a copy of the project; fails if one survives.

It fails, too, when an unmutated target fails, and when a mutant's old text is not found exactly once.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

os.environ.setdefault("OMP_NUM_THREADS", "1")

from . import record
from .copies import Copy
from .mutant import ROOT, Mutant, digest, mutated
from .table import all_mutants


def main(arguments: list[str] | None = None) -> int:
    """Run the mutants; 1 if one survives or an unmutated target fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a mutant's name, or a part of it"
    )
    parser.add_argument("--missing", action="store_true", help="only those that the record does not hold")
    parser.add_argument("--seed", type=int, default=0, help="draws the digits (default 0)")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time (default 2)")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help=f"merge what comes out into FOLDER/{record.NAME}"
    )
    options = parser.parse_args(arguments)
    everything = all_mutants(options.seed)
    mutants = [m for m in everything if not options.only or any(part in m.name for part in options.only)]
    if not mutants:
        parser.error(f"no mutant's name contains {' or '.join(options.only)}")
    if options.missing:
        known = record.known(options.output or record.FOLDER)
        mutants = [mutant for mutant in mutants if mutant.identity not in known]
    for mutant in mutants:
        mutated(mutant)
    if options.list:
        print("\n".join(mutant.name for mutant in mutants))
        return 0

    with tempfile.TemporaryDirectory(prefix="rsail-mutants-") as folder:
        copies = SimpleQueue()
        for k in range(options.processes):
            copies.put(Copy(Path(folder).resolve() / str(k)))
        run = Runner(copies, options.processes)
        targets = sorted({target for mutant in mutants for target in mutant.targets})
        broken = [target for target, passes in zip(targets, run(sound, targets), strict=True) if not passes]
        if broken:
            print(f"\nThe unmutated project fails: {', '.join(broken)}")
            return 1
        outcomes = []
        try:
            run(lambda copy, mutant: outcomes.append(outcome(copy, mutant)), mutants)
        finally:
            if options.output:
                record.merge(options.output, everything, outcomes)
    alive = [result["name"] for result in outcomes if result["noticed_by"] is None]
    print("".join(f"\nSURVIVED {name}" for name in alive))
    print(f"{len(mutants) - len(alive)} of {len(mutants)} mutants were noticed.")
    return int(bool(alive))


class Runner:
    """``runner(task, items)``: task(copy, item) for each, as many at a time as there are copies."""

    def __init__(self, copies: SimpleQueue, processes: int):
        self.copies, self.processes = copies, processes

    def __call__(self, task, items: list) -> list:
        def one(item):
            copy = self.copies.get()
            try:
                return task(copy, item)
            finally:
                copy.restore()
                self.copies.put(copy)

        with ThreadPoolExecutor(self.processes) as pool:
            return list(pool.map(one, items))


def sound(copy: Copy, target: str) -> bool:
    """Whether a target passes without any mutant; prints the end of its report if not."""
    start = time.perf_counter()
    passes = copy.passes((target,), sound=True)
    _say(passes, start, f"unmutated: {target}")
    if not passes:
        print(copy.report[-3000:])
    return passes


def outcome(copy: Copy, mutant: Mutant) -> dict:
    """What the record holds of a mutant: `noticed_by` is the first test that fails, None if it survives."""
    start = time.perf_counter()
    copy.apply(mutant)
    if mutant.figures:
        notebooks = [target for target in mutant.targets if target.endswith(".ipynb")]
        for notebook in notebooks:
            copy.passes((notebook,), to_the_end=True)
        passes = copy.changed_figures() != set(mutant.figures)
        passes = passes or copy.passes(tuple(t for t in mutant.targets if t not in notebooks))
    else:
        passes = copy.passes(mutant.targets)
    seconds = _say(passes, start, mutant.name)
    return {
        "name": mutant.name,
        "id": mutant.identity,
        "noticed_by": None if passes else copy.noticed_by,
        "seconds": round(seconds, 1),
        "source": digest((ROOT / mutant.file).read_text(encoding="utf-8")),
    }


def _say(passes: bool, start: float, name: str) -> float:
    seconds = time.perf_counter() - start
    print(f"{'passes' if passes else 'fails':8}{seconds:7.1f} s  {name}", flush=True)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
