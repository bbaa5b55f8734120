"""The table of the paper's results points at cells that exist, name the result and assert what they check."""

import ast
import re

import pytest

from rsail.study import pages
from rsail.study import paper_results as paper
from rsail.study.paths import ROOT

NAMED = [
    *(f"eq. {n}" for n in (*range(1, 11), *range(12, 17), 22, 23, 24, 38, 39, 50, 51, 52)),
    *(f"Assumption {n}" for n in range(1, 7)),
    *(f"Theorem {n}" for n in ("4.1", "4.7", "4.8", "5.2")),
    *(f"Lemma {n}" for n in ("A.1", "B.1", "B.2", "B.4", "4.11", "C.1", "C.2", "D.1", "D.3")),
    *(f"Remark {n}" for n in ("3.1", "4.2", "4.9", "D.4")),
    "Corollary 5.3", "Example 4.4", "Definition 4.10", "Algorithm 1",
]  # fmt: skip


ASSERTING = {"check_below", "require_kept"}  # functions that assert for their caller

each_result = pytest.mark.parametrize("result", paper.RESULTS, ids=lambda r: f"{r.name} in {r.notebook}")


def cell(result, anchor):
    return paper.cells_of(result.notebook)[paper.find_cell(result.notebook, anchor)]


def asserts(source):
    """Whether code holds an assert statement or calls a function that asserts; names in text do not count."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert):
            return True
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) in ASSERTING
        ):
            return True
    return False


@each_result
def test_the_result_is_stated_by_its_number_in_a_section(result):
    numbers = re.findall(r"(?:[A-D]\.)?\d+(?:\.\d+)?", result.name)
    stated = cell(result, result.stated).source
    assert any(re.search(rf"(?<![\w.]){re.escape(number)}(?![\d])", stated) for number in numbers)
    assert paper.section(result.notebook, result.stated)


@each_result
def test_a_result_that_is_checked_has_a_code_cell_that_asserts(result):
    assert result.kinds and set(result.kinds) <= set(paper.KINDS)
    assert bool(result.checked) == (result.kinds != ["definition"])
    for anchor in result.checked:
        found = cell(result, anchor)
        assert found.cell_type == "code", anchor
        assert asserts(found.source), anchor
    if "symbolic" in result.kinds:
        assert any(re.search(r"\bsp\.|\bis_zero\(", cell(result, a).source) for a in result.checked)


@each_result
def test_the_number_of_a_cell_is_the_one_that_a_reader_sees(result):
    for anchor in result.checked:
        count = cell(result, anchor).execution_count
        assert paper.cell_label(result.notebook, anchor) == f"[{count}]"
    if not result.checked:
        index = paper.find_cell(result.notebook, result.stated)
        after = next(c for c in paper.cells_of(result.notebook)[index:] if c.cell_type == "code")
        label = paper.cell_label(result.notebook, result.stated)
        assert label == f"text above [{after.execution_count}]"


@pytest.mark.parametrize(("anchor", "count"), [("no cell holds this", 0), ("plt.show()", None)])
def test_an_anchor_in_no_cell_or_in_several_is_an_error(anchor, count):
    with pytest.raises(ValueError, match="exactly one cell") as error:
        paper.find_cell("01_decomposition", anchor)
    found = int(str(error.value).split()[-1])
    assert found == count if count is not None else found > 1


def test_a_section_is_the_last_heading_above():
    assert paper.section("04_convergence", r"\tag{Def. 4.10}").startswith("1. ")
    assert paper.section("04_convergence", "## 2. Lemma 4.11").startswith("2. Lemma 4.11")
    assert paper.section("04_convergence", "optimal = derivative.subs(").startswith("2. ")
    assert paper.section("04_convergence", "# 04 · Convergence") == ""


@pytest.mark.parametrize(
    ("source", "expected"),
    [("assert x", True), ("study.require_kept(x)", True), ("check_below('a', 1, 2)", True), ("'assert'", False),
     ("# assert x\nprint('check_below(')", False), ("x = check_below", False)],
)  # fmt: skip
def test_what_counts_as_asserting(source, expected):
    assert asserts(source) is expected


@pytest.mark.parametrize("name", NAMED)
def test_no_numbered_result_is_missing(name):
    kind, number = name.split(" ")
    pattern = rf"{kind}s? (?:[\w.]+, )*{re.escape(number)}(?![\d.])"
    assert any(re.search(pattern, result.name) for result in paper.RESULTS)


def test_reproducing_shows_the_table():
    shown = pages.generated(ROOT / "REPRODUCING.md", "paper")
    assert shown == paper.paper_table(), "python -m rsail.study.paper_results brings it up to date"
