"""Claims of notebook 10's real text, from the planned runs of `rsail.study.imdb`."""

from __future__ import annotations

from pathlib import Path

from rsail.study.claims.claim import Claim, Finding
from rsail.study.every_method.analysis import text
from rsail.study.imdb import analysis, plan

NOTEBOOK = "10_real_text_and_scale"
FILES = (f"{plan.STUDY}/*.json",)


def _answers(results: Path, *names: str) -> tuple[dict[str, analysis.Answer], dict[str, str]]:
    study = analysis.load_study(results / plan.STUDY)
    found = analysis.answers(study)
    numbers = {name: f"{text(found[name].difference, 2)} ({found[name].verdict})" for name in names}
    return found, numbers | {"n": str(len(study.seeds)), "bias": f"{plan.BIAS:g}"}


def over_optimization(results: Path) -> Finding:
    """Longer responses to open prompts, and a belief of the oracle that the truth does not share."""
    found, numbers = _answers(results, "excess_nominal", "gap_nominal", "gain_nominal")
    held = all(found[name].verdict == "larger" for name in ("excess_nominal", "gap_nominal"))
    return Finding(True, numbers, held)


def robustness(results: Path) -> Finding:
    """What rho at the size of the bias removes and costs."""
    names = ("excess_robust", "gap_robust", "gain_robust", "excess_online", "gain_online")
    found, numbers = _answers(results, *names)
    held = all(found[name].verdict == "smaller" for name in ("excess_robust", "excess_online"))
    return Finding(True, numbers, held)


def equal_kl(results: Path) -> Finding:
    """Robust SAIL against a larger beta at its KL."""
    found, numbers = _answers(results, "excess_equal_kl", "gain_equal_kl")
    held = found["excess_equal_kl"].verdict == "smaller" and found["gain_equal_kl"].verdict != "smaller"
    return Finding(True, numbers, held)


def _claim(statement: str, check, question: str, prediction: str, **more) -> Claim:
    return Claim(statement, "statistical", NOTEBOOK, check, question, FILES, prediction, **more)


CLAIMS = (
    _claim(
        "On IMDb under an oracle that favors longer responses by {bias}, nominal SAIL's responses to prompts without a "
        "true preference grow by {excess_nominal} words; on the others the oracle's preference for them exceeds the "
        "truth's by {gap_nominal}; gold reward changes by {gain_nominal} (verdicts after Holm, {n} seeds)",
        over_optimization, "Q3", "longer, and preferred by the oracle alone",
    ),
    _claim(
        "On IMDb ρ = {bias} changes SAIL's distance from the reference's length by {excess_robust} words, gold by "
        "{gain_robust}, the oracle's excess preference by {gap_robust}; online DPO's distance by {excess_online}, gold "
        "by {gain_online} (verdicts after Holm, {n} paired seeds)",
        robustness, "Q3", "nearer to the reference's length", key=True,
    ),
    _claim(
        "On IMDb at equal KL, robust SAIL (ρ = {bias}) minus nominal SAIL at a larger β: distance of the length on "
        "open prompts {excess_equal_kl}, gold {gain_equal_kl} (verdicts after Holm, {n} paired seeds)",
        equal_kl, "Q4", "nearer to the reference's length, and not less gold",
    ),
)  # fmt: skip
