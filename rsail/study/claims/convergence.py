"""Claims of notebooks 03 and 04 that rest on result files: constants on many problems, rates of Algorithm 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsail.study import constants_check
from rsail.study import convergence as study
from rsail.study.claims.claim import Claim, Finding
from rsail.study.results import read_result
from rsail.study.statistics import Interval

CONSTANTS = f"{constants_check.PATH.parent.name}/{constants_check.PATH.name}"
RATES = (f"{study.NAME}/*.json",)
THEORY = -0.5
NOT_IN_THE_PAPER = ("paper", "sail_smoothness")  # Assumption 3 leaves it open: the files hold the sharp one


def constants_hold(results: Path) -> Finding:
    """The largest measured / bound of every constant, over the random problems and the optimized ones."""
    found = read_result(results / CONSTANTS)
    random, optimized = found["metrics"]["random"], found["metrics"]["optimized"]
    used = {}
    for kind in ("paper", "sharp", "refined"):
        rows = [(row["quantity"], row[kind]) for row in found["history"]]
        rows += [*random["largest"][kind].items(), *optimized["largest"][kind].items()]
        used[kind] = max(ratio for name, ratio in rows if (kind, name) != NOT_IN_THE_PAPER)
    holds = max(used.values()) <= 1.0 + constants_check.TOLERANCE
    numbers = {
        "random": f"{random['count']:,}",
        "optimized": f"{optimized['count']:,}",
        **{kind: f"{value:.3f}" for kind, value in used.items()},
    }
    return Finding(holds, numbers, holds)


def _rates(results: Path) -> dict[tuple[str, str], study.Rate]:
    return study.load_rates(results / study.NAME)


def bound_holds(results: Path) -> Finding:
    """Corollary 5.3's bound against the upper end of the measured interval, at every horizon of every setting."""
    rates = _rates(results)
    runs = {rate.values.shape[1] for rate in rates.values()}
    ratios = np.concatenate([rate.mean / rate.bound for rate in rates.values()])
    upper = np.concatenate([(rate.mean + rate.half_width) / rate.bound for rate in rates.values()])
    at = ratios.argmax()
    low = 2 * ratios[at] - upper[at]
    closest = Interval(float(ratios[at]), float(low), float(upper[at]), runs.pop())
    numbers = {
        "settings": str(len(rates)),
        "points": str(len(ratios)),
        "n": str(closest.n),
        "closest": str(closest),
    }
    holds = bool(upper.max() < 1) and not runs
    return Finding(holds, numbers, holds)


def _exponent(results: Path, problem: str) -> tuple[Interval, dict[str, str]]:
    rate = _rates(results)[problem, "refined"]
    slope = Interval(*rate.exponent(), rate.values.shape[1])
    radius, _ = study.PROBLEMS[problem]
    return slope, {
        "slope": str(slope),
        "n": str(slope.n),
        "radius": f"{radius:g}",
        "first": f"{rate.steps[0]:,}",
        "last": f"{rate.steps[-1]:,}",
    }


def rate_on_the_small_set(results: Path) -> Finding:
    """The exponent of the measured mean over the horizons, refined constants, narrow problem."""
    slope, numbers = _exponent(results, "narrow")
    holds = not slope.excludes(THEORY)
    return Finding(holds, numbers, holds)


def rate_on_the_unit_set(results: Path) -> Finding:
    """The same at D = 1, where the bound holds and its rate is not seen."""
    slope, numbers = _exponent(results, "unit")
    return Finding(slope.low > THEORY and slope.high < 0, numbers, not slope.excludes(THEORY))


def paper_constants_are_late(results: Path) -> Finding:
    """After how many steps each set's bound falls below the value at the start, and the paper's exponent."""
    rates = {kind: _rates(results)["narrow", kind] for kind in study.KINDS}
    steps = {kind: rate.steps[0] * (rate.bound[0] / rate.start_value) ** 2 for kind, rate in rates.items()}
    paper = rates["paper"]
    slope = Interval(*paper.exponent(), paper.values.shape[1])
    numbers = {kind: f"{float(f'{value:.2g}'):,.0f}" for kind, value in steps.items()}
    numbers |= {"slope": str(slope), "n": str(slope.n), "last": f"{paper.steps[-1]:,}"}
    holds = steps["paper"] > paper.steps[-1] > steps["sharp"] > steps["refined"] and slope.high > THEORY
    return Finding(bool(holds), numbers)


CLAIMS = (
    Claim(
        "On {random} random problems, and {optimized} made by gradient ascent to break them, no constant of weak "
        "convexity is exceeded: the paper's are used up to {paper}, the sharper ones up to {sharp} and {refined}",
        "to tolerance", "03_weak_convexity", constants_hold, results=(CONSTANTS,),
        prediction="not exceeded (Theorems 4.7, 4.8)",
    ),
    Claim(
        "Corollary 5.3's bound holds in all {settings} settings at all {points} horizons; the nearest mean is "
        "{closest} of it ({n} runs)",
        "statistical", "04_convergence", bound_holds, results=RATES, prediction="the bound is above the mean",
    ),
    Claim(
        "On a small parameter set (D = {radius}) Algorithm 1 converges at the rate of theory: the squared "
        "envelope gradient falls with the exponent {slope} from {first} to {last} steps ({n} runs per horizon, "
        "bootstrap)",
        "statistical", "04_convergence", rate_on_the_small_set, results=RATES, prediction="exponent -½",
    ),
    Claim(
        "At D = {radius} that rate is not seen within {last} steps: the exponent is {slope} ({n} runs per horizon, "
        "bootstrap; from {first} steps on)",
        "statistical", "04_convergence", rate_on_the_unit_set, results=RATES, prediction="exponent -½",
    ),
    Claim(
        "With the paper's constants the bound says nothing before some {paper} steps, with sharp ones {sharp}, "
        "with refined ones {refined}; with the paper's steps {last} iterations show no such rate (exponent "
        "{slope}, {n} runs, bootstrap)",
        "statistical", "04_convergence", paper_constants_are_late, results=RATES,
    ),
)  # fmt: skip
