"""The committed record: for each module, which of mutmut's mutants were run, and what became of them.

`ran` holds the numbers of the mutants by function, as mutmut counts them, and `functions` a digest of each function's
source; all that is not under `alive` or `timeouts` was killed.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from .found import Change

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "data" / "results" / "mutation_score" / "record.json"


def read(path: Path = RECORD) -> dict:
    """The whole result; a result without modules where there is none yet."""
    from rsail.study.results import read_result

    return (
        read_result(path) if path.is_file() else {"history": [], "config": {}, "seeds": [], "wall_time": 0.0}
    )


def names(entry: dict) -> list[str]:
    """The mutants of a module that were run."""
    return [f"{function}__mutmut_{k}" for function, numbers in entry["ran"].items() for k in numbers]


def entry(file: Path, changes: list[Change], outcomes: dict[str, str]) -> dict:
    """What the record holds of a module: `outcomes` by the name of the mutant, of those that were run."""
    ran: dict[str, list[int]] = {}
    for name in outcomes:
        function, _, number = name.rpartition("__mutmut_")
        ran.setdefault(function, []).append(int(number))
    by_name = {change.name: change for change in changes}
    alive = [
        {
            "name": name,
            "change": f"{by_name[name].function}: {by_name[name].text}",
            "outcome": outcomes[name],
        }
        for name in outcomes
        if outcomes[name] not in ("killed", "timeout")
    ]
    return {
        "module": str(file),
        "functions": {change.stem: change.source for change in changes if change.stem in ran},
        "mutants": len(changes),
        "messages": sum(change.message_only for change in changes),
        "killed": list(outcomes.values()).count("killed"),
        "timeouts": [name for name in outcomes if outcomes[name] == "timeout"],
        "alive": alive,
        "ran": ran,
    }


def outcomes_of(entry: dict | None, changes: list[Change]) -> dict[str, str]:
    """The outcomes that an entry stands for and that still hold: of `changes` in functions that are what they were."""
    if entry is None:
        return {}
    held = {
        change.name
        for change in changes
        if entry["functions"].get(change.stem) == change.source and not change.message_only
    }
    alive = {item["name"]: item["outcome"] for item in entry["alive"]}
    late = dict.fromkeys(entry["timeouts"], "timeout")
    return {name: (alive | late).get(name, "killed") for name in names(entry) if name in held}


def write(path: Path, entries: list[dict], config: dict, seed: int, wall_time: float) -> None:
    """Replace the record."""
    from rsail.study.results import write_result

    killed = sum(entry["killed"] + len(entry["timeouts"]) for entry in entries)
    run = sum(len(names(entry)) for entry in entries)
    versions = {name: version(name) for name in ("mutmut", "pytest", "hypothesis")}
    write_result(
        path,
        study="mutation_score",
        config=config | {"versions": versions},
        metrics={"run": run, "killed or timed out": killed, "score": killed / run},
        history=entries,
        seeds=[seed],
        wall_time=wall_time,
        overwrite=True,
    )
