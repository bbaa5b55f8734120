"""One question, one answer: from true rewards to the preferences that an oracle of a given kind reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from rsail.checks import finite, number, one_of, positive, require
from rsail.oracles.perturbations import (
    annotator_groups,
    bias,
    cyclic,
    drift,
    flatten,
    flip,
    grouped_bias,
    sup_deviation,
    truth,
    worst_case,
)
from rsail.oracles.reward_model import AGGREGATES

KINDS = ("truth", "flip", "bias", "worst_case", "flatten", "groups", "drift", "cyclic", "reward_model")
# Settings that one kind alone reads.
OWN_SETTINGS = {
    "groups": ("groups",),
    "reward_model": ("pairs", "members", "aggregate", "label_bias", "l2", "seed"),
}


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
    """truth, flip, bias, worst_case, flatten, groups (of annotators with unequal bias), drift (bias that grows over the
    run), cyclic (preferences of no reward) or reward_model (fitted before the run on labels drawn from the truth)."""
    strength: float = 0.0
    """In [0, 1]. flip: rate; bias, cyclic: shift of the probability; groups: that of the most biased group; drift: that
    of the last step; worst_case: radius; flatten: weight; reward_model: weight of the spread of its members."""
    attribute: str = "filler"
    """What a biased oracle favors, an attribute of the task; cyclic: its value mod 3 is rock, paper or scissors."""
    groups: int = 2
    """groups: how many there are, at least 2; their biases go from 0 to strength in equal steps."""
    pairs: int = 4096
    """reward_model: comparisons of two responses of the initial model that it is fitted on."""
    members: int = 1
    """reward_model: fits on bootstrap resamples, whose conservative aggregate is the reward; 1 is one fit on all."""
    aggregate: str = "deviation"
    """reward_model: mean - strength * standard deviation of the members; variance: - strength * variance; minimum."""
    label_bias: float = 0.0
    """reward_model: in [0, 1], the bias toward the attribute of those who label its comparisons."""
    l2: float = 1.0
    """reward_model: precision of the prior of its weights."""
    seed: int = 0
    """reward_model: of its comparisons, labels and resamples; apart from the run's, as the oracle of all runs."""

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        strength = number(self.strength)
        require(0 <= strength <= 1, "strength", self.strength, "a number in [0, 1]")
        require(
            self.kind != "truth" or strength == 0,
            "strength", self.strength, "0 for an oracle of kind truth",
        )  # fmt: skip
        require(bool(self.attribute), "attribute", self.attribute, "the name of an attribute")
        plain = {"strength": strength}  # a NumPy number would not go into a JSON file
        for name, least in {"groups": 2, "pairs": 1, "members": 1, "seed": 0}.items():
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least
            require(whole, name, value, f"a whole number of at least {least}")
            plain[name] = int(value)
        one_of("aggregate", self.aggregate, AGGREGATES)
        plain["label_bias"] = number(self.label_bias)
        require(0 <= plain["label_bias"] <= 1, "label_bias", self.label_bias, "a number in [0, 1]")
        plain["l2"] = positive("l2", self.l2)
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        self._check_kind()

    def _check_kind(self) -> None:
        """Refuse what the kind would not read, and aggregates of a single member."""
        unread = self.unread
        for field in fields(self):
            value = getattr(self, field.name)
            require(
                field.name not in unread or value == field.default,
                field.name, value, f"{field.default!r} for an oracle of kind {self.kind}",
            )  # fmt: skip
        if self.kind == "reward_model":
            alone, least = self.members == 1, self.aggregate == "minimum"
            require(not (alone and least), "aggregate", self.aggregate, "'deviation' for one member")
            require(
                not (alone or least) or self.strength == 0,
                "strength", self.strength, f"0 for {'one member' if alone else 'the minimum'}",
            )  # fmt: skip

    @property
    def unread(self) -> frozenset[str]:
        """Names of the settings of other kinds."""
        own = {name for names in OWN_SETTINGS.values() for name in names}
        return frozenset(own - set(OWN_SETTINGS.get(self.kind, ())))

    @property
    def reads_attribute(self) -> bool:
        return self.kind in ("bias", "groups", "drift", "cyclic") or self.label_bias > 0


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
    prompts: Sequence[str] | None = None,
    progress: float = 1.0,
    learned=None,
) -> Answer:
    """Preferences of the oracle `config` over K responses to each of X prompts, and their deviation.

    `rewards` (X, K) are the true ones; `attributes` maps names to (X, K) (needed by ``bias``, ``groups``, ``drift`` and
    ``cyclic``); `pair_scores` (X, K, K) is the current policy's h (needed by ``worst_case``); `prompts` are the X texts
    (``groups``); `progress` in [0, 1] is the share of the run that is over (``drift``); `learned` (X, K) are the
    rewards by which an oracle compares that does not know the true ones (needed by ``reward_model``); any other kind is
    then wrong on top of that. Raises ValueError for what is missing or does not fit.
    """
    true = truth(rewards)
    own = true if learned is None else truth(finite("learned", learned))
    kind, strength = config.kind, config.strength
    if kind in ("bias", "groups", "drift", "cyclic"):
        require(attributes is not None, "attributes", None, f"a dict of (X, K) arrays for kind {kind}")
        one_of("attribute", config.attribute, attributes)
        attribute = attributes[config.attribute]
    if kind == "flip":
        observed = flip(own, strength)
    elif kind == "bias":
        observed = bias(own, attribute, strength)
    elif kind == "worst_case":
        require(pair_scores is not None, "pair_scores", None, "(X, K, K) for kind worst_case")
        observed = worst_case(own, pair_scores, strength)
    elif kind == "flatten":
        observed = flatten(own, strength)
    elif kind == "groups":
        require(prompts is not None, "prompts", None, "X texts for kind groups")
        groups = annotator_groups(prompts, config.groups)
        observed = grouped_bias(own, attribute, groups, count=config.groups, strength=strength)
    elif kind == "drift":
        observed = drift(own, attribute, strength, progress)
    elif kind == "cyclic":
        observed = cyclic(own, attribute, strength)
    elif kind == "reward_model":
        require(learned is not None, "learned", None, "(X, K) rewards for kind reward_model")
        observed = own
    else:
        observed = own
    return Answer(observed, true, sup_deviation(observed, true))
