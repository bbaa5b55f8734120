"""Pretrain a small Llama-architecture model from scratch with transformers' Trainer, cached by what made it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from rsail.checks import positive, require
from rsail.files import write_sums
from rsail.lm.model import load_model, save_model


@dataclass(frozen=True)
class PretrainConfig:
    """Architecture and schedule of a reference model; the defaults give about 0.11 M parameters."""

    hidden_size: int = 64
    intermediate_size: int = 128
    layers: int = 2
    heads: int = 4
    max_length: int = 48  # tokens of prompt and response together; longer texts are cut
    steps: int = 4000
    batch_size: int = 64
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self):
        for name in (
            "hidden_size",
            "intermediate_size",
            "layers",
            "heads",
            "max_length",
            "steps",
            "batch_size",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        positive("learning_rate", self.learning_rate)
        require(
            self.hidden_size % self.heads == 0,
            "hidden_size",
            self.hidden_size,
            f"a multiple of heads = {self.heads}",
        )


def new_model(tokenizer: PreTrainedTokenizerBase, config: PretrainConfig) -> LlamaForCausalLM:
    """A randomly initialised Llama-architecture model with tied embeddings for `tokenizer`."""
    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=max(128, 2 * config.max_length),
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def recipe_hash(
    config: PretrainConfig, tokenizer: PreTrainedTokenizerBase, corpus: list[tuple[str, str]]
) -> str:
    """SHA-256 of all that determines a pretrained model up to rounding: settings, vocabulary and every text."""
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
    digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    for prompt, response in corpus:
        digest.update(f"{prompt}\x1f{response}\x1e".encode())
    return digest.hexdigest()


def pretrain(
    corpus: list[tuple[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainConfig,
    folder: str | Path,
    *,
    progress: bool | None = None,
) -> Path:
    """Train a new model on (prompt, response) texts, loss on the response and its end; returns `folder`.

    A folder that already holds the model of this recipe is returned as it is; one that holds anything else is
    refused. The folder appears only when complete; ``recipe.json`` in it says what made it.
    """
    folder = Path(folder)
    require(len(corpus) > 0, "corpus", corpus, "a non-empty list of (prompt, response)")
    recipe = {
        "sha256": recipe_hash(config, tokenizer, corpus),
        "pretraining": asdict(config),
        "texts": len(corpus),
    }
    if folder.exists() and any(folder.iterdir()):
        require(
            _recorded_recipe(folder) == recipe["sha256"],
            "folder",
            str(folder),
            f"empty or a model of recipe {recipe['sha256'][:12]}",
        )
        load_model(folder)
        return folder
    model = new_model(tokenizer, config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            max_steps=config.steps,
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=min(100, config.steps // 10),
            weight_decay=0.01,
            seed=config.seed,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=not progress,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        trainer = Trainer(
            model=model, args=arguments, train_dataset=examples(corpus, tokenizer, config.max_length)
        )
        trainer.remove_callback(PrinterCallback)  # standard output is for the result
        trainer.train()
        model.config.use_cache = True  # the Trainer switches it off in the configuration that is saved
        target = Path(scratch) / "model"
        save_model(model.cpu().eval(), tokenizer, target)
        (target / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
        write_sums(target)
        if folder.exists():
            folder.rmdir()
        os.replace(target, folder)
    return folder


def _recorded_recipe(folder: Path) -> str | None:
    try:
        return json.loads((folder / "recipe.json").read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):  # no record, or one that says nothing
        return None


def examples(
    corpus: list[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[dict]:
    """Token ids, mask and labels, (max_length,) each, of every text: the loss is on the response and its end."""
    prompts = tokenizer([p for p, _ in corpus], add_special_tokens=True)["input_ids"]
    responses = tokenizer([r for _, r in corpus], add_special_tokens=False)["input_ids"]
    examples = []
    for prompt, response in zip(prompts, responses, strict=True):
        ids = [*prompt, *response, tokenizer.eos_token_id][:max_length]
        gap = max_length - len(ids)
        labels = [-100] * min(len(prompt), len(ids)) + ids[len(prompt) :] + [-100] * gap
        examples.append(
            {
                "input_ids": torch.tensor(ids + [tokenizer.pad_token_id] * gap),
                "attention_mask": torch.tensor([1] * len(ids) + [0] * gap),
                "labels": torch.tensor(labels),
            }
        )
    return examples
