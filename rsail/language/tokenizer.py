"""A word-level tokenizer in Hugging Face format, and the one way a prompt and a response become tokens.

A training text is ``<bos> prompt words <answer> response words <eos>``: `format_prompt` gives what comes
before the response and ends with ``<answer>``, so that the boundary is a token of its own; `format_response`
the rest. The tokenizer itself adds nothing: what is encoded is what was written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsail.language import words
from rsail.language.prompts import LanguageConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def format_prompt(prompt: str) -> str:
    """The prompt as a model reads it: ``<bos> ... <answer>``."""
    return f"{words.BOS} {prompt} {words.ANSWER}"


def format_response(response: str) -> str:
    """The response as a model learns it: ``... <eos>``."""
    return f"{response} {words.EOS}"


def build_tokenizer(config: LanguageConfig) -> PreTrainedTokenizerFast:
    """One token per word of the language of `config`; unknown words become ``<unk>``; padding on the left.

    For every text of the language ``decode(encode(text)) == text``; with ``skip_special_tokens=True`` the
    formatted texts decode to the plain ones. ``save_pretrained`` and ``from_pretrained`` need no network.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast  # takes a second, which reading settings need not wait

    vocabulary = {word: index for index, word in enumerate(words.vocabulary(config.topic_names))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=words.UNK))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=words.PAD,
        bos_token=words.BOS,
        eos_token=words.EOS,
        unk_token=words.UNK,
        additional_special_tokens=[words.ANSWER],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=64,
    )
