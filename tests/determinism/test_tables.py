"""REPRODUCING.md says what is exact, what is to tolerance and what happens in a fault: each row names its tests."""

import ast
import re
from pathlib import Path

import pytest

from rsail.study.pages import generated

from .test_instruction_sets import TOLERANCES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "REPRODUCING.md"


def rows(table: str) -> list[str]:
    return generated(PAGE, table).strip().splitlines()[2:]


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("table", ["determinism", "faults"])
def test_every_row_names_tests_that_exist(table):
    assert len(rows(table)) >= 12
    for row in rows(table):
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row.split(" | ")[-1])
        assert named, row
        for path, name in named:
            assert name in names_in(ROOT / path), f"{path}::{name}"


def test_the_stated_tolerances_are_those_of_the_test():
    (row,) = [
        row for row in rows("determinism") if "test_everything_computed_is_the_same_to_its_tolerance" in row
    ]
    assert {float(number) for number in re.findall(r"\b1e-\d+", row)} == set(TOLERANCES.values())


SKIPS = re.compile(r"\b(skip|skipif|importorskip|xfail)\b")


@pytest.mark.parametrize(
    "code", ["pytest.skip('no')", "@pytest.mark.skip", "@pytest.mark.xfail(strict=True)"]
)
def test_what_skips_is_seen(code):
    assert SKIPS.search(code) and not SKIPS.search("skipped = skip_first")


def test_no_test_of_the_faults_can_be_skipped():
    for folder in ("faults", "determinism"):
        for path in (ROOT / "tests" / folder).glob("*.py"):
            assert path.samefile(__file__) or not SKIPS.search(path.read_text()), path
    for row in rows("faults"):
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row):
            source = (ROOT / path).read_text()
            assert "pytestmark" not in source, path
            (node,) = (n for n in ast.parse(source).body if getattr(n, "name", "") == name)
            parts = [ast.get_source_segment(source, part) for part in (node, *node.decorator_list)]
            assert not SKIPS.search("\n".join(parts)), f"{path}::{name}"
