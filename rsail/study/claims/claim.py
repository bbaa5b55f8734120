"""What a claim of the compendium is: a statement with blanks, and the function that fills them in or refuses to."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rsail.checks import one_of, require

KINDS = {
    "exact": "symbols, or sums over all that can happen; no tolerance is stated, the numbers are rounded",
    "to tolerance": "floating point against another way to compute the same, equal to the tolerance stated",
    "statistical": "over seeds, problems or draws: a mean with its 95 % t interval unless it says bootstrap, or a test",
    "timed": "seconds or bytes of one machine, which no other will give to the digit",
}
# The study's questions; whatever else a reader asks has no number.
QUESTIONS = {
    "Q1": "does the decomposition hold for a transformer?",
    "Q2": "are the minibatch estimators unbiased?",
    "Q3": "does nominal SAIL over-optimize a misspecified oracle, and does ρ stop it?",
    "Q4": "is ρ only a bigger β?",
    "Q5": "how large may ρ be?",
    "Q6": "does the certificate hold?",
    "Q7": "does the objective reward collapse?",
    "Q8": "what does robustness cost when the oracle is right?",
    "Q9": "how does it compare with what a practitioner would try instead?",
    "Q10": "does it depend on model size?",
}
NO_QUESTION = ""


@dataclass(frozen=True)
class Finding:
    """What a check found: whether the statement holds, the numbers that it shows, whether the prediction held.

    `predicted` is None if nothing was predicted. A number is text: rounded, with its interval and unit.
    """

    holds: bool
    numbers: dict[str, str]
    predicted: bool | None = None

    def __post_init__(self):
        object.__setattr__(self, "holds", bool(self.holds))  # NumPy's is another type
        if self.predicted is not None:
            object.__setattr__(self, "predicted", bool(self.predicted))


@dataclass(frozen=True)
class Claim:
    """One row of the index.

    `statement` is a template whose fields are the numbers of the finding. `check` takes the folder of all result files
    and computes the claim anew from `results`, patterns relative to that folder, or from nothing. `prediction` is what
    theory or hope said before; empty if neither did. A `key` claim is in the README.
    """

    statement: str
    kind: str
    notebook: str
    check: Callable[[Path], Finding]
    question: str = NO_QUESTION
    results: tuple[str, ...] = ()
    prediction: str = ""
    key: bool = False

    def __post_init__(self):
        one_of("kind", self.kind, KINDS)
        one_of("question", self.question, (NO_QUESTION, *QUESTIONS))

    @property
    def name(self) -> str:
        """Module and function of the check, such as training.filler_words."""
        return f"{self.check.__module__.rsplit('.', 1)[-1]}.{self.check.__name__}"

    @property
    def fields(self) -> set[str]:
        """The names of the numbers in the statement."""
        return {name for _, name, _, _ in string.Formatter().parse(self.statement) if name is not None}

    def files(self, results: Path) -> list[Path]:
        """The result files that the claim rests on, in `results`."""
        return sorted(path for pattern in self.results for path in results.glob(pattern))

    def compute(self, results: Path) -> tuple[str, Finding]:
        """The statement with its numbers, and the finding.

        Raises
        ------
        ResultError
            If a result file is missing, damaged or changed by hand.
        ValueError
            If the check returned other numbers than the statement has, or a verdict on no prediction or none on one.
        """
        finding = self.check(results)
        require(
            finding.numbers.keys() == self.fields, "numbers", sorted(finding.numbers), sorted(self.fields)
        )
        judged = finding.predicted is not None
        require(
            judged == bool(self.prediction),
            "predicted",
            finding.predicted,
            f"a verdict on {self.prediction!r}",
        )
        return self.statement.format(**finding.numbers), finding
