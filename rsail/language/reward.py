"""The gold reward r*(x, y), a program of the two texts, and the spurious attributes that it ignores.

r* = GOLD_MAX * (distinct nouns of the topic asked for) / max(3, all nouns). It lies in [0, GOLD_MAX], so two
responses differ by at most GOLD_MAX and the Bradley-Terry preference (eq. 4) stays in [DELTA, 1 - DELTA] with
DELTA = sigmoid(-GOLD_MAX): Assumption 1 of the paper, by eq. 6 of its Remark 3.1. The radius rho must be
below it.

"Some birds" means three at least, hence the 3: an answer of one word earns a third. To a prompt without a
topic every response is equally good (reward 0). Any words in any order may be graded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rsail.checks import require
from rsail.language import words

GOLD_MAX = 1.5
DELTA = 1 / (1 + math.exp(GOLD_MAX))  # 0.1824
FULL_ANSWER = 3  # nouns
ATTRIBUTES = ("filler", "flattery", "length", "format")

_FILLERS, _PRAISE = frozenset(words.FILLERS), frozenset(words.PRAISE)


def requested_topic(prompt: str) -> str | None:
    """The first topic that the prompt names, or None if it names none (an open prompt)."""
    return next((word for word in prompt.split() if word in words.TOPICS), None)


def is_open(prompts: Sequence[str]) -> np.ndarray:
    """(N,) bool: True where every response is equally good."""
    return np.array([requested_topic(prompt) is None for prompt in prompts], dtype=bool)


def _topic_share(topic: str, response: str) -> float:
    """Distinct nouns of the topic over all nouns, repeated ones included; fewer than 3 count as 3."""
    nouns = [word for word in response.split() if word in words.TOPIC_OF_NOUN]
    on_topic = {noun for noun in nouns if words.TOPIC_OF_NOUN[noun] == topic}
    return len(on_topic) / max(FULL_ANSWER, len(nouns))


def gold_reward(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    """(N,) float64 rewards r*(x, y) in [0, GOLD_MAX], from the texts alone.

    Special tokens in the texts do no harm. Raises ValueError if the two lists differ in length.
    """
    require(
        len(prompts) == len(responses), "responses", len(responses), f"as many as the {len(prompts)} prompts"
    )
    rewards = np.zeros(len(prompts))
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        topic = requested_topic(prompt)
        if topic is not None:
            rewards[row] = GOLD_MAX * _topic_share(topic, response)
    return rewards


def follows_request(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    """(N,) bool: more than half of the full reward is earned; False for open prompts."""
    return gold_reward(prompts, responses) > GOLD_MAX / 2


def attributes(responses: Sequence[str]) -> dict[str, np.ndarray]:
    """Spurious attributes of texts without special tokens, each (N,) float64.

    filler: filler words; flattery: words of praise; length: words and punctuation marks;
    format: 1 if the text ends with "!", else 0.
    """
    split = [response.split() for response in responses]
    columns = {
        "filler": [sum(word in _FILLERS for word in text) for text in split],
        "flattery": [sum(word in _PRAISE for word in text) for text in split],
        "length": [len(text) for text in split],
        "format": [text[-1:] == [words.EXCLAMATION] for text in split],
    }
    return {name: np.array(columns[name], dtype=np.float64) for name in ATTRIBUTES}
