"""Claims of notebook 09's language model, from the planned runs of `rsail.study.misspecification`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsail.study.biased_oracle import BIAS
from rsail.study.claims.claim import Claim, Finding
from rsail.study.every_method.analysis import text
from rsail.study.misspecification import analysis as lm
from rsail.study.misspecification import equal_kl, exact_central, exact_shared, summary
from rsail.study.misspecification.exact_setting import make_bench
from rsail.study.misspecification.plan import FEWER_RHOS, PARTS, RHOS, SEEDS, STUDY
from rsail.study.statistics import Interval, mean_interval, paired_difference

NOTEBOOK = "09b_language_model"
N = str(len(SEEDS))


def _load(results: Path, *parts: str) -> list[lm.Runs]:
    return [lm.load(part, results / STUDY) for part in parts]


def _files(*parts: str) -> tuple[str, ...]:
    return tuple(f"{STUDY}/{part}/*.json" for part in parts)


def over_optimization(results: Path) -> Finding:
    """Filler words and the oracle's wish of the two nominal objectives; what rho removes, and what becomes of gold."""
    (central,) = _load(results, "central")
    numbers, held = {"bias": f"{BIAS:g}", "n": N}, []
    for objective in ("score", "online"):
        nominal, robust = f"{objective}_rho0.00", f"{objective}_rho{BIAS:.2f}"
        found = lm.over_optimisation(central, nominal)
        removed = lm.less_spurious(central.spurious(robust), central.spurious(nominal))
        numbers |= {f"{objective}_excess": str(found["spurious"]), f"{objective}_removed": str(removed)}
        numbers[f"{objective}_gold"] = str(_gold(central, objective))
        held += [found["spurious"].low > 0, found["proxy"].low > 0, removed.low > 0]
    return Finding(all(held), numbers, all(held))


def _gold(central: lm.Runs, objective: str) -> Interval:
    """Gold of robust training minus that of nominal training, paired by seed."""
    robust, nominal = (central.final(f"{objective}_rho{rho:.2f}", lm.GOLD) for rho in (BIAS, 0.0))
    return paired_difference(robust, nominal)


def gold_of_robust_training(results: Path) -> Finding:
    """Whether gold is not lower at rho = bias than at rho = 0, with the score term and without."""
    (central,) = _load(results, "central")
    gold = {objective: _gold(central, objective) for objective in ("score", "online")}
    numbers = {"bias": f"{BIAS:g}", "n": N} | {name: str(interval) for name, interval in gold.items()}
    return Finding(
        gold["score"].high >= 0 > gold["online"].high, numbers, all(g.high >= 0 for g in gold.values())
    )


def gold_over_training(results: Path) -> Finding:
    """Whether gold falls from its best evaluation while the oracle's wish is fulfilled."""
    (central,) = _load(results, "central")
    lost = {o: lm.over_optimisation(central, f"{o}_rho0.00")["lost"] for o in ("score", "online")}
    falls = all(interval.low > 0 for interval in lost.values())
    return Finding(not falls, {"n": N} | {name: str(value) for name, value in lost.items()}, falls)


def larger_beta(results: Path) -> Finding:
    """Robust against a larger beta at the KL of the robust run: as planned, and by the best interpolation."""
    (central,) = _load(results, "central")
    names = ("removed", "gold", "better", "off", "left")
    try:
        found = {objective: equal_kl.interpolations(central, objective) for objective in summary.OBJECTIVES}
    except ValueError as error:  # a logarithm of filler words that are not there
        blanks = [f"{objective}_{name}" for objective in summary.OBJECTIVES for name in names]
        return Finding(False, dict.fromkeys((*blanks, "bias", "n", "how", "near"), str(error)), False)
    errors = {name: sum(rows[name]["error"] for rows in found.values()) for name in lm.INTERPOLATIONS}
    best = min(errors, key=errors.get)
    near = {rows[best]["nearest"] for rows in found.values()}
    numbers = {"bias": f"{BIAS:g}", "n": N, "how": best, "near": " and ".join(f"{b:g}" for b in sorted(near))}
    held, also = [], []
    for objective, rows in found.items():
        planned, better = rows[lm.PLANNED], rows[best]
        off = [f"{row['errors'][row['nearest']].mean:.3f}" for row in (planned, better)]
        values = str(planned["removed"]), str(planned["gold"]), str(better["removed"]), *off
        numbers |= {f"{objective}_{name}": value for name, value in zip(names, values, strict=True)}
        held += [planned["removed"].low > 0, planned["gold"].high >= 0]
        also += [better["removed"].low > 0]
    return Finding(all(held) and all(also) and best != lm.PLANNED, numbers, all(held))


