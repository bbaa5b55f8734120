"""The reference corpus: its shape, its determinism, and spurious attributes unrelated to the reward."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from rsail.language import (
    ATTRIBUTES,
    GOLD_MAX,
    LanguageConfig,
    attributes,
    build_tokenizer,
    corpus,
    follows_request,
    format_response,
    gold_reward,
    is_open,
    respond,
    words,
)
from rsail.language.prompts import split_texts

CONFIG = LanguageConfig()
PAIRS = corpus(CONFIG, 20_000)
PROMPTS, RESPONSES = (list(texts) for texts in zip(*PAIRS, strict=True))
ASKED = ~is_open(PROMPTS)
GOLD = gold_reward(PROMPTS, RESPONSES)
SPURIOUS = attributes(RESPONSES)


def nouns(response):
    return [word for word in response.split() if word in words.TOPIC_OF_NOUN]


def test_the_same_configuration_gives_the_same_corpus_and_a_longer_one_begins_with_it():
    assert corpus(LanguageConfig(), 300) == PAIRS[:300]
    assert corpus(LanguageConfig(seed=1), 300) != PAIRS[:300]


def test_twenty_thousand_pairs_take_seconds():
    start = time.perf_counter()
    corpus(LanguageConfig(seed=3), 20_000)
    assert time.perf_counter() - start < 5


def test_responses_have_three_to_six_distinct_nouns_and_fewer_than_24_tokens():
    counts = np.array([len(nouns(response)) for response in RESPONSES])
    assert set(counts) == {3, 4, 5, 6}
    assert all(len(set(nouns(r))) == len(nouns(r)) for r in RESPONSES[:2000])
    assert [np.mean(counts == n) for n in (3, 4, 5, 6)] == pytest.approx(CONFIG.noun_counts, abs=0.015)
    tokenizer = build_tokenizer(CONFIG)
    lengths = [len(ids) for ids in tokenizer([format_response(r) for r in RESPONSES])["input_ids"]]
    assert max(lengths) < 24
    assert np.percentile(lengths, 25) >= 8 and np.percentile(lengths, 75) <= 15


def test_the_stated_shares_are_met():
    assert np.mean(~ASKED) == pytest.approx(0.5, abs=0.015)
    mostly_on_topic = GOLD[ASKED] > GOLD_MAX / 2
    assert np.mean(mostly_on_topic) == pytest.approx(CONFIG.follow_request, abs=0.03)
    assert np.mean(SPURIOUS["filler"]) == pytest.approx(1.0, abs=0.05)
    assert np.mean(SPURIOUS["flattery"]) == pytest.approx(CONFIG.flattery_rate, abs=0.01)
    assert np.mean(SPURIOUS["format"]) == pytest.approx(CONFIG.exclamation_rate, abs=0.01)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_spurious_attribute_is_uncorrelated_with_the_gold_reward(name):
    correlation = np.corrcoef(SPURIOUS[name][ASKED], GOLD[ASKED])[0, 1]
    assert abs(correlation) * np.sqrt(ASKED.sum()) < 3.5  # standard errors


@pytest.mark.parametrize("name", ["filler", "flattery", "format"])
def test_the_law_of_the_gold_reward_does_not_depend_on_the_attribute(name):
    present = SPURIOUS[name][ASKED] > 0
    levels = np.unique(GOLD[ASKED])
    law = [np.searchsorted(levels, GOLD[ASKED][which]) for which in (present, ~present)]
    with_it, without = (np.bincount(l, minlength=len(levels)) / len(l) for l in law)
    assert np.abs(np.cumsum(with_it - without)).max() < 0.045  # Kolmogorov distance


def test_a_corpus_whose_filler_followed_the_reward_would_be_noticed():
    padded = [r + " really" * int(g > 1) for r, g in zip(RESPONSES, GOLD, strict=True)]
    correlation = np.corrcoef(attributes(padded)["filler"][ASKED], GOLD[ASKED])[0, 1]
    assert correlation * np.sqrt(ASKED.sum()) > 20


def test_the_corpus_sees_no_evaluation_prompt():
    split = split_texts(CONFIG)
    assert not set(PROMPTS) & {*split["request", "eval"], *split["open", "eval"]}


def test_articles_agree_with_the_next_word():
    for response in RESPONSES[:3000]:
        text = response.split()
        for article, following in pairwise(text):
            assert article != "a" or following[0] not in words.VOWELS
            assert article != "an" or following[0] in words.VOWELS


def test_every_choice_changes_the_corpus_as_it_says():
    def mean(name, **choices):
        return np.mean(attributes([r for _, r in corpus(LanguageConfig(**choices), 2000)])[name])

    assert mean("filler", filler_rate=0.0) == 0
    assert mean("filler", filler_rate=1.0) == 6
    assert mean("flattery", flattery_rate=1.0) == 1
    assert mean("format", exclamation_rate=1.0) == 1
    assert mean("length", determiner_rate=0.0, adjective_rate=0.0) < mean("length") - 1
    faithful = corpus(LanguageConfig(follow_request=1.0, coherence=1.0, open_share=0.0), 500)
    assert np.all(gold_reward(*zip(*faithful, strict=True)) == GOLD_MAX)
    deaf = corpus(LanguageConfig(follow_request=0.0, coherence=1.0, open_share=0.0), 500)
    assert np.all(gold_reward(*zip(*deaf, strict=True)) == 0)


def test_open_prompts_get_themes_of_every_topic():
    found = {words.TOPIC_OF_NOUN[nouns(r)[0]] for r, asked in zip(RESPONSES, ASKED, strict=True) if not asked}
    assert found == set(words.TOPICS)


def test_responses_to_given_prompts_follow_the_law_of_the_corpus():
    prompts = ["name some birds"] * 3000 + ["say anything at all"] * 1000
    responses = respond(CONFIG, prompts, seed=0)
    assert responses == respond(CONFIG, prompts, seed=0) != respond(CONFIG, prompts, seed=1)
    share = follows_request(prompts, responses)
    assert share[:3000].mean() == pytest.approx(follows_request(PROMPTS, RESPONSES)[ASKED].mean(), abs=0.03)
    assert not share[3000:].any()
    assert attributes(responses)["filler"].mean() == pytest.approx(SPURIOUS["filler"].mean(), abs=0.1)
