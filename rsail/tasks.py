"""What a run is about: prompts, the gold reward, spurious attributes, groups of prompts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from rsail import language
from rsail.checks import require
from rsail.files import check_sums
from rsail.prompts import PromptsConfig, read_prompts, surface_attributes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

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
    """imdb: reviews read from each split, prompts: rows read; drawn with the seed below."""
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
    prompts to its members, (N,) bool. `learned(prompts, responses)` is in place of the reward in the answers of an
    oracle of kind reward_model, (N,); the run fits it. `oracle(prompts, first, second)` is one of the user's own, the
    probability that the first response is preferred to the second, (N,), in place of what the configuration says.
    """

    train_prompts: list[str]
    eval_prompts: list[str]
    reward: Callable[[list[str], list[str]], np.ndarray]
    attributes: Callable[[list[str]], dict[str, np.ndarray]]
    groups: Callable[[list[str]], dict[str, np.ndarray]]
    learned: Callable[[list[str], list[str]], np.ndarray] | None = None
    oracle: Callable[[list[str], list[str], list[str]], np.ndarray] | None = None
    reward_digest: str | None = None  # identity of a reward that is a model, kept through resume


def load_task(config: TaskConfig, *, eval_prompts: int) -> Task:
    """Build the task of `config` with `eval_prompts` held-out prompts."""
    kinds = {"language": _language_task, "imdb": _imdb_task, "prompts": _prompts_task}
    return kinds[config.kind](config, eval_prompts)


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


def read_imdb(data: str, split: str, rows: int, seed: int) -> tuple[list[str], np.ndarray]:
    """`rows` reviews of a split and their labels (1 positive, 0 negative), shuffled with `seed`.

    `data` is a hub name, or a folder with ``<split>.parquet`` in the same columns and, best, their ``SHA256SUMS`` (made
    by the program sha256sum): a file with a wrong bit may still be readable. Raises `FileNotFoundError` or
    `ValueError` when the file is missing, damaged or has other columns.
    """
    folder = Path(data)
    if folder.exists() or data.startswith((".", "/")):
        table = _read_parquet(folder, split)
    else:
        import datasets  # here: a folder is read without it

        datasets.disable_progress_bars()
        table = datasets.load_dataset(data, split=split).data.table
    require(
        {"text", "label"} <= set(table.column_names),
        "task.data", table.column_names, "a data set with the columns text and label",
    )  # fmt: skip
    table = table.take(np.random.default_rng(seed).permutation(len(table))[:rows])
    labels = table["label"].to_numpy()
    require(set(np.unique(labels)) == {0, 1}, "task.data", f"labels {np.unique(labels)}", "labels 0 and 1")
    return [text.replace("<br />", " ") for text in table["text"].to_pylist()], labels


def _read_parquet(folder: Path, split: str):
    """The Arrow table of ``<split>.parquet`` in `folder`."""
    import pyarrow.parquet

    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"task.data must be a folder that holds {path.name}, got {folder}")
    check_sums("task.data", folder)
    try:
        return pyarrow.parquet.read_table(path)
    except Exception as error:  # what the library makes of a wrong bit is anything, AttributeError included
        raise ValueError(f"task.data holds a damaged file: {path} ({error})") from None


@dataclass(frozen=True)
class SentimentReward:
    """Sum of the log-odds of a text's words, squashed into [-bound, bound] by bound * tanh(sum / bound).

    The log-odds of a word compare the shares of positive and of negative texts that contain it, however often (naive
    Bayes with document counts); in a text that is judged, every occurrence counts.
    """

    log_odds: dict[str, float]
    bound: float = 1.5

    @classmethod
    def fit(cls, texts: list[str], labels: np.ndarray, *, smoothing: float = 1.0) -> SentimentReward:
        """Fit on labelled texts, with `smoothing` added to every count."""
        counts: dict[str, np.ndarray] = {}
        for text, label in zip(texts, labels, strict=True):
            for word in set(_words(text)):
                counts.setdefault(word, np.full(2, smoothing))[label] += 1
        documents = np.bincount(labels, minlength=2) + 2 * smoothing
        return cls({w: float(np.log(c[1] / documents[1] / (c[0] / documents[0]))) for w, c in counts.items()})

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Reward of each text in [-bound, bound], (N,); words never seen and empty texts count 0."""
        sums = [sum(self.log_odds.get(word, 0.0) for word in _words(text)) for text in texts]
        return self.bound * np.tanh(np.asarray(sums, dtype=np.float64) / self.bound)


def _words(text: str) -> list[str]:
    return "".join(c if c.isalpha() else " " for c in text.lower()).split()


def _prefixes(texts: list[str], seed: int) -> list[tuple[str, str]]:
    """Each text cut after 2 to 8 words: (prefix, rest)."""
    rng = np.random.default_rng(seed)
    pairs = []
    for text in texts:
        words, cut = text.split(), int(rng.integers(2, 9))
        if len(words) > cut:
            pairs.append((" ".join(words[:cut]), " " + " ".join(words[cut:])))
    return pairs


def _imdb_task(config: TaskConfig, eval_prompts: int) -> Task:
    """Prefixes of 2 to 8 words of reviews of the train split; the gold classifier is fitted on the test split."""
    texts, _ = read_imdb(config.data, "train", config.rows, config.seed)
    gold = SentimentReward.fit(*read_imdb(config.data, "test", config.rows, config.seed))
    unique = list(dict.fromkeys(prefix for prefix, _ in _prefixes(texts, config.seed)))
    needed = config.train_prompts + eval_prompts
    require(
        len(unique) >= needed,
        "task.rows",
        config.rows,
        f"enough for {needed} distinct prefixes, not {len(unique)}",
    )

    def attributes(responses: list[str]) -> dict[str, np.ndarray]:
        return {
            "length": np.array([len(r.split()) for r in responses], dtype=np.float64),
            "exclamation": np.array([r.count("!") for r in responses], dtype=np.float64),
        }

    return Task(
        unique[: config.train_prompts],
        unique[config.train_prompts : needed],
        lambda prompts, responses: gold(responses),
        attributes,
        lambda prompts: {"all": np.ones(len(prompts), dtype=bool)},
    )


def _prompts_task(config: TaskConfig, eval_prompts: int) -> Task:
    """Prompts of a data set, the last ones held out; the reward is a model's."""
    found, needed = (
        read_prompts(config.data, config.prompts, config.rows, config.seed),
        config.train_prompts + eval_prompts,
    )
    require(
        len(found) >= needed,
        "task.rows",
        config.rows,
        f"enough for {needed} distinct prompts, not {len(found)}",
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

    The language brings its own tokenizer; for imdb a byte-level BPE of `vocabulary` tokens is trained on the texts.
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
    texts, _ = read_imdb(config.data, "train", min(count, config.rows), config.seed)
    return _prefixes(texts, config.seed), _byte_pair_tokenizer(texts, vocabulary)


def _byte_pair_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )
