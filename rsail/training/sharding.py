"""FSDP (torch's `fully_shard`): each process keeps a part of every weight, and of what the optimizer remembers of it.

accelerate makes FSDP on GPUs alone and takes DDP on a CPU without a word; torch's own works on both, so that what runs
on a GPU is what the tests check on a CPU.
"""

from __future__ import annotations

import contextlib

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from rsail.lm.recomputing import checkpointing_layers


def shard(model: torch.nn.Module, count: int) -> torch.nn.Module:
    """`model` in `count` parts, layer by layer; of each layer the weights are put together for its passes alone."""
    mesh = init_device_mesh(next(model.parameters()).device.type, (count,))
    for layer in checkpointing_layers(model, "policy.sharding", "fsdp"):
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def take_over(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Put the state of an optimizer of the whole weights into that of their parts."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def part(value, parameter: DTensor):
        whole = isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.ndim > 0
        return distribute_tensor(value, parameter.device_mesh, parameter.placements) if whole else value

    moments = {
        k: {name: part(value, parameters[k]) for name, value in of_one.items()}
        for k, of_one in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


@contextlib.contextmanager
def gathered(model):
    """The weights of a model in parts stay together inside: a process may make as many passes as its rows need."""
    shards = [part for part in model.modules() if isinstance(part, FSDPModule)]
    for part in shards:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in shards:
            part.reshard()
            part.set_reshard_after_forward(True, recurse=False)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` itself, or what its parts in all processes make; all of them must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class Whole:
    """Model and optimizer in parts as a checkpoint has them; every process must make one, the first one keeps it."""

    def __init__(self, model, optimizer, keep: bool):
        self.model, self.keep, seen = model, keep, {}
        for parameter in model.parameters():
            seen[id(parameter)] = self._kept(parameter.detach())
        names = model.named_parameters(remove_duplicate=False)
        weights = {name: seen[id(parameter)] for name, parameter in names}  # tied ones stay one
        self.weights = {name: weights.get(name, tensor) for name, tensor in model.state_dict().items()}
        state = optimizer.state_dict()
        moments = {
            k: {name: self._kept(value) for name, value in of_one.items()}
            for k, of_one in state["state"].items()
        }
        self.state = {**state, "state": moments}

    def _kept(self, value):
        if not isinstance(value, torch.Tensor):
            return value
        value = whole(value)
        return value.cpu() if self.keep else None

    def save_pretrained(self, folder, **options) -> None:
        self.model.save_pretrained(folder, state_dict=self.weights, **options)

    def state_dict(self) -> dict:
        """That of the optimizer."""
        return self.state
