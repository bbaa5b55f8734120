"""Choosing rho from what a user has, on problems where the price of a wrong rho is known exactly.

A user sees an oracle's probabilities, and some comparisons with gold labels; each rule turns them into a rho. What
learning with that rho costs is read off the sweeps of `exact_oracles`, linearly between neighboring radii.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from rsail.study.statistics import Interval, mean_interval, paired_difference

LABELS = (200, 1000, 5000)  # gold-labelled comparisons that a user may have
L2 = 1.0  # of the second reward model
FACTORS = (0.5, 1.0, 2.0, 4.0)  # wrong radii, in units of the true deviation
RANKED = 10  # problems on which rules are ranked; they are judged on the others


@dataclass(frozen=True, eq=False)
class Comparisons:
    """n comparisons of two different responses of one problem, with gold labels; no oracle was asked yet.

    `second_model` is P of a reward model fitted to the gold labels of the first half, on the comparisons of the other.
    """

    rows: np.ndarray  # (n,), prompts of the bench
    first: np.ndarray  # (n,)
    second: np.ndarray  # (n,)
    truth: np.ndarray  # (n,), P*
    labels: np.ndarray  # (n,), drawn from P*
    votes: np.ndarray  # (2, n), uniform numbers of two annotators
    second_model: np.ndarray  # (n - n // 2,)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a user has of one problem: the oracle's probability and a gold label per comparison, two annotators.

    `side` is the sign of the difference of the suspected attribute; `openness` is how often two honest answers would
    agree, which only an adjudicator knows.
    """

    preferences: np.ndarray  # (n,)
    labels: np.ndarray  # (n,)
    side: np.ndarray  # (n,)
    second_model: np.ndarray  # (n - n // 2,)
    agreed: int  # comparisons that two annotators, who each draw from the oracle, answer alike
    openness: float


Rule = Callable[[Seen], float]
RULES: dict[str, Rule] = {
    "two annotators": lambda seen: _agreement(seen, 1.0),
    "two annotators, openness known": lambda seen: _agreement(seen, max(seen.openness, 0.5 + 1e-9)),
    "gold labels, worst bin": lambda seen: radius_from_labels(seen.preferences, seen.labels).radius,
    "gold labels, median bin": lambda seen: (
        radius_from_labels(seen.preferences, seen.labels, coverage=0.5).radius
    ),
    "gold labels by attribute, worst bin": lambda seen: _labels(seen).radius,
    "gold labels by attribute, 90 %": lambda seen: _labels(seen, coverage=0.9).radius,
    "gold labels by attribute, median bin": lambda seen: _labels(seen, coverage=0.5).radius,
    "gold labels by attribute, upper bound": lambda seen: _labels(seen).upper,
    "second reward model, 90 %": lambda seen: _second(seen, 0.9),
    "second reward model, median": lambda seen: _second(seen, 0.5),
}


def _agreement(seen: Seen, honest: float) -> float:
    return radius_from_agreement(seen.agreed, len(seen.labels), honest=honest).radius


def _labels(seen: Seen, **options):
    return radius_from_labels(seen.preferences, seen.labels, groups=seen.side, **options)


def _second(seen: Seen, coverage: float) -> float:
    held_out = seen.preferences[-len(seen.second_model) :]
    return radius_from_reward_model(held_out, seen.second_model, coverage=coverage).radius


def draw(bench: Bench, problem: int, count: int, seed: int) -> Comparisons:
    """`count` comparisons of different responses of the reference, on prompts of one problem of the bench."""
    rng = np.random.default_rng([77, seed, count])
    prompts, responses = len(bench.rewards) // bench.problems, bench.rewards.shape[1]
    x, every = rng.integers(prompts, size=count), np.arange(count)
    rows = problem * prompts + x
    log_weights = bench.ref_log_probs[rows]
    first = _responses(rng, log_weights)
    log_weights[every, first] = -np.inf
    second = _responses(rng, log_weights)
    true = bench.truth[rows, first, second]
    labels = (rng.random(count) < true).astype(float)
    half = count // 2
    sides = np.zeros((count, prompts * responses))
    sides[every, x * responses + first] = 1.0
    sides[every, x * responses + second] = -1.0
    rewards = fit_bradley_terry(sides[:half], labels[:half], l2=L2)
    return Comparisons(
        rows, first, second, true, labels, rng.random((2, count)), expit(sides[half:] @ rewards)
    )


