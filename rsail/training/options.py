"""Two groups of settings, how pairs are collected and what is added to the loss, and which settings go together."""

from __future__ import annotations

import inspect
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from rsail.checks import one_of, require

SETTINGS = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

# Whose responses a term needs besides the pairs; xpo takes the pair's own second response, pessimism needs none.
EXTRA_FROM = {
    "vpo_online": "reference",
    "vpo_offline": "reference",
    "selm": "reference",
    "copo": "reference",
    "reference_kl": "reference",
    "spac_anchored": "reference",
    "spac_smoothed": "reference",
    "hypo": "policy",
}
TERMS = ("none", "xpo", "pessimism", *EXTRA_FROM)
REWEIGHTINGS = ("mean", "dr_dpo", "kl_penalty", "kl_ball", "chi2_ball", "tv_ball", "group_robust")
CANDIDATES = (
    "best_worst",
    "enhancer",
    "rejection",
)  # schemes that choose among more responses than they keep
# Parameters of a loss that are not among its `loss_options`: what it compares, and settings of their own.
NOT_OPTIONS = {
    "pair_score", "log_ratio", "log_ratio_1", "log_ratio_2", "preference", "reward_gap", "ranking",
    "beta", "rho", "drawn",
}  # fmt: skip
WITH_RHO = ("robust_sail", "plackett_luce")


@dataclass(frozen=True, config=SETTINGS)
class CollectionConfig:
    """Where the compared responses come from."""

    scheme: Literal["on_policy", "best_worst", "hybrid", "enhancer", "rejection", "offline"] = "on_policy"
    """on_policy: all from the policy. best_worst: the best and the worst of `candidates` from the policy, by the
    oracle. hybrid: one from the policy, one from the initial model. enhancer: one from the policy, and of `candidates`
    from it the one about which the features say least. rejection: from the reference, accepted with probability
    exp((r - r_max) / beta). offline: a fixed set, sampled from the initial model and labelled once."""
    candidates: int = Field(0, ge=0)
    """Responses per prompt to choose from; 0 for schemes that do not choose."""
    collected: Literal["step", "round"] = "step"
    """Responses and labels are new in every step, or a set of them is made when a round begins."""
    steps_per_round: int = Field(0, ge=0)
    """Steps between two rounds; 0 is one round."""
    reference: Literal["initial", "round"] = "initial"
    """The reference is the initial model, or the policy with which the round began."""
    stored_prompts: int = Field(256, ge=1)
    """Prompts of the offline set, and of the set of a round."""
    offline_share: float = Field(0.0, ge=0, lt=1)
    """Share of the prompts of a step, in whole prompts, that come with the oracle's labels from the offline set."""


@dataclass(frozen=True, config=SETTINGS)
class AdditionConfig:
    """What acts on the pairs' losses or is added to their mean. The defaults change nothing."""

    reweighting: Literal[REWEIGHTINGS] = "mean"
    """A name in rsail.objectives.REWEIGHTINGS, or group_robust over the task's groups of prompts."""
    reweighting_strength: float = Field(0.0, ge=0)
    """Its temperature (dr_dpo, kl_penalty), radius (balls) or step size (group_robust)."""
    wasserstein: float = Field(0.0, ge=0)
    """Radius of a Wasserstein ball around the embedded tokens, to first order (WDPO, W-REBEL)."""
    wasserstein_form: Literal["norm", "squared"] = "norm"
    """The root of the mean squared gradient, or the mean of its square, as published code has it."""
    term: Literal[TERMS] = "none"
    """A term that needs other samples or an uncertainty, in rsail.objectives.TERMS; pessimism shifts the margin."""
    term_weight: float = Field(0.0, ge=0)
    """Its weight alpha, in the units of its paper."""
    term_samples: int = Field(1, ge=1)
    """Further responses per prompt that a term draws."""
    preference_weight: float = Field(0.0, ge=0)
    """Weight of the gradient of the label's law, with labels of the policy: 1 is exact (SAIL)."""


def loss_kind(name: str) -> str:
    """pair, ratio, reward or list: what the loss `name` of rsail.objectives compares."""
    from rsail.objectives import LIST_LOSSES, LOSSES, RATIO_LOSSES, REWARD_LOSSES

    groups = {"pair": LOSSES, "ratio": RATIO_LOSSES, "reward": REWARD_LOSSES, "list": LIST_LOSSES}
    one_of("loss", name, [loss for group in groups.values() for loss in group])
    return next(kind for kind, group in groups.items() if name in group)


