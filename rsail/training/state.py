"""What a run holds between two steps, and what happens to it when the run or a round begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from rsail.lm import Samples, fingerprint, frozen_copy
from rsail.lm.recomputing import checkpointing_layers
from rsail.training.collection import PairSet, collect_set, digest
from rsail.training.options import needs_features, needs_offline_set
from rsail.training.processes import ALONE, Processes
from rsail.training.uncertainty import no_observations, observe, response_features


@dataclass
class State:
    """Models, data, generators. `reference` is `initial` itself unless rounds move it."""

    accelerator: Any
    policy: Any
    reference: Any
    initial: Any  # stays: for evaluations, for features, and for the second arm of the scheme hybrid
    tokenizer: Any
    task: Any
    optimizer: Any
    generators: dict
    offline: PairSet | None = None
    pool: PairSet | None = None  # of the present round
    memory: dict[str, torch.Tensor] = field(default_factory=dict)  # what additions carry from step to step
    processes: Processes = ALONE
    progress: float = 0.0  # share of the run's steps that are over at the end of the present one, for a drift

    @property
    def sampler(self):
        """The policy as a model to sample from."""
        return self.accelerator.unwrap_model(self.policy)


def policy_and_reference(config, model) -> tuple:
    """The policy that is trained, and its reference: a frozen copy, or the model itself without the adapter."""
    settings = config.policy
    if settings.gradient_checkpointing == "layers":
        checkpointing_layers(model)
    if settings.lora_rank == 0:
        return model, frozen_copy(model)
    from rsail.lm.adapters import WithoutAdapter, add_adapter

    policy = add_adapter(
        model,
        rank=settings.lora_rank,
        alpha=settings.lora_alpha,
        targets=settings.lora_targets,
        seed=config.seed,
    )
    return policy, WithoutAdapter(policy)


def begin_run(config, state: State) -> None:
    """Make the offline set and what additions remember, where the configuration asks for them."""
    if needs_offline_set(config):
        state.offline = collect_set(config, state, offline=True)
    if config.addition.reweighting == "group_robust":
        groups = len(state.task.groups(state.task.train_prompts))
        state.memory["group_weights"] = torch.full((groups,), 1 / groups, device=state.accelerator.device)
    if not needs_features(config):
        return
    state.memory["moments"] = no_observations(state.initial.config.hidden_size)
    if (
        config.addition.term == "pessimism"
    ):  # Sigma and the center v of everything in the set (GSHF, section 2)
        samples = Samples(*(part.to(state.accelerator.device) for part in state.offline.samples))
        features = response_features(state.initial, samples).cpu()
        pairs = features.view(len(state.offline.prompts), -1, features.shape[-1])
        gaps = pairs[:, :, None] - pairs[:, None, :]
        # Sigma = 1 + sum over pairs of z z^T; each pair is among the gaps twice.
        state.memory["moments"] = observe(state.memory["moments"], gaps, 0.5)
        state.memory["center"] = features.mean(0)


def begins_round(config, step: int) -> bool:
    """Whether a round begins before `step`; the first one does with the run."""
    length = config.collection.steps_per_round
    return step == 1 or (length > 0 and (step - 1) % length == 0)


def begin_round(config, state: State) -> dict[str, str]:
    """Move the reference, collect the round's pairs, where asked; returns the hashes of what the round holds."""
    if config.collection.reference == "round":
        state.reference.load_state_dict(state.sampler.state_dict())
    if config.collection.collected == "round":
        state.pool = collect_set(config, state, offline=False)
    sets = {"offline": state.offline, "pool": state.pool}
    learned = config.oracle.kind == "reward_model"
    return {
        "reference": fingerprint(state.reference),
        **{name: digest(pairs) for name, pairs in sets.items() if pairs is not None},
        **({"reward_model": state.task.learned.digest()} if learned else {}),
    }


def parts_of(state: State) -> dict:
    """What a checkpoint must keep besides policy, optimizer and generators, as nested dicts of tensors."""
    parts: dict = {"memory": state.memory}
    if state.reference is not state.initial:
        parts["reference"] = state.reference.state_dict()
    for name in ("offline", "pool"):
        if (pairs := getattr(state, name)) is not None:
            parts[name] = {"prompts": pairs.prompts, **pairs.samples._asdict(), "targets": pairs.targets}
    return parts


def restore_parts(state: State, parts: dict) -> None:
    """Put back what `parts_of` kept."""
    state.memory = {
        name: value.to(state.accelerator.device) if name == "group_weights" else value
        for name, value in parts["memory"].items()
    }
    if "reference" in parts:
        state.reference.load_state_dict(parts["reference"])
    for name in ("offline", "pool"):
        if name in parts:
            kept = dict(parts[name])
            prompts, targets = kept.pop("prompts"), kept.pop("targets")
            setattr(state, name, PairSet(prompts, Samples(**kept), targets))
