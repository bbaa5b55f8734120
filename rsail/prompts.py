"""The task of any data set of prompts, with a reward model as the reward."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from rsail.checks import require
from rsail.files import check_sums

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
READERS = {"parquet": "parquet", "json": "json", "jsonl": "json", "csv": "csv"}  # of the library datasets


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class PromptsConfig:
    """What a task of kind prompts reads from its data, and what judges the responses."""

    column: str = Field("prompt", min_length=1)
    """Column of the data set that holds the prompts."""
    form: Literal["text", "dialogue"] = "text"
    """text: the column's text is the prompt. dialogue: it is a dialogue as in Anthropic/hh-rlhf (column chosen), and
    the prompt is everything up to its last "Assistant:"."""
    split: str = Field("train", min_length=1)
    """Split of which prompts are drawn, those of evaluations, too; a single file is one split, whatever its name."""
    longest: int = Field(2000, ge=1)
    """Longer prompts, in characters, are left out."""
    reward_model: Annotated[
        str, BeforeValidator(lambda value: os.fspath(value) if isinstance(value, os.PathLike) else value)
    ] = ""
    """Sequence classifier with one output, r*(x, y) in log-odds: a folder in Hugging Face format or a hub name. It
    reads prompt and response through the chat template of its tokenizer, or joined where it has none."""
    reward_batch: int = Field(16, ge=1)
    """Texts that the reward model reads at a time."""


def read_prompts(data: str, config: PromptsConfig, rows: int, seed: int) -> list[str]:
    """The distinct prompts of `rows` rows of a data set, drawn with `seed`, in the order in which they were drawn.

    `data` is a hub name, a file (parquet, json, jsonl, csv, also as .gz), or a folder that the library datasets reads;
    a folder may have ``SHA256SUMS``. Raises `FileNotFoundError` or `ValueError` naming what is missing or damaged.
    """
    table = _read_table(data, config.split)
    require(
        config.column in table.column_names,
        "task.prompts.column", config.column, f"one of the columns {table.column_names} of {data}",
    )  # fmt: skip
    texts = table.shuffle(seed=seed).select(range(min(rows, len(table))))[config.column]
    strange = [text for text in texts if not isinstance(text, str)]
    require(not strange, "task.prompts.column", config.column, f"a column of texts, not of {strange[:1]}")
    if config.form == "dialogue":
        texts = [dialogue_prompt(text) for text in texts]
    return [text for text in dict.fromkeys(texts) if text.strip() and len(text) <= config.longest]


def dialogue_prompt(text: str) -> str:
    """Everything up to the last "Assistant:" of a dialogue; `ValueError` if there is none."""
    before, turn, _ = text.rpartition(ASSISTANT)
    require(
        bool(turn),
        "task.prompts.form",
        "dialogue",
        f"'text' for texts without {ASSISTANT!r}, as {text[:60]!r}",
    )
    return before + turn


def messages(prompt: str, response: str) -> list[dict[str, str]]:
    """The turns of prompt and response as a chat template takes them; a prompt that is no dialogue is one turn."""
    if not (prompt.startswith(HUMAN) and prompt.endswith(ASSISTANT)):
        return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    turns = []
    for part in prompt.removesuffix(ASSISTANT).split(HUMAN)[1:]:
        asked, *answers = part.split(ASSISTANT)
        turns.append({"role": "user", "content": asked.strip()})
        turns += [{"role": "assistant", "content": answer.strip()} for answer in answers]
    return [*turns, {"role": "assistant", "content": response.strip()}]


def _read_table(data: str, split: str):
    import datasets

    datasets.disable_progress_bars()
    path = Path(data)
    local = path.exists() or data.startswith((".", "/"))
    if local and not path.exists():
        raise FileNotFoundError(f"task.data must be a file, a folder or a hub name, got {data}")
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if path.is_file():
        require(
            kind in READERS,
            "task.data",
            data,
            f"a file of one of the kinds {', '.join(READERS)}, or a folder",
        )
    elif local:
        check_sums("task.data", path)
    try:
        if path.is_file():
            return datasets.load_dataset(READERS[kind], data_files={split: str(path)}, split=split)
        return datasets.load_dataset(data, split=split)
    except (
        Exception
    ) as error:  # what the library makes of a damaged file is anything, AttributeError included
        empty = isinstance(error, StopIteration)  # all that the library says of a file of no bytes
        reason = "it has no rows" if empty else str(error.__cause__ or error).strip()
        reason = next(iter(reason.splitlines()), type(error).__name__)
        raise ValueError(
            f"task.data must be a readable data set with the split {split!r}, got {data}: {reason}"
        ) from None


def surface_attributes(responses: list[str]) -> dict[str, np.ndarray]:
    """Spurious attributes of any text, each (N,): words, and exclamation marks."""
    return {
        "length": np.array([len(r.split()) for r in responses], dtype=np.float64),
        "exclamation": np.array([r.count("!") for r in responses], dtype=np.float64),
    }
