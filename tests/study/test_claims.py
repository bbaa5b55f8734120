"""The index of claims: each computed anew from the result files that it names or from nothing; both tables current."""

import json
import re
import shutil

import nbformat
import numpy as np
import pytest
from mutation_score import record, report

from rsail.study import pages, results
from rsail.study.claims import index
from rsail.study.claims.claim import NO_QUESTION, QUESTIONS, Claim, Finding
from rsail.study.paths import NOTEBOOKS_DIR, RESULTS_DIR, ROOT
from rsail.study.results import ResultError

# What a statement may have in digits without a computed number: a reference to the paper, and a factor of a formula.
REFERENCE = r"(?:[Ee]q\.|Theorem|Lemma|Corollary|Assumption|Example|Algorithm) (?:[A-D]\.)?[\d.]*\d|2ρβR"
# Left alone when the numbers of a result file are changed: what a row is about.
LABELS = {"options", "beta", "theta_radius", "workload", "size", "steps", "evaluations", "texts"}
MOST_ROWS = 15  # of the README's table
ADVICE = "make claims brings it up to date"
# Numbers that the claim's notebook prints, too; the checks of these two modules build their problems again.
PRINTED = {
    "transformer.decomposition": ("responses", "prompts", "low", "high"),
    "transformer.unbiased_estimators": ("n",),
    "transformer.dropped_score_term": ("error", "cosine"),
    "finite.measured_radii": ("local", "critical"),
    "finite.collapse_is_better": ("crossing",),
    "finite.example_not_convex": ("gap",),
    "finite.sharper_constants": ("paper", "sharp", "refined", "c"),
    "finite.response_term": ("without", "full"),
    "finite.random_problems": ("problems",),
    "finite.certificate": ("policies",),
    "convergence.rate_on_the_small_set": ("slope",),
    "convergence.rate_on_the_unit_set": ("slope",),
    "convergence.paper_constants_are_late": ("paper", "sharp", "refined"),
    "methods.larger_beta": ("dpo", "robust", "sail"),
    "methods.price_when_right": ("sail",),
    "methods.robust_sail_under_bias": ("difference",),
    "methods.robust_sail_at_equal_kl": ("sail", "dpo"),
    "methods.best_under_bias": ("winner", "gap"),
    "methods.nash_under_cycle": ("cost",),
    "methods.group_robustness": ("harm",),
    "training.over_optimization": ("excess", "wish"),
    "training.filler_words": ("removed",),
    "training.gold_reward": ("gain", "difference"),
    "training.what_remains": ("remaining",),
    "training.held_out_certificate": ("gap",),
    "training.entropy": ("least",),
    "cost.penalty_and_score_term": ("ratio",),
    "cost.race": ("median", "largest", "version"),
    "cost.sampling_above_floor": ("at_small", "at_large"),
    "cost.exact_penalty": ("seconds", "size"),
    "cost.sorted_penalty": ("speedup", "size"),
}

each_claim = pytest.mark.parametrize("claim", index.CLAIMS, ids=lambda claim: claim.name)
with_files = [claim for claim in index.CLAIMS if claim.results]
each_with_files = pytest.mark.parametrize("claim", with_files, ids=lambda claim: claim.name)


@pytest.fixture(scope="module")
def computed():
    """Claim name -> (claim, statement, finding, the files that were read by `read_result`)."""
    found, check_schema = {}, results._check_schema
    for claim in index.CLAIMS:
        read = set()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                results, "_check_schema", lambda c, path, read=read: check_schema(c, read.add(path) or path)
            )
            found[claim.name] = (*index.compute([claim])[0], read)
    return found


def copied(claim, folder):
    """The result files of a claim, alone in a folder."""
    for path in claim.files(RESULTS_DIR):
        target = folder / path.relative_to(RESULTS_DIR)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def rewrite(path, change):
    """Change the content of a result file and give it the checksum of what it then holds."""
    content = json.loads(path.read_text())
    change(content)
    content["checksum"] = results.checksum(content)
    path.write_text(json.dumps(content))


def measured(content):
    return {part: content[part] for part in ("metrics", "history")}


