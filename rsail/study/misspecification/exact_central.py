"""The central figure, exactly: rho against beta where only half of the prompts have a true preference (Q3, Q4).

Two ways to be more careful from the same start, beta = 0.1 and rho = 0: raise rho, or raise beta. Both lower the KL to
the reference, so that they are compared at equal KL, each path interpolated problem by problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rsail import checks
from rsail.study.display import text_of
from rsail.study.every_method.problem import BETA
from rsail.study.misspecification.exact_fixed_law import solve_fixed_law
from rsail.study.misspecification.exact_setting import (
    BETAS,
    MEASURES,
    RHOS,
    Bench,
    measure,
    reference_measures,
)
from rsail.study.misspecification.exact_solver import make_prompts, solve
from rsail.study.statistics import Interval, mean_interval, paired_difference

LEVELS = 25  # of the KL at which paths are compared


@dataclass(frozen=True, eq=False)
class Path:
    """What a learner ends with at each of S settings of (beta, rho); measures are (S, problems)."""

    betas: np.ndarray
    rhos: np.ndarray
    measures: dict[str, np.ndarray]
    log_ratio: np.ndarray  # (S, N, Y)
    loss: np.ndarray  # (S, N)
    residual: np.ndarray  # (S, N), the certificate of the descents

    def mean(self, name: str) -> np.ndarray:
        return self.measures[name].mean(axis=1)

    def intervals(self, name: str) -> list[Interval]:
        """One 95 % t interval over problems per setting."""
        return [mean_interval(values) for values in self.measures[name]]


def solve_path(
    bench: Bench,
    preferences: np.ndarray,
    *,
    betas: Sequence[float],
    rhos: Sequence[float],
    score_term: bool = True,
) -> Path:
    """Learn from the oracle `preferences` (N, Y, Y) at every pair (betas[s], rhos[s]), to convergence."""
    betas, rhos = np.broadcast_arrays(*map(np.atleast_1d, (betas, rhos)))
    count = len(bench.rewards)
    everything = make_prompts(
        np.tile(bench.ref_log_probs, (len(betas), 1)),
        np.tile(preferences, (len(betas), 1, 1)),
        beta=np.repeat(betas, count),
        rho=np.repeat(rhos, count),
    )
    ends = (solve if score_term else solve_fixed_law)(everything)
    log_ratio, loss, residual = (
        values.reshape(len(betas), count, *values.shape[1:])
        for values in (ends.log_ratio, ends.loss, ends.residual)
    )
    found = [measure(bench, ratio) for ratio in log_ratio]
    return Path(
        betas,
        rhos,
        {name: np.array([f[name] for f in found]) for name in MEASURES},
        log_ratio,
        loss,
        residual,
    )


def central_paths(bench: Bench, *, score_term: bool = True) -> dict[str, Path]:
    """The two paths of the central figure under the biased oracle: "rho" at beta = 0.1, and "beta" at rho = 0."""
    oracle, settings = bench.biased, {"score_term": score_term}
    return {
        "rho": solve_path(bench, oracle, betas=BETA, rhos=RHOS, **settings),
        "beta": solve_path(bench, oracle, betas=BETAS, rhos=0.0, **settings),
    }


def at_kl(path: Path, name: str, levels, *, kl: str = "kl") -> np.ndarray:
    """The measure `name` where the path first comes down to each KL of `levels`; (levels, problems).

    Linear in the root of the KL between neighboring settings: near the reference effects grow with the step, and the
    KL with its square. NaN where the path begins below the level or never comes down to it.
    """
    checks.one_of("name", name, MEASURES)
    levels = np.atleast_1d(levels)
    result = np.full((len(levels), path.measures[kl].shape[1]), np.nan)
    for problem, (distance, values) in enumerate(
        zip(path.measures[kl].T, path.measures[name].T, strict=True)
    ):
        for row, level in enumerate(levels):
            below = np.flatnonzero(distance <= level)
            if len(below) and (below[0] > 0 or distance[0] == level):
                last = max(below[0], 1)
                far, near = np.sqrt(np.maximum(distance[[last - 1, last]], 0.0))
                share = (far - np.sqrt(level)) / (far - near)
                result[row, problem] = values[last - 1] + share * (values[last] - values[last - 1])
    return result


def shared_levels(paths: dict[str, Path], *, count: int = LEVELS) -> np.ndarray:
    """KLs (count,) that every path of every problem comes down to."""
    low = max(path.measures["kl"].min(axis=0).max() for path in paths.values())
    high = min(path.measures["kl"][0].min() for path in paths.values())
    return np.linspace(low, high, count + 2)[1:-1]


def equal_kl(paths: dict[str, Path]) -> dict:
    """Gold and spurious effect of both paths at equal KL: kl (levels,), and name -> path -> mean, low, high."""
    levels = shared_levels(paths)
    found: dict = {"kl": levels}
    for name in ("gold", "spurious"):
        found[name] = {
            key: bands([mean_interval(row) for row in at_kl(path, name, levels)])
            for key, path in paths.items()
        }
    return found


def differences_at(paths: dict[str, Path], rho: float) -> dict[str, Interval]:
    """Robust at `rho` minus nominal with the beta that ends at the same KL, paired by problem: gold and spurious."""
    row = int(np.flatnonzero(paths["rho"].rhos == rho)[0])
    robust, nominal = paths["rho"].measures, {}
    for name in ("gold", "spurious"):
        levels = robust["kl"][row]
        nominal[name] = np.diag(at_kl(paths["beta"], name, levels))
    return {name: paired_difference(robust[name][row], values) for name, values in nominal.items()}


def figure_data(bench: Bench, paths: dict[str, dict[str, Path]]) -> dict:
    """One column of `figures.misspecification_exact.central`; `paths`: objective -> "rho" and "beta"."""
    before = reference_measures(bench)
    return {
        objective: {
            key: {"value": path.rhos if key == "rho" else path.betas}
            | {
                name: bands([mean_interval(values - before[name]) for values in path.measures[name]])
                for name in ("gold", "spurious", "kl", "kl_open")
            }
            for key, path in pair.items()
        }
        for objective, pair in paths.items()
    }


def text(interval: Interval, digits: int = 2) -> str:
    """An interval as "mean [low, high]", without a sign before a zero."""
    mean, *ends = (text_of(value, digits) for value in (interval.mean, interval.low, interval.high))
    return f"{mean} [{', '.join(ends)}]"


def bands(intervals: Iterable[Interval]) -> dict[str, np.ndarray]:
    """Intervals as {mean, low, high}, an array each."""
    intervals = list(intervals)
    return {key: np.array([getattr(i, key) for i in intervals]) for key in ("mean", "low", "high")}
