"""Prompts: two kinds, disjoint splits, and the same texts from the same configuration."""

from __future__ import annotations

import re

import pytest

from rsail.language import LanguageConfig, build_tokenizer, format_prompt, is_open, request_prompts
from rsail.language.prompts import split_texts

CONFIG = LanguageConfig()


def texts(count, split, config=CONFIG):
    return [prompt.text for prompt in request_prompts(config, count, split)]


def test_train_and_eval_prompts_share_no_text():
    split = split_texts(CONFIG)
    train = {*split["request", "train"], *split["open", "train"]}
    held_out = {*split["request", "eval"], *split["open", "eval"]}
    assert not train & held_out
    assert min(len(found) for found in split.values()) >= 64
    assert set(texts(500, "train")) <= train and set(texts(500, "eval")) <= held_out


@pytest.mark.parametrize("split", ["train", "eval"])
def test_each_split_has_64_distinct_prompts_of_each_kind(split):
    prompts = request_prompts(CONFIG, 128, split)
    assert len({prompt.text for prompt in prompts}) == 128
    assert [prompt.kind for prompt in prompts].count("open") == 64


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_stated_share_of_every_stretch_of_prompts_is_open(share):
    prompts = request_prompts(LanguageConfig(open_share=share), 200, "train")
    for start in (0, 40, 160):
        kinds = [prompt.kind for prompt in prompts[start : start + 40]]
        assert kinds.count("open") == 40 * share


def test_the_kind_can_be_read_off_the_text():
    prompts = request_prompts(CONFIG, 400, "train")
    assert is_open([p.text for p in prompts]).tolist() == [p.kind == "open" for p in prompts]


def test_equal_configurations_give_equal_prompts_and_other_seeds_others():
    assert texts(50, "eval", LanguageConfig(seed=1)) == texts(50, "eval", LanguageConfig(seed=1))
    assert texts(50, "eval", LanguageConfig(seed=1)) != texts(50, "eval", LanguageConfig(seed=2))
    assert texts(100, "train")[:30] == texts(30, "train")


def test_prompts_have_at_most_ten_tokens():
    tokenizer = build_tokenizer(CONFIG)
    lengths = [len(tokenizer.encode(format_prompt(text))) for text in texts(1000, "train")]
    assert max(lengths) <= 10


def test_fewer_topics_are_never_asked_for():
    config = LanguageConfig(topics=2)
    words = {word for text in texts(200, "train", config) for word in text.split()}
    assert {"birds", "tools"} <= words and not words & {"fruits", "gems"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"topics": 13}, "topics must be an integer from 2 to 12, got 13"),
        ({"open_share": 1.5}, "open_share must be a probability in [0, 1], got 1.5"),
        ({"follow_request": float("nan")}, "follow_request must be a probability"),
        ({"noun_counts": (0.5, 0.4, 0.0, 0.0)}, "noun_counts must be 4 probabilities that sum to 1"),
    ],
)
def test_a_wrong_choice_is_refused_by_name(choice, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LanguageConfig(**choice)


def test_an_unknown_split_and_too_many_prompts_are_refused():
    with pytest.raises(ValueError, match="split must be one of eval, train, got 'test'"):
        request_prompts(CONFIG, 4, "test")
    with pytest.raises(
        ValueError, match="number of request prompts must be at most 2880 in split eval, got 5000"
    ):
        request_prompts(CONFIG, 10_000, "eval")
    with pytest.raises(ValueError, match="count must be an integer >= 0"):
        request_prompts(CONFIG, -1, "eval")
