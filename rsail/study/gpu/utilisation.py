"""How much of a GPU's arithmetic a step uses: operations of the model over time over what the GPU can do.

Operations are those of `rsail.study.cost.floor`: 2 N per token of a forward pass, N the entries of the matrices that
read it, and 4 layers width per position that a position attends to, counted causally; a backward pass is twice its
forward pass (PaLM, arXiv 2204.02311, appendix B). What is computed a second time is not counted, nor are
normalization, softmax, sampling and the optimizer.
"""

from __future__ import annotations

import time

import torch

from rsail.study.cost.floor import phase_costs
from rsail.study.cost.workload import Workload

# Dense operations per second by a part of the device's name, the more special one first: NVIDIA's data sheets of H200,
# H100 and A100, in bfloat16 half of the figure that they give for sparse matrices. Float32 is without tensor cores, as
# torch multiplies by default.
DATASHEET = {
    "H200": {"bfloat16": 989e12, "float32": 67e12},
    "H100 PCIe": {"bfloat16": 756e12, "float32": 51e12},
    "H100 NVL": {"bfloat16": 835e12, "float32": 60e12},
    "H100": {"bfloat16": 989e12, "float32": 67e12},
    "A100": {"bfloat16": 312e12, "float32": 19.5e12},
}


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def datasheet(name: str | None, precision: str) -> float | None:
    """Operations per second that the maker states for the GPU called `name`; None where it is not in the table."""
    return next((rates[precision] for part, rates in DATASHEET.items() if name and part in name), None)


def measured(precision: str, size: int, *, repeats: int = 10) -> float:
    """Operations per second of the product of two random matrices of `size`: the best of `repeats` times."""
    dtype, where = getattr(torch, precision), device()
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(where, dtype) for _ in range(2))
    out, times = torch.empty_like(left), []
    for _ in range(repeats):
        _wait(where)
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        _wait(where)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def _wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize()


def shares(workload: Workload, phases: dict[str, float], best: float) -> dict[str, float]:
    """Operations per second over `best`, in each phase that has some, and in the ``step`` as a whole.

    `phases` are seconds, `best` operations per second.
    """
    operations = {phase: count for phase, (count, _) in phase_costs(workload).items() if count > 0}
    found = {phase: count / phases[phase] / best for phase, count in operations.items()}
    return {**found, "step": sum(operations.values()) / sum(phases.values()) / best}
