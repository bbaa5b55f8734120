"""What an objective needs besides the log-probabilities of the pairs, from the models of the run."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import numpy as np
import torch

from rsail.checks import require
from rsail.lm import Samples
from rsail.objectives.terms import COUNT_SCALE
from rsail.training.uncertainty import observe, response_features, uncertainty


class Further(NamedTuple):
    """What a term knows of the responses it has drawn for itself, E per prompt."""

    log_probs: torch.Tensor  # (X, E), with graph
    log_ratio: torch.Tensor  # (X, E), with graph
    bonus: torch.Tensor | None = None  # (X, E), for copo


class Tokens(NamedTuple):
    """The tokens of the compared responses, (X, K, T); zero, and no token, where the mask is zero."""

    log_probs: torch.Tensor  # with graph
    log_ratios: torch.Tensor  # with graph
    mask: torch.Tensor


class Context(NamedTuple):
    """Everything an addition may ask for; the defaults are enough without additions."""

    fresh: int | None = None  # the first prompts, whose law of responses or labels is the policy's; None: all
    further: Further | None = None
    uncertainty: torch.Tensor | None = None  # (X, K), for pessimism
    inputs: torch.Tensor | None = None  # embedded tokens (X K, L, d) in the graph, for a Wasserstein ball
    groups: torch.Tensor | None = None  # (X,) the group of each prompt, for group_robust
    memory: dict | None = None  # holds group_weights (G,), which group_robust moves
    tokens: Tokens | None = None  # for losses of tokens
    probs: torch.Tensor | None = None  # (X M,) the law of the pairs where they are enumerated; None: a sample


def batch_context(
    config,
    state,
    batch,
    further: torch.Tensor,
    ref_further: torch.Tensor,
    inputs: list,
    tokens: Tokens | None = None,
) -> Context:
    """The context of a batch; `further` and `ref_further` (X, E) are log-probabilities, `inputs` from `embedded`."""
    addition, prompts = config.addition, len(batch.prompts)
    compared = len(batch.own) * config.responses_per_prompt

    def features_of(samples: Samples) -> torch.Tensor:
        """The features of all processes' responses, in the order of the prompts, on the device of the moments."""
        found = response_features(state.initial, samples).cpu().numpy()
        table = {"features": found.reshape(len(batch.own), -1, found.shape[-1])}
        found = torch.from_numpy(state.processes.whole(batch.own, table)["features"])
        return found.flatten(0, 1).to(state.memory["moments"].device)

    own = pessimism = bonus = groups = None
    if addition.term == "copo":
        features = features_of(Samples(*(part[compared:] for part in batch.samples)))
        # |phi|_{Sigma^-1} is about 1 / sqrt(visits), as what the coin-flip network of the paper estimates.
        bonus = COUNT_SCALE * uncertainty(state.memory["moments"], features)
        state.memory["moments"] = observe(state.memory["moments"], features, 1 / len(features))
        bonus = bonus.view(prompts, -1).to(further)
    if further.shape[1] > 0:
        own = Further(further, further - ref_further, bonus)
    if addition.term == "pessimism":
        features = features_of(batch.samples)
        pessimism = uncertainty(state.memory["moments"], features - state.memory["center"])
        pessimism = pessimism.view(prompts, -1).to(further)
    if addition.reweighting == "group_robust":
        groups = torch.as_tensor(group_indices(state.task, batch.prompts), device=further.device)
    stored = 0 if batch.stored is None else len(batch.stored)
    return Context(
        fresh=prompts - stored if stored else None,
        further=own,
        uncertainty=pessimism,
        inputs=inputs[0] if inputs else None,
        groups=groups,
        memory=state.memory,
        tokens=tokens,
    )


def group_indices(task, prompts: list[str]) -> np.ndarray:
    """The number of the group of each prompt, (X,), in the order of `task.groups`; each is in exactly one."""
    members = np.stack(list(task.groups(prompts).values())).astype(int)
    strange = [prompt for prompt, k in zip(prompts, members.sum(0), strict=True) if k != 1]
    require(
        not strange, "task.groups", strange[:1], "a partition of the prompts with reweighting 'group_robust'"
    )
    return members.argmax(0)


def check_task(config, task) -> None:
    """Raise unless the task offers what the oracle and the reweighting of `config` ask for."""
    known = set(task.attributes([""]))
    if config.oracle.reads_attribute:
        require(
            config.oracle.attribute in known,
            "oracle.attribute",
            config.oracle.attribute,
            f"one of {sorted(known)}",
        )
    if config.addition.reweighting == "group_robust":
        group_indices(task, task.train_prompts)


@contextlib.contextmanager
def embedded(model: torch.nn.Module, wanted: bool):
    """A list that receives the embedded tokens (N, L, d) of the forward passes inside, with their graph."""
    kept: list[torch.Tensor] = []
    if not wanted:
        yield kept
        return

    def keep(module, ids, output: torch.Tensor) -> None:
        kept.append(output if output.requires_grad else output.requires_grad_())  # frozen, with an adapter

    handle = model.get_input_embeddings().register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()
