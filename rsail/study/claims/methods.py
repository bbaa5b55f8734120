"""Claims of notebook 06: every method solved on one exact problem; from the files of `rsail.study.every_method`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsail.study.claims.claim import Claim, Finding
from rsail.study.every_method import analysis, basins, experiment, problem
from rsail.study.every_method.analysis import text
from rsail.study.every_method.methods import METHODS
from rsail.study.statistics import holm, mean_interval, paired_difference, paired_test

NOTEBOOK = "06_every_method"
LEVEL = 0.05  # of Holm's procedure
N = str(len(experiment.SEEDS))


def _files(*names: str) -> tuple[str, ...]:
    return tuple(f"{experiment.NAME}/{name}.json" for name in names)


def _table(results: Path, oracle: str) -> experiment.Table:
    return experiment.load_table(oracle, results / experiment.NAME)


def _equal_kl(results: Path) -> dict[str, dict[str, np.ndarray]]:
    return experiment.load_equal_kl(results / experiment.NAME)


def larger_beta(results: Path) -> Finding:
    """The spurious effect that a larger beta leaves, and that a radius leaves, at one KL on each problem."""
    found = _equal_kl(results)
    effect = {name: mean_interval(found[name]["spurious"]) for name in ("DPO", "robust DPO", "robust SAIL")}
    removed = max(effect["robust DPO"].high, effect["robust SAIL"].high) < analysis.GONE
    holds = removed and effect["DPO"].low > analysis.GONE
    numbers = {
        "beta": text(mean_interval(found["DPO"]["beta"]), 2),
        "kl": f"{found['robust SAIL']['kl'].mean():.2f}",
        "dpo": text(effect["DPO"]),
        "robust": text(effect["robust DPO"]),
        "sail": text(effect["robust SAIL"]),
        "n": N,
    }
    return Finding(holds, numbers, holds)


def dead_zones(results: Path) -> Finding:
    """Which methods remove the oracle's bias: tuned for regret, and at equal KL."""
    bias, equal = _table(results, "bias"), _equal_kl(results)
    left = {name: abs(bias.mean(name, "spurious")) for name, m in METHODS.items() if m.smooth_at_zero}
    least = min(left, key=left.get)
    at_equal = {name: mean_interval(found["spurious"]) for name, found in equal.items()}
    swept = [interval for name, interval in at_equal.items() if METHODS[name].smooth_at_zero]
    smooth = min(swept, key=lambda interval: abs(interval.mean))
    gone = analysis.removed(bias)
    numbers = {
        "gone": "; ".join(gone),
        "threshold": f"{analysis.GONE:g}",
        "smooth": str(len(left)),
        "least": least,
        "effect": text(mean_interval(bias.values(least, "spurious"))),
        "equal": text(smooth),
        "swept": str(len(swept)),
        "n": N,
    }
    holds = bool(gone) and not set(gone) & set(left) and abs(smooth.mean) > analysis.GONE
    return Finding(holds, numbers, holds)


def _against_all(table: experiment.Table, ours: str) -> tuple[int, int, int]:
    """The number of other ranked methods; of those with more, and with less regret than `ours`, by Holm's procedure."""
    others = [name for name in analysis.ranking(table) if name != ours]
    own = table.values(ours, "regret")
    adjusted = holm([paired_test(table.values(name, "regret"), own) for name in others])
    more = np.array([table.mean(name, "regret") > own.mean() for name in others])
    return len(others), int(np.sum(more & (adjusted < LEVEL))), int(np.sum(~more & (adjusted < LEVEL)))


def _comparison(results: Path, ours: str, rival: str) -> tuple[dict[str, str], tuple[int, int, int]]:
    bias = _table(results, "bias")
    counts = _against_all(bias, ours)
    numbers = dict(zip(("others", "better", "worse"), map(str, counts), strict=True))
    numbers |= {"level": f"{LEVEL:g}", "n": N, "difference": text(analysis.excess(bias, ours, rival))}
    return numbers, counts


