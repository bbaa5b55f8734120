"""The reference corpus: prompts with responses drawn by a grammar, which a small model is pretrained on.

A response lists 3 to 6 distinct nouns with a few determiners and adjectives. Its theme is the topic asked for
with probability `follow_request`. Filler words, flattery and the closing mark are drawn independently of the
nouns, hence independent of the gold reward; the length is uncorrelated with it, because the number of nouns
and of modifiers says nothing about their topics.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from rsail.checks import require
from rsail.language import words
from rsail.language.prompts import LanguageConfig, split_texts
from rsail.language.reward import requested_topic

MIN_NOUNS = 3
MAX_FILLERS = 6
MAX_WORDS = 22  # of a corpus response; 23 tokens with the end-of-sequence token
# At most 7 uniform numbers for each of 6 nouns, 3 for each filler word, and 12 for the rest.
_NUMBERS = 80


class _Draws:
    """Uniform numbers of one row, used up in order, so that a text depends on its own row alone."""

    def __init__(self, row: np.ndarray):
        self.uniform = iter(row.tolist()).__next__

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def below(self, count: int) -> int:
        return int(self.uniform() * count)

    def choice(self, options):
        return options[self.below(len(options))]


def _nouns(config: LanguageConfig, topic: str | None, draws: _Draws) -> list[str]:
    """3 to 6 distinct nouns around a theme: with probability follow_request the `topic` asked for."""
    names = config.topic_names
    if topic is not None and draws.chance(config.follow_request):
        theme = topic
    else:
        theme = draws.choice([name for name in names if name != topic])
    others = [name for name in names if name != theme]
    steps = list(accumulate(config.noun_counts))[:-1]
    chosen: list[str] = []
    for _ in range(MIN_NOUNS + bisect_right(steps, draws.uniform())):
        source = theme if draws.chance(config.coherence) else draws.choice(others)
        chosen.append(draws.choice([noun for noun in words.TOPICS[source] if noun not in chosen]))
    return chosen


def _item(config: LanguageConfig, noun: str, draws: _Draws, room: int) -> list[str]:
    """A noun with its determiner and adjective, where they are drawn and there is room for them."""
    determiner = [draws.choice(words.DETERMINERS)] if draws.chance(config.determiner_rate) else []
    adjective = [draws.choice(words.ADJECTIVES)] if draws.chance(config.adjective_rate) else []
    return [*[*determiner, *adjective][: max(room, 0)], noun]


def _with_articles(text: list[str]) -> list[str]:
    """`an` in place of `a` wherever the next word begins with a vowel."""
    following = [*text[1:], ""]
    return ["an" if w == "a" and n[:1] in words.VOWELS else w for w, n in zip(text, following, strict=True)]


def _response(config: LanguageConfig, topic: str | None, draws: _Draws) -> str:
    """One response: praise, nouns joined by commas and a conjunction, fillers anywhere among them, a mark."""
    nouns = _nouns(config, topic, draws)
    praise = draws.chance(config.flattery_rate)
    opening = [draws.choice(words.PRAISE), draws.choice(words.PRAISED), words.COMMA] if praise else []
    fillers: list[str] = []
    while len(fillers) < MAX_FILLERS and draws.chance(config.filler_rate):
        fillers.append(draws.choice(words.FILLERS))
    mark = words.EXCLAMATION if draws.chance(config.exclamation_rate) else words.PERIOD
    conjunction = draws.choice(words.CONJUNCTIONS)
    room = MAX_WORDS - (len(opening) + len(fillers) + 2 * len(nouns))
    body: list[str] = []
    for position, noun in enumerate(nouns):
        joint = [] if position == 0 else [conjunction if position == len(nouns) - 1 else words.COMMA]
        item = _item(config, noun, draws, room)
        room -= len(item) - 1
        body += [*joint, *item]
    for filler in fillers:
        body.insert(draws.below(len(body) + 1), filler)
    return " ".join(_with_articles([*opening, *body, mark]))


def corpus(config: LanguageConfig, count: int) -> list[tuple[str, str]]:
    """`count` pairs (prompt text, response text): prompts of split ``train`` drawn with replacement.

    The kind is open with probability `config.open_share`. A longer corpus begins with the shorter one.
    """
    require(isinstance(count, int | np.integer) and count >= 0, "count", count, "an integer >= 0")
    texts = split_texts(config)
    requests, opens = texts["request", "train"], texts["open", "train"]
    pairs = []
    for row in np.random.default_rng([config.seed, 2]).random((count, _NUMBERS)):
        draws = _Draws(row)
        prompt = draws.choice(opens if draws.chance(config.open_share) else requests)
        pairs.append((prompt, _response(config, requested_topic(prompt), draws)))
    return pairs


def respond(config: LanguageConfig, prompts: Sequence[str], *, seed: int) -> list[str]:
    """One response of the grammar to each of `prompts`: samples of the law that the reference model learns.

    Repeat a prompt for independent responses to it. `seed` is apart from that of the corpus.
    """
    rows = np.random.default_rng([config.seed, 3, seed]).random((len(prompts), _NUMBERS))
    return [_response(config, requested_topic(p), _Draws(row)) for p, row in zip(prompts, rows, strict=True)]