def ask(pairs: Comparisons, bench: Bench, preferences: np.ndarray) -> Seen:
    """What a user sees when the oracle `preferences` (N, Y, Y) answers these comparisons."""
    oracle = preferences[pairs.rows, pairs.first, pairs.second]
    votes = pairs.votes < oracle
    attribute = bench.attribute[pairs.rows]
    every = np.arange(len(oracle))
    return Seen(
        preferences=oracle,
        labels=pairs.labels,
        side=np.sign(attribute[every, pairs.first] - attribute[every, pairs.second]),
        second_model=pairs.second_model,
        agreed=int((votes[0] == votes[1]).sum()),
        openness=float(np.mean(pairs.truth**2 + (1.0 - pairs.truth) ** 2)),
    )


def _responses(rng, log_weights) -> np.ndarray:
    return (log_weights + rng.gumbel(size=log_weights.shape)).argmax(axis=1)


def regret_at(found: Sweep, radii) -> np.ndarray:
    """Regret (problems,) of learning with one radius per problem; beyond the largest of the sweep, that one's."""
    return np.array(
        [np.interp(rho, found.rhos, values) for rho, values in zip(radii, found.regret.T, strict=True)]
    )


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


def choose(
    sweeps: dict[str, Sweep], *, count: int, rules: Iterable[str] = RULES, seeds=SWEEP_SEEDS
) -> dict[str, dict[str, Choice]]:
    """rule -> oracle -> `Choice`, every rule given `count` comparisons of every problem."""
    bench = make_bench(seeds)
    pairs = [draw(bench, k, count, seed) for k, seed in enumerate(seeds)]
    seen = {}
    for oracle in SOLVED:
        table = observed(seeds, oracle)
        seen[oracle] = [ask(one, bench, table) for one in pairs]
    return {
        rule: {
            oracle: price(sweeps[oracle], np.array([RULES[rule](one) for one in found]))
            for oracle, found in seen.items()
        }
        for rule in rules
    }


def price(found: Sweep, radii) -> Choice:
    """What radii (problems,) cost against this oracle beyond the best of the grid."""
    radii = np.broadcast_to(np.asarray(radii, dtype=np.float64), found.deviation.shape)
    return Choice(radii, regret_at(found, radii) - found.regret.min(axis=0))


@dataclass(frozen=True, eq=False)
class Selection:
    """The rule with the least regret on some problems, judged on the others: regret beyond the grid's best.

    Of learning with the rule's radii and with none, oracle -> (problems,).
    """

    rule: str
    excess: dict[str, np.ndarray]
    without: dict[str, np.ndarray]

    def cost(self, oracles: Iterable[str] | None = None) -> Interval:
        """Of the rule, in the mean of `oracles` (all by default)."""
        return mean_interval(_mean(self.excess, oracles))

    def cost_without(self, oracles: Iterable[str] | None = None) -> Interval:
        """Of learning with rho = 0."""
        return mean_interval(_mean(self.without, oracles))

    def saved(self, oracles: Iterable[str] | None = None) -> Interval:
        """How much less regret the rule has than rho = 0, paired by problem."""
        return paired_difference(_mean(self.without, oracles), _mean(self.excess, oracles))


def _mean(by_oracle: dict[str, np.ndarray], oracles: Iterable[str] | None) -> np.ndarray:
    return np.mean([by_oracle[name] for name in (by_oracle if oracles is None else oracles)], axis=0)


def select(
    chosen: dict[str, dict[str, Choice]], without: dict[str, Choice], *, ranked: int = RANKED
) -> Selection:
    """Of the rules of `choose` the one with the least mean regret over oracles on the first `ranked` problems."""
    costs = {rule: {o: choice.excess for o, choice in found.items()} for rule, found in chosen.items()}
    best = min(costs, key=lambda rule: _mean(costs[rule], None)[:ranked].mean())
    return Selection(
        best,
        {o: values[ranked:] for o, values in costs[best].items()},
        {o: without[o].excess[ranked:] for o in costs[best]},
    )


def selected(sweeps: dict[str, Sweep], *, count: int, rules: Iterable[str] = RULES) -> Selection:
    """`select` among `rules` with `count` comparisons, on the sweeps of one objective."""
    without = {oracle: price(sweeps[oracle], 0.0) for oracle in SOLVED}
    return select(choose(sweeps, count=count, rules=rules), without)


def wrong_radii(sweeps: dict[str, Sweep]) -> dict[str, dict[float, Choice]]:
    """oracle -> factor -> what `factor` times the true deviation costs; 0 is no robustness."""
    return {
        oracle: {factor: price(found, factor * found.deviation) for factor in (0.0, *FACTORS)}
        for oracle, found in sweeps.items()
    }
