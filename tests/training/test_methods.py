"""Every named method is a configuration that trains."""

import math

import pytest

from rsail.training import METHODS, OnlineConfig, method_config, train
from rsail.training.checkpoint import read_log

# What a small run changes: rounds of 7 steps, sets and candidates of a few.
SMALL = {
    "task": {"train_prompts": 16},
    "oracle": {"kind": "bias", "strength": 0.15},
    "prompts_per_step": 8,
    "max_new_tokens": 8,
    "steps": 20,
    "learning_rate": 1e-3,
    "checkpoint_every": 20,
    "evaluate_every": 0,
    "evaluation_prompts": 4,
}


def small(name: str, **changes) -> OnlineConfig:
    collection = {"stored_prompts": 12}
    if METHODS[name].get("collection", {}).get("steps_per_round"):
        collection["steps_per_round"] = 7
    return method_config(name, **SMALL, collection=collection, **changes)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_twenty_steps_with_finite_numbers(name, tmp_path, reference_folder):
    config = small(name, output_dir=str(tmp_path / name), model=str(reference_folder))
    rows = read_log(train(config, progress=False) / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert rows[-1]["grad_norm"] > 0 and rows[-1]["objective/kl_k3"] > 0
