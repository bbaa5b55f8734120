"""The reward model of an oracle of that kind: fitted on responses of the initial model before the first step, kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from rsail.files import write_atomically
from rsail.lm import encode_prompts, sample
from rsail.oracles import OracleConfig, RewardModel, ask, draw_labels, fit_reward_model
from rsail.tasks import Task
from rsail.training.checkpoint import read_log
from rsail.training.measures import decode, judge

FILE = "reward_model.npz"
CHUNK = 256  # comparisons whose responses are drawn at once
# Seeds of runs spawn from the root: an oracle of seed 0 shares no draw with a run of seed 0.
SPAWN_KEY = (20260224,)


def make_reward_model(config, folder: Path, initial, tokenizer, task: Task) -> None:
    """Fit the reward model of `config.oracle` and write it into `folder`, unless it is there already."""
    if (folder / FILE).exists():
        return
    oracle = config.oracle
    children = np.random.SeedSequence(oracle.seed, spawn_key=SPAWN_KEY).spawn(4)
    choices, labels, resamples = (np.random.default_rng(child) for child in children[:3])
    generator = torch.Generator().manual_seed(int(children[3].generate_state(1, np.uint64)[0] >> 1))
    available = len(task.train_prompts)
    chosen = choices.choice(available, oracle.pairs, replace=available < oracle.pairs)
    prompts = [task.train_prompts[k] for k in chosen]
    annotators = OracleConfig("bias", oracle.label_bias, oracle.attribute)
    responses, preferences = [], []
    for start in range(0, len(prompts), CHUNK):
        some = prompts[start : start + CHUNK]
        samples = sample(
            initial,
            *encode_prompts(tokenizer, some),
            responses_per_prompt=2,
            max_new_tokens=config.max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            generator=generator,
        )
        rewards, attributes = judge(task, tokenizer, some, samples, 2)
        preferences.append(ask(annotators, rewards, attributes=attributes).preferences)
        responses += decode(tokenizer, samples)
    model = fit_reward_model(
        prompts,
        responses[::2],
        responses[1::2],
        draw_labels(np.concatenate(preferences), labels)[:, 0, 1],
        resamples,
        members=oracle.members,
        l2=oracle.l2,
        aggregate=oracle.aggregate,
        weight=oracle.strength,
    )
    write_atomically(folder / FILE, model.to_bytes())


def load_reward_model(config, folder: Path, task: Task) -> Task:
    """`task` with the reward model in `folder`, in place of `task.learned`.

    Raises `FileNotFoundError` when there is none, `ValueError` when it is damaged or not the one with which the run
    began.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"run must hold the reward model of its oracle, got {folder} without {FILE}")
    try:
        model = RewardModel.from_bytes(path.read_bytes(), config.oracle.aggregate, config.oracle.strength)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    log = folder / "rounds.jsonl"
    rounds = read_log(log, complete=False) if log.is_file() else []
    if rounds and rounds[0].get("reward_model") != model.digest():
        raise ValueError(f"{path} must be the reward model with which the run began, got another one")
    return dataclasses.replace(task, learned=model)
