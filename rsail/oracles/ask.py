"""One question, one answer: from true rewards to the preferences that an oracle of a given kind reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rsail.checks import number, one_of, require
from rsail.oracles.perturbations import bias, flatten, flip, sup_deviation, truth, worst_case

KINDS = ("truth", "flip", "bias", "worst_case", "flatten")


@dataclass(frozen=True)
class OracleConfig:
    """Which oracle is asked, and how wrong it is."""

    # For pydantic, where it finds this class among the settings of a run: the texts below describe the fields.
    __pydantic_config__: ClassVar[dict] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "use_attribute_docstrings": True,
    }

    kind: str = "truth"
    """truth, flip, bias, worst_case or flatten."""
    strength: float = 0.0
    """In [0, 1]. flip: rate; bias: shift of the probability; worst_case: radius; flatten: weight."""
    attribute: str = "filler"
    """What a biased oracle favors, an attribute of the task; other kinds do not read it."""

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        strength = number(self.strength)
        require(0 <= strength <= 1, "strength", self.strength, "a number in [0, 1]")
        require(
            self.kind != "truth" or strength == 0,
            "strength", self.strength, "0 for an oracle of kind truth",
        )  # fmt: skip
        require(bool(self.attribute), "attribute", self.attribute, "the name of an attribute")
        object.__setattr__(self, "strength", strength)  # a NumPy number would not go into a JSON file


@dataclass(frozen=True)
class Answer:
    """What the oracle says, what is true, and how far apart the two are on the pairs asked about."""

    preferences: np.ndarray  # (X, K, K), P[x, i, j] = P(i > j | x)
    truth: np.ndarray  # (X, K, K), P*
    deviation: float  # sup |P - P*| over pairs i != j


def ask(
    config: OracleConfig,
    rewards,
    *,
    attributes: Mapping[str, np.ndarray] | None = None,
    pair_scores=None,
    oracle_rewards=None,
) -> Answer:
    """Preferences of the oracle `config` over K responses to each of X prompts, and their deviation.

    `rewards` (X, K) are the true ones; `attributes` maps names to (X, K) (needed by ``bias``); `pair_scores`
    (X, K, K) is the current policy's h (needed by ``worst_case``). An oracle that does not know the true rewards
    compares by `oracle_rewards` (X, K), and is as wrong as they are before `config` is applied to what it says.
    Raises ValueError for what is missing or does not fit.
    """
    true = truth(rewards)
    own = true if oracle_rewards is None else truth(oracle_rewards)
    require(own.shape == true.shape, "oracle_rewards.shape", np.shape(oracle_rewards), f"{np.shape(rewards)}")
    if config.kind == "flip":
        observed = flip(own, config.strength)
    elif config.kind == "bias":
        require(attributes is not None, "attributes", None, "a dict of (X, K) arrays for kind bias")
        one_of("attribute", config.attribute, attributes)
        observed = bias(own, attributes[config.attribute], config.strength)
    elif config.kind == "worst_case":
        require(pair_scores is not None, "pair_scores", None, "(X, K, K) for kind worst_case")
        observed = worst_case(own, pair_scores, config.strength)
    elif config.kind == "flatten":
        observed = flatten(own, config.strength)
    else:
        observed = own
    return Answer(observed, true, sup_deviation(observed, true))
