"""Load, copy, save and identify causal language models in Hugging Face format."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from rsail.checks import require
from rsail.files import check_sums, named_failure, sync, write_sums


def load_model(
    name_or_path: str | Path, *, dtype: torch.dtype = torch.float32, revision: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer, from the hub or from a local folder.

    Dropout is switched off, so that the sampling law and the scored law are one law. Weights are read from
    safetensors alone, and code that comes with a model is not run. Raises `ValueError` when the tokenizer has no pad
    or no end-of-sequence token, or a file is damaged, differs from the folder's ``SHA256SUMS`` (where it has one),
    lacks weights or has some that are not finite, `FileNotFoundError` when a local folder lacks a part.
    """
    folder = Path(name_or_path)
    if folder.exists() or str(name_or_path).startswith((".", "/")):
        _check_folder(folder)
    with named_errors("tokenizer", name_or_path):
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, revision=revision, trust_remote_code=False)
    for token in ("pad", "eos"):
        if getattr(tokenizer, f"{token}_token_id") is None:
            raise ValueError(
                f"model must have a tokenizer with a {token} token, got {name_or_path} without one; "
                f"set tokenizer.{token}_token and save the tokenizer again"
            )
    with no_progress_bar(), named_errors("model", name_or_path):
        model, report = AutoModelForCausalLM.from_pretrained(
            name_or_path,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,  # by default transformers asks on standard input
            output_loading_info=True,
        )
    if report["missing_keys"]:  # transformers would go on with random numbers in their place
        raise ValueError(
            f"model must be complete, got {name_or_path} without {sorted(report['missing_keys'])}"
        )
    bad = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if bad:
        raise ValueError(
            f"model must have finite weights, got {name_or_path} with NaN or infinity in {bad[:5]}"
        )
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise ValueError(
            f"model must have a row for each of the tokenizer's {len(tokenizer)} tokens, "
            f"got {rows} rows in {name_or_path}"
        )
    _switch_dropout_off(model)
    return model.eval(), tokenizer


def _switch_dropout_off(model: PreTrainedModel) -> None:
    """Modules keep rates of their own, under names such as attention_dropout, attn_pdrop and layerdrop."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for part in (*model.modules(), model.config):
        for name, value in list(vars(part).items()):
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)


@contextlib.contextmanager
def named_errors(what: str, name_or_path):
    """Whatever a library makes of a file that is damaged: tokenizers, for one, raises plain `Exception`."""
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        raise ValueError(
            f"{what} must be readable, got {name_or_path}: {reason} ({type(error).__name__})"
        ) from error


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"model must be a folder in Hugging Face format or a hub name, got {folder}")
    parts = {
        "config.json": ["config.json"],
        "a tokenizer": ["tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model"],
        "model weights": ["model.safetensors", "model.safetensors.index.json"],
    }
    for what, names in parts.items():
        if not any((folder / name).is_file() for name in names):
            raise FileNotFoundError(
                f"model must be a folder that holds {what}, got {folder} without {names[0]}"
            )
    check_sums("model", folder)


def save_weights(model: PreTrainedModel, folder: str | Path, **options) -> None:
    """Write configuration and weights (safetensors); of a model with an adapter, those of the adapter alone.

    `options` are those of ``save_pretrained`` of a model without one.
    """
    if has_adapter(model):
        options = {"save_embedding_layers": False}  # peft would ask the hub whether the vocabulary has grown
    with no_progress_bar():
        model.save_pretrained(folder, **options)


def has_adapter(model: torch.nn.Module) -> bool:
    """Whether `model` is one of peft's, without importing peft."""
    return hasattr(model, "peft_config")


def restore_weights(model: PreTrainedModel, folder: Path) -> None:
    """Put what `save_weights` wrote into `model`; `ValueError` if it is of another architecture or adapter."""
    if has_adapter(model):
        from rsail.lm.adapters import WEIGHTS, restore_adapter

        return restore_adapter(model, folder / WEIGHTS)
    missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    require(not unexpected and set(missing) <= tied, "checkpoint", str(folder), "of the same architecture")


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write model, tokenizer and ``SHA256SUMS`` so that `load_model` reads them back.

    The folder appears only when complete. `OSError` names what could not be written.
    """
    folder = Path(folder)
    with named_failure(folder.name, folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"
        ) as scratch:
            complete = Path(scratch) / folder.name
            save_weights(model, complete)
            tokenizer.save_pretrained(complete)
            write_sums(complete)
            for path in complete.iterdir():
                sync(path)
            _put_in_place(complete, folder)
        sync(folder.parent)


def _put_in_place(complete: Path, folder: Path) -> None:
    """Rename over a folder that may exist. A kill between the renames leaves both models beside it, whole."""
    old = folder.with_name(f".{folder.name}.old.tmp")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    try:
        os.replace(complete, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def no_progress_bar():
    """Small models load in no time: a bar for each of them would only fill logs and notebooks."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """The reference policy pi_SFT: a copy of the initial policy that never receives a gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 of all parameters and buffers in name order: the identity of a reference policy."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        tensor = getattr(tensor, "full_tensor", lambda tensor=tensor: tensor)()  # of a model in parts (FSDP)
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
