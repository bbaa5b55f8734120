"""The study of a biased oracle at a larger size, in one command, sized for nine minutes on one large GPU.

    python -m rsail.study.gpu_run --output build/gpu

pretrains a larger model on the synthetic language, trains nominal and robust SAIL from it, and writes one result
file per run, with time per phase, tokens per second and peak memory. A stage that does not fit into the time left is
not started, and ``summary.json`` says so. ``--tiny`` is the same on a CPU in a minute.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rsail.checks import positive
from rsail.files import write_atomically
from rsail.lm.pretraining import PretrainConfig, pretrain
from rsail.study import biased_oracle
from rsail.study.memory import peak_bytes, reset_peak
from rsail.tasks import TaskConfig, pretraining_texts
from rsail.training.options import PolicyConfig

NAME = "biased_oracle_gpu"


@dataclass(frozen=True)
class Size:
    """How large the run is."""

    model: PretrainConfig
    texts: int  # of the pretraining corpus
    steps: int  # online steps of a run
    prompts: int  # per online step
    precision: str
    seeds: int
    reserve: float  # seconds that a run may take: none is started with less time left


LARGE = Size(
    PretrainConfig(
        hidden_size=512,
        intermediate_size=1536,
        layers=8,
        heads=8,
        steps=1500,
        batch_size=256,
        learning_rate=1e-3,
    ),
    texts=100_000,
    steps=200,
    prompts=128,
    precision="bfloat16",
    seeds=2,
    reserve=120,
)
TINY = Size(
    PretrainConfig(hidden_size=32, intermediate_size=64, layers=1, heads=2, steps=20, batch_size=16),
    texts=200,
    steps=3,
    prompts=4,
    precision="float32",
    seeds=1,
    reserve=30,
)


def run(output: Path, size: Size, *, minutes: float = 9.0) -> dict:
    """All stages that fit into `minutes`; returns (and writes) what was done, with seconds for each stage."""
    deadline = time.monotonic() + 60 * positive("minutes", minutes)
    done: dict = {"stages": {}, "not_started": []}

    def finish(stage: str, started: float) -> None:
        done["stages"][stage] = round(time.monotonic() - started, 2)
        write_atomically(output / "summary.json", json.dumps(done, indent=1) + "\n")
        print(stage, done["stages"][stage], "s", flush=True)

    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    corpus, tokenizer = pretraining_texts(TaskConfig(), size.texts)
    model = pretrain(corpus, tokenizer, size.model, output / "model")
    finish("pretrain", started)
    for seed in range(size.seeds):
        for method, rho in biased_oracle.METHODS.items():
            stage = f"{method}_seed{seed}"
            if time.monotonic() + size.reserve > deadline:
                done["not_started"].append(stage)
                continue
            started = time.monotonic()
            reset_peak()
            config = biased_oracle.base_config(output / "runs" / stage, steps=size.steps, seed=seed, rho=rho)
            config = replace(
                config, model=str(model), prompts_per_step=size.prompts,
                policy=PolicyConfig(precision=size.precision),
                evaluate_every=max(1, size.steps // 4), checkpoint_every=size.steps,
            )  # fmt: skip
            biased_oracle.run_one(config, output / f"{stage}.json", seed, study=NAME)
            done.setdefault("peak_bytes", {})[stage] = peak_bytes()
            finish(stage, started)
    write_atomically(output / "summary.json", json.dumps(done, indent=1) + "\n")
    return done


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train nominal and robust SAIL at a larger size on a GPU.")
    parser.add_argument("--output", required=True, type=Path, help="folder of the result files")
    parser.add_argument("--minutes", type=float, default=9.0, help="time limit")
    parser.add_argument("--tiny", action="store_true", help="a minute on a CPU, to see that everything works")
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        print("gpu_run: no GPU was found; --tiny runs the same on a CPU", file=sys.stderr)
        return 2
    run(options.output, TINY if options.tiny else LARGE, minutes=options.minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
