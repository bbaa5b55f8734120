"""Tasks: prompts, rewards and attributes; data files that are missing or damaged are named."""

import numpy as np
import pytest

from rsail import language
from rsail.files import write_sums
from rsail.tasks import SentimentReward, TaskConfig, load_task, pretraining_texts, read_imdb
from rsail.training.config import build

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


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def test_the_language_task_judges_by_the_programs_of_the_language():
    task = load_task(TaskConfig(train_prompts=20), eval_prompts=10)
    assert (len(task.train_prompts), len(task.eval_prompts)) == (20, 10)
    prompts, responses = task.train_prompts[:3], ["this is a bird .", "well , well", ""]
    np.testing.assert_array_equal(task.reward(prompts, responses), language.gold_reward(prompts, responses))
    groups = task.groups(task.train_prompts)
    assert (groups["open"] ^ groups["request"]).all() and groups["open"].any() and groups["request"].any()


def test_a_task_depends_on_its_own_seed():
    first, again, other = (load_task(TaskConfig(seed=seed), eval_prompts=4) for seed in (0, 0, 1))
    assert first.train_prompts == again.train_prompts != other.train_prompts


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


def test_the_imdb_task_has_prefixes_as_prompts_and_sentiment_as_reward(reviews):
    config = TaskConfig(kind="imdb", data=str(reviews), rows=60, train_prompts=6)
    task = load_task(config, eval_prompts=4)
    assert all(2 <= len(prompt.split()) <= 8 for prompt in task.train_prompts + task.eval_prompts)
    assert not set(task.train_prompts) & set(task.eval_prompts)
    good, bad, empty = task.reward(["x"] * 3, ["great and lovely", "dull and awful", ""])
    assert good > 0.5 and bad < -0.5 and empty == 0
    assert task.attributes(["so good!!", ""])["exclamation"].tolist() == [2, 0]
    assert task.attributes(["so good!!", ""])["length"].tolist() == [2, 0]


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
    for prompt, response in pairs[:10]:
        assert tokenizer.decode(tokenizer(prompt + response)["input_ids"]) == prompt + response


def test_a_missing_file_or_folder_is_named(reviews, tmp_path):
    (reviews / "test.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"task\.data must be a folder that holds test\.parquet"):
        load_task(TaskConfig(kind="imdb", data=str(reviews), rows=60, train_prompts=4), eval_prompts=4)
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


def test_too_few_reviews_for_the_prompts_are_refused(reviews):
    config = TaskConfig(kind="imdb", data=str(reviews), rows=60, train_prompts=500)
    with pytest.raises(ValueError, match=r"task\.rows must be enough for 504 distinct prefixes, .* got 60"):
        load_task(config, eval_prompts=4)


def test_more_prompts_than_the_language_has_are_refused():
    with pytest.raises(ValueError, match="prompts must be at most"):
        load_task(TaskConfig(train_prompts=50_000), eval_prompts=4)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="rows: Input should be greater than or equal to 20, got 3"):
        build(TaskConfig, {"rows": 3})
