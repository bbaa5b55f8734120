"""Tiny models of common architectures, with random weights and a tokenizer, saved in Hugging Face format."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

TEXTS = [
    "tell me about birds",
    "what is a good book ?",
    "a word about rain , please",
    "how do I cook rice well !",
]
CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "gpt2": GPT2Config}
SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 4,
}  # fmt: skip
GPT2_SIZES = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}


def tokenizer(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """A byte-level BPE of a few hundred tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special, alphabet = ["<pad>", "<eos>"], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>", chat_template=chat_template
    )


def save(folder: Path, kind: str, *, labels: int = 0, chat_template: str | None = None, **changes) -> Path:
    """A language model, or with `labels` a sequence classifier, in `folder`; dropout is on, as many models have it."""
    own = tokenizer(chat_template)
    sizes = GPT2_SIZES if kind == "gpt2" else {**SIZES, "attention_dropout": 0.1}
    config = CONFIGS[kind](
        vocab_size=len(own) + 8,  # more rows than tokens, as many models have
        initializer_range=0.3, pad_token_id=own.pad_token_id, eos_token_id=own.eos_token_id,
        bos_token_id=None, **{**sizes, **({"num_labels": labels} if labels else {}), **changes},
    )  # fmt: skip
    torch.manual_seed(0)
    family = AutoModelForSequenceClassification if labels else AutoModelForCausalLM
    family.from_config(config).save_pretrained(folder)
    own.save_pretrained(folder)
    return folder
