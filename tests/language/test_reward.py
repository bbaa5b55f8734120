"""The gold reward: what it counts, what it ignores, its range, and that any text can be graded."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsail.language import (
    DELTA,
    GOLD_MAX,
    LanguageConfig,
    attributes,
    corpus,
    gold_reward,
    is_open,
    requested_topic,
    words,
)

VOCABULARY = words.vocabulary()
PAIRS = corpus(LanguageConfig(), 200)
ANY_TEXT = st.lists(st.sampled_from(VOCABULARY), max_size=30).map(" ".join)
SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)


def gold(prompt, response):
    return gold_reward([prompt], [response])[0]


def test_every_noun_has_one_topic_and_no_word_plays_two_parts():
    nouns = [noun for topic in words.TOPICS.values() for noun in topic]
    assert len(nouns) == len(set(nouns)) == 120
    parts = [nouns, words.TOPICS, words.FILLERS, words.PRAISE, words.PRAISED]
    parts += [words.ADJECTIVES, words.DETERMINERS, words.CONJUNCTIONS]
    response_words = [word for part in parts for word in part]
    assert len(response_words) == len(set(response_words))
    prompt_phrases = (*words.COURTESIES, *words.REQUEST_VERBS, *words.QUANTIFIERS, *words.NAMES)
    prompt_words = {
        w for phrase in (*prompt_phrases, *words.OPEN_VERBS, *words.OPEN_OBJECTS) for w in phrase.split()
    }
    assert not prompt_words & {*nouns, *words.TOPICS, *words.FILLERS, *words.PRAISE}
    assert 250 <= len(VOCABULARY) <= 350


@pytest.mark.parametrize(
    ("response", "share"),
    [
        ("robin , owl and wren .", 1),
        ("robin , owl and hammer .", 2 / 3),
        ("hammer , saw , drill and a robin !", 1 / 4),
        ("the hammer , saw and drill .", 0),
        ("robin", 1 / 3),  # "some" means three at least
        ("robin robin robin", 1 / 3),  # a repeated noun is one answer ...
        ("robin robin robin owl", 2 / 4),  # ... and still a noun
        ("", 0),
        ("really , indeed !", 0),
        ("birds birds birds", 0),  # the topic's name is no answer
    ],
)
def test_the_reward_is_the_share_of_distinct_nouns_on_topic(response, share):
    assert gold("please name some birds", response) == pytest.approx(GOLD_MAX * share, abs=1e-15)


def test_the_reward_depends_on_the_prompt():
    response = "robin , hammer and saw ."
    assert gold("name a few birds", response) < gold("name a few tools", response)
    assert gold("say anything you like", response) == 0


@SETTINGS
@given(ANY_TEXT)
def test_to_an_open_prompt_every_response_is_equally_good(response):
    assert gold("write whatever comes to mind", response) == 0


@SETTINGS
@given(ANY_TEXT, ANY_TEXT)
def test_any_text_earns_between_zero_and_the_maximum(prompt, response):
    assert 0 <= gold(prompt, response) <= GOLD_MAX


IGNORED = (
    *words.FILLERS,
    *words.PRAISE,
    *words.PRAISED,
    *words.ADJECTIVES,
    *words.DETERMINERS,
    ",",
    ".",
    "!",
)


@SETTINGS
@given(st.integers(0, 199), st.lists(st.tuples(st.integers(0, 40), st.sampled_from(IGNORED)), max_size=12))
def test_filler_flattery_length_and_format_do_not_change_the_reward(row, insertions):
    prompt, response = PAIRS[row]
    text = response.split()
    for position, word in insertions:
        text.insert(position, word)
    assert gold(prompt, " ".join(text)) == gold(prompt, response)


def test_swapping_the_mark_or_dropping_the_praise_does_not_change_the_reward():
    prompt = "list some gems"
    plain = "a ruby , opal and hammer ."
    assert gold(prompt, plain) == gold(prompt, "a ruby , opal and hammer !")
    assert gold(prompt, plain) == gold(prompt, "brilliant question , a ruby , opal and hammer .")


def test_reward_gaps_respect_delta():
    assert pytest.approx(1 / (1 + np.exp(1.5)), abs=1e-15) == DELTA
    assert pytest.approx(np.log((1 - DELTA) / DELTA), abs=1e-12) == GOLD_MAX  # eq. 6, Remark 3.1
    rewards = gold_reward(*zip(*corpus(LanguageConfig(), 3000), strict=True))
    gap = np.ptp(rewards)
    assert gap == GOLD_MAX  # attained, so DELTA is sharp
    assert 1 / (1 + np.exp(gap)) >= DELTA - 1e-15


def test_special_tokens_do_no_harm():
    assert gold("<bos> name some birds <answer>", "<pad> robin , owl and wren . <eos>") == GOLD_MAX


def test_the_first_topic_named_is_the_one_asked_for():
    assert requested_topic("name some tools birds") == "tools"
    assert requested_topic("tell me anything at all") is None
    assert is_open(["name some tools", "pick anything at all"]).tolist() == [False, True]


def test_attributes_are_what_they_say():
    found = attributes(["clever idea , really a robin indeed !", "owl .", ""])
    assert {name: list(values) for name, values in found.items()} == {
        "filler": [2, 0, 0],
        "flattery": [1, 0, 0],
        "length": [8, 2, 0],
        "format": [1, 0, 0],
    }
    assert all(values.dtype == np.float64 for values in found.values())


def test_lists_of_different_lengths_are_refused_and_empty_ones_are_not():
    with pytest.raises(ValueError, match="responses must be as many as the 2 prompts, got 1"):
        gold_reward(["name some birds"] * 2, ["owl"])
    assert gold_reward([], []).shape == is_open([]).shape == attributes([])["filler"].shape == (0,)


def test_sixty_four_texts_take_about_a_millisecond():
    prompts, responses = zip(*corpus(LanguageConfig(), 64), strict=True)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        gold_reward(prompts, responses)
        seconds.append(time.perf_counter() - start)
    assert np.median(seconds) < 3e-3  # measured: 0.15 ms
