"""What a run is about: prompts, the gold reward, spurious attributes, groups of prompts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from rsail import language
from rsail.checks import require
from rsail.prompts import PromptsConfig, read_prompts, surface_attributes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

# A setting that is a path may be given as a pathlib.Path; it is kept as text, as files of settings have it.
PathText = Annotated[
    str,
    Field(min_length=1),
    BeforeValidator(lambda value: os.fspath(value) if isinstance(value, os.PathLike) else value),
]


@validated(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class TaskConfig:
    """Where prompts and gold reward come from."""

    kind: Literal["language", "imdb", "prompts"] = "language"
    """The synthetic preference language, IMDb controlled sentiment, or any prompts with a reward model."""
    data: PathText = "stanfordnlp/imdb"
    """imdb: a hub name, or a folder that holds train.parquet and test.parquet; prompts: a hub name, folder or file."""
    rows: int = Field(2000, ge=20)
    """imdb: reviews read from each split (those of the test split: half for the gold classifier, half for the
    oracle's), prompts: rows read; drawn with the seed below."""
    open_share: float = Field(0.0, ge=0, lt=1)
    """imdb: share of the prompts on which gold reward and oracle have no preference; above 0 these prompts begin with
    "Notes:" and the others with "Review:"."""
    train_prompts: int = Field(512, ge=1)
    """Distinct prompts that training draws from."""
    seed: int = Field(0, ge=0)
    """Draws prompts and rows; apart from the run's seed, so that runs with other seeds see the same task."""
    prompts: PromptsConfig = PromptsConfig()
    """prompts: what is read, and the reward model."""

    def __post_init__(self):
        model, needed = self.prompts.reward_model, self.kind == "prompts"
        expected = "a folder or hub name with kind 'prompts'" if needed else f"'' with kind {self.kind!r}"
        require(bool(model) == needed, "prompts.reward_model", model, expected)


@dataclass(frozen=True)
class Task:
    """Prompts and programs that judge responses; everything works on texts, N at a time.

    `reward(prompts, responses)` is r*(x, y), (N,) float64, in units of log-odds (eq. 4), in the order of its rows and
    whatever else is among them (evaluations check some of them alone); what it raises ends the run, and it has all
    the time that it takes, so that one that asks another machine needs a time limit of its own. `attributes(responses)`
    maps the name of each spurious attribute to its values, (N,); `groups(prompts)` maps the name of each group of
    prompts to its members, (N,) bool. `learned(prompts, responses)` is that by which an oracle compares that does not
    know r*, (N,) in the same units; None where it does. An oracle of kind reward_model has one that the run fits.
    `oracle(prompts, first, second)` is one of the user's own, the probability that the first response is preferred to
    the second, (N,), in place of what the configuration says.
    """

    train_prompts: list[str]
    eval_prompts: list[str]
    reward: Callable[[list[str], list[str]], np.ndarray]
    attributes: Callable[[list[str]], dict[str, np.ndarray]]
    groups: Callable[[list[str]], dict[str, np.ndarray]]
    learned: Callable[[list[str], list[str]], np.ndarray] | None = None
    oracle: Callable[[list[str], list[str], list[str]], np.ndarray] | None = None
    reward_digest: str | None = None  # identity of a reward that is a model, kept through resume


def load_task(
    config: TaskConfig, *, eval_prompts: int, tokenizer: PreTrainedTokenizerBase | None = None
) -> Task:
    """Build the task of `config` with `eval_prompts` held-out prompts.

    imdb cuts its prompts by the tokens of `tokenizer`, the policy's.
    """
    if config.kind == "language":
        return _language_task(config, eval_prompts)
    if config.kind == "prompts":
        return _prompts_task(config, eval_prompts)
    from rsail.imdb import imdb_task  # it builds on this module

    require(tokenizer is not None, "tokenizer", tokenizer, "the policy's, for task.kind imdb")
    return imdb_task(config, eval_prompts, tokenizer)


def _language_task(config: TaskConfig, eval_prompts: int) -> Task:
    settings = language.LanguageConfig(seed=config.seed)

    def texts(count: int, split: str) -> list[str]:
        return [language.format_prompt(p.text) for p in language.request_prompts(settings, count, split)]

    def groups(prompts: list[str]) -> dict[str, np.ndarray]:
        open_ = language.is_open(prompts)
        return {"request": ~open_, "open": open_}

    return Task(
        texts(config.train_prompts, "train"),
        texts(eval_prompts, "eval"),
        language.gold_reward,
        language.attributes,
        groups,
    )


def _prompts_task(config: TaskConfig, eval_prompts: int) -> Task:
    """Prompts of a data set, the last ones held out; the reward is a model's."""
    found, needed = (
        read_prompts(config.data, config.prompts, config.rows, config.seed),
        config.train_prompts + eval_prompts,
    )
    require(
        len(found) >= needed,
        "task.train_prompts + evaluation_prompts",
        needed,
        f"at most {len(found)}, the distinct prompts in task.rows={config.rows} rows of {config.data}",
    )
    from rsail.lm.reward_model import RewardModel

    reward = RewardModel(config.prompts.reward_model, batch=config.prompts.reward_batch)
    return Task(
        found[: config.train_prompts],
        found[config.train_prompts : needed],
        reward,
        surface_attributes,
        lambda prompts: {"all": np.ones(len(prompts), dtype=bool)},
        reward_digest=reward.digest,
    )


def pretraining_texts(
    config: TaskConfig, count: int, *, vocabulary: int = 4000
) -> tuple[list[tuple[str, str]], PreTrainedTokenizerFast]:
    """(prompt, response) texts to pretrain a reference model on, and a tokenizer for them.

    The language brings its own tokenizer; for imdb a byte-level BPE of `vocabulary` tokens is trained on the reviews,
    and the texts are sentences of them.
    """
    require(
        config.kind != "prompts",
        "task.kind",
        config.kind,
        "language or imdb, whose texts can be pretrained on",
    )
    if config.kind == "language":
        settings = language.LanguageConfig(seed=config.seed)
        pairs = [(language.format_prompt(p), r) for p, r in language.corpus(settings, count)]
        return pairs, language.build_tokenizer(settings)
    from rsail.imdb import imdb_texts

    return imdb_texts(config, count, vocabulary)
