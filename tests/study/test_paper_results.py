"""The table of the paper's results points at places that exist and name the result."""

import re

import nbformat
import pytest

from rsail.study import paper_results as paper
from rsail.study.paths import NOTEBOOKS_DIR, ROOT

NAMED = [
    *(f"eq. {n}" for n in (*range(1, 11), *range(12, 17), 22, 23, 24, 38, 39, 50, 51, 52)),
    *(f"Assumption {n}" for n in range(1, 7)),
    *(f"Theorem {n}" for n in ("4.1", "4.7", "4.8", "5.2")),
    *(f"Lemma {n}" for n in ("A.1", "B.1", "B.2", "B.4", "4.11", "C.1", "C.2", "D.1", "D.3")),
    *(f"Remark {n}" for n in ("3.1", "4.2", "4.9", "D.4")),
    "Corollary 5.3", "Example 4.4", "Definition 4.10", "Algorithm 1",
]  # fmt: skip


def sections(notebook):
    """Text of each section (markdown and code), by its heading without the hashes."""
    found, heading = {}, ""
    for cell in nbformat.read(NOTEBOOKS_DIR / f"{notebook}.ipynb", as_version=4).cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.startswith("## "):
                heading = line.removeprefix("## ")
            found[heading] = found.get(heading, "") + line + "\n"
    return found


@pytest.mark.parametrize("result", paper.RESULTS, ids=lambda r: f"{r.name} in {r.notebook}")
def test_the_section_exists_and_names_the_result(result):
    text = sections(result.notebook)
    assert result.section in text, sorted(text)
    assert result.mark in text[result.section]
    assert result.kind in paper.KINDS


@pytest.mark.parametrize("name", NAMED)
def test_no_numbered_result_is_missing(name):
    kind, number = name.split(" ")
    pattern = rf"{kind}s? (?:[\w.]+, )*{re.escape(number)}(?![\d.])"
    assert any(re.search(pattern, result.name) for result in paper.RESULTS)


def test_reproducing_shows_the_table():
    text = (ROOT / "REPRODUCING.md").read_text(encoding="utf-8")
    shown = text.split(paper.BEGIN)[1].split(paper.END)[0].strip()
    assert shown == paper.paper_table(), "python -m rsail.study.paper_results brings it up to date"