def scaled(value, rng):
    """Every measured number times a factor of its own; what a test noticed is no longer noticed.

    The first evaluation of a run stays: it is that of the reference, the same in all of them.
    """
    if isinstance(value, dict):
        later = {
            key: [item[0], *scaled(item[1:], rng)]
            for key, item in value.items()
            if key == "evaluations" and isinstance(item, list)
        }
        return (
            {
                key: item if key in LABELS else None if key == "noticed_by" else scaled(item, rng)
                for key, item in value.items()
            }
            | later
            | ({"killed": value["killed"] // 2} if "killed" in value else {})
        )
    if isinstance(value, list):
        return [scaled(item, rng) for item in value]
    return value * rng.lognormal(0.0, 1.5) if isinstance(value, float) else value


@each_claim
def test_the_claim_holds(claim, computed):
    _, text, finding, _ = computed[claim.name]
    assert finding.holds, text


@each_claim
def test_no_number_of_a_statement_is_typed_by_hand(claim):
    words = re.sub(r"\{\w+\}", "", claim.statement)
    assert not re.search(r"\d", re.sub(REFERENCE, "", words)), words


@each_claim
def test_a_statistical_claim_shows_how_sure_it_is_and_from_how_many(claim, computed):
    _, text, finding, _ = computed[claim.name]
    if claim.kind == "statistical":
        assert "n" in finding.numbers
        assert re.search(r"-?\d[\d.]* \[-?\d[\d.]*, -?\d[\d.]*\]|p-value \d", text), text


@each_claim
def test_the_files_that_are_read_are_those_that_are_named(claim, computed):
    assert computed[claim.name][3] == set(claim.files(RESULTS_DIR))
    for pattern in claim.results:
        assert list(RESULTS_DIR.glob(pattern)), pattern


@each_with_files
def test_a_changed_number_changes_the_claim(claim, computed, tmp_path):
    folder, rng = copied(claim, tmp_path), np.random.default_rng(0)
    before = claim.compute(folder)[0]
    assert before == computed[claim.name][1]  # the named files are enough
    for path in claim.files(folder):
        rewrite(path, lambda content: content.update(scaled(measured(content), rng)))
    after, finding = claim.compute(folder)
    assert after != before or not finding.holds


@each_with_files
def test_a_file_that_was_edited_or_lost_stops_the_claim(claim, tmp_path):
    path = claim.files(copied(claim, tmp_path))[0]
    content = json.loads(path.read_text())
    content["wall_time"] += 1.0
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match="changed after it was written"):
        claim.compute(tmp_path)
    path.unlink()
    with pytest.raises(ResultError):
        claim.compute(tmp_path)


def named(name):
    (claim,) = (claim for claim in index.CLAIMS if claim.name == name)
    return claim


def test_claims_fail_on_results_that_say_the_opposite(tmp_path):
    filler, bound, noticed = map(named, ("training.filler_words", "convergence.bound_holds", "cost.mutants"))
    for claim in (filler, bound, noticed):
        copied(claim, tmp_path)
    for path in (tmp_path / "biased_oracle").glob("nominal_*.json"):
        other = path.with_name(path.name.replace("nominal", "robust"))
        ours, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(ours)
    assert not filler.compute(tmp_path)[1].holds
    rewrite(tmp_path / "convergence/unit_refined.json", lambda c: c["history"][0].update(bound=1e-9))
    assert not bound.compute(tmp_path)[1].holds
    rewrite(tmp_path / "mutants/record.json", lambda c: c["history"][7].update(noticed_by=None))
    text, finding = noticed.compute(tmp_path)
    count = len(results.read_result(tmp_path / "mutants/record.json")["history"])
    assert not finding.holds and f"{count - 1:,} were noticed" in text


@each_claim
def test_what_the_notebook_prints_is_what_the_claim_says(claim, computed):
    finding = computed[claim.name][2]
    if not claim.notebook:
        return
    cells = nbformat.read(NOTEBOOKS_DIR / f"{claim.notebook}.ipynb", as_version=4).cells
    printed = "\n".join(
        str(part.get("text", "")) + str(part.get("data", {}).get("text/markdown", ""))
        for cell in cells
        for part in cell.get("outputs", [])
    )
    for name in PRINTED.get(claim.name, ()):
        number = re.escape(finding.numbers[name])
        assert re.search(rf"(?<![\d.]){number}(?!\d)", printed), f"{name}: {finding.numbers[name]}"


def test_the_recorded_numbers_are_those_of_the_tables_of_mutants(computed):
    found = report.total(record.read()["history"])
    numbers = computed["cost.mutation_score"][2].numbers
    assert numbers["n"] == f"{found.run:,}" and numbers["score"].startswith(f"{100 * found.share:.1f} [")


def test_every_question_has_a_claim_or_is_open():
    answered = {claim.question for claim in index.CLAIMS} - {NO_QUESTION}
    assert set(index.OPEN) == set(QUESTIONS) - answered, "OPEN names what is answered, or lacks what is not"
    notebooks = {claim.notebook for claim in index.CLAIMS} - {""}
    assert all((NOTEBOOKS_DIR / f"{notebook}.ipynb").is_file() for notebook in notebooks)


def test_names_are_unique_and_every_module_is_in_the_index():
    names = [claim.name for claim in index.CLAIMS]
    assert len(set(names)) == len(names)
    assert set(names) >= set(PRINTED)
    folder = ROOT / "rsail" / "study" / "claims"
    modules = {path.stem for path in folder.glob("*.py") if "CLAIMS = (" in path.read_text()}
    assert modules == {module.__name__.rsplit(".", 1)[-1] for module in index.MODULES}


def test_predictions_that_failed_are_among_the_claims(computed):
    failed = [claim for claim, _, finding, _ in computed.values() if finding.predicted is False]
    assert failed and any(claim.key for claim in failed)


def test_both_tables_are_current(computed):
    rows = [entry[:3] for entry in computed.values()]
    assert pages.generated(ROOT / "README.md", "claims") == index.short_table(rows), ADVICE
    assert pages.generated(ROOT / "REPRODUCING.md", "claims") == index.full_table(rows), ADVICE
    assert 1 <= sum(claim.key for claim in index.CLAIMS) <= MOST_ROWS


def example(finding, prediction=""):
    return Claim(
        "It is {x}",
        "exact",
        "02_numerical_check",
        lambda _: finding,
        "Q1",
        ("cost/*.json",),
        prediction,
        True,
    )


def test_the_tables_say_what_held(tmp_path):
    good, bad = Finding(True, {"x": "1.5"}), Finding(False, {"x": "2.5"}, predicted=False)
    computed = index.compute([example(good), example(bad, "1.5")])
    short, full = index.short_table(computed), index.full_table(computed)
    for shown in (short, full):
        assert "| Q1 | It is 1.5 | – |" in shown
        assert "| Q1 | **No longer holds:** It is 2.5 | **did not hold**: 1.5 |" in shown
    assert "[02](notebooks/02_numerical_check.ipynb) | [cost/*.json](data/results/cost/) |" in full
    assert "| held: 1.5 |" in index.short_table(
        index.compute([example(Finding(True, {"x": "1"}, True), "1.5")])
    )


@pytest.mark.parametrize(
    ("finding", "prediction", "message"),
    [
        (Finding(True, {"y": "1"}), "", "numbers must be"),
        (Finding(True, {"x": "1"}), "one", "predicted must be"),
        (Finding(True, {"x": "1"}, True), "", "predicted must be"),
    ],
)
def test_a_finding_that_does_not_fit_its_claim_is_an_error(finding, prediction, message):
    with pytest.raises(ValueError, match=message):
        example(finding, prediction).compute(RESULTS_DIR)


def test_unknown_kinds_and_questions_are_refused():
    with pytest.raises(ValueError, match="kind must be one of"):
        Claim("It is", "certain", "", lambda _: Finding(True, {}))
    with pytest.raises(ValueError, match="question must be one of"):
        Claim("It is", "exact", "", lambda _: Finding(True, {}), "Q11")