def share_of_the_difference(results: Path) -> Finding:
    """What sharing does: the same comparison on exact problems, tabular and with one weight for the attribute."""
    tabular = exact_central.differences_at(exact_central.central_paths(make_bench()), BIAS)
    paths = exact_shared.load(results / exact_shared.STUDY)
    try:
        shared = exact_central.differences_at(paths, BIAS)
    except ValueError as error:  # the paths have no KL in common
        return Finding(False, dict.fromkeys(("bias", "n", "tabular", "shared", "gold"), str(error)))
    numbers = {
        "bias": f"{BIAS:g}",
        "n": str(tabular["spurious"].n),
        "tabular": text(-tabular["spurious"]),
        "shared": text(-shared["spurious"]),
        "gold": text(shared["gold"]),
    }
    weaker = -shared["spurious"].mean < 0.5 * -tabular["spurious"].mean
    return Finding(bool(shared["spurious"].high < 0 and weaker), numbers)


def early_stopping(results: Path) -> Finding:
    """Robust against nominal SAIL stopped where its KL reaches that of the robust run."""
    (central,) = _load(results, "central")
    numbers, held, before = {"bias": f"{BIAS:g}", "n": N}, [], 0
    for objective in ("score", "online"):
        robust, nominal = f"{objective}_rho{BIAS:.2f}", f"{objective}_rho0.00"
        target = central.final(robust, lm.KL)
        found = lm.along_training(central, nominal, target)
        before += lm.before_first_evaluation(central, nominal, target)
        gold = paired_difference(central.gain(robust), found.gold)
        removed = lm.less_spurious(central.spurious(robust), found.spurious)
        numbers |= {f"{objective}_removed": str(removed), f"{objective}_gold": str(gold)}
        held += [removed.low > 0, gold.low > 0]
    numbers |= {"before": str(before), "all": str(2 * len(SEEDS)), "first": str(_first(central, nominal))}
    return Finding(all(held), numbers)


def _first(runs: lm.Runs, setting: str) -> int:
    """Step of the first evaluation after the start."""
    return int(runs.curve(setting, lm.KL)[0][1])


def critical_radius(results: Path) -> Finding:
    """KL and gold above rho_crit."""
    (central,) = _load(results, "central")
    kl = mean_interval(central.final("score_rho0.40", lm.KL))
    gain = mean_interval(central.gain("score_rho0.40"))
    near = kl.high < 0.05
    numbers = {
        "rho": f"{RHOS[-1]:g}",
        "critical": f"{summary.CRITICAL:.3f}",
        "kl": text(kl),
        "gain": text(gain),
        "n": N,
    }
    return Finding(near and gain.low > 0, numbers, near)


def step_noise(results: Path) -> Finding:
    """What is learned above rho_crit at three step sizes on ways of the same length."""
    central, kinks = _load(results, "central", "kinks")
    rows = {
        "small": (kinks, "small_steps"),
        "middle": (central, "score_rho0.40"),
        "large": (kinks, "large_steps"),
    }
    kl = {name: runs.final(setting, lm.KL) for name, (runs, setting) in rows.items()}
    gain = {name: runs.gain(setting) for name, (runs, setting) in rows.items()}
    grows = all(
        paired_difference(kl[b], kl[a]).low > 0 for a, b in (("small", "middle"), ("middle", "large"))
    )
    also = all(
        paired_difference(gain[b], gain[a]).low > 0 for a, b in (("small", "middle"), ("middle", "large"))
    )
    numbers = {f"kl_{name}": text(mean_interval(values)) for name, values in kl.items()}
    numbers |= {f"gain_{name}": text(mean_interval(values)) for name, values in gain.items()}
    rates = [runs.of(setting)[0]["config"]["learning_rate"] for runs, setting in rows.values()]
    numbers |= {"n": N, "rates": ", ".join(f"{rate:g}" for rate in rates)}
    return Finding(grows, numbers, grows and also)


