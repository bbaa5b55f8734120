"""What a step cannot do without: operations and bytes of each phase, and how fast this machine does them.

Counted are multiplications of matrices, attention included (two operations per product), and what must go through
memory at least once: in the phases of the models all weights, in sampling once for every token, and each distribution
over the vocabulary, written and read once. Whatever else a step does is not in the floor.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from rsail.study.cost.workload import PROMPT_WORDS, Workload

BYTES = 4  # of a float32
# AdamW reads parameter, gradient and two moments, and writes all but the gradient; clipping reads the gradient, scales
# it and the norm reads it before that.
UPDATE_PASSES = 7 + 3


class Machine(NamedTuple):
    """Operations and bytes per second, the best of some repetitions."""

    operations: float
    bandwidth: float


def measure_machine(workload: Workload, *, size: int = 1024, repeats: int = 20) -> Machine:
    """Float32 product of two square matrices of `size`; reading and copying an array as large as the weights.

    An array of that size stays in a cache if the weights do: the memory meant is the one that holds them.
    """
    torch.set_num_threads(workload.threads)
    left, right, out = (torch.ones(size, size) for _ in range(3))
    source = torch.ones(weights(workload))
    target = torch.zeros_like(source)
    product = min(_seconds(lambda: torch.mm(left, right, out=out)) for _ in range(repeats))
    copy = min(_seconds(lambda: target.copy_(source)) for _ in range(repeats))
    read = min(_seconds(source.sum) for _ in range(repeats))
    moved = BYTES * source.numel()
    return Machine(2 * size**3 / product, max(2 * moved / copy, moved / read))


def _seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def weights(workload: Workload) -> int:
    """Entries of the matrices: attention and MLP of each layer, and the tied embeddings."""
    width = workload.hidden
    return workload.layers * (4 * width**2 + 3 * width * 4 * width) + width * workload.vocabulary


def phase_costs(workload: Workload) -> dict[str, tuple[float, float]]:
    """(operations, bytes) of each phase with a floor."""
    w, prompt = workload, PROMPT_WORDS[1]
    width, new, rows, length = w.hidden, w.new_tokens, w.rows, prompt + w.new_tokens
    head = width * w.vocabulary
    body = weights(w) - head
    # Every position reads itself and those before: keys and values, one product each.
    attention = 4 * width * w.layers * length * (length + 1) / 2
    scored = rows * (2 * body * length + attention + 2 * head * new)
    read = rows * w.layers * 2 * width * sum(prompt + t for t in range(1, new)) * BYTES  # keys and values
    laws = 2 * rows * new * w.vocabulary * BYTES
    sampled = 2 * body * (w.prompts * prompt + rows * (new - 1)) + rows * (attention + 2 * head * new)
    parameters = weights(w)
    return {
        "sample": (sampled, new * parameters * BYTES + read + laws),
        "reference": (scored, parameters * BYTES),
        "forward": (scored, parameters * BYTES),
        "backward": (2 * scored, 3 * parameters * BYTES),
        "update": (0.0, UPDATE_PASSES * parameters * BYTES),
    }


def floors(workload: Workload, machine: Machine) -> dict[str, dict[str, float]]:
    """Seconds that the operations and the bytes of each phase take at least; the larger one is its floor."""
    return {
        phase: {"arithmetic": operations / machine.operations, "memory": moved / machine.bandwidth}
        for phase, (operations, moved) in phase_costs(workload).items()
    }