def robust_dpo_under_bias(results: Path) -> Finding:
    """Robust DPO against every ranked method under the biased oracle, each tuned to it."""
    numbers, (_, better, worse) = _comparison(results, "robust DPO", "DPO")
    gain = analysis.excess(_table(results, "bias"), "robust DPO", "DPO")
    return Finding(gain.high < 0 and better > worse, numbers, gain.high < 0)


def robust_sail_under_bias(results: Path) -> Finding:
    """Robust SAIL against every ranked method under the biased oracle, each tuned to it."""
    numbers, (_, better, worse) = _comparison(results, "robust SAIL", "robust DPO")
    price = analysis.excess(_table(results, "bias"), "robust SAIL", "robust DPO")
    return Finding(price.low > 0 and worse > better, numbers, price.high < 0)


def robust_sail_at_equal_kl(results: Path) -> Finding:
    """Robust SAIL's regret minus SAIL's and DPO's at the same KL."""
    equal = _equal_kl(results)
    ours = equal["robust SAIL"]["regret"]
    sail, dpo = (paired_difference(ours, equal[name]["regret"]) for name in ("SAIL", "DPO"))
    numbers = {"sail": text(sail), "dpo": text(dpo), "n": N}
    return Finding(not sail.excludes(0.0) and dpo.low > 0, numbers, sail.high < 0)


def best_under_bias(results: Path) -> Finding:
    """Which method has the least regret under the bias, and how far robust DPO is from it."""
    bias = _table(results, "bias")
    winner = analysis.winner(bias)
    gap = analysis.excess(bias, "robust DPO", analysis.ranking(bias)[0])
    numbers = {"winner": winner, "gap": text(gap), "n": N}
    return Finding(winner == "DPO-PRO" and gap.low > 0, numbers, gap.high < 0)


def flips_undone(results: Path) -> Finding:
    """RDPO at the true rate of symmetric flips, and what the flips cost DPO."""
    flips = _table(results, "flips")
    regret = flips.values("rDPO", "regret").max()
    dpo = mean_interval(flips.values("DPO", "regret"))
    chosen = flips.options["rDPO"]["flip_rate"] == problem.FLIP_RATE
    numbers = {"rate": f"{problem.FLIP_RATE:g}", "tolerance": "1e-09", "dpo": text(dpo), "n": N}
    holds = bool(regret <= 1e-9) and chosen
    return Finding(holds, numbers, holds)


def price_when_right(results: Path) -> Finding:
    """Robust SAIL's loss against SAIL's, both from the reference, when the oracle is right."""
    starts = experiment.load_starts(results / experiment.NAME)
    ends = {loss: starts[loss, "truth"]["reference"]["regret"] for loss in ("robust SAIL", "SAIL")}
    price = paired_difference(ends["robust SAIL"], ends["SAIL"])
    numbers = {
        "rho": f"{basins.RADII['robust SAIL']:g}",
        "sail": text(mean_interval(ends["SAIL"])),
        "price": text(price),
        "n": N,
    }
    return Finding(max(-price.low, price.high) < 0.25 * ends["SAIL"].mean(), numbers)


def radius_not_chosen(results: Path) -> Finding:
    """Which losses with a dead zone on fixed pairs take radius 0 when tuned to the true oracle."""
    truth = _table(results, "truth")
    kinked = ["robust DPO", "DPO-PRO", "TV, hard label", "robust lists"]
    off = [name for name in kinked if name in analysis.turned_off(truth)]
    regret = mean_interval(truth.values("robust SAIL", "regret"))
    numbers = {"off": "; ".join(off), "sail": text(regret), "n": N}
    return Finding(off == kinked and regret.low > 0, numbers, off == kinked)


def nash_under_cycle(results: Path) -> Finding:
    """The Nash policy's regret and gap against DPO's under the cyclic oracle."""
    cycle = _table(results, "cycle")
    cost = analysis.excess(cycle, "Nash", "DPO")
    gap = analysis.excess(cycle, "Nash", "DPO", "gap")
    numbers = {"cost": text(cost), "gap": text(gap), "n": N}
    return Finding(cost.low > 0 > gap.high, numbers, cost.high < 0)