def certificate(results: Path) -> Finding:
    """Every held-out evaluation whose measured deviation is within rho."""
    found = lm.certificates(_load(results, *PARTS))
    covered = found["rho"] >= found["deviation"] - 1e-12
    violated = int((found["gap"][covered] < -1e-6).sum())
    below = float((found["gap"][~covered] < 0).mean())
    (central,) = _load(results, "central")
    gap = mean_interval(central.final(f"score_rho{BIAS:.2f}", "robust/certificate_gap"))
    numbers = {
        "covered": f"{int(covered.sum()):,}", "violated": str(violated), "below": f"{100 * below:.0f}",
        "gap": text(gap, 4), "n": N, "bias": f"{BIAS:g}",
    }  # fmt: skip
    return Finding(True, numbers, violated == 0)


def collapse(results: Path) -> Finding:
    """How many of all runs lost half of the entropy, or repeat themselves."""
    parts = _load(results, *PARTS)
    gone = sum(int(lm.collapsed(runs, setting).sum()) for runs in parts for setting in runs.results)
    failed = sum(len(runs.failed) for runs in parts)
    entropy = "objective/entropy"
    nominal = "score_rho0.00"
    ratio = parts[0].final(nominal, entropy) / parts[0].reference(nominal, entropy)
    numbers = {
        "gone": str(gone), "failed": str(failed), "runs": str(sum(runs.started for runs in parts)),
        "half": f"{lm.HALF_ENTROPY:g}", "identical": f"{lm.IDENTICAL:g}", "n": N, "ratio": text(mean_interval(ratio)),
    }  # fmt: skip
    return Finding(True, numbers)


def cost_of_caution(results: Path) -> Finding:
    """Gold that rho costs where the oracle is right."""
    (truth,) = _load(results, "truth")
    cost = {
        f"{o}_{rho}": paired_difference(
            truth.final(f"{o}_rho0.{rho}", lm.GOLD), truth.final(f"{o}_rho0.00", lm.GOLD)
        )
        for o, rho in (("score", "05"), ("score", "15"), ("score", "30"), ("online", "15"))
    }
    lost = all(cost[name].high < 0 for name in ("score_15", "score_30", "online_15"))
    numbers = {name: str(interval) for name, interval in cost.items()}
    rhos = ", ".join(f"{rho:g}" for rho in FEWER_RHOS[1:])
    return Finding(lost, numbers | {"n": N, "rhos": rhos, "bias": f"{BIAS:g}"}, lost)


def other_oracles(results: Path) -> Finding:
    """Under which other oracles robust SAIL has less gold, and moves the attribute less."""
    (oracles,) = _load(results, "oracles")
    rows = summary.oracle_differences(oracles)
    less = [name for name, row in rows.items() if row["spurious"].high < 0]
    worse = [name for name, row in rows.items() if row["gold"].high < 0]
    better = [name for name, row in rows.items() if row["gold"].low > 0]
    most = min(rows, key=lambda name: rows[name]["gold"].mean)
    gold = [oracles.final(f"{name}_robust", lm.GOLD) for name in ("flips", "flattened")]
    numbers = {
        "bias": f"{BIAS:g}", "n": N, "all": str(len(rows)), "less": _names(less), "worse": _names(worse),
        "better": _names(better), "most": str(rows[most]["gold"]), "where": _names([most]),
    }  # fmt: skip
    return Finding(np.array_equal(*gold), numbers)


