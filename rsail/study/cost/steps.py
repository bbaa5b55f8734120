"""Seconds of online steps by phase: alone in a process of its own, or several settings in turns."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch

from rsail.study.cost.workload import Workload, stage
from rsail.study.memory import peak_bytes, reset_peak, resident_bytes
from rsail.training.checkpoint import make_generators
from rsail.training.loop import online_step
from rsail.training.state import State

PHASES = ("sample", "reference", "forward", "oracle", "backward", "update")
WARM_UP = 3  # steps
# A thread that waits for another gives its core away, or else whatever runs beside it slows two threads a hundredfold.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


def measure(workload: Workload, steps: int, **settings) -> dict:
    """Over `steps` steps: median and least seconds of each phase, median step, tokens per second; peak bytes."""
    config, state = stage(workload, **settings)
    reset_peak()
    before, rows = resident_bytes(), []
    for step in range(WARM_UP + steps):
        _, seconds = online_step(config, state)
        if step >= WARM_UP:
            rows.append([seconds[phase] for phase in PHASES])
    taken = np.array(rows)
    step = float(np.median(taken.sum(1)))
    return {
        "phases": dict(zip(PHASES, np.median(taken, axis=0).tolist(), strict=True)),
        "best": dict(zip(PHASES, taken.min(axis=0).tolist(), strict=True)),
        "step": step,
        "tokens_per_second": workload.rows * workload.new_tokens / step,
        "peak": peak_bytes(),
        "growth": peak_bytes() - before,
        "parameters": sum(parameter.numel() for parameter in state.sampler.parameters()),
    }


def isolated(workload: Workload, steps: int, **settings) -> dict:
    """`measure` in a new process: its peak memory is that of this workload alone."""
    with (
        environment(OMP_NUM_THREADS=str(workload.threads), **WAITING),
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        return pool.submit(measure, workload, steps, **settings).result()


@contextlib.contextmanager
def environment(**values: str):
    """Environment variables of the processes that are started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def in_turns(variants: Mapping[str, tuple[Workload, dict]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of whole steps, name -> (rounds,): in each round every variant makes one step, in random order.

    Before each step, weights and generators are put back: all rounds do the same work, and variants of one workload
    sample the same tokens. The policy has moved a little from the reference, so that no penalty is zero.
    """
    staged = {name: stage(workload, **settings) for name, (workload, settings) in variants.items()}
    rng, weights = np.random.default_rng(0), {}
    for name, (_, state) in staged.items():
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in state.policy.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        weights[name] = [parameter.detach().clone() for parameter in state.policy.parameters()]

    def step(name: str, seed: int) -> float:
        config, state = staged[name]
        _put_back(state, weights[name], seed)
        start = time.perf_counter()
        online_step(config, state)
        return time.perf_counter() - start

    seconds = {name: np.empty(rounds) for name in variants}
    for k in range(-WARM_UP, rounds):
        for name in rng.permutation(list(variants)):
            taken = step(str(name), k + WARM_UP)
            if k >= 0:
                seconds[str(name)][k] = taken
    return seconds


def _put_back(state: State, weights: list[torch.Tensor], seed: int) -> None:
    with torch.no_grad():
        for parameter, value in zip(state.policy.parameters(), weights, strict=True):
            parameter.copy_(value)
    state.generators = make_generators(seed)
