"""The configuration of the synthetic preference language, and its prompts.

A prompt asks for things of one topic (kind ``request``: some responses are truly better) or for nothing in
particular (kind ``open``: every response is equally good, so that only an oracle's bias can tell them apart).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from rsail.checks import one_of, require
from rsail.language import words

KINDS = ("request", "open")
SPLITS = ("train", "eval")


@dataclass(frozen=True)
class LanguageConfig:
    """Every choice behind the prompts and the reference corpus; equal configurations give equal texts."""

    seed: int = 0  # of prompts, splits and corpus
    topics: int = 12  # how many topics can be asked for (2 to 12)
    open_share: float = 0.5  # share of prompts to which every response is equally good
    follow_request: float = 0.7  # probability that a response's theme is the topic asked for
    coherence: float = 0.9  # probability that a noun belongs to its response's theme
    noun_counts: tuple[float, ...] = (0.45, 0.30, 0.15, 0.10)  # probabilities of 3, 4, 5, 6 nouns
    determiner_rate: float = 0.4  # per noun
    adjective_rate: float = 0.2  # per noun
    filler_rate: float = 0.5  # probability of one more filler word; the mean is about rate / (1 - rate)
    flattery_rate: float = 0.15  # probability that a response opens with praise
    exclamation_rate: float = 0.2  # probability that it ends with "!" instead of "."
    eval_share: float = 0.25  # share of the prompt texts kept for evaluation

    def __post_init__(self) -> None:
        require(isinstance(self.seed, int) and self.seed >= 0, "seed", self.seed, "an integer >= 0")
        require(
            isinstance(self.topics, int) and 2 <= self.topics <= len(words.TOPICS),
            "topics", self.topics, f"an integer from 2 to {len(words.TOPICS)}",
        )  # fmt: skip
        for name, value in asdict(self).items():
            if name.endswith(("_share", "_rate")) or name in ("follow_request", "coherence"):
                require(0 <= value <= 1, name, value, "a probability in [0, 1]")
        counts = self.noun_counts
        require(
            len(counts) == 4 and min(counts) >= 0 and abs(sum(counts) - 1) < 1e-9,
            "noun_counts", counts, "4 probabilities that sum to 1",
        )  # fmt: skip

    @property
    def topic_names(self) -> tuple[str, ...]:
        return tuple(words.TOPICS)[: self.topics]


@dataclass(frozen=True)
class Prompt:
    """What is asked, and of which kind: ``request`` or ``open``."""

    text: str
    kind: str


def _join(*phrases: str) -> str:
    return " ".join(phrase for phrase in phrases if phrase)


@lru_cache(maxsize=8)
def split_texts(config: LanguageConfig) -> dict[tuple[str, str], tuple[str, ...]]:
    """All prompt texts by (kind, split), shuffled by the seed; no text is in both splits."""
    openings = (*words.COURTESIES, *(f"{name} asks" for name in words.NAMES))
    texts = {
        "request": product(openings, words.REQUEST_VERBS, words.QUANTIFIERS, config.topic_names),
        "open": product(openings, words.OPEN_VERBS, words.OPEN_OBJECTS),
    }
    split = {}
    for kind in KINDS:
        every = [_join(*phrases) for phrases in texts[kind]]
        order = np.random.default_rng([config.seed, KINDS.index(kind)]).permutation(len(every))
        held_out = round(config.eval_share * len(every))
        shuffled = [every[i] for i in order]
        split[kind, "eval"], split[kind, "train"] = tuple(shuffled[:held_out]), tuple(shuffled[held_out:])
    return split


def _is_open_turn(index: int, share: float) -> bool:
    """Spread the open prompts evenly, so that every stretch of prompts has the stated share of them."""
    return int((index + 1) * share + 1e-9) > int(index * share + 1e-9)


def request_prompts(config: LanguageConfig, count: int, split: str) -> list[Prompt]:
    """The first `count` prompts of a split: distinct texts, the share `config.open_share` of them open.

    The splits ``train`` and ``eval`` share no text. Raises ValueError for a count beyond the number of texts.
    """
    one_of("split", split, SPLITS)
    require(isinstance(count, int | np.integer) and count >= 0, "count", count, "an integer >= 0")
    texts = split_texts(config)
    open_turns = [_is_open_turn(i, config.open_share) for i in range(count)]
    needed = {"open": sum(open_turns), "request": count - sum(open_turns)}
    for kind in KINDS:
        available = len(texts[kind, split])
        require(
            needed[kind] <= available, f"number of {kind} prompts", needed[kind],
            f"at most {available} in split {split}",
        )  # fmt: skip
    sources = {kind: iter(texts[kind, split]) for kind in KINDS}
    kinds = ["open" if is_open else "request" for is_open in open_turns]
    return [Prompt(next(sources[kind]), kind) for kind in kinds]
