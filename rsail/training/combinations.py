"""Which settings of a run go together: a choice that would change nothing, or mean nothing, is refused by name.

`oracle.attribute` and `collection.stored_prompts` may be given where nothing reads them, for sweeps over oracles and
methods.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from rsail.checks import one_of, require
from rsail.training.options import (
    EXTRA_FROM,
    POLICY_GRADIENTS,
    WITH_RHO,
    loss_function,
    loss_kind,
    needs_offline_set,
    stored_count,
)

# Parameters of a loss that are not among its `loss_options`: what it compares, and settings of their own.
NOT_OPTIONS = {
    "pair_score", "log_ratio", "log_ratio_1", "log_ratio_2", "preference", "reward_gap", "ranking",
    "log_prob", "log_probs", "log_ratios", "mask", "reward", "beta", "rho", "drawn",
}  # fmt: skip
Rules = Iterator[tuple[bool, str, object, str]]  # (refused if, name, value, what was expected)


def check_combination(config) -> None:
    """Raise `ValueError` naming the setting that does not go together with the others."""
    _check_loss(config)
    for rules in (
        _label_rules,
        _policy_gradient_rules,
        _collection_rules,
        _addition_rules,
        _score_rules,
        _policy_rules,
    ):
        for wrong, name, value, expected in rules(config):
            require(not wrong, name, value, expected)
    from rsail.objectives.estimators import BASELINES, check_baseline

    one_of("baseline", config.baseline, BASELINES)
    if config.score_weight > 0 and loss_kind(config.loss) not in POLICY_GRADIENTS:
        fresh = config.prompts_per_step - stored_count(config)
        if loss_kind(config.loss) == "list":
            one_of(f"baseline with loss {config.loss!r}", config.baseline, ("log2", "other_prompts"))
        share = config.collection.offline_share
        expected = f"such that at least 2 of {config.prompts_per_step} prompts_per_step are not offline, for baseline "
        lonely = share > 0 and config.baseline == "other_prompts" and fresh < 2
        require(not lonely, "collection.offline_share", share, expected + repr(config.baseline))
        check_baseline(config.baseline, fresh, config.responses_per_prompt)


def _check_loss(config) -> None:
    """The loss is known, has all its options, and takes them: a trial comparison refuses one out of range."""
    known = inspect.signature(loss_function(config.loss)).parameters
    options = {name: p.default for name, p in known.items() if name not in NOT_OPTIONS}
    needed = {name for name, default in options.items() if default is not None}
    require(
        needed <= set(config.loss_options) <= set(options),
        "loss_options", config.loss_options,
        f"values for exactly {sorted(options)}, the options of {config.loss!r}",
    )  # fmt: skip
    require(config.rho == 0 or config.loss in WITH_RHO, "rho", config.rho, f"0 with loss {config.loss!r}")
    import torch

    trial = {
        "pair": (0.0, 0.5),
        "reward": (0.0, 0.0),
        "ratio": (0.0, 0.0, 0.5),
        "list": (torch.zeros(2), torch.tensor([0, 1])),
        "sequence": (torch.zeros(2), torch.zeros(2), torch.zeros(2)),
        "token": (torch.zeros(2, 1), torch.zeros(2, 1), torch.ones(2, 1), torch.zeros(2)),
    }[loss_kind(config.loss)]
    loss_function(config.loss)(*trial, **config.loss_arguments())


def _label_rules(config) -> Rules:
    labels, kind, weight = config.labels, loss_kind(config.loss), config.addition.preference_weight
    with_loss = f"with loss {config.loss!r}"
    rewarded = kind in ("reward", *POLICY_GRADIENTS)
    yield rewarded and labels != "probability", "labels", labels, f"'probability' {with_loss}"
    ranked = labels in ("hard", "drawn")
    yield (
        kind == "list" and not ranked,
        "labels",
        labels,
        f"'hard' or 'drawn' {with_loss}: a ranking has no probability",
    )
    soft = labels == "probability"
    expected = f"'probability' {with_loss}, which does not doubt a label"
    yield config.loss == "dpo_pro" and not soft, "labels", labels, expected
    # The law of the labels is the derivative of the mean loss at h, and of nothing else that reads the labels.
    name, addition = "addition.preference_weight", config.addition
    reweighting, term, ball = addition.reweighting, addition.term, addition.wasserstein
    yield weight > 0 and labels != "policy", name, weight, f"0 with labels {labels!r}"
    yield weight > 0 and config.loss != "dpo", name, weight, f"0 {with_loss}"
    yield weight > 0 and reweighting != "mean", name, weight, f"0 with addition.reweighting {reweighting!r}"
    reads_labels = term in ("pessimism", "spac_anchored")
    yield weight > 0 and reads_labels, name, weight, f"0 with addition.term {term!r}"
    yield weight > 0 and ball > 0, name, weight, "0 with addition.wasserstein > 0"


def _policy_gradient_rules(config) -> Rules:
    """A policy gradient is the score term of the policy's own samples, with a baseline of its own, and nothing else."""
    if loss_kind(config.loss) not in POLICY_GRADIENTS:
        return
    collection, addition, with_loss = config.collection, config.addition, f"with loss {config.loss!r}"
    own = f"{with_loss}, which needs new responses of the policy in every step"
    for group, name, value, expected in (
        (config, "score_weight", 1.0, f"1 {with_loss}, which is the gradient of the sampling law"),
        (
            config,
            "baseline",
            "other_prompts",
            f"'other_prompts', the default, {with_loss}, which has its own",
        ),
        (collection, "collection.scheme", "on_policy", f"'on_policy' {own}"),
        (collection, "collection.collected", "step", f"'step' {own}"),
        (collection, "collection.offline_share", 0.0, f"0 {own}"),
        (addition, "addition.reweighting", "mean", f"'mean' {with_loss}"),
        (addition, "addition.wasserstein", 0.0, f"0 {with_loss}"),
    ):
        found = getattr(group, name.rpartition(".")[2])
        yield found != value, name, found, expected


