"""Trainers that do the same work, each in a process of its own that makes one step when it is told to."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection

from rsail.study.cost.steps import WAITING, environment
from rsail.study.cost.workload import (
    Workload,
    build_model,
    build_tokenizer,
    distinct_words,
    prompt_texts,
    stage,
)
from rsail.study.memory import peak_bytes, resident_bytes

LEARNING_RATE = 1e-4


def run_rsail(workload: Workload, pipe: Connection) -> None:
    """Robust SAIL with penalty and score term."""
    from rsail.training.loop import online_step

    config, state = stage(workload, learning_rate=LEARNING_RATE)
    ready(pipe)
    while pipe.recv() == "step":
        start = time.perf_counter()
        metrics, _ = online_step(config, state)
        report(pipe, time.perf_counter() - start, metrics["length"])


def run_trl(workload: Workload, pipe: Connection) -> None:
    """TRL's OnlineDPOTrainer, with its KV cache (gradient checkpointing, its default, would switch that off)."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers import TrainerCallback
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    torch.set_num_threads(workload.threads)
    disable_progress_bars()
    lengths: list[int] = []

    def judge(prompts, completions, completion_ids, **kwargs):
        lengths.extend(map(len, completion_ids))
        return distinct_words(completions).tolist()

    class Driven(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if pipe.recv() != "step":
                os._exit(0)
            lengths.clear()
            self.start = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            report(pipe, time.perf_counter() - self.start, sum(lengths) / len(lengths))

    with tempfile.TemporaryDirectory() as folder:
        trainer = OnlineDPOTrainer(
            model=build_model(workload),
            reward_funcs=judge,
            args=OnlineDPOConfig(
                output_dir=folder, max_steps=1_000_000, per_device_train_batch_size=workload.prompts,
                max_new_tokens=workload.new_tokens, max_length=1024, temperature=1.0, top_k=0, top_p=1.0, beta=0.1,
                learning_rate=LEARNING_RATE, lr_scheduler_type="constant", gradient_checkpointing=False, bf16=False,
                use_cpu=True, save_strategy="no", logging_steps=1_000_000, report_to="none", disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict({"prompt": prompt_texts(workload)}),
            processing_class=build_tokenizer(workload),
            callbacks=[Driven()],
        )  # fmt: skip
        ready(pipe)
        trainer.train()


CONTESTANTS = {"rsail": run_rsail, "trl": run_trl}


def ready(pipe: Connection) -> None:
    pipe.send({"resident": resident_bytes()})


def report(pipe: Connection, seconds: float, length: float) -> None:
    pipe.send({"seconds": seconds, "length": length, "peak": peak_bytes()})


class Contestant:
    """A trainer in a process of its own."""

    def __init__(self, name: str, workload: Workload):
        # Started anew, not forked: its peak memory is its own, and its threads are counted from the beginning.
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        with environment(OMP_NUM_THREADS=str(workload.threads), **WAITING):
            self.process = context.Process(target=CONTESTANTS[name], args=(workload, other), daemon=True)
            self.process.start()
        other.close()
        self.resident = self.pipe.recv()["resident"]

    def step(self) -> dict[str, float]:
        """One optimizer step: seconds, mean length of the responses, highest memory of the process so far."""
        self.pipe.send("step")
        return self.pipe.recv()

    def stop(self) -> None:
        self.pipe.send("stop")
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
