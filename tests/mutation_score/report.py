"""What is shown of the record: a table in REPRODUCING.md, and beside this file the mutants that no test notices.

`python -m tests.mutation_score.report` brings both up to date; `tests/test_mutation_score.py` checks that they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import binomtest, norm

from rsail.files import write_atomically
from rsail.study import pages
from rsail.study.display import markdown_table

from . import record
from .reasons import reason

LIST = record.ROOT / "tests" / "mutation_score" / "README.md"
REPRODUCING = record.ROOT / "REPRODUCING.md"
COLUMNS = ("module", "mutants", "run", "killed", "survived", "timeouts", "score", "95 % interval")


@dataclass(frozen=True)
class Score:
    """Counts of the mutants that were run; a mutant that no test reaches has survived."""

    run: int
    killed: int
    timeouts: int

    @property
    def noticed(self) -> int:
        """Killed, or not done after three times as long as without the mutant and 3 s more."""
        return self.killed + self.timeouts

    @property
    def share(self) -> float:
        """The mutation score, in [0, 1]."""
        return self.noticed / self.run

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the score of all mutants, if those that were run are a random sample."""
        return tuple(binomtest(self.noticed, self.run).proportion_ci(0.95, method="wilson"))


def score(entry: dict) -> Score:
    """Of one module."""
    return Score(len(record.names(entry)), entry["killed"], len(entry["timeouts"]))


def total(entries: list[dict]) -> Score:
    """Of all mutants that were run."""
    scores = [score(entry) for entry in entries]
    return Score(sum(s.run for s in scores), sum(s.killed for s in scores), sum(s.timeouts for s in scores))


def weighted(entries: list[dict]) -> float:
    """The estimated score of all mutants: each module counts as many as it has."""
    sizes = [entry["mutants"] - entry["messages"] for entry in entries]
    return sum(n * score(entry).share for n, entry in zip(sizes, entries, strict=True)) / sum(sizes)


def weighted_interval(entries: list[dict]) -> tuple[float, float]:
    """A 95 % interval of `weighted`: the modules are the strata of the sample, those that were run whole add nothing.

    As Agresti and Coull do, two successes and two failures are added to each module: one in which nothing survived is
    not certain.
    """
    sizes = [entry["mutants"] - entry["messages"] for entry in entries]
    variance = 0.0
    for size, found in zip(sizes, map(score, entries), strict=True):
        share = (found.noticed + 2) / (found.run + 4)
        variance += (size / sum(sizes)) ** 2 * (1 - found.run / size) * share * (1 - share) / (found.run + 4)
    half = norm.ppf(0.975) * variance**0.5
    return weighted(entries) - half, weighted(entries) + half


def table(result: dict) -> str:
    """One row per module; the numbers come from the record."""
    entries = result["history"]
    rows = [_row(entry["module"], entry["mutants"] - entry["messages"], score(entry)) for entry in entries]
    everything = sum(entry["mutants"] - entry["messages"] for entry in entries)
    in_all = total(entries)
    # Not a random sample of all: some modules were run whole.
    rows.append((*_row("all", everything, in_all)[:-1], "below"))
    low, high = weighted_interval(entries)
    versions = result["config"]["versions"]
    unreached = sum(item["outcome"] == "no tests" for entry in entries for item in entry["alive"])
    return "\n\n".join(
        [
            markdown_table(rows, COLUMNS),
            f"mutmut {versions['mutmut']}, {result['wall_time'] / 60:.0f} minutes on one core. Score: killed or timed "
            f"out, of those that were run; {unreached} of the survivors are in code that no test of `tests/exact` and "
            f"`tests/objectives` reaches. Each module weighted by its mutants: {100 * weighted(entries):.1f} %, "
            f"95 % interval {100 * low:.1f} to {100 * high:.1f} %. "
            f"Left out: {sum(entry['messages'] for entry in entries)} mutants that change nothing but the text of an "
            "error message. [The survivors](tests/mutation_score/README.md), each with a reason.",
        ]
    )


def survivors(result: dict) -> str:
    """Every mutant that lived, by module, with the reason."""
    parts = [
        "# Mutants that no test notices",
        "Written by `python -m tests.mutation_score.report` from the record of the last run "
        "(`data/results/mutation_score/record.json`); the reasons are in `reasons.py`. To see one: `mutmut show "
        "MODULE.NAME` in `build/mutation_score`.",
    ]
    for entry in result["history"]:
        rows = [
            (
                _short(item["name"]),
                _code(item["change"]),
                reason(entry["module"], item["change"]) or "none yet",
            )
            for item in entry["alive"]
        ]
        if rows:
            parts += [f"## {entry['module']}", markdown_table(rows, ("name", "change", "reason"))]
    return "\n\n".join(parts) + "\n"


def update() -> None:
    """Write both."""
    result = record.read()
    write_atomically(LIST, survivors(result))
    pages.put(REPRODUCING, "mutation-score", table(result))


def _row(name: str, mutants: int, found: Score) -> tuple[str, ...]:
    low, high = found.interval
    interval = "all run" if mutants == found.run else f"{100 * low:.0f} to {100 * high:.0f} %"
    counts = (mutants, found.run, found.killed, found.run - found.noticed, found.timeouts)
    return name, *map(str, counts), f"{100 * found.share:.1f} %", interval


def _short(name: str) -> str:
    return f"`{name}`"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|")


if __name__ == "__main__":
    update()
