"""Groups of settings: how pairs are collected, what is added to the loss, how the policy is held and computed."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from rsail.checks import one_of

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
WITH_RHO = ("robust_sail", "plackett_luce")
POLICY_GRADIENTS = ("sequence", "token")  # kinds of losses that need samples of the policy, with rewards


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
    stored_prompts: int = Field(512, ge=1)
    """Prompts of the offline set, and of the set of a round; runs without such sets do not read it."""
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


@dataclass(frozen=True, config=SETTINGS)
class PolicyConfig:
    """Which weights of the policy are trained, and how its passes are computed.

    There is no dropout, not in an adapter either: the law that is sampled and the one that is scored are one law.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward passes; parameters stay in float32, and log-probabilities are taken in it from rounded
    logits. In bfloat16 the law that is sampled (with a cache) and the one that is scored differ by that rounding: on
    the reference model by 0.02 nats per response (root mean square; 0.06 at most of 128), against 2e-6 in float32. So
    a score_weight of 1 is exact in float32 only."""
    gradient_checkpointing: Literal["none", "layers"] = "none"
    """layers: the backward pass computes the activations of each layer again instead of keeping them, which takes less
    memory and more time. Sampling keeps its cache either way."""
    sharding: Literal["none", "fsdp"] = "none"
    """Several processes: each holds all weights (DDP), or a part of policy and reference (FSDP). In parts there are no
    adapters and no references of a round, and sampling puts the weights together for as long as it lasts."""
    lora_rank: int = Field(0, ge=0)
    """Rank of the LoRA matrices (peft) that are trained in place of the weights, which are then the reference, without
    a second copy; 0 trains all weights."""
    lora_alpha: float = Field(16.0, gt=0)
    """The product of the matrices is scaled by lora_alpha / lora_rank."""
    lora_targets: list[str] = Field(default_factory=list)
    """Names of the layers that get matrices, e.g. [q_proj, v_proj]; none are all linear layers but the last."""


def loss_kind(name: str) -> str:
    """pair, ratio, reward, list, sequence or token: what the loss `name` of rsail.objectives reads."""
    groups = _losses()
    one_of("loss", name, [loss for group in groups.values() for loss in group])
    return next(kind for kind, group in groups.items() if name in group)


def loss_function(name: str):
    """The loss `name` of rsail.objectives, of whatever kind."""
    return _losses()[loss_kind(name)][name]


def _losses() -> dict[str, dict]:
    """All losses of rsail.objectives by their kind."""
    from rsail import objectives

    return {
        "pair": objectives.LOSSES,
        "ratio": objectives.RATIO_LOSSES,
        "reward": objectives.REWARD_LOSSES,
        "list": objectives.LIST_LOSSES,
        "sequence": objectives.SEQUENCE_LOSSES,
        "token": objectives.TOKEN_LOSSES,
    }


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
