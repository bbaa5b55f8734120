"""Claims of notebook 09's exact half: wrong radii, and radii chosen from what a user has."""

from __future__ import annotations

from pathlib import Path

from rsail.study.claims.claim import Claim, Finding
from rsail.study.every_method.analysis import text
from rsail.study.misspecification import exact_choice, exact_oracles, exact_results
from rsail.study.statistics import Interval, paired_difference

NOTEBOOK = "09_misspecification"
FILES = (f"{exact_results.STUDY}/*.json",)


def wrong_radius(results: Path) -> Finding:
    """What half and twice the true deviation cost under the bias, without the score term."""
    sweep = exact_results.load(results / exact_results.STUDY)["online"]["bias"]
    costs = exact_choice.wrong_radii({"bias": sweep})["bias"]
    half, twice = (paired_difference(costs[factor].excess, costs[1.0].excess) for factor in (0.5, 2.0))
    numbers = {"half": text(half), "twice": text(twice), "n": str(half.n)}
    return Finding(half.low > 0 and twice.low > 0, numbers, half.low > 0 and twice.low > 0)


def _selected(results: Path, objective: str) -> tuple[exact_choice.Selection, dict[str, str]]:
    """The rule that does best on some problems, and what it costs and saves on the others, in words."""
    count = exact_choice.LABELS[1]
    found = exact_choice.selected(exact_results.load(results / exact_results.STUDY)[objective], count=count)
    saved = {oracle: found.saved([oracle]) for oracle in exact_oracles.SOLVED}
    numbers = {
        "rule": found.rule, "count": f"{count:,}", "n": str(found.cost().n), "oracles": str(len(saved)),
        "cost": text(found.cost()), "none": text(found.cost_without()),
        "helped": ", ".join(oracle for oracle, interval in saved.items() if interval.low > 0) or "none",
        "harmed": ", ".join(oracle for oracle, interval in saved.items() if interval.high < 0) or "none",
    }  # fmt: skip
    return found, numbers


def _without_the_bias(found: exact_choice.Selection) -> Interval:
    return found.saved([oracle for oracle in found.excess if oracle != "bias"])


def choice_of_radius(results: Path) -> Finding:
    """The rule that does best for online DPO, judged on other problems: whether it helps under the bias alone."""
    found, numbers = _selected(results, "online")
    bias, others = found.saved(["bias"]), _without_the_bias(found)
    numbers |= {"saved": text(bias), "lost": text(-others)}
    alone = numbers.pop("helped") == "bias"
    return Finding(found.saved().low > 0 and alone and others.high < 0, numbers)


def choice_for_sail(results: Path) -> Finding:
    """The same selection for robust SAIL, and what the rule that online DPO selects does for it."""
    found, numbers = _selected(results, "score")
    sweeps = exact_results.load(results / exact_results.STUDY)
    count = exact_choice.LABELS[1]
    other = exact_choice.selected(sweeps["online"], count=count).rule
    same = exact_choice.selected(sweeps["score"], count=count, rules=(other,))
    del numbers["oracles"]
    numbers |= {
        "saved": text(found.saved()), "right": text(found.saved(["truth"])), "others": text(_without_the_bias(found)),
        "first": other, "same": text(same.saved()),
    }  # fmt: skip
    return Finding(found.saved().low > 0 and other != found.rule, numbers)


CLAIMS = (
    Claim(
        "A wrong radius costs in both directions: under a bias, half the oracle's deviation costs online DPO {half} "
        "more regret than the deviation itself, twice the deviation {twice} ({n} exact problems)",
        "statistical", NOTEBOOK, wrong_radius, "Q5", FILES, prediction="in both directions",
    ),
    Claim(
        "For online DPO a radius chosen from {count} gold-labelled comparisons, by the rule \"{rule}\", has less "
        "regret in the mean of {oracles} oracles than none ({cost} beyond the best radius, {none} without), but helps "
        "under the bias alone: it saves {saved} there, and costs {lost} in the mean of the others (it harms under: "
        "{harmed}; {n} exact problems on which the rule was not chosen)",
        "statistical", NOTEBOOK, choice_of_radius, "Q5", FILES, key=True,
    ),
    Claim(
        "For robust SAIL the same selection from {count} comparisons takes another rule, \"{rule}\": regret beyond the "
        "best radius {cost}, {none} without robustness; it saves {saved} in the mean of all oracles, {others} without "
        "the bias, {right} where the oracle is right (it helps under: {helped}; it harms under: {harmed}). Online "
        "DPO's rule, \"{first}\", saves {same} ({n} exact problems on which rules were not chosen)",
        "statistical", NOTEBOOK, choice_for_sail, "Q5", FILES,
    ),
)  # fmt: skip
