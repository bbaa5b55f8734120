"""The committed record of mutmut's run: its score, its survivors with their reasons, and what is shown of it."""

import ast

import numpy as np
import pytest
from mutation_score import found, record, report
from mutation_score.reasons import reason

from rsail.study import pages

RESULT = record.read()
ENTRIES = RESULT["history"]
MUTATED = """
def x_scaled__mutmut_orig(x, weight=3.0):
    checks.require(x > 0, "x", x, "> 0")
    if weight == 0:
        raise ValueError(f"weight is {weight}")
    return weight * x

def x_scaled__mutmut_1(x, weight=4.0):
    checks.require(x > 0, "x", x, "> 0")
    if weight == 0:
        raise ValueError(f"weight is {weight}")
    return weight * x

def x_scaled__mutmut_2(x, weight=3.0):
    checks.require(x >= 0, "x", x, "> 0")
    if weight == 0:
        raise ValueError(f"weight is {weight}")
    return weight * x

def x_scaled__mutmut_3(x, weight=3.0):
    checks.require(x > 0, "x", None, "> 0")
    if weight == 0:
        raise ValueError(f"weight is {weight}")
    return weight * x

def x_scaled__mutmut_4(x, weight=3.0):
    checks.require(x > 0, "x", x)
    if weight == 0:
        raise ValueError(f"weight is {weight}")
    return weight * x

def x_scaled__mutmut_5(x, weight=3.0):
    checks.require(x > 0, "x", x, "> 0")
    if weight == 0:
        raise ValueError(None)
    return weight * x
"""


def test_what_only_changes_a_message_is_told_from_what_does_not():
    changes = {change.name[-1]: change for change in found.of_mutated_source(MUTATED)}
    assert [number for number, change in changes.items() if change.message_only] == ["3", "5"]
    assert {change.function for change in changes.values()} == {"scaled"}
    assert changes["1"].text == "x, weight=3.0 -> x, weight=4.0"
    assert changes["2"].text.startswith("checks.require(x > 0, 'x'")


def test_a_sample_is_drawn_by_its_seed_without_repetition():
    changes = [found.Change(str(k), "f", "", False, "") for k in range(50)]
    drawn = found.sample(changes, 20, "0:module")
    assert drawn == found.sample(changes, 20, "0:module") != found.sample(changes, 20, "1:module")
    assert len({change.name for change in drawn}) == 20
    assert found.sample(changes, 60, "0:module") == changes


def test_every_module_was_run_and_the_score_is_at_least_90_percent():
    modules = {
        path
        for folder in ("exact", "objectives")
        for path in (record.ROOT / "rsail" / folder).glob("[!_]*.py")
    }
    with_functions = {
        str(path.relative_to(record.ROOT))
        for path in modules
        if any(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text())))
    }
    assert {entry["module"] for entry in ENTRIES} == with_functions
    total = report.total(ENTRIES)
    assert total.run >= 1000 and total.share >= 0.9
    low, high = report.weighted_interval(ENTRIES)
    assert 0.9 <= low < report.weighted(ENTRIES) < high < low + 0.04
    assert RESULT["metrics"]["score"] == total.share


def test_the_interval_over_modules_covers_the_score_of_all_mutants():
    """Samples of 40 from each of two modules, of 400 and 100 mutants, with scores 0.9 and 0.5: 0.82 in all."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(500):
        killed = rng.hypergeometric(ngood=(360, 50), nbad=(40, 50), nsample=40)
        entries = [
            {"mutants": n, "messages": 0, "killed": int(k), "timeouts": [], "ran": {"f": list(range(40))}}
            for n, k in zip((400, 100), killed, strict=True)
        ]
        low, high = report.weighted_interval(entries)
        covered += low <= 0.82 <= high
    assert 0.93 * 500 <= covered <= 0.99 * 500
    whole = [{**entries[1], "mutants": 40}]
    assert report.weighted_interval(whole) == (report.weighted(whole),) * 2


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["module"])
def test_the_counts_are_those_of_what_was_run(entry):
    names = record.names(entry)
    assert len(names) == len(set(names)) <= entry["mutants"] - entry["messages"]
    assert len(names) == entry["killed"] + len(entry["timeouts"]) + len(entry["alive"])
    assert {item["name"] for item in entry["alive"]} | set(entry["timeouts"]) <= set(names)
    if entry["module"] in RESULT["config"]["complete"]:
        assert len(names) == entry["mutants"] - entry["messages"]


def test_each_survivor_has_a_reason():
    missing = [
        (entry["module"], item["change"])
        for entry in ENTRIES
        for item in entry["alive"]
        if not reason(entry["module"], item["change"])
    ]
    assert missing == []


def test_the_table_and_the_list_show_the_record():
    advice = "python -m tests.mutation_score.report brings it up to date"
    assert pages.generated(report.REPRODUCING, "mutation-score") == report.table(RESULT), advice
    assert report.LIST.read_text(encoding="utf-8") == report.survivors(RESULT), advice
