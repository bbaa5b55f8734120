"""What is shown of the record: the list beside this file, and a table of counts in REPRODUCING.md.

`python -m tests.mutants.report` brings both up to date; `tests/test_mutants.py` checks that they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rsail.files import write_atomically
from rsail.study import pages
from rsail.study.display import markdown_table

from . import record
from .equivalent import EQUIVALENT
from .mutant import ROOT, Mutant
from .sites import FOLDER, all_sites
from .table import all_mutants

LIST = ROOT / "tests" / "mutants" / "README.md"
REPRODUCING = ROOT / "REPRODUCING.md"
COLUMNS = ("file", "constants and signs", "other changes", "noticed", "not noticed", "not run")


def counts(mutants: list[Mutant], entries: list[dict]) -> str:
    """One row per module of `rsail.exact`, one for everything else; the numbers come from the record."""
    run = {entry["id"]: bool(entry["noticed_by"]) for entry in entries}
    sites = {mutant.identity for mutant in all_sites()}
    rows, totals = [], [0, 0, 0, 0, 0]
    for area, group in _by_area(mutants).items():
        by_hand = [mutant for mutant in group if mutant.identity not in sites]
        noticed = [run.get(mutant.identity) for mutant in group]
        found = [noticed.count(outcome) for outcome in (True, False, None)]
        numbers = [len(group) - len(by_hand), len(by_hand), *found]
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        rows.append((area, *map(str, numbers)))
    rows.append(("all", *map(str, totals)))
    minutes = sum(entry["seconds"] for entry in entries) / 60.0
    return "\n\n".join(
        [
            markdown_table(rows, COLUMNS),
            f"{sum(totals[:2])} mutants, {totals[2]} noticed, {totals[3]} not, {totals[4]} not run since their line "
            f"changed; {minutes:.0f} minutes in all. Left out with a reason: {len(EQUIVALENT)} changes that "
            "no test can notice. [The full list](tests/mutants/README.md) names each change and the first test "
            "that notices it.",
        ]
    )


def full_list(mutants: list[Mutant], entries: list[dict]) -> str:
    """Every mutant with the first test that notices it, then the changes left out, with reasons."""
    found = {entry["id"]: entry["noticed_by"] or "**nothing**" for entry in entries}
    parts = [
        "# Mutants",
        "Written by `python -m tests.mutants.report` from the record of the last run "
        "(`data/results/mutants/record.json`). A change `a -> b in c` replaces a by b in the expression c; (2) is the "
        "second such place in a function.",
    ]
    for area, group in _by_area(mutants).items():
        rows = [
            (_code(m.name.removeprefix(Path(m.file).stem)), _test(found.get(m.identity, "not run yet")))
            for m in group
        ]
        parts += [f"## {area}", markdown_table(rows, ("change", "noticed by"))]
    rows = [(_code(name), reason) for name, reason in EQUIVALENT.items()]
    parts += [
        "## Left out",
        "No test can notice these, because the results are the same:",
        markdown_table(rows, ("change", "reason")),
    ]
    return "\n\n".join(parts) + "\n"


def update() -> None:
    """Write both."""
    mutants, entries = all_mutants(), record.read()
    write_atomically(LIST, full_list(mutants, entries))
    pages.put(REPRODUCING, "mutants", counts(mutants, entries))


def _by_area(mutants: Iterable[Mutant]) -> dict[str, list[Mutant]]:
    groups: dict[str, list[Mutant]] = {}
    for mutant in sorted(mutants, key=lambda m: (not m.file.startswith(FOLDER), m.file)):
        outside = "notebooks" if mutant.file.startswith("notebooks") else "rsail, outside exact"
        groups.setdefault(mutant.file if mutant.file.startswith(FOLDER) else outside, []).append(mutant)
    return groups


def _code(text: str) -> str:
    return f"`{text.lstrip('.: ')}`".replace("|", r"\|")


def _test(text: str) -> str:
    return text.removeprefix("tests/exact/").replace("|", r"\|")


if __name__ == "__main__":
    update()
