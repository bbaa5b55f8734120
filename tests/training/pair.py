"""Two processes that train together over gloo, started as ``torchrun --nproc-per-node 2`` starts them.

They are forked from a server that has imported everything once; the process of the tests itself has done backward
passes, after which torch refuses to be forked.
"""

import multiprocessing
import os
import pickle
import socket
import time
import traceback
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

WAIT = 300  # seconds
IMPORTS = [
    "rsail.training.loop",
    "rsail.training.evaluation",
    "rsail.lm.adapters",
    "transformers.models.qwen3.modeling_qwen3",
]


class Interrupted(Exception):
    """Stands for the end of both processes in the middle of a run."""


def train_observed(
    values: dict, *, resume: bool = False, steps: int | None = None, evaluation: str = ""
) -> dict:
    """What a run does: gradients of its steps in float64, responses with their prompts and these' places, numbers held.

    `steps` interrupts it after so many; `evaluation` is a file for an evaluation behind it.
    """
    from rsail.training import OnlineConfig, evaluate, loop, train
    from rsail.training.config import build
    from rsail.training.sharding import whole

    gradients, batches, held, collect = [], [], set(), loop.collect

    def keep_gradient(optimizer, *_) -> None:
        if type(optimizer) in (torch.optim.SGD, torch.optim.AdamW):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            held.add(sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in parameters))
            gradients.append(torch.cat([whole(p.grad).flatten().double() for p in parameters]).numpy())

    def keep_batch(config, state):
        if len(batches) == steps:
            raise Interrupted
        batch, count = collect(config, state), config.responses_per_prompt
        ids = (batch.samples.response_ids * batch.samples.response_mask)[: len(batch.own) * count]
        rows = zip(batch.own.repeat(count).tolist(), ids.tolist(), strict=True)
        batches.append([(k, batch.prompts[k], [token for token in row if token]) for k, row in rows])
        return batch

    handle, loop.collect = register_optimizer_step_pre_hook(keep_gradient), keep_batch
    try:
        train(build(OnlineConfig, values), resume=resume, progress=False)
        if evaluation:
            evaluate(values["output_dir"], output=evaluation)
    except Interrupted:
        pass
    finally:
        handle.remove()
        loop.collect = collect
    return {"gradients": gradients, "samples": batches, "held": max(held, default=0)}


def run_pair(jobs: list[tuple[dict, dict]], folder: Path) -> list[tuple[dict, dict]]:
    """`train_observed` of each (values, options), in two processes; what the first and the second saw, per job."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = [context.Process(target=_work, args=(index, port, jobs, folder)) for index in range(2)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + WAIT
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.05)
        if time.monotonic() > deadline or any(
            worker.exitcode for worker in workers
        ):  # the other would wait for it
            for worker in workers:
                worker.kill()
    codes, errors = [worker.exitcode for worker in workers], folder.glob("*.error")
    assert codes == [0, 0], (codes, [path.read_text() for path in errors])
    seen = (pickle.loads((folder / f"{index}.pickle").read_bytes()) for index in range(2))
    return list(zip(*seen, strict=True))


def _work(index: int, port: int, jobs: list, folder: Path) -> None:
    os.environ |= {
        "RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    from accelerate import PartialState

    torch.set_num_threads(1)
    try:
        seen = [train_observed(values, **options) for values, options in jobs]
    except BaseException:
        (folder / f"{index}.error").write_text(traceback.format_exc())
        raise
    (folder / f"{index}.pickle").write_bytes(pickle.dumps(seen))
    PartialState().destroy_process_group()
