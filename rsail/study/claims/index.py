"""All claims in the order of the study's questions, and the two tables of them: README.md and REPRODUCING.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rsail.study import pages
from rsail.study.claims import (
    choosing,
    convergence,
    cost,
    finite,
    imdb,
    methods,
    misspecification,
    training,
    transformer,
)
from rsail.study.claims.claim import KINDS, NO_QUESTION, QUESTIONS, Claim, Finding
from rsail.study.display import markdown_table
from rsail.study.paths import RESULTS_DIR, ROOT

# What is missing to answer each question that no claim answers.
OPEN: dict[str, str] = {}
MODULES = (transformer, finite, convergence, methods, training, misspecification, choosing, imdb, cost)
_ORDER = (*QUESTIONS, NO_QUESTION)
CLAIMS: tuple[Claim, ...] = tuple(
    sorted((claim for module in MODULES for claim in module.CLAIMS), key=lambda c: _ORDER.index(c.question))
)
Computed = tuple[Claim, str, Finding]


def compute(claims: Iterable[Claim] = CLAIMS, results: Path = RESULTS_DIR) -> list[Computed]:
    """Each claim with its statement, numbers filled in, and its finding; ResultError if a result file is bad."""
    return [(claim, *claim.compute(results)) for claim in claims]


def short_table(computed: Sequence[Computed]) -> str:
    """The key claims, for the README."""
    rows = [
        (claim.question or "–", _stated(text, finding), _verdict(claim, finding), _notebook(claim))
        for claim, text, finding in computed
        if claim.key
    ]
    table = markdown_table(rows, ("question", "claim", "prediction", "notebook"))
    return f"{table}\n\nIn brackets: 95 % intervals. {_open_questions()}"


def full_table(computed: Sequence[Computed]) -> str:
    """All claims, what their kinds mean, and the questions."""
    rows = [
        (
            claim.question or "–",
            _stated(text, finding),
            _verdict(claim, finding),
            claim.kind,
            _notebook(claim),
            ", ".join(f"[{pattern}](data/results/{_place(pattern)})" for pattern in claim.results) or "none",
            f"[`{claim.name}`](rsail/study/claims/{claim.name.split('.')[0]}.py)",
        )
        for claim, text, finding in computed
    ]
    headers = ("question", "claim", "prediction", "kind", "notebook", "result files", "check")
    kinds = "; ".join(f"*{kind}*: {meaning}" for kind, meaning in KINDS.items())
    questions = "; ".join(f"{number}, {words}" for number, words in QUESTIONS.items())
    return f"{markdown_table(rows, headers)}\n\n{kinds}.\n\nQuestions: {questions} {_open_questions()}"


def _stated(text: str, finding: Finding) -> str:
    return text if finding.holds else f"**No longer holds:** {text}"


def _verdict(claim: Claim, finding: Finding) -> str:
    if finding.predicted is None:
        return "–"
    return f"{'held' if finding.predicted else '**did not hold**'}: {claim.prediction}"


def _notebook(claim: Claim) -> str:
    return f"[{claim.notebook.split('_')[0]}](notebooks/{claim.notebook}.ipynb)" if claim.notebook else "–"


def _place(pattern: str) -> str:
    return pattern.split("*")[0]


def _open_questions() -> str:
    if not OPEN:
        return "Every question of the study has an answer."
    return f"Not answered yet: {'; '.join(f'{number} for {what}' for number, what in OPEN.items())}."


def update(root: Path = ROOT) -> None:
    """Compute all claims and write both tables between their markers."""
    computed = compute()
    pages.put(root / "README.md", "claims", short_table(computed))
    pages.put(root / "REPRODUCING.md", "claims", full_table(computed))
