"""Every numbered result of the paper: where it is derived or checked here, and how.

`REPRODUCING.md` shows the table between two markers; `python -m rsail.study.paper_results` brings it up to date,
and `tests/study/test_paper_results.py` checks that each place exists and names the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rsail.files import write_atomically
from rsail.study.display import markdown_table
from rsail.study.paths import ROOT

BEGIN, END = "<!-- paper:begin -->", "<!-- paper:end -->"
KINDS = {
    "symbolic": "an identity derived in SymPy and asserted",
    "exact": "floating point against enumeration, linear programs or bounds, asserted to a printed tolerance",
    "statistical": "measured over seeds or draws, with an interval or a test",
    "definition": "a setting in which the rest is stated; implemented",
}


@dataclass(frozen=True)
class PaperResult:
    """One numbered result: `mark` is how the notebook names it, `section` the heading above it.

    An empty `section` is the notebook's first cell.
    """

    name: str
    notebook: str
    section: str
    mark: str
    kind: str
    status: str = "holds"


def _of(notebook: str, *rows: tuple) -> list[PaperResult]:
    return [PaperResult(name, notebook, *rest) for name, *rest in rows]


RESULTS = [
    *_of(
        "01_decomposition",
        ("eq. 1, pair law", "1. The problem in words", r"\tag{1}", "definition", "implemented"),
        ("eq. 2, 3, oracle set", "1. The problem in words", r"\tag{2, 3}", "definition", "implemented"),
        ("eq. 7, bilevel program", "1. The problem in words", r"\tag{7}", "symbolic"),
        ("eq. 8, reward and policy", "1. The problem in words", r"\tag{8}", "symbolic"),
        ("eq. 9, SAIL's loss", "1. The problem in words", r"\tag{9}", "definition", "implemented"),
        ("eq. 10, robust loss", "1. The problem in words", r"\tag{10}", "definition", "implemented"),
        ("Lemma A.1", "3. Lemma A.1: one comparison, worst answer", r"\tag{Lemma A.1}", "symbolic"),
        ("eq. 14", "4. From the definition of the oracle set to the closed form", r"\tag{14}", "symbolic"),
        (
            "Assumption 2",
            "5. Theorem 4.1 for log-linear policies",
            "Assumption 2",
            "definition",
            "not needed for 4.1",
        ),
        ("eq. 12, penalty", "5. Theorem 4.1 for log-linear policies", r"\tag{12}", "symbolic"),
        (
            "Theorem 4.1, eq. 13",
            "5. Theorem 4.1 for log-linear policies",
            r"\tag{13}",
            "symbolic",
            "holds; its proof needs another selector at ties",
        ),
        ("Remark 4.2", "5. Theorem 4.1 for log-linear policies", "Remark 4.2", "symbolic"),
        ("Example 4.4, eq. 15", "10. Example 4.4: the penalty is not convex", r"\tag{15}", "symbolic"),
    ),
    *_of(
        "02_numerical_check",
        ("Theorem 4.1 by three routes", "2. Random problems: three routes", "eq. 10", "exact"),
        (
            "Theorem 4.1, a transformer",
            "4. A transformer whose every response can be listed",
            "eq. 4",
            "exact",
        ),
    ),
    *_of(
        "03_weak_convexity",
        (
            "Assumption 4, Assumption 5",
            "",
            "Assumption 5",
            "definition",
            "implemented",
        ),
        ("Lemma B.1", "2. Lemmas B.1 and B.2: the score", r"\tag{Lemma B.1}", "symbolic"),
        ("Lemma B.2", "2. Lemmas B.1 and B.2: the score", "B.2", "symbolic"),
        ("eq. 38", "3. Equations 38 and 39: the smoothed penalty", r"\tag{38}", "symbolic"),
        ("eq. 39", "3. Equations 38 and 39: the smoothed penalty", r"\tag{39}", "symbolic"),
        (
            "Theorem 4.7",
            "4. Theorem 4.7: the penalty is weakly convex",
            "Theorem 4.7",
            "exact",
            "holds; sharper constants",
        ),
        ("Theorem 4.8", "5. Theorem 4.8: the robust loss is weakly convex", r"\tag{Theorem 4.8}", "exact"),
        (
            "Assumption 3",
            "6. Addition: sharper constants",
            "Assumption 3",
            "exact",
            "derived for log-linear policies, with its constant",
        ),
        ("Remark 4.9", "11. A slip", "Remark 4.9", "definition", "refers to the wrong theorem"),
    ),
    *_of(
        "04_convergence",
        (
            "eq. 16",
            "1. What is minimized, and why its gradient will not do",
            r"\tag{16}",
            "definition",
            "implemented",
        ),
        ("Definition 4.10", "1. What is minimized, and why its gradient will not do", "Def. 4.10", "exact"),
        ("Lemma 4.11", "2. Lemma 4.11: the gradient of the envelope", "4.11", "exact"),
        ("Lemma C.1", "4. Lemmas C.1, D.1 and D.3: what the envelope's gradient says", "C.1", "exact"),
        ("Lemma D.1", "4. Lemmas C.1, D.1 and D.3: what the envelope's gradient says", "D.1", "exact"),
        (
            "Lemma D.3, eq. 52",
            "4. Lemmas C.1, D.1 and D.3: what the envelope's gradient says",
            r"\tag{52}",
            "exact",
        ),
        (
            "Assumption 6",
            "5. Algorithm 1 and Assumption 6: oracles that are unbiased",
            "Assumption 6",
            "exact",
        ),
        (
            "Algorithm 1, eq. 22, 23",
            "5. Algorithm 1 and Assumption 6: oracles that are unbiased",
            r"\tag{22, 23}",
            "exact",
        ),
        (
            "Lemma B.4",
            "5. Algorithm 1 and Assumption 6: oracles that are unbiased",
            "Lemma B.4",
            "exact",
            "holds; its factor 4 is not needed",
        ),
        ("Lemma C.2", "6. Lemma C.2: one step, projection included", r"\tag{Lemma C.2}", "exact"),
        ("Theorem 5.2, eq. 24", "7. Theorem 5.2", "24", "statistical"),
        (
            "Corollary 5.3",
            "8. Corollary 5.3: the step size, the rate, and $\\lambda_{\\mathrm{env}}$",
            "Corollary 5.3",
            "symbolic",
            "holds as in the main text; its proof displays twice the bound",
        ),
        (
            "eq. 50, inexact prox",
            "11. Inexact proximal points and the stopping rule of Remark D.4",
            r"\tag{50}",
            "exact",
        ),
        (
            "eq. 51, residual",
            "3. The proximal point to twelve digits, with a certificate",
            r"\tag{51}",
            "exact",
        ),
        (
            "Remark D.4",
            "11. Inexact proximal points and the stopping rule of Remark D.4",
            "Remark D.4",
            "exact",
            "holds; at kinks its residual is reached only after snapping",
        ),
    ),
    *_of(
        "07_preference_language",
        (
            "eq. 4, Bradley-Terry",
            "Reward gaps and the largest admissible radius",
            "eq. 4",
            "exact",
            "implemented",
        ),
        ("Assumption 1, eq. 5", "Reward gaps and the largest admissible radius", "Assumption 1", "exact"),
        ("Remark 3.1, eq. 6", "Reward gaps and the largest admissible radius", "Remark 3.1", "exact"),
    ),
]


def paper_table() -> str:
    """The table in Markdown, and what its kinds mean."""
    rows = [
        (
            r.name,
            f"[{r.notebook}](notebooks/{r.notebook}.ipynb)",
            r.section or "introduction",
            r.kind,
            r.status,
        )
        for r in RESULTS
    ]
    kinds = "; ".join(f"*{kind}*: {meaning}" for kind, meaning in KINDS.items())
    return markdown_table(rows, ("result", "notebook", "section", "checked", "status")) + f"\n\n{kinds}."


def update(path: str | Path = ROOT / "REPRODUCING.md") -> None:
    """Write the table between its two markers."""
    text = Path(path).read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{Path(path).name} must have the markers {BEGIN} and {END} once each")
    head, rest = text.split(BEGIN)
    write_atomically(path, f"{head}{BEGIN}\n{paper_table()}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    update()
