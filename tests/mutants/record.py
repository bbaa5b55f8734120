"""The committed record of what came out of each mutant.

An entry has the mutant's `name` and `id` (a digest of file, old and new text), the first test that failed, the seconds,
and `source`, a digest of the file before the change: commits are renamed when branches move, texts are not.
"""

from __future__ import annotations

from pathlib import Path

from .mutant import ROOT, Mutant

FOLDER = ROOT / "data" / "results" / "mutants"
NAME = "record.json"


def read(folder: Path = FOLDER) -> list[dict]:
    """One entry per mutant; empty where there is no record yet."""
    from rsail.study.results import read_result

    return read_result(folder / NAME)["history"] if (folder / NAME).is_file() else []


def known(folder: Path = FOLDER) -> set[str]:
    """Identities of the mutants that were noticed."""
    return {entry["id"] for entry in read(folder) if entry["noticed_by"]}


def merge(folder: Path, mutants: list[Mutant], outcomes: list[dict]) -> None:
    """Put `outcomes` into the record; what it holds of mutants that are no longer in the table is dropped."""
    from rsail.study.results import write_result

    held = {entry["id"]: entry for entry in read(folder)}
    held |= {entry["id"]: entry for entry in outcomes}
    kept = [{**held[m.identity], "name": m.name} for m in mutants if m.identity in held]
    write_result(
        folder / NAME,
        study="mutants",
        config={},
        metrics={"mutants": len(kept), "noticed": sum(entry["noticed_by"] is not None for entry in kept)},
        history=kept,
        seeds=[],
        wall_time=sum(entry["seconds"] for entry in kept),
        overwrite=True,
    )
