"""What the robust penalty and the score term cost: a full step over a step of plain online DPO, in one trainer.

    python tests/benchmarks/step_cost.py [pairs]

Prints one JSON line; status 1 if the ratio of medians is above 1.05. Steps of both kinds take turns in random order;
before each, weights and generators are put back, so that both sample the same tokens from the same policy.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from rsail import language
from rsail.lm import frozen_copy, load_model, save_model
from rsail.lm.pretraining import PretrainConfig, new_model
from rsail.tasks import load_task
from rsail.training import OnlineConfig, loop
from rsail.training.checkpoint import make_generators
from rsail.training.state import State

LIMIT = 1.05
KINDS = {"plain": {"rho": 0.0, "score_weight": 0.0}, "robust": {"rho": 0.15, "score_weight": 1.0}}


def stage(folder: Path) -> tuple:
    """The default model of the study, its weights random, and a policy that has moved a little from it."""
    tokenizer = language.build_tokenizer(language.LanguageConfig())
    save_model(new_model(tokenizer, PretrainConfig()), tokenizer, folder)
    policy, tokenizer = load_model(folder)
    reference = frozen_copy(policy)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return policy, reference, tokenizer


def measure(pairs: int, warm_up: int = 10) -> dict[str, np.ndarray]:
    """Seconds of `pairs` steps of either kind."""
    accelerator, rng = Accelerator(mixed_precision="no"), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        policy, reference, tokenizer = stage(Path(folder))
    configs = {name: OnlineConfig(output_dir="unused", **changes) for name, changes in KINDS.items()}
    task = load_task(configs["plain"].task, eval_prompts=1)
    optimizers = {name: loop.make_optimizer(config, policy) for name, config in configs.items()}
    policy, *prepared = accelerator.prepare(policy, *optimizers.values())
    optimizers, reference = dict(zip(KINDS, prepared, strict=True)), reference.to(accelerator.device)
    weights = [parameter.detach().clone() for parameter in policy.parameters()]
    wait = torch.cuda.synchronize if accelerator.device.type == "cuda" else lambda: None

    def step(name: str, seed: int) -> float:
        with torch.no_grad():
            for parameter, value in zip(policy.parameters(), weights, strict=True):
                parameter.copy_(value)
        state = State(
            accelerator,
            policy,
            reference,
            reference,
            tokenizer,
            task,
            optimizers[name],
            make_generators(seed),
        )
        wait()
        start = time.perf_counter()
        loop.online_step(configs[name], state)
        wait()
        return time.perf_counter() - start

    seconds = {name: np.empty(pairs) for name in KINDS}
    for pair in range(-warm_up, pairs):
        for name in rng.permutation(list(KINDS)):
            taken = step(str(name), pair + warm_up)
            if pair >= 0:
                seconds[str(name)][pair] = taken
    return seconds


def ratio_of_medians(seconds: dict[str, np.ndarray], draws: int = 4000) -> tuple[float, list[float]]:
    """Robust over plain, with a 95 % bootstrap interval over pairs."""
    both, rng = np.stack([seconds["robust"], seconds["plain"]]), np.random.default_rng(1)
    chosen = rng.integers(0, both.shape[1], size=(draws, both.shape[1]))
    medians = np.median(both[:, chosen], axis=-1)
    ratio = np.median(both[0]) / np.median(both[1])
    return float(ratio), [float(q) for q in np.quantile(medians[0] / medians[1], [0.025, 0.975])]


def main() -> int:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    seconds = measure(pairs)
    ratio, interval = ratio_of_medians(seconds)
    result = {
        "ratio": round(ratio, 4),
        "interval_95": [round(value, 4) for value in interval],
        "limit": LIMIT,
        "pairs": pairs,
        **{f"median_seconds_{name}": round(float(np.median(values)), 5) for name, values in seconds.items()},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result))
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
