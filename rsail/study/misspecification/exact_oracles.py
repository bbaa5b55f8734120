"""Every kind of wrong oracle against every rho, exactly: what is learned, what it costs, the certificate (Q6, Q8).

The adversary of the current policy needs no descent of its own. It answers P* - eps sign(h), clipped, so that a learner
with radius rho meets P* - (eps + rho) sign(h): by Danskin's theorem it descends L^W_(eps + rho) around the truth.

Both objectives are swept. With the truth, SAIL's minimizer is not the policy of least regret, so that some robustness
may help it for reasons that have nothing to do with the oracle; online DPO's is (`exact_fixed_law`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rsail import checks
from rsail.oracles import perturbations
from rsail.study.every_method.problem import BETA, BIAS, FLIP_RATE, ORACLES, make_testbed
from rsail.study.misspecification.exact_central import solve_path
from rsail.study.misspecification.exact_setting import Bench, make_bench
from rsail.study.misspecification.exact_solver import make_prompts, robust_losses
from rsail.study.statistics import Interval, mean_interval

SWEEP_SEEDS = tuple(range(100, 120))
SWEEP_RHOS = (
    0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.3, 0.35, 0.4, 0.5,
)  # fmt: skip
OBJECTIVES = {"score": "robust SAIL", "online": "robust online DPO: without the score term"}
FLATTEN = 0.2  # weight of a coin toss: the same map as flips at half of it
STORIES = {
    "truth": "Bradley-Terry preferences of r*",
    "flips": f"a share {FLIP_RATE} of the answers is reversed",
    "flatten": f"answers are mixed with a share {FLATTEN} of coin tosses",
    "bias": f"{BIAS} more for the response with more of the attribute",
    "groups": "a quarter of the annotators likes the attribute, too",
    "cycle": f"rock, paper, scissors: {BIAS} for whoever is half a turn ahead",
    "worst case": f"{BIAS} against whatever the current policy believes",
}
SOLVED = tuple(name for name in STORIES if name != "worst case")
ADVERSARY = BIAS  # radius of the oracle "worst case"
_TABLES: dict[str, Callable] = ORACLES | {
    "flatten": lambda testbed: perturbations.flatten(perturbations.truth(testbed.rewards), FLATTEN)
}


def observed(seeds, oracle: str) -> np.ndarray:
    """Preferences (N, Y, Y) of an oracle that does not look at the policy, on the problems with these seeds."""
    checks.one_of("oracle", oracle, _TABLES)
    return np.concatenate([_TABLES[oracle](make_testbed(seed)) for seed in seeds])


@dataclass(frozen=True, eq=False)
class Sweep:
    """An oracle against all radii `rhos`: `measures`, and per problem what theory speaks of; (S, problems) each.

    `certificate` is L^W_rho(P_obs) - L_SAIL(P*) at the policy that was learned, which is never negative where
    rho >= `deviation` (problems,); `slack` is 2 rho beta R, which it never exceeds there. `first` is the same
    difference at the policy that is learned with rho = 0, whose R does not shrink with rho.
    """

    oracle: str
    objective: str  # one of OBJECTIVES
    rhos: np.ndarray
    measures: dict[str, np.ndarray]
    residual: np.ndarray  # (S,), largest certificate of a descent
    deviation: np.ndarray
    certificate: np.ndarray
    slack: np.ndarray
    first: np.ndarray

    @property
    def regret(self) -> np.ndarray:
        return self.measures["regret"]


def sweep(seeds, oracle: str, rhos=SWEEP_RHOS, *, objective: str = "score") -> Sweep:
    """Learn from the named oracle at every rho, on every problem, to convergence."""
    checks.one_of("oracle", oracle, STORIES)
    checks.one_of("objective", objective, OBJECTIVES)
    bench, rhos = make_bench(seeds), np.asarray(rhos, dtype=np.float64)
    adversarial = oracle == "worst case"
    table = bench.truth if adversarial else observed(seeds, oracle)
    radii = rhos + ADVERSARY * adversarial
    path = solve_path(bench, table, betas=BETA, rhos=radii, score_term=objective == "score")
    seen = [answers(bench, table, ratio, ADVERSARY) if adversarial else table for ratio in path.log_ratio]
    found = [
        certificate(bench, answer, ratio, rho)
        for answer, ratio, rho in zip(seen, path.log_ratio, rhos, strict=True)
    ]
    start = [certificate(bench, seen[0], path.log_ratio[0], rho)[0] for rho in rhos]
    gaps, slacks = (np.array(values) for values in zip(*found, strict=True))
    deviation = np.full(bench.problems, ADVERSARY) if adversarial else sup_deviations(bench, table)
    residual = path.residual.max(axis=1)
    return Sweep(oracle, objective, rhos, path.measures, residual, deviation, gaps, slacks, np.array(start))


def answers(bench: Bench, preferences: np.ndarray, log_ratio: np.ndarray, radius: float) -> np.ndarray:
    """What the adversary of this policy says, (N, Y, Y)."""
    return perturbations.worst_case(preferences, log_ratio[:, :, None] - log_ratio[:, None, :], radius)


def certificate(bench: Bench, observed_preferences, log_ratio, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """L^W_rho(theta; P_obs) - L_SAIL(theta; P*) and the bound 2 rho beta R on it, (problems,) each."""
    settings = {"beta": BETA, "rho": rho}
    robust = robust_losses(make_prompts(bench.ref_log_probs, observed_preferences, **settings), log_ratio)
    true = robust_losses(make_prompts(bench.ref_log_probs, bench.truth, beta=BETA, rho=0.0), log_ratio)
    probs = np.exp(bench.ref_log_probs + log_ratio)
    spread = np.abs(log_ratio[:, :, None] - log_ratio[:, None, :])
    penalty = np.einsum("ni,nij,nj->n", probs, spread, probs)
    return bench.per_problem(robust - true), bench.per_problem(2.0 * rho * BETA * penalty)


def sup_deviations(bench: Bench, preferences: np.ndarray) -> np.ndarray:
    """sup |P - P*| of each problem, (problems,)."""
    return np.abs(preferences - bench.truth).reshape(bench.problems, -1).max(axis=1)


def density(bench: Bench, preferences: np.ndarray) -> dict[str, np.ndarray]:
    """How dense a deviation is, over pairs of different responses drawn by the reference; (problems,) each.

    The mean of |P - P*|, the same as a share of its supremum, and the share of pairs within 10 % of the supremum.
    """
    reference = np.exp(bench.ref_log_probs)
    law = reference[:, :, None] * reference[:, None, :] * (1.0 - np.eye(reference.shape[1]))
    law = (law / law.sum(axis=(1, 2), keepdims=True)).reshape(bench.problems, -1)
    law = law / law.sum(axis=1, keepdims=True)
    away = np.abs(preferences - bench.truth).reshape(bench.problems, -1)
    mean, largest = (law * away).sum(axis=1), away.max(axis=1)
    near = (law * (away >= 0.9 * largest[:, None])).sum(axis=1)
    return {
        "mean": mean,
        "mean / sup": mean / np.where(largest > 0, largest, 1.0),
        "share near the sup": near,
    }


def best_radius(found: Sweep) -> dict[str, Interval]:
    """The rho of the grid with the least regret, problem by problem, that regret, and what it saves against rho = 0."""
    best = found.regret.argmin(axis=0)
    least = found.regret.min(axis=0)
    return {
        "rho": mean_interval(found.rhos[best]),
        "regret": mean_interval(least),
        "saved": mean_interval(found.regret[0] - least),
    }
