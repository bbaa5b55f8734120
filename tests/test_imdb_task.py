"""The IMDb task: reviews as they are read, prompts of a few tokens, two classifiers that know different reviews."""

import numpy as np
import pytest

from rsail.files import write_sums
from rsail.imdb import (
    OPEN,
    SENTIMENT,
    SMOOTHING,
    SentimentReward,
    byte_pair_tokenizer,
    classifiers,
    imdb_task,
    marked,
    prefixes,
    read_imdb,
    sentences,
)
from rsail.tasks import TaskConfig, load_task, pretraining_texts

GOOD = ["a great and lovely film from start to end", "great story , lovely people , great fun all along"]
BAD = ["a dull and awful film from start to end", "awful story , dull people , awful waste all along"]


@pytest.fixture
def reviews(tmp_path):
    """A folder with two small splits in the columns of the IMDb data set."""
    import datasets

    for split in ("train", "test"):
        texts = [f"{text} number {n} <br />the end" for n in range(15) for text in GOOD + BAD]
        table = datasets.Dataset.from_dict({"text": texts, "label": [1, 1, 0, 0] * 15})
        table.to_parquet(tmp_path / f"{split}.parquet")
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer():
    return byte_pair_tokenizer(GOOD + BAD, 400)


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def test_reviews_are_shuffled_by_the_seed_and_cleaned(reviews):
    texts, labels = read_imdb(str(reviews), "train", 40, 0)
    again, _ = read_imdb(str(reviews), "train", 40, 0)
    other, _ = read_imdb(str(reviews), "train", 40, 1)
    assert len(texts) == 40 and texts == again != other
    assert not any("<br" in text for text in texts)
    assert all(("great" in text) == bool(label) for text, label in zip(texts, labels, strict=True))


def test_a_folder_gives_the_rows_that_the_library_of_the_hub_would(reviews):
    import datasets

    files = {"train": str(reviews / "train.parquet")}
    table = (
        datasets.load_dataset("parquet", data_files=files, split="train").shuffle(seed=3).select(range(40))
    )
    texts, labels = read_imdb(str(reviews), "train", 40, 3)
    assert texts == [text.replace("<br />", " ") for text in table["text"]]
    assert labels.tolist() == table["label"]


def test_the_imdb_task_has_prefixes_as_prompts_and_sentiment_as_reward(reviews, tokenizer):
    config = TaskConfig(kind="imdb", data=str(reviews), rows=60, train_prompts=6)
    task = load_task(config, eval_prompts=4, tokenizer=tokenizer)
    prompts = task.train_prompts + task.eval_prompts
    assert len(set(prompts)) == 10
    assert all(2 <= len(ids) <= 8 for ids in tokenizer(prompts)["input_ids"])
    assert all(any(text.startswith(prompt) for text in GOOD + BAD) for prompt in prompts)
    good, bad, empty = task.reward(["x"] * 3, ["great and lovely", "dull and awful", ""])
    assert good > 0.5 and bad < -0.5 and empty == 0
    assert task.groups(prompts)["sentiment"].all() and not task.groups(prompts)["open"].any()
    assert task.attributes(["so good!!", ""])["exclamation"].tolist() == [2, 0]
    assert task.attributes(["so good!!", ""])["length"].tolist() == [2, 0]


def test_the_task_needs_the_tokenizer_of_the_policy(reviews):
    with pytest.raises(ValueError, match="tokenizer must be the policy's"):
        load_task(TaskConfig(kind="imdb", data=str(reviews), rows=60, train_prompts=4), eval_prompts=4)


def test_on_open_prompts_neither_gold_nor_oracle_has_a_preference(reviews, tokenizer):
    config = TaskConfig(kind="imdb", data=str(reviews), rows=60, train_prompts=6, open_share=0.5)
    task = load_task(config, eval_prompts=4, tokenizer=tokenizer)
    for prompts in (task.train_prompts, task.eval_prompts):
        assert [p.split(" ")[0] for p in prompts] == [SENTIMENT, OPEN] * (len(prompts) // 2)
        responses = ["great and lovely"] * len(prompts)
        is_open = task.groups(prompts)["open"]
        assert (is_open ^ task.groups(prompts)["sentiment"]).all()
        for reward in (task.reward, task.learned):
            assert (reward(prompts, responses)[is_open] == 0).all()
            assert (reward(prompts, responses)[~is_open] > 0.5).all()


def test_gold_and_oracle_are_fitted_on_disjoint_halves(reviews):
    config = TaskConfig(kind="imdb", data=str(reviews), rows=60)
    texts, labels = read_imdb(str(reviews), "test", 60, 0)
    for found, half in zip(classifiers(config), (slice(30), slice(30, 60)), strict=True):
        assert found == SentimentReward.fit(texts[half], labels[half], smoothing=SMOOTHING)
    first, second = classifiers(config)
    assert first != second


def test_prefixes_are_what_the_tokenizer_reads_and_nothing_is_lost(tokenizer):
    texts = ["日本語の映画はとても良い", "naïve café film", *GOOD, "a", ""] * 20
    pairs = list(prefixes(texts, tokenizer, 0))
    assert {prefix + rest for prefix, rest in pairs} == {*texts} - {"a", ""}
    lengths = [len(ids) for ids in tokenizer([prefix for prefix, _ in pairs])["input_ids"]]
    assert min(lengths) == 2 and max(lengths) == 8
    assert not any("\ufffd" in prefix for prefix, _ in pairs)
    assert list(prefixes(["a", ""], tokenizer, 0)) == []


def test_sentences_end_behind_their_marks():
    texts = [' One film. "Two?" Three!  Four... five ', "", "no end"]
    assert list(sentences(texts)) == ["One film.", '"Two?" Three!', "Four...", "five", "no end"]


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 2), (0.5, 4)])
def test_the_stated_share_of_prompts_is_open(share, count):
    prompts = marked([f"p{k}" for k in range(8)], share)
    assert sum(prompt.startswith(OPEN) for prompt in prompts) == count
    assert sum(prompt.startswith(SENTIMENT) for prompt in prompts) == (8 - count if share else 0)


