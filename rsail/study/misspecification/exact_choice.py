"""Choosing rho from what a user has, on problems where the price of a wrong rho is known exactly.

A user sees an oracle's probabilities, and some comparisons with gold labels; each rule turns them into a rho. What
learning with that rho costs is read off the sweeps of `exact_oracles`, linearly between neighboring radii.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from rsail.oracles import (
    radius_from_agreement,
    radius_from_labels,
    radius_from_reward_model,
)
from rsail.oracles.reward_model import fit_bradley_terry
from rsail.study.misspecification.exact_oracles import SOLVED, SWEEP_SEEDS, Sweep, observed
from rsail.study.misspecification.exact_setting import Bench, make_bench
from rsail.study.statistics import Interval, mean_interval

LABELS = (200, 1000, 5000)  # gold-labelled comparisons that a user may have
L2 = 1.0  # of the second reward model
FACTORS = (0.5, 1.0, 2.0, 4.0)  # wrong radii, in units of the true deviation


@dataclass(frozen=True, eq=False)
class Seen:
    """What a user has of one problem: n comparisons with the oracle's probability and a gold label, two annotators.

    `first`, `second` are the indices of the responses among the problem's (X Y); `side` is the sign of the difference
    of the suspected attribute; `openness` is how often two honest answers would agree, which only an adjudicator knows.
    """

    preferences: np.ndarray  # (n,)
    labels: np.ndarray  # (n,), drawn from P*
    side: np.ndarray  # (n,)
    first: np.ndarray  # (n,)
    second: np.ndarray  # (n,)
    agreed: int  # comparisons that two annotators, who each draw from the oracle, answer alike
    openness: float
    responses: int  # X Y

    def second_model(self) -> np.ndarray:
        """P (n,) of a reward model fitted to half of the gold labels, on the other half's comparisons."""
        half = len(self.labels) // 2
        rows = np.zeros((half, self.responses))
        rows[np.arange(half), self.first[:half]] += 1.0
        rows[np.arange(half), self.second[:half]] -= 1.0
        rewards = fit_bradley_terry(rows, self.labels[:half], l2=L2)
        return expit(rewards[self.first[half:]] - rewards[self.second[half:]])


Rule = Callable[[Seen], float]
RULES: dict[str, Rule] = {
    "agreement, every disagreement a mistake": lambda seen: _agreement(seen, 1.0),
    "agreement, openness known": lambda seen: _agreement(seen, max(seen.openness, 0.5 + 1e-9)),
    "gold labels, bins of the probability": lambda seen: radius_from_labels(seen.preferences, seen.labels).radius,
    "gold labels, bins within the attribute's sign": lambda seen: _labels(seen).radius,
    "the same, 90 % of the comparisons": lambda seen: _labels(seen, coverage=0.9).radius,
    "the same, 95 % upper bound": lambda seen: _labels(seen).upper,
    "second reward model, 90 % quantile": lambda seen: _second(seen, 0.9),
    "second reward model, median": lambda seen: _second(seen, 0.5),
}


def _agreement(seen: Seen, honest: float) -> float:
    return radius_from_agreement(seen.agreed, len(seen.labels), honest=honest).radius


def _labels(seen: Seen, **options):
    return radius_from_labels(seen.preferences, seen.labels, groups=seen.side, **options)


def _second(seen: Seen, coverage: float) -> float:
    half = len(seen.labels) // 2
    return radius_from_reward_model(seen.preferences[half:], seen.second_model(), coverage=coverage).radius


def draw(bench: Bench, preferences: np.ndarray, problem: int, count: int, seed: int) -> Seen:
    """`count` comparisons of different responses of the reference, on prompts of one problem of the bench."""
    rng = np.random.default_rng([77, seed, problem, count])
    prompts, responses = len(bench.rewards) // bench.problems, bench.rewards.shape[1]
    x = rng.integers(prompts, size=count)
    rows = problem * prompts + x
    first = _responses(rng, bench.ref_log_probs[rows])
    other = np.exp(bench.ref_log_probs[rows])
    other[np.arange(count), first] = 0.0
    second = _responses(rng, np.log(np.maximum(other, 1e-300)))
    oracle, true = preferences[rows, first, second], bench.truth[rows, first, second]
    labels = (rng.random(count) < true).astype(float)
    votes = rng.random((2, count)) < oracle
    return Seen(
        preferences=oracle,
        labels=labels,
        side=np.sign(bench.attribute[rows, first] - bench.attribute[rows, second]),
        first=x * responses + first,
        second=x * responses + second,
        agreed=int((votes[0] == votes[1]).sum()),
        openness=float(np.mean(true**2 + (1.0 - true) ** 2)),
        responses=prompts * responses,
    )


def _responses(rng, log_weights) -> np.ndarray:
    return (log_weights + rng.gumbel(size=log_weights.shape)).argmax(axis=1)


def regret_at(found: Sweep, radii) -> np.ndarray:
    """Regret (problems,) of learning with one radius per problem; beyond the largest of the sweep, that one's."""
    return np.array([np.interp(rho, found.rhos, values) for rho, values in zip(radii, found.regret.T, strict=True)])


@dataclass(frozen=True, eq=False)
class Choice:
    """A rule against an oracle: the radii (problems,) that it chose, and what they cost beyond the grid's best."""

    radii: np.ndarray
    excess: np.ndarray

    @property
    def radius(self) -> Interval:
        return mean_interval(self.radii)

    @property
    def cost(self) -> Interval:
        return mean_interval(self.excess)


def choose(sweeps: dict[str, Sweep], *, count: int, seeds=SWEEP_SEEDS) -> dict[str, dict[str, Choice]]:
    """rule -> oracle -> `Choice`, every rule given `count` comparisons of every problem."""
    bench = make_bench(seeds)
    tables = {oracle: observed(seeds, oracle) for oracle in SOLVED}
    result: dict[str, dict[str, Choice]] = {rule: {} for rule in RULES}
    for oracle, table in tables.items():
        seen = [draw(bench, table, k, count, seed) for k, seed in enumerate(seeds)]
        for rule, estimate in RULES.items():
            result[rule][oracle] = price(sweeps[oracle], np.array([estimate(one) for one in seen]))
    return result


def price(found: Sweep, radii) -> Choice:
    """What radii (problems,) cost against this oracle beyond the best of the grid."""
    radii = np.broadcast_to(np.asarray(radii, dtype=np.float64), found.deviation.shape)
    return Choice(radii, regret_at(found, radii) - found.regret.min(axis=0))


def wrong_radii(sweeps: dict[str, Sweep]) -> dict[str, dict[float, Choice]]:
    """oracle -> factor -> what `factor` times the true deviation costs; 0 is no robustness."""
    return {
        oracle: {factor: price(found, factor * found.deviation) for factor in (0.0, *FACTORS)}
        for oracle, found in sweeps.items()
    }
