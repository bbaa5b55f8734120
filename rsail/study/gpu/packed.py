"""Many result files in few: one file of JSON lines per part, each line a result with the checksum of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from rsail.files import write_atomically
from rsail.study.paths import RESULTS_DIR
from rsail.study.results import parse_result, read_result

NAME = "gpu"
RESULTS = RESULTS_DIR / NAME


def pack(paths: Iterable[Path], target: Path) -> int:
    """Write the result files into `target`, one line each; returns how many. `ResultError` names a damaged one."""
    lines = [json.dumps(read_result(path)) + "\n" for path in paths]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, "".join(lines))
    return len(lines)


def load(folder: str | Path = RESULTS) -> list[dict]:
    """All results of the packed files of `folder`, each one checked as a result file is; none is an empty list.

    Raises `rsail.study.results.ResultError` naming file and line of one that was cut short, edited or of another kind.
    """
    return [
        parse_result(line, f"{path}, line {number}")
        for path in sorted(Path(folder).glob("*.jsonl"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
    ]


def unpack(folder: str | Path, output: str | Path) -> list[Path]:
    """Write each result of the packed files of `folder` as a result file of its own into `output`."""
    output, paths = Path(output), []
    output.mkdir(parents=True, exist_ok=True)
    for result in load(folder):
        path = output / f"{result['config']['stage']['name']}.json"
        write_atomically(path, json.dumps(result, indent=1) + "\n")
        paths.append(path)
    return paths