def loss_function(name: str):
    """The loss `name` of rsail.objectives, of whatever kind."""
    from rsail.objectives import LIST_LOSSES, LOSSES, RATIO_LOSSES, REWARD_LOSSES

    loss_kind(name)
    return {**LOSSES, **RATIO_LOSSES, **REWARD_LOSSES, **LIST_LOSSES}[name]


def stored_count(config) -> int:
    """How many prompts of a step come from the offline set with the oracle's labels."""
    if config.collection.scheme == "offline" and config.labels != "policy":
        return config.prompts_per_step
    return round(config.collection.offline_share * config.prompts_per_step)


def needs_offline_set(config) -> bool:
    return config.collection.scheme == "offline" or config.collection.offline_share > 0


def needs_features(config) -> bool:
    """Whether the run measures how uncertain responses are."""
    return config.collection.scheme == "enhancer" or config.addition.term in ("copo", "pessimism")


def check_combination(config) -> None:
    """Raise `ValueError` naming the setting that does not go together with the others."""
    _check_loss(config)
    _check_labels(config)
    _check_collection(config)
    _check_addition(config)
    _check_score_term(config)


def _refuse(name: str, value, wrong: bool, expected: str) -> None:
    require(not wrong, name, value, expected)


def _check_loss(config) -> None:
    known = inspect.signature(loss_function(config.loss)).parameters
    options = {name: p.default for name, p in known.items() if name not in NOT_OPTIONS}
    needed = {name for name, default in options.items() if default is not None}
    given = set(config.loss_options)
    require(
        needed <= given <= set(options),
        "loss_options", config.loss_options,
        f"values for exactly {sorted(options)}, the options of {config.loss!r}",
    )  # fmt: skip
    require(config.rho == 0 or config.loss in WITH_RHO, "rho", config.rho, f"0 with loss {config.loss!r}")
    # A trial comparison, so that an option out of range is refused before any work.
    import torch

    trial, arguments = torch.zeros(2), config.loss_arguments()
    kind = loss_kind(config.loss)
    if kind == "list":
        loss_function(config.loss)(trial, torch.tensor([0, 1]), **arguments)
    else:
        inputs = {"pair": (0.0, 0.5), "reward": (0.0, 0.0), "ratio": (0.0, 0.0, 0.5)}[kind]
        loss_function(config.loss)(*inputs, **arguments)


def _check_labels(config) -> None:
    kind = loss_kind(config.loss)
    if kind == "reward":
        require(
            config.labels == "probability",
            "labels",
            config.labels,
            f"'probability' with loss {config.loss!r}",
        )
    if kind == "list":
        require(
            config.labels in ("hard", "drawn"), "labels", config.labels,
            f"'hard' or 'drawn' with loss {config.loss!r}: a ranking is no probability",
        )  # fmt: skip
    if config.addition.preference_weight > 0:
        name, value = "addition.preference_weight", config.addition.preference_weight
        _refuse(name, value, config.labels != "policy", f"0 with labels {config.labels!r}")
        _refuse(name, value, config.loss != "dpo", f"0 with loss {config.loss!r}")
        weighting = config.addition.reweighting
        _refuse(name, value, weighting != "mean", f"0 with addition.reweighting {weighting!r}")


def _check_collection(config) -> None:
    collection, scheme, count = config.collection, config.collection.scheme, config.responses_per_prompt
    least = {"best_worst": 2, "enhancer": 1, "rejection": count}.get(scheme, 0)
    name, value = "collection.candidates", collection.candidates
    if scheme in CANDIDATES:
        require(value >= least, name, value, f"at least {least} with collection.scheme {scheme!r}")
    else:
        require(value == 0, name, value, f"0 with collection.scheme {scheme!r}")
    if scheme in ("best_worst", "hybrid", "enhancer"):
        require(count == 2, "responses_per_prompt", count, f"2 with collection.scheme {scheme!r}")
    stored = needs_offline_set(config) or collection.collected == "round"
    _refuse(
        "oracle.kind", config.oracle.kind,
        config.oracle.kind == "worst_case" and (stored or scheme in ("best_worst", "rejection")),
        "another one where pairs are stored or chosen by the oracle: worst_case answers the policy of the moment",
    )  # fmt: skip
    share = collection.offline_share
    _refuse(
        "collection.offline_share", share, share > 0 and scheme == "offline" and config.labels != "policy",
        "0 with collection.scheme 'offline', unless labels are 'policy'",
    )  # fmt: skip
    stored = stored_count(config)
    _refuse(
        "collection.offline_share", share, share > 0 and not 0 < stored < config.prompts_per_step,
        f"0, or such that of {config.prompts_per_step} prompts_per_step some are offline and some are not",
    )  # fmt: skip
    if collection.collected == "round":
        name = "collection.collected"
        _refuse(name, "round", scheme == "offline", "'step' with collection.scheme 'offline'")
        _refuse(name, "round", config.labels == "policy", "'step' with labels 'policy'")
    uses_rounds = collection.reference == "round" or collection.collected == "round"
    _refuse(
        "collection.steps_per_round", collection.steps_per_round, uses_rounds and collection.steps_per_round == 0,
        "at least 1 where the reference or the collected pairs are those of a round",
    )  # fmt: skip
    _refuse(
        "collection.steps_per_round", collection.steps_per_round, not uses_rounds and collection.steps_per_round > 0,
        "0 where neither reference nor collected pairs are those of a round",
    )  # fmt: skip


