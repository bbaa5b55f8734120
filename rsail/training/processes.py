"""Several processes, one run: each has its part of a step's prompts, and all know what was found for all of them.

Which prompts a step has, and every number that is drawn for them, is the same however many processes share the work:
generators are alike in all processes, and each takes the numbers of its own rows. So a run of several processes is the
run of one up to the rounding of sums, each response is sampled once, and any of them can go on from its checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import broadcast_object_list, gather_object

from rsail.checks import require
from rsail.training.options import stored_count

DATA_PARALLEL = {
    DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.MULTI_XPU,
    DistributedType.MULTI_NPU, DistributedType.MULTI_MLU, DistributedType.MULTI_HPU,
}  # fmt: skip


@dataclass(frozen=True)
class Processes:
    """This process, `index`, among `count` alike."""

    index: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.index == 0

    def share(self, total: int) -> np.ndarray:
        """Which of `total` rows are this process's, ascending; the processes' rows follow one behind the other."""
        return np.array_split(np.arange(total), self.count)[self.index]

    def gather(self, value) -> list:
        """The value of every process, in their order."""
        return [value] if self.count == 1 else gather_object([value])

    def whole(self, own: np.ndarray, tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Tables with a row for each prompt of all processes, from those with a row for each of `own`."""
        if self.count == 1:
            return tables
        parts = self.gather((own, tables))
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        return {name: np.concatenate([table[name] for _, table in parts])[order] for name in tables}

    def with_graph(self, own: np.ndarray, values: torch.Tensor, table: np.ndarray) -> torch.Tensor:
        """`table` of all prompts as a tensor, in whose rows `own` stand `values` with their graph.

        A loss of it has in each process the part of its gradient that runs through this process's passes: over all
        processes they add up to the gradient, whatever the loss makes of the prompts together.
        """
        if self.count == 1:
            return values
        full = torch.as_tensor(table).to(values)
        return full.index_copy(0, torch.as_tensor(own, device=values.device), values)

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds in one of the processes."""
        return any(self.gather(flag))

    def on_first(self, action: Callable[[], Any]) -> Any:
        """What `action` returns in the first process, which alone does it; if it raises, no process goes on."""
        if self.count == 1:
            return action()
        outcome: list = [None, True]
        if self.first:
            try:
                outcome = [action(), False]
            except BaseException:
                broadcast_object_list([None, True])
                raise
        broadcast_object_list(outcome)
        if outcome[1]:
            raise SystemExit(2)  # the first process says why
        return outcome[0]


ALONE = Processes()


def make_accelerator() -> Accelerator:
    """On a machine without a GPU the processes are on the CPU, whatever the launcher was told."""
    return Accelerator(mixed_precision="no", cpu=not torch.accelerator.is_available())


def make_processes(accelerator: Accelerator) -> Processes:
    """The processes that ``accelerate launch`` started; `ValueError` for a way to share the work that is not known."""
    launched = int(os.environ.get("WORLD_SIZE", 1))
    require(
        accelerator.num_processes == launched,
        "number of processes", accelerator.num_processes,
        f"{launched}, as were launched",
    )  # fmt: skip
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    kind = "FSDP" if sharded else accelerator.distributed_type.name
    require(
        kind in {known.name for known in DATA_PARALLEL},
        "accelerate's kind of processes", kind,
        "that of DDP (--multi_gpu); for weights in parts set policy.sharding=fsdp",
    )  # fmt: skip
    return Processes(accelerator.process_index, accelerator.num_processes)


def check_shares(config, processes: Processes) -> None:
    """Raise `ValueError` unless every process gets a prompt of each kind that a step, a set or an evaluation has."""
    count, stored = processes.count, stored_count(config)
    if count == 1:
        return
    fresh = config.prompts_per_step - stored
    require(
        (fresh == 0 or fresh >= count) and config.prompts_per_step >= count,
        "prompts_per_step", config.prompts_per_step,
        f"at least one prompt that is not stored for each of {count} processes (of the {stored} that are, if all are)",
    )  # fmt: skip
    for name in ("collection.stored_prompts", "evaluation_prompts"):
        value = config.collection.stored_prompts if "." in name else config.evaluation_prompts
        require(value >= count, name, value, f"at least {count}, the number of processes")
    ball = config.addition.wasserstein
    require(
        ball == 0, "addition.wasserstein", ball, f"0 with {count} processes: it needs the whole batch's graph"
    )