def _collection_rules(config) -> Rules:
    collection, scheme, count = config.collection, config.collection.scheme, config.responses_per_prompt
    with_scheme = f"with collection.scheme {scheme!r}"
    least = {"best_worst": 2, "enhancer": 1, "rejection": count}.get(scheme)
    name, value = "collection.candidates", collection.candidates
    yield least is None and value > 0, name, value, f"0 {with_scheme}"
    yield least is not None and value < least, name, value, f"at least {least} {with_scheme}"
    two = scheme in ("best_worst", "hybrid", "enhancer")
    yield two and count != 2, "responses_per_prompt", count, f"2 {with_scheme}"

    a_round = collection.collected == "round"
    asked_before = needs_offline_set(config) or a_round or scheme in ("best_worst", "rejection")
    oracle = config.oracle.kind
    expected = (
        "another one where the oracle chooses responses or its labels are stored: "
        "it needs the policy of the step in which they are learned from"
    )
    yield asked_before and oracle == "worst_case", "oracle.kind", oracle, expected
    expected = f"another one {with_scheme}, whose labels are made before any drift"
    yield scheme == "offline" and oracle == "drift", "oracle.kind", oracle, expected

    name, value = "collection.offline_share", collection.offline_share
    only_stored = scheme == "offline" and config.labels != "policy"
    expected = f"0 {with_scheme}, unless labels are 'policy'"
    yield value > 0 and only_stored, name, value, expected
    some = 0 < stored_count(config) < config.prompts_per_step
    expected = (
        f"0, or such that of {config.prompts_per_step} prompts_per_step some are offline and some are not"
    )
    yield value > 0 and not some, name, value, expected

    name, value = "collection.collected", collection.collected
    yield a_round and scheme == "offline", name, value, f"'step' {with_scheme}"
    yield a_round and config.labels == "policy", name, value, "'step' with labels 'policy'"
    name, value = "collection.steps_per_round", collection.steps_per_round
    rounds = collection.reference == "round" or a_round
    yield (
        rounds and value == 0,
        name,
        value,
        "at least 1 where reference or collected pairs are those of a round",
    )
    yield (
        not rounds and value > 0,
        name,
        value,
        "0 where neither reference nor collected pairs are those of a round",
    )


