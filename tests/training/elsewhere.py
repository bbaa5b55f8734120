"""Tensors that say they are on another device while their numbers are on the CPU: what would mix the two is an error.

The device is `meta`, since a torch without CUDA has no tensors that say they are on a GPU. Whatever a GPU would make
the CPU wait for (an entry taken out, a copy to the CPU, the number of non-zero entries) is counted. Without gradients.
"""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

ELSEWHERE = torch.device("meta")
# Operations that take tensors of two devices: copies, and indices, which may be on the CPU.
MIXED = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_"}
WAITS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal"}


class Elsewhere(torch.Tensor):
    """A tensor on the pretended device; `inner` has its numbers."""

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=ELSEWHERE,
        )  # fmt: skip
        made.inner = inner
        return made

    def tolist(self):
        """Torch refuses it for every subclass; of a GPU it is a copy to the CPU."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        raise RuntimeError(f"{function} outside of PretendDevice")


class PretendDevice(TorchDispatchMode):
    """Inside, tensors may be made on or moved to the pretended device; `waits` counts what the CPU would wait for."""

    def __init__(self):
        super().__init__()
        self.waits, self.operations = Counter(), 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        # An empty tensor made by torch.tensor comes without passing here.
        arguments, options = tree_map(
            lambda x: (
                Elsewhere(torch.empty(x.shape, dtype=x.dtype))
                if isinstance(x, torch.Tensor)
                and not isinstance(x, Elsewhere)
                and x.is_meta
                and x.numel() == 0
                else x
            ),
            (arguments, dict(options or {})),
        )
        name = function._schema.name.removeprefix("aten::")
        found: list[torch.Tensor] = []
        tree_map(lambda x: found.append(x) if isinstance(x, torch.Tensor) else None, (arguments, options))
        here = [x for x in found if not isinstance(x, Elsewhere) and x.ndim > 0]
        there = [x for x in found if isinstance(x, Elsewhere)]
        if here and there and name not in MIXED:
            raise RuntimeError(f"{name} got tensors on the CPU and elsewhere")
        if isinstance(arguments[0] if arguments else None, torch.Tensor) and name == "copy_":
            outside = isinstance(arguments[0], Elsewhere)
        elif (wanted := options.get("device")) is not None:
            outside = torch.device(wanted).type == ELSEWHERE.type
            options["device"] = torch.device("cpu")
        else:
            outside = bool(there)
        if there:
            self.operations += 1
            if name in WAITS:
                self.waits[name] += 1
            if name == "_to_copy" and not outside:
                self.waits["to the CPU"] += 1
        inner = tree_map(lambda x: x.inner if isinstance(x, Elsewhere) else x, (arguments, options))
        result = function(*inner[0], **inner[1])
        if name.endswith("_") and not name.startswith("_"):
            return arguments[0]
        return tree_map(lambda x: Elsewhere(x) if isinstance(x, torch.Tensor) and outside else x, result)


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """`model` with all its parameters and buffers on the pretended device, in place."""
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            module._parameters[name] = torch.nn.Parameter(Elsewhere(value.detach()), requires_grad=False)
        for name, value in list(module.named_buffers(recurse=False)):
            module._buffers[name] = Elsewhere(value)
    return model