def test_sentiment_is_the_sum_of_smoothed_log_odds_within_the_bound():
    reward = SentimentReward.fit(["good film", "good", "bad film"], np.array([1, 1, 0]))
    odds = np.log(
        ((2 + 1) / (2 + 2)) / ((0 + 1) / (1 + 2))
    )  # "good": in 2 of 2 positive, 0 of 1 negative texts
    assert reward(["good"])[0] == pytest.approx(1.5 * np.tanh(odds / 1.5))
    assert np.abs(reward(["good " * 500, "bad " * 500, "!"])).max() <= 1.5
    assert reward(["Good!"])[0] == reward(["good"])[0]


def test_texts_to_pretrain_on_come_with_a_tokenizer_that_keeps_them(reviews):
    config = TaskConfig(kind="imdb", data=str(reviews), rows=60)
    pairs, tokenizer = pretraining_texts(config, 50, vocabulary=300)
    assert len(tokenizer) <= 300 and tokenizer.pad_token_id != tokenizer.eos_token_id
    assert len(pairs) == 50
    for prompt, response in pairs[:10]:
        assert tokenizer.decode(tokenizer(prompt + response)["input_ids"]) == prompt + response


def test_marks_of_pretraining_say_nothing_about_the_text(reviews):
    plain, _ = pretraining_texts(TaskConfig(kind="imdb", data=str(reviews), rows=60), 50, vocabulary=300)
    config = TaskConfig(kind="imdb", data=str(reviews), rows=60, open_share=0.5)
    pairs, _ = pretraining_texts(config, 50, vocabulary=300)
    marks, starts = zip(*(prompt.split(" ", 1) for prompt, _ in pairs), strict=True)
    assert marks == (SENTIMENT, OPEN) * 25
    assert {start + rest for start, (_, rest) in zip(starts, pairs, strict=True)} == {p + r for p, r in plain}


def test_a_missing_file_or_folder_is_named(reviews, tokenizer, tmp_path):
    (reviews / "test.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"task\.data must be a folder that holds test\.parquet"):
        imdb_task(TaskConfig(kind="imdb", data=str(reviews), rows=60, train_prompts=4), 4, tokenizer)
    with pytest.raises(FileNotFoundError, match=r"task\.data must be a folder .*nowhere"):
        read_imdb(str(tmp_path / "nowhere"), "train", 40, 0)


@pytest.mark.parametrize("keep", [0, 40, 1000])
def test_a_damaged_file_is_named(reviews, keep):
    path = reviews / "train.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"task\.data holds a damaged file: .*train\.parquet"):
        read_imdb(str(reviews), "train", 40, 0)


def test_a_file_with_one_wrong_bit_anywhere_is_named_where_there_are_sums(reviews):
    write_sums(reviews)
    path = reviews / "test.parquet"
    content = path.read_bytes()
    for at in range(0, len(content), (len(content) - 1) // 9):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        with pytest.raises(ValueError, match=r"task\.data must be as it was saved, .* another test\.parquet"):
            read_imdb(str(reviews), "train", 40, 0)
    path.write_bytes(content)
    read_imdb(str(reviews), "train", 40, 0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"review": ["a"] * 30, "label": [0, 1] * 15}, "with the columns text and label, got"),
        ({"text": ["a"] * 30, "label": [-1] * 30}, r"task\.data must be labels 0 and 1, got 'labels \[-1\]'"),
    ],
)
def test_other_columns_or_labels_are_refused(tmp_path, columns, message):
    import datasets

    datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=message):
        read_imdb(str(tmp_path), "train", 30, 0)


def test_too_few_reviews_for_the_prompts_are_refused(reviews, tokenizer):
    config = TaskConfig(kind="imdb", data=str(reviews), rows=60, train_prompts=500)
    with pytest.raises(
        ValueError,
        match=r"evaluation_prompts must be at most \d\d, .* in task\.rows=60 reviews of .* got 504",
    ):
        load_task(config, eval_prompts=4, tokenizer=tokenizer)
