"""IMDb controlled sentiment, after Rafailov et al. (arXiv 2305.18290, section 6): complete the beginning of a review.

A prompt is the first 2 to 8 tokens of a review, of the policy's own tokenizer; a response completes the sentence.
The gold reward and the rewards by which the oracle compares are two classifiers of sentiment, fitted on disjoint
halves of the test split, so that the oracle has an error of its own besides the one that is put on top. The paper's
classifier is a pretrained network and its responses are whole reviews; ours need neither download nor GPU.

On a share of the prompts the truth can be given no say, which is our construction: they begin with "Notes:" instead
of "Review:", and whatever is written there, gold and oracle rewards are 0. What an oracle still answers on them is
its bias alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsail.checks import require
from rsail.files import check_sums
from rsail.tasks import Task, TaskConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PREFIX = (2, 8)  # tokens, as in the paper
SENTIMENT, OPEN = "Review:", "Notes:"
SMOOTHING = 5.0  # documents; with 1, a word that was seen once would count as much as a common word of praise
_WORD = re.compile(r"(?:[^\W_]|')+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


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
        counts = (Counter(), Counter())
        for text, label in zip(texts, labels, strict=True):
            counts[label].update(set(_words(text)))
        negative, positive = np.bincount(labels, minlength=2) + 2 * smoothing
        return cls(
            {
                word: float(
                    np.log(
                        (counts[1][word] + smoothing) / positive / ((counts[0][word] + smoothing) / negative)
                    )
                )
                for word in counts[0].keys() | counts[1].keys()
            }
        )

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Reward of each text in [-bound, bound], (N,); words never seen and empty texts count 0."""
        sums = [sum(self.log_odds.get(word, 0.0) for word in _words(text)) for text in texts]
        return self.bound * np.tanh(np.array(sums, dtype=np.float64) / self.bound)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def imdb_task(config: TaskConfig, eval_prompts: int, tokenizer: PreTrainedTokenizerBase) -> Task:
    """Prompts from the beginnings of reviews of the train split; gold and oracle classifiers from the test split."""
    gold, believed = classifiers(config)
    texts, _ = read_imdb(config.data, "train", config.rows, config.seed)
    openings = [next(sentences([text]), "") for text in texts]
    prompts = list(dict.fromkeys(prefix for prefix, _ in prefixes(openings, tokenizer, config.seed)))
    needed = config.train_prompts + eval_prompts
    require(
        len(prompts) >= needed,
        "task.train_prompts + evaluation_prompts",
        needed,
        f"at most {len(prompts)}, the distinct prefixes in task.rows={config.rows} reviews of {config.data}",
    )
    train = marked(prompts[: config.train_prompts], config.open_share)
    held_out = marked(prompts[config.train_prompts : needed], config.open_share)

    def has_say(prompts: list[str]) -> np.ndarray:
        return np.array([config.open_share == 0 or not p.startswith(OPEN) for p in prompts], dtype=bool)

    def groups(prompts: list[str]) -> dict[str, np.ndarray]:
        return {"sentiment": has_say(prompts), "open": ~has_say(prompts)}

    return Task(
        train,
        held_out,
        lambda prompts, responses: gold(responses) * has_say(prompts),
        attributes,
        groups,
        lambda prompts, responses: believed(responses) * has_say(prompts),
    )


def attributes(responses: list[str]) -> dict[str, np.ndarray]:
    """Spurious attributes of responses, each (N,): words, and exclamation marks."""
    return {
        "length": np.array([len(r.split()) for r in responses], dtype=np.float64),
        "exclamation": np.array([r.count("!") for r in responses], dtype=np.float64),
    }


def classifiers(config: TaskConfig) -> tuple[SentimentReward, SentimentReward]:
    """The gold reward and the oracle's, from the first and the second half of `config.rows` test reviews.

    Fitted once in a process, as long as the file is the same: a sweep asks for them in every run.
    """
    path = Path(config.data) / "test.parquet"
    stamp = (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None
    return _fitted(config.data, config.rows, config.seed, stamp)


@lru_cache(maxsize=2)
def _fitted(data: str, rows: int, seed: int, stamp) -> tuple[SentimentReward, SentimentReward]:
    texts, labels = read_imdb(data, "test", rows, seed)
    half = len(texts) // 2
    return tuple(
        SentimentReward.fit(texts[part], labels[part], smoothing=SMOOTHING)
        for part in (slice(half), slice(half, None))
    )


def sentences(texts: list[str]) -> Iterator[str]:
    """The sentences of texts, cut behind full stops, question and exclamation marks: good enough to train on."""
    for text in texts:
        yield from (sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence)


def prefixes(texts: list[str], tokenizer: PreTrainedTokenizerBase, seed: int) -> Iterator[tuple[str, str]]:
    """Each text cut behind its first 2 to 8 tokens: (prefix, rest).

    Left out are texts with no more tokens than the prefix, and those whose prefix is read as other tokens when it
    stands alone (one that ends inside a character, for instance).
    """
    rng = np.random.default_rng(seed)
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    cuts = rng.integers(PREFIX[0], PREFIX[1] + 1, size=len(rows))
    kept = [(text, ids[:cut]) for text, ids, cut in zip(texts, rows, cuts, strict=True) if len(ids) > cut]
    if not kept:
        return
    starts = tokenizer.batch_decode([ids for _, ids in kept])
    again = tokenizer(starts, add_special_tokens=False)["input_ids"]
    for (text, ids), start, read in zip(kept, starts, again, strict=True):
        if read == ids and text.startswith(start):
            yield start, text[len(start) :]


def marked(prompts: list[str], open_share: float) -> list[str]:
    """Prompts with their marks: the share of open ones, spread evenly; none where no prompt is open."""
    if open_share == 0:
        return prompts
    open_turns = np.diff(np.floor(np.arange(len(prompts) + 1) * open_share + 1e-9)) > 0
    return [f"{OPEN if turn else SENTIMENT} {p}" for p, turn in zip(prompts, open_turns, strict=True)]


def imdb_texts(
    config: TaskConfig, count: int, vocabulary: int
) -> tuple[list[tuple[str, str]], PreTrainedTokenizerFast]:
    """`count` sentences of reviews of the train split, cut as the prompts are, and a tokenizer trained on the reviews.

    Where prompts are marked, sentences are, too, whatever they say: before training, a mark means nothing.
    """
    texts, _ = read_imdb(config.data, "train", config.rows, config.seed)
    tokenizer = byte_pair_tokenizer([f"{SENTIMENT} {OPEN} {text}" for text in texts], vocabulary)
    rng = np.random.default_rng(config.seed)
    cut = list(sentences(texts))
    cut = [cut[k] for k in rng.permutation(len(cut))[:count]]
    pairs = list(prefixes(cut, tokenizer, config.seed))
    prompts = marked([prefix for prefix, _ in pairs], config.open_share)
    return list(zip(prompts, (rest for _, rest in pairs), strict=True)), tokenizer


def byte_pair_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocabulary` tokens, trained on `texts`; it keeps every text as it is."""
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
