"""Every row of the table of methods names what exists, and every method has a row."""

import ast
import pkgutil

import pytest

from rsail.study import coverage, pages
from rsail.study.every_method.methods import METHODS as EXACT
from rsail.study.paths import ROOT
from rsail.study.systems import LEFT_OUT, SYSTEMS, System
from rsail.training import METHODS as TRAINED

# What a reader of the literature looks for.
WANTED = (
    "SAIL, DDP", "SAIL, DPP", "SAIL, DPR", "SAIL-RevKL", "DPO", "cDPO", "rDPO", "IPO", "Dr. DPO", "WDPO",
    "KLDPO", "χPO", "REBEL", "W-REBEL", "KL-REBEL", "χ²-REBEL", "robust listwise PL", "RLOO", "GRPO", "XPO",
    "VPO, online and offline", "SELM", "reward ensembles, worst case (WCO)",
    "reward ensembles, uncertainty-weighted (UWO)", "finite-candidate enhancer (oat)", "COPO", "HyPO", "SPAC",
    "GSHF, offline", "GSHF, online", "GSHF, hybrid", "RSO", "Nash (general preference)",
)  # fmt: skip


def test_what_must_be_there_is_there_once():
    names = [system.name for system in SYSTEMS]
    assert len(set(names)) == len(names) and set(WANTED) <= set(names)
    assert len(LEFT_OUT) <= 4 and all(LEFT_OUT.values())


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_row_names_code_tests_and_methods_that_exist(system):
    for name in system.implemented:
        pkgutil.resolve_name(name)
    assert system.checks
    for check in system.checks:
        file, _, function = check.partition("::")
        functions = {
            node.name
            for node in ast.walk(ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef)
        }
        assert function in functions or (not function and functions), check
    assert set(system.exact) <= set(EXACT)
    assert set(system.trained) <= set(TRAINED)
    assert system.trained or system.differences, "why it is not trained"
    assert not system.differs_exact or system.exact
    assert not system.differs_trained or system.trained


def test_differences_say_where_they_are():
    row = System("made", "1", (), (), differences="a", differs_exact="b", differs_trained="c")
    assert row.differs() == "a; in notebook 06: b; on a language model: c"
    assert System("made", "1", (), ()).differs() == "none known"


def test_what_only_an_abstract_tells_of_is_named():
    left_out = " ".join(LEFT_OUT)
    for name in ("2503.00539", "DRTO", "W-DRRO", "DoRA", "Hölder-DPO", "wDPO", "symmetric losses"):
        assert name in left_out


def test_every_method_that_is_run_has_a_row():
    assert {name for system in SYSTEMS for name in system.exact} == set(EXACT)
    assert {key for system in SYSTEMS for key in system.trained} == set(TRAINED)


def test_the_page_shows_the_table():
    shown = pages.generated(ROOT / "REPRODUCING.md", "methods")
    assert shown == coverage.coverage_table(), "python -m rsail.study.coverage brings it up to date"