def _addition_rules(config) -> Rules:
    addition, kind, scheme = config.addition, loss_kind(config.loss), config.collection.scheme
    name, value = "addition.reweighting_strength", addition.reweighting_strength
    with_name = f"with addition.reweighting {addition.reweighting!r}"
    plain = addition.reweighting == "mean"
    yield plain and value > 0, name, value, f"0 {with_name}"
    yield not plain and value == 0, name, value, f"> 0 {with_name}"
    yield addition.reweighting == "tv_ball" and value > 1, name, value, f"at most 1 {with_name}"

    term, name, value = addition.term, "addition.term_weight", addition.term_weight
    with_term = f"with addition.term {term!r}"
    yield term == "none" and value > 0, name, value, f"0 {with_term}"
    yield term != "none" and value == 0, name, value, f"> 0 {with_term}"
    name, value = "addition.term_samples", addition.term_samples
    yield term not in EXTRA_FROM and value > 1, name, value, f"1 {with_term}, which draws no responses"
    name = "addition.term"
    for needs_it, needed in (("xpo", "hybrid"), ("pessimism", "offline")):
        expected = f"another one with collection.scheme {scheme!r}: it needs {needed!r}"
        yield term == needs_it and scheme != needed, name, term, expected
    of_pairs = term in ("pessimism", "spac_anchored", "spac_smoothed")
    yield (
        of_pairs and kind != "pair",
        name,
        term,
        f"another one with loss {config.loss!r}: it needs one of pair scores",
    )

    name, value = "addition.wasserstein", addition.wasserstein
    ball = value > 0
    yield ball and config.responses_per_prompt != 2, name, value, "0 with responses_per_prompt other than 2"
    yield ball and kind == "list", name, value, f"0 with loss {config.loss!r}"
    yield ball and not plain, name, value, f"0 {with_name}"
    yield ball and term != "none", name, value, f"0 {with_term}"
    name, value = "addition.wasserstein_form", addition.wasserstein_form
    yield not ball and value != "norm", name, value, "'norm' where addition.wasserstein is 0"


def _score_rules(config) -> Rules:
    """The score term is the derivative of E_{pi x pi}[loss] in the sampling law, and of nothing else."""
    addition, collection, weight = config.addition, config.collection, config.score_weight
    fresh = collection.scheme == "on_policy" and collection.collected == "step"
    expected = "0 unless the pairs of every step are drawn from the policy of that step"
    yield weight > 0 and not fresh, "score_weight", weight, expected
    expected = f"0 with addition.reweighting {addition.reweighting!r}"
    yield weight > 0 and addition.reweighting != "mean", "score_weight", weight, expected
    yield weight > 0 and addition.wasserstein > 0, "score_weight", weight, "0 with addition.wasserstein > 0"
    of_pairs = addition.term in ("spac_anchored", "spac_smoothed")  # its value is not among the losses
    yield weight > 0 and of_pairs, "score_weight", weight, f"0 with addition.term {addition.term!r}"


def _policy_rules(config) -> Rules:
    policy, group = config.policy, "policy."
    full = policy.lora_rank == 0
    for name in ("lora_alpha", "lora_targets"):
        value, default = getattr(policy, name), getattr(type(policy)(), name)
        yield full and value != default, group + name, value, f"{default!r} with policy.lora_rank 0"
    moves = config.collection.reference == "round"
    expected = "0 with collection.reference 'round': the weights without the adapter are the initial model"
    yield not full and moves, "policy.lora_rank", policy.lora_rank, expected
    parts = policy.sharding != "none"
    with_lora = f"'none' with policy.lora_rank {policy.lora_rank}"
    yield parts and not full, "policy.sharding", policy.sharding, with_lora
    expected = "'none' with collection.reference 'round'"
    yield parts and moves, "policy.sharding", policy.sharding, expected
    # A Wasserstein ball differentiates twice.
    again, ball = policy.gradient_checkpointing, config.addition.wasserstein > 0
    yield (
        ball and again != "none",
        "policy.gradient_checkpointing",
        again,
        "'none' with addition.wasserstein > 0",
    )
