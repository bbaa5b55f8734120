"""The tokenizer: one token per word, exact round trips, a marked boundary, offline saving."""

from __future__ import annotations

from transformers import AutoTokenizer

from rsail.language import LanguageConfig, build_tokenizer, corpus, format_prompt, format_response, words

CONFIG = LanguageConfig()
TOKENIZER = build_tokenizer(CONFIG)
PAIRS = corpus(CONFIG, 1000)


def test_every_text_survives_the_round_trip():
    for text in {text for pair in PAIRS for text in pair}:
        ids = TOKENIZER.encode(text)
        assert TOKENIZER.decode(ids) == text
        assert len(ids) == len(text.split()) and TOKENIZER.unk_token_id not in ids


def test_formatted_texts_survive_and_lose_only_their_special_tokens():
    for prompt, response in PAIRS[:200]:
        text = f"{format_prompt(prompt)} {format_response(response)}"
        ids = TOKENIZER.encode(text)
        assert TOKENIZER.decode(ids) == text
        assert TOKENIZER.decode(ids, skip_special_tokens=True) == f"{prompt} {response}"


def test_prompt_and_response_tokens_join_without_a_seam():
    prompt, response = format_prompt(PAIRS[0][0]), format_response(PAIRS[0][1])
    joined = TOKENIZER.encode(f"{prompt} {response}")
    assert joined == TOKENIZER.encode(prompt) + TOKENIZER.encode(response)
    boundary = joined.index(TOKENIZER.convert_tokens_to_ids(words.ANSWER))
    assert TOKENIZER.decode(joined[1:boundary]) == PAIRS[0][0]
    assert joined[0] == TOKENIZER.bos_token_id and joined[-1] == TOKENIZER.eos_token_id


def test_special_tokens_have_ids_of_their_own_and_padding_is_on_the_left():
    ids = [getattr(TOKENIZER, f"{name}_token_id") for name in ("pad", "bos", "eos", "unk")]
    assert ids == [0, 1, 2, 3]
    batch = TOKENIZER(
        [format_prompt("name some birds"), format_prompt("hello say anything at all")], padding=True
    )
    assert batch["input_ids"][0][0] == TOKENIZER.pad_token_id and batch["attention_mask"][0][0] == 0
    answer = TOKENIZER.convert_tokens_to_ids(words.ANSWER)
    assert [row[-1] for row in batch["input_ids"]] == [answer, answer]


def test_an_unknown_word_becomes_unk():
    assert TOKENIZER.encode("zebra") == [TOKENIZER.unk_token_id]


def test_saving_and_loading_offline_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = [f"{format_prompt(p)} {format_response(r)}" for p, r in PAIRS[:100]]
    assert loaded(texts)["input_ids"] == TOKENIZER(texts)["input_ids"]
    assert loaded.batch_decode(loaded(texts)["input_ids"]) == texts
    assert loaded.padding_side == "left" and len(loaded) == len(TOKENIZER)
    assert loaded.all_special_ids == TOKENIZER.all_special_ids
    assert loaded.decode(loaded.encode(texts[0]), skip_special_tokens=True) == " ".join(PAIRS[0])


def test_the_vocabulary_follows_the_configuration():
    small = build_tokenizer(LanguageConfig(topics=2))
    assert len(TOKENIZER) == len(words.vocabulary()) and len(small) == len(TOKENIZER) - 110
    assert TOKENIZER.vocab_size == len(TOKENIZER)
