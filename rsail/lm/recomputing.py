"""Gradient checkpointing: activations of a layer are computed again when the backward pass needs them."""

from __future__ import annotations

import contextlib
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from rsail.checks import require


@contextlib.contextmanager
def checkpointed(model: torch.nn.Module, wanted: bool = True):
    """Passes of `model` inside keep the inputs of its layers alone, where `wanted`; outside they are as ever.

    The layers of transformers look whether they are in training, and then take no cache: nothing but they is put in
    training, and for no longer than these passes, so that sampling keeps its cache and dropout stays off.
    """
    if not wanted:
        yield
        return
    layers = checkpointing_layers(model)
    for layer in layers:
        layer.gradient_checkpointing = layer.training = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = layer.training = False


def checkpointing_layers(
    model: torch.nn.Module, setting: str = "policy.gradient_checkpointing", value: str = "layers"
) -> list[torch.nn.Module]:
    """The layers whose activations can be computed again; `ValueError` naming what asks for them if there are none."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    expected = f"'none' with a model of kind {type(model).__name__}, whose layers transformers does not mark"
    require(bool(layers), setting, value, expected)
    return layers