def _check_addition(config) -> None:
    from rsail.objectives import reweighting

    addition, kind = config.addition, loss_kind(config.loss)
    name, strength = addition.reweighting, addition.reweighting_strength
    _refuse(
        "addition.reweighting_strength",
        strength,
        name == "mean" and strength > 0,
        "0 with reweighting 'mean'",
    )
    _refuse("addition.reweighting_strength", strength, name != "mean" and strength == 0, f"> 0 with {name!r}")
    if name not in ("mean", "group_robust"):
        reweighting.weights(name, [0.0, 1.0], strength)  # a trial, as above
    term, weight = addition.term, addition.term_weight
    _refuse("addition.term_weight", weight, term == "none" and weight > 0, "0 without addition.term")
    _refuse(
        "addition.term_weight", weight, term != "none" and weight == 0, f"> 0 with addition.term {term!r}"
    )
    many = addition.term_samples
    _refuse(
        "addition.term_samples", many, many > 1 and term not in EXTRA_FROM, f"1 with addition.term {term!r}"
    )
    scheme = config.collection.scheme
    _refuse(
        "addition.term",
        term,
        term == "xpo" and scheme != "hybrid",
        "xpo only with collection.scheme 'hybrid'",
    )
    _refuse(
        "addition.term", term, term == "pessimism" and (scheme != "offline" or kind != "pair"),
        "pessimism only with collection.scheme 'offline' and a loss of pairs",
    )  # fmt: skip
    _refuse(
        "addition.term", term, term.startswith("spac") and kind != "pair", "spac_* only with a loss of pairs"
    )
    if addition.wasserstein > 0:
        name, value = "addition.wasserstein", addition.wasserstein
        _refuse(name, value, config.responses_per_prompt != 2, "0 with responses_per_prompt other than 2")
        _refuse(name, value, kind == "list", f"0 with loss {config.loss!r}")
        _refuse(name, value, addition.reweighting != "mean", f"0 with reweighting {addition.reweighting!r}")
        _refuse(name, value, term != "none", f"0 with addition.term {term!r}")
    form = addition.wasserstein_form
    _refuse(
        "addition.wasserstein_form", form, form != "norm" and addition.wasserstein == 0,
        "'norm' where addition.wasserstein is 0",
    )  # fmt: skip


def _check_score_term(config) -> None:
    """The score term is the derivative of E_{pi x pi}[loss] in the sampling law; of nothing else."""
    if config.score_weight == 0:
        return
    from rsail.objectives.estimators import check_baseline

    addition, collection = config.addition, config.collection
    name, value = "score_weight", config.score_weight
    fresh = collection.scheme == "on_policy" and collection.collected == "step"
    _refuse(name, value, not fresh, "0 unless every step's pairs are drawn from the policy of that step")
    _refuse(
        name, value, addition.reweighting != "mean", f"0 with addition.reweighting {addition.reweighting!r}"
    )
    _refuse(name, value, addition.wasserstein > 0, "0 with addition.wasserstein > 0")
    if loss_kind(config.loss) == "list":
        require(
            config.baseline == "other_prompts",
            "baseline", config.baseline, f"'other_prompts' with loss {config.loss!r}",
        )  # fmt: skip
    check_baseline(
        config.baseline, config.prompts_per_step - stored_count(config), config.responses_per_prompt
    )
