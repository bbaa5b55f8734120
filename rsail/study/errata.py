"""What the derivations of the notebooks found wrong or incomplete in the paper, each tied to the cells that show it.

The list in `REPRODUCING.md` is written by `python -m rsail.study.statements`. Cells are found as in
`rsail.study.paper_results`: by a string that exactly one cell of the notebook holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from rsail.study.paper_results import cell_label


@dataclass(frozen=True)
class Erratum:
    """`place` in the paper, what is to be read there, and where that is shown; `shown` is a string of one cell."""

    place: str
    text: str
    notebook: str
    shown: str


WRONG = (
    Erratum(
        "Proof of Corollary 5.3 (Appendix C.3)",
        "the displayed bound is twice what the step size gives; the main text has the right one",
        "04_convergence",
        "**(a) A factor of two",
    ),
    Erratum(
        "Remark 4.9",
        'refers to "Theorem 4.4" for weak convexity; Theorem 4.8 (with 4.7) is meant, 4.4 is an example',
        "04_convergence",
        "**(b) A reference.**",
    ),
    Erratum(
        "Proof of Theorem 4.1",
        "at ties the selector is not an oracle: the two orders do not add up to one; another selector attains the "
        "same value, so the theorem stands",
        "04_convergence",
        "**(c) Antisymmetry.**",
    ),
    Erratum(
        "Abstract and contributions",
        "the stated number of oracle calls is for the squared norm of the envelope's gradient; for the norm itself the "
        "same corollary gives the square of it",
        "04_convergence",
        "**(d) A square.**",
    ),
)
INCOMPLETE = (
    Erratum(
        "Theorem 4.1",
        "is stated for log-linear policies and holds for every policy whose log-ratios exist",
        "01_decomposition",
        "## 6. Addition: any policy with a density",
    ),
    Erratum(
        "Theorem 4.1",
        "beyond the radius of Assumption 1 the formula overstates the worst case; clipped, it holds for every radius",
        "01_decomposition",
        "## 8. Addition: every radius, by clipping",
    ),
    Erratum(
        "Assumption 3",
        "leaves the smoothness of SAIL's loss open; for log-linear policies it is derived, with its constant",
        "03_weak_convexity",
        "so that Assumption 3 becomes a statement",
    ),
    Erratum(
        "Lemma B.4",
        "its factor 4 is not needed: the second moment is the squared mean plus the variance",
        "04_convergence",
        "**Lemma B.4** bounds",
    ),
    Erratum(
        "Lemma 4.11",
        "of the sum of two constants the larger suffices",
        "04_convergence",
        "**sum** of the two bounds",
    ),
)


def errata_list() -> str:
    """Both lists in Markdown, each entry with the cell that shows it."""
    wrong, incomplete = ("\n".join(map(_line, entries)) for entries in (WRONG, INCOMPLETE))
    return (
        f"Wrong as printed, none of which changes a result:\n\n{wrong}\n\n"
        f"Incomplete, or weaker than need be:\n\n{incomplete}"
    )


def _line(erratum: Erratum) -> str:
    link = f"[{erratum.notebook}](notebooks/{erratum.notebook}.ipynb)"
    return f"- {erratum.place}: {erratum.text} ({link}, {cell_label(erratum.notebook, erratum.shown)})."
