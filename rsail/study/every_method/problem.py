"""The one problem of notebook 06: tabular policies, prompts of two kinds, and five oracles that answer for them.

On half of the prompts some responses are truly better; on the other half all are equally good, and whatever an oracle
says about them is its mistake. Everything is finite, so that every objective is an enumeration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from rsail import checks
from rsail.oracles import perturbations

PROMPTS, RESPONSES = 8, 12
BETA = 0.1  # weight of the KL to the reference, in units of the reward
BIAS = 0.15  # how far the biased and the cyclic oracle are from the truth, in probability
LARGEST_REWARD = 1.5  # so that P* stays in [0.18, 0.82], and a bias of 0.15 is below Assumption 1's delta
FLIP_RATE = 0.2
MINORITY, TASTE = 0.25, 2.5  # share of the annotators who also like the attribute, and how much


@dataclass(frozen=True, eq=False)
class Testbed:
    """Rewards r*, a spurious attribute in [0, 1] and the reference policy, each of shape (X, Y)."""

    rewards: np.ndarray
    attribute: np.ndarray
    ref_log_probs: np.ndarray
    places: np.ndarray  # int; where each response stands on the circle of the cyclic oracle

    @property
    def open_prompts(self) -> np.ndarray:
        """Which prompts (X,) have no true preference."""
        return np.ptp(self.rewards, axis=1) == 0


def make_testbed(seed: int) -> Testbed:
    """A random problem: rewards and attributes uniform and independent, reference log-probabilities normal."""
    rng = np.random.default_rng([6, seed])
    shape = PROMPTS, RESPONSES
    rewards = rng.uniform(0.0, LARGEST_REWARD, shape)
    rewards[PROMPTS // 2 :] = 0.0
    return Testbed(
        rewards=rewards,
        attribute=rng.random(shape),
        ref_log_probs=log_softmax(0.5 * rng.normal(size=shape), axis=1),
        places=rng.permuted(np.tile(np.arange(RESPONSES), (PROMPTS, 1)), axis=1),
    )


def group_rewards(testbed: Testbed) -> np.ndarray:
    """Rewards (2, X, Y) of both groups of annotators: the majority's are r*, the minority likes the attribute, too."""
    return np.stack([testbed.rewards, testbed.rewards + TASTE * testbed.attribute])


def _groups(testbed: Testbed) -> np.ndarray:
    majority, minority = map(perturbations.truth, group_rewards(testbed))
    return (1 - MINORITY) * majority + MINORITY * minority


def _cycle(testbed: Testbed) -> np.ndarray:
    # Each response gains on those up to half a turn behind it: rock, paper, scissors with Y hands.
    turn = 2 * np.pi * (testbed.places[:, :, None] - testbed.places[:, None, :]) / RESPONSES
    cycle = np.sign(np.round(np.sin(turn), 12))
    return perturbations.truth(testbed.rewards) + BIAS * cycle


ORACLES: dict[str, Callable[[Testbed], np.ndarray]] = {
    "truth": lambda testbed: perturbations.truth(testbed.rewards),
    "bias": lambda testbed: perturbations.bias(perturbations.truth(testbed.rewards), testbed.attribute, BIAS),
    "flips": lambda testbed: perturbations.flip(perturbations.truth(testbed.rewards), FLIP_RATE),
    "groups": _groups,
    "cycle": _cycle,
}


def preferences(testbed: Testbed, oracle: str) -> np.ndarray:
    """P[x, i, j] of the named oracle, (X, Y, Y)."""
    checks.one_of("oracle", oracle, ORACLES)
    return ORACLES[oracle](testbed)


def group_preferences(testbed: Testbed, oracle: str) -> tuple[np.ndarray, np.ndarray]:
    """Preferences (G, X, Y, Y) of the annotator groups behind an oracle, and their shares (G,)."""
    if oracle != "groups":
        return preferences(testbed, oracle)[None], np.ones(1)
    return np.stack([*map(perturbations.truth, group_rewards(testbed))]), np.array([1 - MINORITY, MINORITY])
