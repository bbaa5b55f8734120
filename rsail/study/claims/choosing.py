"""Claims of notebook 09's exact half: wrong radii, and radii chosen from what a user has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsail.study.claims.claim import Claim, Finding
from rsail.study.every_method.analysis import text
from rsail.study.misspecification import exact_choice, exact_oracles, exact_results
from rsail.study.statistics import mean_interval, paired_difference

NOTEBOOK = "09_misspecification"
FILES = (f"{exact_results.STUDY}/*.json",)
RANKED = 10  # problems on which rules are ranked; they are judged on the others


def wrong_radius(results: Path) -> Finding:
    """What half and twice the true deviation cost under the bias, without the score term."""
    sweep = exact_results.load(results / exact_results.STUDY)["online"]["bias"]
    costs = exact_choice.wrong_radii({"bias": sweep})["bias"]
    half, twice = (paired_difference(costs[factor].excess, costs[1.0].excess) for factor in (0.5, 2.0))
    numbers = {"half": text(half), "twice": text(twice), "n": str(half.n)}
    return Finding(half.low > 0 and twice.low > 0, numbers, half.low > 0 and twice.low > 0)


def choice_of_radius(results: Path) -> Finding:
    """The rule that does best on some problems, judged on others, against no robustness at all."""
    sweeps, oracles = exact_results.load(results / exact_results.STUDY)["online"], exact_oracles.SOLVED
    count = exact_choice.LABELS[1]
    chosen = exact_choice.choose(sweeps, count=count)
    costs = {rule: np.mean([found[o].excess for o in oracles], axis=0) for rule, found in chosen.items()}
    none = np.mean([exact_choice.price(sweeps[o], 0.0).excess for o in oracles], axis=0)
    best = min(costs, key=lambda rule: costs[rule][:RANKED].mean())
    saved = paired_difference(none[RANKED:], costs[best][RANKED:])
    numbers = {
        "rule": best, "count": f"{count:,}", "cost": text(mean_interval(costs[best][RANKED:])),
        "none": text(mean_interval(none[RANKED:])), "n": str(saved.n), "oracles": str(len(oracles)),
    }  # fmt: skip
    return Finding(saved.low > 0, numbers)


CLAIMS = (
    Claim(
        "A wrong radius costs in both directions: under a bias, half the oracle's deviation costs online DPO {half} "
        "more regret than the deviation itself, twice the deviation {twice} ({n} exact problems)",
        "statistical", NOTEBOOK, wrong_radius, "Q5", FILES, prediction="in both directions",
    ),
    Claim(
        "A radius can be chosen from {count} gold-labelled comparisons: by the rule \"{rule}\" the regret beyond the "
        "best radius is {cost} in the mean of {oracles} oracles, {none} without robustness ({n} exact problems on "
        "which the rule was not chosen)",
        "statistical", NOTEBOOK, choice_of_radius, "Q5", FILES, key=True,
    ),
)  # fmt: skip