def _names(names: list[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names) or "none"


def _methods(results: Path, ours: str) -> Finding:
    central, methods = _load(results, "central", "methods")
    rows = summary.method_differences(central, methods, ours)
    gold = {name: lm.verdict(row["gold"], row["p_gold"]) for name, row in rows.items()}
    filler = {name: lm.verdict(row["spurious"], row["p_spurious"]) for name, row in rows.items()}
    numbers = {
        "cleaner": _names([name for name in rows if filler[name] == "less"]),
        "richer": str(sum(verdict == "more" for verdict in gold.values())),
        "both": _names([name for name in rows if gold[name] == "more" and filler[name] != "more"]),
        "poorer": _names([name for name in rows if gold[name] == "less"]),
    }
    others = {name: row["spurious"] for name, row in rows.items() if "robust" not in name}
    nearest = min(others, key=lambda name: others[name].mean)
    numbers |= {"nearest": _names([nearest]), "more": str(others[nearest])}
    return Finding(True, numbers | {"all": str(len(rows)), "n": N, "bias": f"{BIAS:g}"})


def methods_against_robust_sail(results: Path) -> Finding:
    """Other methods against robust SAIL: gold and filler words, Holm over all of them."""
    return _methods(results, "robust SAIL")


def methods_against_robust_dpo(results: Path) -> Finding:
    """Other methods against robust online DPO."""
    return _methods(results, "robust online DPO")


def methods_at_equal_kl(results: Path) -> Finding:
    """Robust online DPO against each other method, stopped where its KL reaches that of the robust run."""
    central, methods = _load(results, "central", "methods")
    rows = equal_kl.stopped_early(central, methods, "robust online DPO")
    richer = [name for name, row in rows.items() if row["gold"].low > 0]
    cleaner = [name for name, row in rows.items() if row["removed"].low > 0]
    dirtier = [name for name, row in rows.items() if row["removed"].high < 0]
    where = summary.methods_compared(central, methods)
    (first,) = {_first(*where[name]) for name in rows}
    ends, _, _ = equal_kl.trained_to_the_end(central, "robust online DPO")["online DPO"]
    (beta,) = {run["config"]["beta"] for run in central.of("online_beta0.40")}
    numbers = {
        "all": str(len(rows)), "richer": str(len(richer)), "cleaner": str(len(cleaner)), "dirtier": str(len(dirtier)),
        "least": str(min((row["gold"] for row in rows.values()), key=lambda gold: gold.mean)),
        "before": str(sum(row["before"] for row in rows.values())), "comparisons": str(len(rows) * len(SEEDS)),
        "first": str(first), "beta": f"{beta:g}", "stopped": str(rows["online DPO, beta 0.4"]["gold"]),
        "ends": str(ends), "bias": f"{BIAS:g}", "n": N,
    }  # fmt: skip
    return Finding(len(richer) == len(rows), numbers)


def reference_models(results: Path) -> Finding:
    """What rho removes on each reference model."""
    central, sizes = _load(results, "central", "sizes")
    rows = summary.model_differences(central, sizes)
    removed = {name: row["removed"] for name, row in rows.items()}
    numbers = {name: str(interval) for name, interval in removed.items()}
    held = all(interval.low > 0 for interval in removed.values())
    shares = {name: row["removed"].mean / row["nominal spurious"].mean for name, row in rows.items()}
    numbers |= {"least": f"{100 * min(shares.values()):.0f}", "most": f"{100 * max(shares.values()):.0f}"}
    return Finding(bool(np.all(held)), numbers | {"bias": f"{BIAS:g}", "n": N})


def _claim(statement: str, check, question: str, *parts: str, **more) -> Claim:
    return Claim(statement, "statistical", NOTEBOOK, check, question, _files(*parts), **more)


CLAIMS = (
    _claim(
        "Under an oracle that favors filler words by {bias}, SAIL adds {score_excess} of them to a response where all "
        "are equally good, online DPO {online_excess}; ρ = {bias} removes {score_removed} and {online_removed}, and "
        "changes gold by {score_gold} and {online_gold} ({n} paired seeds)",
        over_optimization, "Q3", "central", prediction="nominal follows the oracle, ρ stops it", key=True,
    ),
    _claim(
        "Gold reward is not seen to fall while the oracle is over-optimized: below its best evaluation by {score} "
        "(SAIL) and {online} (online DPO) at the end ({n} seeds)",
        gold_over_training, "Q3", "central", prediction="gold falls from its best",
    ),
    _claim(
        "ρ = {bias} costs no gold with the score term ({score}, robust minus nominal), but some without ({online}; {n} "
        "paired seeds)",
        gold_of_robust_training, "Q3", "central", prediction="gold not lower, with the score term and without",
    ),
    _claim(
        "Under {all} other oracles (flips and flattened are the same, seen through probabilities), ρ = {bias} moved "
        "the attribute of the mistake less under: {less}; it had more gold under: {better}; less gold under: {worse}, "
        "most under {where}, {most} ({n} paired seeds each)",
        other_oracles, "Q3", "oracles",
    ),
    _claim(
        "At equal KL, ρ = {bias} leaves fewer filler words than a larger β: {score_removed} with the score term and "
        "{online_removed} without as planned, {score_better} and {online_better} by the interpolation with the "
        "smallest error on held-out β (straight in {how}; at β = {near} off by {score_left} and {online_left}, the "
        "planned one by {score_off} and {online_off}); gold differs by {score_gold} and {online_gold} ({n} paired "
        "seeds)",
        larger_beta, "Q4", "central", prediction="fewer, and not less gold", key=True,
    ),
    Claim(
        "How much more ρ = {bias} removes than a larger β at equal KL depends on what prompts share: {tabular} of "
        "the attribute where they share nothing, {shared} where one weight moves it on all prompts; gold there "
        "{gold} more ({n} exact problems)",
        "statistical", "09_misspecification", share_of_the_difference, "Q4", (f"{exact_shared.STUDY}/*.json",),
        key=True,
    ),
    _claim(
        "Early stopping at the same KL is worse than ρ = {bias}: {score_removed} and {online_removed} more filler "
        "words, and robust training has {score_gold} and {online_gold} more gold (with and without the score term; "
        "{n} paired seeds). In {before} of {all} comparisons that KL is passed before the first evaluation, at step "
        "{first}: the stopped policy is then read off a straight line from the untrained one",
        early_stopping, "Q4", "central",
    ),
    _claim(
        "Above ρ_crit = {critical}, at ρ = {rho}, a language model stays within {kl} nats of the reference, but gains "
        "{gain} of gold: the reference is the minimum, and yet something is learned ({n} seeds)",
        critical_radius, "Q5", "central", prediction="KL below 0.05 nats",
    ),
    _claim(
        "What is learned above ρ_crit comes of the steps' noise at the kink: on ways of the same length, learning "
        "rates {rates} end at KL {kl_small}, {kl_middle} and {kl_large} nats, with {gain_small}, "
        "{gain_middle} and {gain_large} of gold ({n} seeds)",
        step_noise, "Q5", "central", "kinks", prediction="KL and gold grow with the step size",
    ),
    _claim(
        "In {covered} held-out evaluations during training with the oracle's deviation within ρ, the certificate "
        "was violated {violated} times (gap of robust SAIL at ρ = {bias}: {gap}, {n} seeds); where the deviation is "
        "larger, the robust loss lay below the true one in {below} % of the evaluations",
        certificate, "Q6", *PARTS, prediction="never violated", key=True,
    ),
    _claim(
        "Of {runs} planned runs {failed} failed and {gone} ended with less than {half} of the reference's entropy or "
        "more than {identical} identical pairs; nominal SAIL's is {ratio} of it ({n} seeds)",
        collapse, "Q7", *PARTS,
    ),
    _claim(
        "Where the oracle is right, ρ costs gold: {score_05}, {score_15} and {score_30} at {rhos} with the score term, "
        "{online_15} at {bias} without ({n} paired seeds)",
        cost_of_caution, "Q8", "truth", prediction="gold is lost as ρ grows", key=True,
    ),
    _claim(
        "Fewer filler words than robust SAIL: {cleaner} of {all} other settings and methods at the same budget (the "
        "nearest, {nearest}, has {more} more). More gold: {richer}, of them at no more filler: {both}. Less gold: "
        "{poorer} (oracle biased by {bias}; after Holm, {n} paired seeds)",
        methods_against_robust_sail, "Q9", "central", "methods", key=True,
    ),
    _claim(
        "Fewer filler words than robust online DPO: {cleaner} of {all} other settings and methods at the same budget "
        "(the nearest, {nearest}, has {more} more). More gold: {richer}, of them at no more filler: {both}. Less gold: "
        "{poorer} (oracle biased by {bias}; after Holm, {n} paired seeds)",
        methods_against_robust_dpo, "Q9", "central", "methods",
    ),
    _claim(
        "Stopped early at the KL of robust online DPO (ρ = {bias}), {richer} of {all} other methods have less gold, "
        "the nearest by {least}; {cleaner} have more filler words, {dirtier} fewer (not planned, not corrected; {n} "
        "paired seeds). But in {before} of {comparisons} comparisons that KL is passed before the first evaluation, at "
        "step {first}, and the stopped policy is read off a straight line from the untrained one; and online DPO at "
        "β = {beta} has {stopped} less gold stopped there, but {ends} less trained to the end with the β that ends "
        "there",
        methods_at_equal_kl, "Q9", "central", "methods",
    ),
    _claim(
        "On models of three sizes ρ = {bias} removes filler words: {small} (small), {committed} (committed) and "
        "{large} (large) per response, {least} to {most} % of what nominal SAIL adds ({n} paired seeds each)",
        reference_models, "Q10", "central", "sizes", key=True,
    ),
)  # fmt: skip
