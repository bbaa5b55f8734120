"""LoRA (arXiv 2106.09685) through peft: small matrices are trained, and the model without them is the reference."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rsail.checks import require
from rsail.files import check_sums

WEIGHTS = "adapter_model.safetensors"


def add_adapter(
    model: PreTrainedModel, *, rank: int, alpha: float, targets: list[str], seed: int
) -> PeftModel:
    """`model` with a new LoRA adapter, whose matrices alone are trained; until they are it computes what `model` does.

    `targets` are names of layers (or their last parts), none all linear layers but the last. There is no dropout. The
    matrices A are drawn with `seed`, whatever the global state; B is zero. Raises `ValueError` naming a target that
    the model does not have.
    """
    names = {name for name, _ in model.named_modules()}
    missing = [t for t in targets if not any(name == t or name.endswith(f".{t}") for name in names)]
    require(not missing, "policy.lora_targets", missing, "names of layers of the model")
    last = model.get_output_embeddings()
    linear = [
        module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not last
    ]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=targets or "all-linear",
        # GPT-2 keeps its matrices the other way round.
        fan_in_fan_out=not linear and any(isinstance(module, Conv1D) for module in model.modules()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config).eval()


class WithoutAdapter:
    """The base model of `model` as a model of its own: the adapter is off in each of its passes, nothing is copied."""

    def __init__(self, model: PeftModel):
        self.model = model

    def __call__(self, **inputs):
        with self.model.disable_adapter():
            return self.model(**inputs)

    def __getattr__(self, name: str):
        return getattr(self.model.get_base_model(), name)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Weights and buffers under the names that they have without an adapter, for `rsail.lm.fingerprint`."""
        tensors = self.model.get_base_model().state_dict()
        return {
            name.replace(".base_layer.", "."): tensor
            for name, tensor in tensors.items()
            if not any(part.startswith("lora_") for part in name.split("."))
        }


def load_adapter(base: PreTrainedModel, folder: str | Path) -> PeftModel:
    """`base` with the adapter of `folder`, as `rsail.lm.save_model` wrote it; nothing of it is trained."""
    check_sums("model", Path(folder))
    try:
        return PeftModel.from_pretrained(base, str(folder)).eval()
    except Exception as error:  # whatever a library makes of a file that is damaged
        reason = next(iter(str(error).strip().splitlines()), "")
        raise ValueError(
            f"adapter must be readable, got {folder}: {reason} ({type(error).__name__})"
        ) from error


def restore_adapter(model: PeftModel, file: str | Path) -> None:
    """Put the matrices of a file into the adapter of `model`, which must have the same ones."""
    weights = load_file(file)
    own = {name: tensor.shape for name, tensor in get_peft_model_state_dict(model).items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    require(own == found, "checkpoint", str(file), "of the same adapter")
    set_peft_model_state_dict(model, weights)
