"""The exact half of notebook 09: the problems, the grids, and what is measured of a policy.

Problems are those of notebook 06: tabular policies, a true preference on half of the prompts and none on the other
half, where whatever an oracle says is its mistake. The oracle favors the response with more of an attribute (think of
length) by BIAS. `pilot_bench` is another family: rewards without a bound, so that the oracle is sometimes sure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rsail.exact import gibbs
from rsail.oracles import perturbations
from rsail.study.every_method.problem import BETA, BIAS, PROMPTS, RESPONSES, make_testbed

SEEDS = tuple(range(100, 112))  # of the problems; notebook 06 uses others
RHOS = (
    0.0,
    0.025,
    0.05,
    0.075,
    0.1,
    0.11,
    0.12,
    0.13,
    0.14,
    0.145,
    0.15,
    0.16,
    0.175,
    0.2,
    0.225,
    0.25,
    0.3,
    0.35,
)
BETAS = (0.1, 0.125, 0.16, 0.2, 0.25, 0.32, 0.4, 0.5, 0.65, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.2)


@dataclass(frozen=True, eq=False)
class Bench:
    """Problems side by side: arrays (N, Y) over the prompts of all of them, problem after problem."""

    problems: int
    rewards: np.ndarray
    attribute: np.ndarray
    ref_log_probs: np.ndarray

    @property
    def open_prompts(self) -> np.ndarray:
        """Which prompts (N,) have no true preference."""
        return np.ptp(self.rewards, axis=1) == 0

    @property
    def truth(self) -> np.ndarray:
        """P* (N, Y, Y)."""
        return perturbations.truth(self.rewards)

    @property
    def biased(self) -> np.ndarray:
        """The oracle that favors the attribute by BIAS, (N, Y, Y)."""
        return perturbations.bias(self.truth, self.attribute, BIAS)

    def per_problem(self, values: np.ndarray, prompts: np.ndarray | None = None) -> np.ndarray:
        """Means (problems,) of one number per prompt (N,), over those that `prompts` (N,) marks."""
        prompts = np.ones(len(values), dtype=bool) if prompts is None else prompts
        values, chosen = values.reshape(self.problems, -1), prompts.reshape(self.problems, -1)
        return (values * chosen).sum(axis=1) / chosen.sum(axis=1)


def make_bench(seeds: Iterable[int] = SEEDS) -> Bench:
    """The problems of notebook 06 with these seeds: rewards in [0, 1.5], so that P* is in [0.18, 0.82]."""
    beds = [make_testbed(seed) for seed in seeds]
    parts = ([getattr(bed, name) for bed in beds] for name in ("rewards", "attribute", "ref_log_probs"))
    return Bench(len(beds), *map(np.concatenate, parts))


def pilot_bench(seeds: Iterable[int]) -> Bench:
    """Normal rewards of unit variance, attributes uniform in [0, 1], a uniform reference."""
    rewards, attributes = [], []
    for seed in seeds:
        rng = np.random.default_rng([9, seed])
        rewards.append(rng.normal(size=(PROMPTS, RESPONSES)))
        rewards[-1][PROMPTS // 2 :] = 0.0
        attributes.append(rng.random((PROMPTS, RESPONSES)))
    rewards, attributes = np.concatenate(rewards), np.concatenate(attributes)
    uniform = np.full(rewards.shape, -np.log(RESPONSES))
    return Bench(len(rewards) // PROMPTS, rewards, attributes, uniform)


MEASURES = {
    "gold": "mean true reward, prompts with a preference",
    "spurious": "mean attribute minus the reference's, prompts without",
    "kl": "KL to the reference, nats, all prompts",
    "kl_open": "the same, prompts without a preference",
    "kl_closed": "the same, prompts with one",
    "regret": "J* - J under the true reward, J = E r - 0.1 KL",
}


def measure(bench: Bench, log_ratio: np.ndarray) -> dict[str, np.ndarray]:
    """All of MEASURES, (problems,) each, of the policy with log-ratios (N, Y)."""
    log_probs, rest = bench.ref_log_probs + log_ratio, bench.open_prompts
    probs, reference = np.exp(log_probs), np.exp(bench.ref_log_probs)
    distance = np.sum(probs * log_ratio, axis=1)
    gold = np.sum(probs * bench.rewards, axis=1)
    spurious = np.sum((probs - reference) * bench.attribute, axis=1)
    optimum = gibbs.gibbs_policy(bench.rewards, bench.ref_log_probs, beta=BETA)
    return {
        "gold": bench.per_problem(gold, ~rest),
        "spurious": bench.per_problem(spurious, rest),
        "kl": bench.per_problem(distance),
        "kl_open": bench.per_problem(distance, rest),
        "kl_closed": bench.per_problem(distance, ~rest),
        "regret": bench.per_problem(BETA * gibbs.kl_per_prompt(log_probs, optimum)),
    }


def reference_measures(bench: Bench) -> dict[str, np.ndarray]:
    """`measure` of the reference policy, which learns nothing."""
    return measure(bench, np.zeros_like(bench.ref_log_probs))
