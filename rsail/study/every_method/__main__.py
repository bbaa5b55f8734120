"""Make the result files of notebook 06 again: python -m rsail.study.every_method --output data/results/every_method

About a quarter of an hour on one core; the same numbers on every machine, to the tolerance of the descents.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rsail.study.every_method.experiment import run, run_collection, run_starts
from rsail.study.every_method.problem import ORACLES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run every method on the exactly solvable problem.")
    parser.add_argument("--output", required=True, type=Path, help="folder of the result files")
    parser.add_argument("--oracle", choices=list(ORACLES), action="append", help="only this one (repeatable)")
    parser.add_argument("--collection", action="store_true", help="only the schemes of data collection")
    options = parser.parse_args(arguments)
    if not options.oracle:
        run_collection(options.output)
    if not options.oracle and not options.collection:
        run_starts(options.output)
    if not options.collection:
        run(options.output, options.oracle or list(ORACLES), lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
