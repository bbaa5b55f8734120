"""Every numbered result of the paper: in which cells it is stated, derived and checked here, and how.

`REPRODUCING.md` shows the table between two markers; `python -m rsail.study.paper_results` brings it up to date.
Cells are found by a string of their source, so their numbers are computed, never typed;
`tests/study/test_paper_results.py` checks that each string is in exactly one cell and that cells which are said to
check something assert.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat

from rsail.study import pages
from rsail.study.display import markdown_table
from rsail.study.paths import NOTEBOOKS_DIR, ROOT

KINDS = {
    "symbolic": "an identity derived in SymPy and asserted",
    "exact": "floating point against enumeration, linear programs or bounds, asserted: equalities to a tolerance, "
    "inequalities as they stand",
    "statistical": "measured over seeds or draws, with an interval or a test",
    "definition": "a setting in which the rest is stated; implemented",
}
CONVENTION = (
    "*Cells*: [9] is the cell with that number beside it in Jupyter or on GitHub, the ninth code cell from the top; "
    "*text above [9]* is the text before that cell. The section is where the result is stated, and a result may be "
    "checked again in later ones. How much of a proof is symbolic differs: what is not in a cell is argued in the "
    "text beside it."
)
ASSUMPTIONS = (
    "*Assumptions*: as we have them, those of the paper ([arXiv 2602.20457v1](https://arxiv.org/abs/2602.20457v1)) are "
    "six, numbers 1 to 6, and the table has each. We found no Assumption 7, and no result above uses one."
)
STATEMENTS = (
    "*Statements* of the paper stand in the notebooks in our words: they were taken from a summary of version 1 and "
    "its displays were typed again. Where a word matters, compare the paper."
)


@dataclass(frozen=True)
class PaperResult:
    """One numbered result: `stated` and each of `checked` is a string that exactly one cell of the notebook holds.

    `kind` is one or more of KINDS with commas between. Only a definition may be without cells that check it.
    """

    name: str
    notebook: str
    kind: str
    stated: str
    checked: tuple[str, ...] = ()
    status: str = "holds"

    @property
    def kinds(self) -> list[str]:
        return self.kind.split(", ")


def _of(notebook: str, *rows: tuple) -> list[PaperResult]:
    return [PaperResult(name, notebook, *rest) for name, *rest in rows]


# Cells that check more than one result of a notebook.
_BRADLEY_TERRY = ("(least,) = sp.solve(sp.Eq(belief, delta), gap)",)
_LOG_LINEAR = ("log_pi, log_ref = symbolic.log_linear(theta_vec, psi)",)
_SLOPES = ("worst_excess = rho * sp.Add",)
_NO_RADIUS = ("assert robust.subs(rho, 0) == sail",)
_CHORDS = ("problem_batch.second_differences(batch, rng)",)
_ALL_LEMMAS = ("ratios = envelope_check.lemma_ratios",)
_TWO_SOLVERS = ("envelope_check.independent_prox(",)
_MEASURED = ("measured = convergence.load_rates()",)
_SNAPPED = ('late["snapped_residual"].max() < 1e-4', "certified_prox(shown, last")
_GAPS = ('check_below("smallest preference minus delta"',)

RESULTS = [
    *_of(
        "01_decomposition",
        ("eq. 1, pair law", "definition", r"\tag{1}", (), "implemented"),
        (
            "eq. 2, 3, oracle set", "definition, exact", r"\tag{2, 3}", ("wasserstein_distance([0, 1]",),
            "implemented; the interval is a Wasserstein ball",
        ),
        (
            "eq. 4, Bradley-Terry", "symbolic, exact", r"\tag{4}", _BRADLEY_TERRY,
            "implemented; an oracle: the two orders add up to one",
        ),
        ("Remark 3.1, eq. 6", "symbolic, exact", r"\tag{6}", _BRADLEY_TERRY, "holds, in both directions"),
        ("eq. 7, bilevel program", "definition", r"\tag{7}", (), "its lower level is solved by eq. 8"),
        (
            "eq. 8, reward and policy", "symbolic", r"\tag{8}",
            ("regret = beta * sp.log(normalizer) - gain", "implicit = [beta * log_ratio"),
        ),
        ("eq. 9, SAIL's loss", "definition", r"\tag{9}", (), "implemented"),
        ("eq. 10, robust loss", "definition", r"\tag{10}", (), "implemented"),
        (
            "Lemma A.1", "symbolic, exact", r"\tag{Lemma A.1}",
            ("lemma = sp.simplify((sp.Max(upper, lower)", "Lemma A.1 against a search of the interval"),
        ),
        ("eq. 14", "symbolic", r"\tag{14}", ("sp.simplify(l1 - l0 + beta * h)", *_SLOPES)),
        (
            "Assumption 2", "symbolic", "Assumption 2 is $", _LOG_LINEAR,
            "makes pair scores linear; not needed for 4.1",
        ),
        ("eq. 12, penalty", "definition", r"\tag{12}", (), "implemented"),
        (
            "Theorem 4.1, eq. 13", "symbolic, exact", r"\tag{13}",
            (*_SLOPES, *_NO_RADIUS, "numeric(\"robust_loss_linear_program\")", '"ours": symbolic.worst_preference'),
            "holds; its proof needs another selector at ties",
        ),
        ("Remark 4.2", "symbolic", "**Remark 4.2**", _NO_RADIUS),
        ("Example 4.4, eq. 15", "symbolic", r"\tag{15}", ("sp.simplify(derived - symbolic.example_penalty())",)),
    ),
    *_of(
        "02_numerical_check",
        (
            "eq. 9, 10, 12 and 15 in 40 digits", "exact", "## 1. One problem in forty digits",
            ("precise = checks.high_precision(",),
        ),
        ("Theorem 4.1 (eq. 13) by three routes", "exact", "**Closed form**: eq. 13", ("checks.compare_problems(",)),
        (
            "Theorem 4.1 (eq. 13), a transformer", "exact", 'f"eq. 13 as printed, rho = ', ("table_routes(*asked",),
            "holds; log-linearity is not needed",
        ),
        (
            "Assumption 6, a transformer", "exact, statistical", "Assumption 6 asks for unbiased estimators of this",
            ('check_below("automatic differentiation, relative error"', "gradients.hotelling(sample_of"),
        ),
    ),
    *_of(
        "03_weak_convexity",
        (
            "Assumption 4, Assumption 5", "exact", "**Assumptions 4 and 5** hold", ("step *= (radius * draw",),
            "hold by construction; the bound that follows is checked",
        ),
        (
            "Lemma B.1", "symbolic, exact", r"\tag{Lemma B.1}",
            ("scores = [sp.Matrix([entry]).jacobian(theta_vec).T", "fisher = np.linalg.norm("),
        ),
        (
            "Lemma B.2", "symbolic, exact", r"\operatorname{Cov}(\psi)$ (Lemma B.2)",
            ("scores = [sp.Matrix([entry]).jacobian(theta_vec).T", "fisher = np.linalg.norm("),
        ),
        ("eq. 38", "symbolic", r"\tag{38}", ("smoothed = symbolic.expectation(two", "is_zero(gradient - eq38)")),
        (
            "eq. 39", "symbolic, exact", r"\tag{39}",
            ("smoothed = symbolic.expectation(two", "is_zero(gradient - eq38)", "gaps = {\"R, smoothed with eps"),
        ),
        (
            "Theorem 4.7", "symbolic, exact", "## 4. Theorem 4.7",
            ("paper_kappa = sp.limit(", "lowest = np.linalg.eigvalsh(smoothed_penalty_derivatives", *_CHORDS),
            "holds; sharper constants",
        ),
        (
            "Theorem 4.8", "symbolic, exact", r"\tag{Theorem 4.8}",
            ("slack(robust_at, L_sail + lam * kappa_R)", "theirs = [paper_constants(*size, 0.1)", *_CHORDS),
        ),
        (
            "Assumption 3", "symbolic, exact", "so that Assumption 3 becomes a statement",
            ('"sail_smoothness": beta**2 / 4 * 2 * V', "constants_check.require_kept(random)"),
            "derived for log-linear policies, with its constant",
        ),
    ),
    *_of(
        "04_convergence",
        ("eq. 16", "definition", r"\tag{16}", (), "implemented"),
        ("Definition 4.10", "definition, exact", r"\tag{Def. 4.10}", _TWO_SOLVERS, "implemented"),
        (
            "Lemma 4.11", "symbolic, exact", "## 2. Lemma 4.11",
            ("optimal = derivative.subs(", "L_env = 1 / (smoothing * (1 - kappa * smoothing))", *_ALL_LEMMAS),
            "holds; of its sum of two constants the larger suffices",
        ),
        ("eq. 51, residual", "exact", r"\tag{51}", _TWO_SOLVERS),
        ("Lemma C.1", "symbolic, exact", "**Lemma C.1.**", ("weak_convexity = (v - g)", *_ALL_LEMMAS)),
        ("Lemma D.1", "exact", "**Lemma D.1** is", (*_ALL_LEMMAS, "held = [envelope_check.lemma_d1(beside")),
        ("Lemma D.3, eq. 52", "exact", r"\tag{52}", _ALL_LEMMAS),
        (
            "Assumption 6", "exact", "Assumption 6 wants both estimates",
            ("bias = max(np.abs(m.sail_mean", "variance = chance @ np.sum("),
        ),
        (
            "Algorithm 1, eq. 22, 23", "definition, exact", r"\tag{22, 23}", ("on_kink = int(",),
            "implemented; its iterates stay in the set",
        ),
        (
            "Lemma B.4", "symbolic, exact", "**Lemma B.4** bounds",
            ("left_over = 4 * sum(a**2 for a in four)", "def used_of_b4(", "largest = max(m.second_moment("),
            "holds; its factor 4 is not needed",
        ),
        (
            "Lemma C.2", "symbolic, exact", r"\tag{Lemma C.2}",
            ("right = F_hat + moved.dot(moved)", "held = np.array([[envelope_check.lemma_c2", *_ALL_LEMMAS),
            "holds; also with a smaller constant",
        ),
        ("Theorem 5.2, eq. 24", "symbolic, statistical", "## 7. Theorem 5.2", ("one_step = [", *_MEASURED)),
        (
            "Corollary 5.3", "symbolic, exact, statistical", "## 8. Corollary 5.3",
            ("best_eta = sp.solve(", "numeric(rates.corollary_step_size)", *_MEASURED, "displayed = 2 * G_tot"),
            "holds as in the main text; its proof displays twice the bound",
        ),
        ("eq. 50, inexact prox", "exact", r"\tag{50}", _SNAPPED),
        (
            "Remark D.4", "exact", "is small (Remark D.4)", _SNAPPED,
            "holds; at kinks its residual is reached only after snapping",
        ),
        (
            "Remark 4.9", "exact", "Remark 4.9 points to", ("kappa_R = paper_constants(1.0, 3.0, 1.0, 0.1)",),
            "refers to 4.4, which is not about weak convexity; checked is the curvature of Example 4.4",
        ),
    ),
    *_of(
        "07_preference_language",
        ("Assumption 1, eq. 5", "exact", "Assumption 1 (eq. 5) asks for", _GAPS),
    ),
]  # fmt: skip


@cache
def cells_of(notebook: str) -> tuple[nbformat.NotebookNode, ...]:
    """All cells of a notebook, text and code, in their order."""
    return tuple(nbformat.read(NOTEBOOKS_DIR / f"{notebook}.ipynb", as_version=4).cells)


def find_cell(notebook: str, anchor: str) -> int:
    """Index, from 0 and over all cells, of the one cell whose source holds `anchor`.

    Raises
    ------
    ValueError
        If no cell holds it, or more than one.
    """
    found = [index for index, cell in enumerate(cells_of(notebook)) if anchor in cell.source]
    if len(found) != 1:
        raise ValueError(f"anchor must be in exactly one cell of {notebook}, got {anchor!r} in {len(found)}")
    return found[0]


def cell_label(notebook: str, anchor: str) -> str:
    """How a reader finds the cell with `anchor`: "[9]" for the ninth code cell, "text above [9]" for text before it."""
    cells, index = cells_of(notebook), find_cell(notebook, anchor)
    number = 1 + sum(cell.cell_type == "code" for cell in cells[:index])
    return f"[{number}]" if cells[index].cell_type == "code" else f"text above [{number}]"


def section(notebook: str, anchor: str) -> str:
    """The heading (##) above `anchor`, without its hashes; empty before the first one."""
    cells, index = cells_of(notebook), find_cell(notebook, anchor)
    source = cells[index].source
    end = source.find("\n", source.index(anchor) + len(anchor))
    texts = [cell.source for cell in cells[:index] if cell.cell_type == "markdown"]
    if cells[index].cell_type == "markdown":
        texts.append(source if end < 0 else source[:end])
    lines = "\n".join(texts).splitlines()
    return next((line.removeprefix("## ") for line in reversed(lines) if line.startswith("## ")), "")


def paper_table() -> str:
    """The table in Markdown, what its kinds and cell numbers mean, and which assumptions there are."""
    rows = []
    for r in RESULTS:
        anchors = sorted(r.checked or (r.stated,), key=lambda anchor, r=r: find_cell(r.notebook, anchor))
        places = dict.fromkeys(cell_label(r.notebook, anchor) for anchor in anchors)  # each once
        link = f"[{r.notebook}](notebooks/{r.notebook}.ipynb)"
        rows.append((r.name, link, section(r.notebook, r.stated), ", ".join(places), r.kind, r.status))
    kinds = "; ".join(f"*{kind}*: {meaning}" for kind, meaning in KINDS.items())
    table = markdown_table(rows, ("result", "notebook", "stated in section", "cells", "checked", "status"))
    return f"{table}\n\n{CONVENTION}\n\n{kinds}.\n\n{ASSUMPTIONS}\n\n{STATEMENTS}"


def update(path: str | Path = ROOT / "REPRODUCING.md") -> None:
    """Write the table between its two markers."""
    pages.put(path, "paper", paper_table())


if __name__ == "__main__":
    update()
