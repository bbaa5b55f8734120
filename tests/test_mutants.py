"""The table of mutants fits the project, and the committed record says that the tests notice each of them."""

import re

import pytest
from mutants import record, report, sites
from mutants.digits import digit_mutants
from mutants.equivalent import EQUIVALENT
from mutants.mutant import ROOT, Mutant, mutated
from mutants.table import all_mutants

from rsail.study import pages

MUTANTS = all_mutants()
SOURCE = """
def scaled(x, weight=3.0, steps=4):
    '''1.0 - 2.0'''
    check(x, axis=-1, tolerance=0.5)
    y = -x[..., 1] + (
        x  # 1 + 1
        - 4.0 * weight**2
    )
    y += 7
    return range(5), 0.0, 1e-9, f"{x + 1}"
"""


def test_every_constant_and_sign_of_a_source_is_found():
    found = {
        mutant.name.removeprefix("made.scaled: "): mutant.new for mutant in sites.of_module("made", SOURCE)
    }
    assert found == {
        "3.0 -> 1.5 in 3.0": "def scaled(x, weight=1.5, steps=4):",
        "+ -> - in -x[..., 1] + (x - 4.0 * weight ** 2)": "    y = -x[..., 1] - (",
        "- -> nothing in -x[..., 1]": "    y = x[..., 1] + (",
        "- -> + in x - 4.0 * weight ** 2": "        + 4.0 * weight**2",
        "4.0 -> 2.0 in 4.0 * weight ** 2": "        - 2.0 * weight**2",
        "2 -> 1 in weight ** 2": "        - 4.0 * weight**1",
        "+ -> - in y += 7": "    y -= 7",
        "7 -> 3.5 in y += 7": "    y += 3.5",
    }


def test_each_mutant_changes_one_place_and_no_two_are_the_same():
    changed = {}
    for mutant in MUTANTS:
        key = mutant.file, mutated(mutant)
        assert key not in changed, f"{mutant.name} is {changed[key]}"
        changed[key] = mutant.name
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("old", ["return", "not in the file"])
def test_a_mutant_that_is_out_of_date_is_an_error(old):
    with pytest.raises(ValueError, match=r"'lost' is out of date: its old text is \d+ times"):
        mutated(Mutant("lost", "rsail/exact/losses.py", old, "", ()))


def test_a_mutant_that_is_not_python_is_an_error():
    old = "return preferences - np.sign(scores)"
    with pytest.raises(SyntaxError):
        mutated(Mutant("broken", "rsail/exact/losses.py", old, "return (", ()))


def test_each_module_with_formulas_has_mutants():
    modules = {path.stem for path in (ROOT / sites.FOLDER).glob("*.py")}
    assert {re.split("[.:]", mutant.name)[0] for mutant in MUTANTS} >= modules - set(sites.NO_FORMULA)
    assert set(sites.NO_FORMULA) <= modules


def test_what_is_left_out_exists_and_has_a_reason():
    assert set(EQUIVALENT) <= {mutant.name for mutant in sites.all_sites()}
    assert all(EQUIVALENT.values())


def test_each_target_exists():
    for target in {target for mutant in MUTANTS for target in mutant.targets}:
        assert (ROOT / target.split("::")[0]).exists(), target


def test_one_digit_of_each_notebook_is_changed():
    for mutant in digit_mutants(0):
        differing = [
            (one, other)
            for one, other in zip(mutant.old.splitlines(), mutant.new.splitlines(), strict=True)
            if one != other
        ]
        assert len(differing) == 1 and re.sub(r"\d", "#", differing[0][0]) == re.sub(
            r"\d", "#", differing[0][1]
        )


def test_what_was_not_run_is_not_counted_as_unnoticed():
    mutants = [Mutant(f"made {k}", "rsail/made.py", f"{k}", "0", ()) for k in range(1, 7)]
    entries = [
        {"id": mutant.identity, "noticed_by": noticed, "seconds": 60.0}
        for mutant, noticed in zip(mutants, ["a test", "a test", "a test", None, None], strict=False)
    ]
    shown = report.counts(mutants, entries)
    assert "| rsail, outside exact | 0 | 6 | 3 | 2 | 1 |" in shown
    assert "6 mutants, 3 noticed, 2 not, 1 not run" in shown and "5 minutes" in shown


def test_the_record_holds_every_mutant_and_all_were_noticed():
    entries = record.read()
    advice = "python -m tests.mutants --missing --output data/results/mutants"
    assert {entry["id"]: entry["name"] for entry in entries} == {m.identity: m.name for m in MUTANTS}, advice
    assert [entry["name"] for entry in entries if not entry["noticed_by"]] == []


def test_the_lists_show_the_record():
    advice = "python -m tests.mutants.report brings it up to date"
    entries = record.read()
    assert pages.generated(report.REPRODUCING, "mutants") == report.counts(MUTANTS, entries), advice
    assert report.LIST.read_text(encoding="utf-8") == report.full_list(MUTANTS, entries), advice