def group_robustness(results: Path) -> Finding:
    """Group-robust DPO's regret for the worse-off group against DPO's."""
    harm = analysis.excess(_table(results, "groups"), "group-robust DPO", "DPO", "group_regret")
    return Finding(harm.low > 0, {"harm": text(harm), "n": N}, harm.high < 0)


def _claim(statement: str, check, question: str, *names: str, **more) -> Claim:
    return Claim(statement, "statistical", NOTEBOOK, check, question, _files(*names), **more)


CLAIMS = (
    _claim(
        "ρ is not only a bigger β: on exactly solved problems under a biased oracle, DPO with β = {beta} is as "
        "far from the reference as robust SAIL (KL {kl} nats) and leaves {dpo} of the spurious effect, robust DPO "
        "{robust} and robust SAIL {sail} ({n} problems)",
        larger_beta, "Q4", "equal_kl", prediction="β scales all margins alike, ρ does not",
    ),
    _claim(
        "When the oracle is right, ρ = {rho} changes SAIL's regret on exactly solved problems by {price}, little "
        "beside the {sail} that SAIL itself has ({n} problems)",
        price_when_right, "Q8", "starts",
    ),
    _claim(
        "Robustness that is not needed is not chosen: tuned to a right oracle on fixed pairs, {off} take no radius "
        "and are DPO; robust SAIL, on its own pairs, has a regret of {sail} ({n} problems)",
        radius_not_chosen, "Q8", "truth", prediction="no radius",
    ),
    _claim(
        "Only methods with a dead zone remove the oracle's bias: tuned for regret {gone} leave less than "
        "{threshold} of the spurious effect, the best of {smooth} smooth ones ({least}) {effect}; at equal KL "
        "none of {swept} smooth ones leaves less than {equal} ({n} problems)",
        dead_zones, "Q9", "bias", "equal_kl", prediction="only a kink at h = 0 removes it",
    ),
    _claim(
        "Under the bias, each method tuned to it, robust DPO has less regret than {better} of {others} others and "
        "more than {worse} of them (Holm's procedure, level {level}); minus DPO's it is {difference} ({n} exactly "
        "solved problems)",
        robust_dpo_under_bias, "Q9", "bias", prediction="less than DPO",
    ),
    _claim(
        "Under the bias robust SAIL is not the one to choose: it has less regret than {better} of {others} others "
        "and more than {worse} of them (Holm's procedure, level {level}); minus robust DPO's it is {difference}, the "
        "price of learning from one's own pairs ({n} exactly solved problems)",
        robust_sail_under_bias, "Q9", "bias", prediction="less than its offline relative",
    ),
    _claim(
        "At equal KL robust SAIL has no less regret than SAIL ({sail}) and more than DPO ({dpo}; {n} problems)",
        robust_sail_at_equal_kl, "Q9", "equal_kl", prediction="less than SAIL",
    ),
    _claim(
        "Under the bias the least regret has {winner}; robust DPO has {gap} more (this pair alone; {n} "
        "problems)",
        best_under_bias, "Q9", "bias", prediction="robust DPO has less than DPO-PRO",
    ),
    _claim(
        "rDPO undoes symmetric flips at their rate of {rate}: regret at most {tolerance}, DPO's is {dpo} ({n} "
        "problems)",
        flips_undone, "Q9", "flips", prediction="exactly undone",
    ),
    _claim(
        "Under a preference that goes round in circles the Nash policy is less beatable than DPO's (duality gap, "
        "difference {gap}) and has more regret under the true reward ({cost}; {n} problems)",
        nash_under_cycle, "Q9", "cycle", prediction="less regret",
    ),
    _claim(
        "Group-robust DPO harms the worse-off group of annotators: {harm} more regret than with DPO ({n} problems)",
        group_robustness, "Q9", "groups", prediction="less regret for that group",
    ),
)  # fmt: skip
