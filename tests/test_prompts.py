"""A task of any prompts: files of every kind, dialogues, a reward model that reads as it was trained to read."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rsail.files import write_sums
from rsail.lm import load_model
from rsail.lm.reward_model import RewardModel
from rsail.prompts import PromptsConfig, dialogue_prompt, messages, read_prompts
from rsail.tasks import TaskConfig, load_task
from rsail.training.config import build
from tests.lm.architectures import TEXTS, save

REAL = Path(os.environ.get("RSAIL_DATA", "")) / "hh-rlhf" / "harmless-base-test.jsonl.gz"
PROMPTS = [f"{text} number {n}" for n in range(8) for text in TEXTS]
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<eos>{% endfor %}"
RESPONSES = ["well , yes", "no", "", "a long answer about rain and rice and birds"]


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("rewards")
    save(root / "plain", "llama", labels=1)
    save(root / "chat", "qwen2", labels=1, chat_template=TEMPLATE)
    save(root / "two", "llama", labels=2)
    save(root / "language", "llama")
    return root


def table(column: str = "prompt", texts: list[str] = PROMPTS):
    import datasets

    return datasets.Dataset.from_dict({column: texts, "other": list(range(len(texts)))})


def written(folder: Path, kind: str) -> Path:
    path = folder / f"train.{kind}"
    if kind == "parquet":
        table().to_parquet(path)
    elif kind == "csv":
        table().to_csv(path, index=False)
    elif kind == "json":
        path.write_text(json.dumps([{"prompt": text} for text in PROMPTS]))
    else:
        lines = "".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS).encode()
        path.write_bytes(gzip.compress(lines) if kind.endswith("gz") else lines)
    return path


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "jsonl", "jsonl.gz"])
def test_prompts_come_from_a_file_or_a_folder_of_every_kind(tmp_path, kind):
    path = written(tmp_path, kind)
    found = read_prompts(str(path), PromptsConfig(), 100, 0)
    assert sorted(found) == sorted(PROMPTS) and found != PROMPTS
    assert read_prompts(str(tmp_path), PromptsConfig(), 100, 0) == found
    assert read_prompts(str(path), PromptsConfig(split="test"), 100, 0) == found  # a file is one split
    assert set(read_prompts(str(path), PromptsConfig(), 5, 1)) < set(found)


def test_prompts_are_distinct_not_empty_and_not_too_long(tmp_path):
    table(texts=["same", "same", "  ", "long " * 9, "other"]).to_parquet(tmp_path / "train.parquet")
    assert sorted(read_prompts(str(tmp_path), PromptsConfig(longest=10), 9, 0)) == ["other", "same"]


def test_the_prompt_of_a_dialogue_ends_with_its_last_assistant():
    text = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: a poem\n\nAssistant: roses"
    prompt = dialogue_prompt(text)
    assert prompt == "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: a poem\n\nAssistant:"
    assert messages(prompt, " roses") == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "a poem"},
        {"role": "assistant", "content": "roses"},
    ]
    assert messages("hi", "yo") == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    with pytest.raises(ValueError, match=r"task\.prompts\.form must be 'text' for texts without"):
        dialogue_prompt("no dialogue")


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_file(), reason="RSAIL_DATA names no folder with hh-rlhf/")
def test_real_dialogues_give_prompts():
    config = PromptsConfig(column="chosen", form="dialogue", longest=10**6)
    found = read_prompts(str(REAL), config, 10**6, 0)
    pairs = [json.loads(line) for line in gzip.decompress(REAL.read_bytes()).decode().splitlines()]
    rows = [pair["chosen"] for pair in pairs]
    assert set(found) == {row[: row.rindex("\n\nAssistant:") + len("\n\nAssistant:")] for row in rows}
    assert 2000 < len(found) <= len(rows)
    for prompt in found:
        turns = messages(prompt, "x")
        assert [turn["role"] for turn in turns[:2]] == ["user", "assistant"] and turns[-1]["content"] == "x"
    same = np.mean([dialogue_prompt(pair["chosen"]) == dialogue_prompt(pair["rejected"]) for pair in pairs])
    assert same > 0.9  # of a pair, both answers are to one prompt


@torch.no_grad()
def by_hand(folder: Path, text: str, special: bool) -> float:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return model(**tokenizer(text, return_tensors="pt", add_special_tokens=special)).logits.item()


def test_the_reward_is_the_logit_of_the_classifier_alone_or_in_a_batch(models):
    reward = RewardModel(str(models / "plain"), batch=3)
    found = reward(TEXTS, RESPONSES)
    wanted = [by_hand(models / "plain", p + r, True) for p, r in zip(TEXTS, RESPONSES, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert found.dtype == np.float64 and np.ptp(found) > 1e-3
    with torch.autocast("cpu", torch.bfloat16):  # of the policy's passes
        np.testing.assert_array_equal(reward(TEXTS, RESPONSES), found)


def test_a_chat_template_of_the_reward_model_is_used(models):
    reward = RewardModel(str(models / "chat"))
    assert reward.text("hi", "yo") == "<user>hi<eos><assistant>yo<eos>"
    wanted = by_hand(models / "chat", "<user>hi<eos><assistant>yo<eos>", False)
    assert reward(["hi"], ["yo"])[0] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two", "a classifier with one output, it has 2, got"),
        ("language", r"complete, it lacks \['score.weight'\], got"),
        ("nothing", "a folder in Hugging Face format or a hub name, got"),
    ],
)
def test_a_model_that_is_no_reward_model_is_named(models, name, message):
    with pytest.raises(
        (ValueError, FileNotFoundError), match=rf"task\.prompts\.reward_model must be {message}"
    ):
        RewardModel(str(models / name))


def test_a_text_too_long_for_the_reward_model_is_an_error_and_not_cut(models):
    with pytest.raises(ValueError, match="so small that they fit the 128 positions of the reward model"):
        RewardModel(str(models / "plain"))(["rain " * 200], ["yes"])


def config(tmp_path, models, **prompts) -> TaskConfig:
    written(tmp_path, "parquet")
    values = {"reward_model": str(models / "plain"), **prompts}
    return TaskConfig(
        kind="prompts", data=tmp_path, rows=32, train_prompts=20, prompts=PromptsConfig(**values)
    )


def test_a_task_has_its_prompts_and_the_reward_models_reward(tmp_path, models):
    task = load_task(config(tmp_path, models), eval_prompts=4)
    assert len(task.train_prompts) == 20 and len(task.eval_prompts) == 4
    assert len({*task.train_prompts, *task.eval_prompts}) == 24 <= len(PROMPTS)
    wanted = RewardModel(str(models / "plain"))
    np.testing.assert_array_equal(task.reward(TEXTS, RESPONSES), wanted(TEXTS, RESPONSES))
    assert task.reward_digest == wanted.digest
    assert task.attributes(["so good!!", ""])["exclamation"].tolist() == [2, 0]
    again = load_task(config(tmp_path, models), eval_prompts=4)
    assert again.train_prompts == task.train_prompts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "./nothing"}, r"task\.data must be a file, a folder or a hub name, got \./nothing"),
        ({"prompts": {"column": "question"}}, r"prompts\.column must be one of the columns \['prompt', 'other'\]"),
        ({"prompts": {"column": "other"}}, r"prompts\.column must be a column of texts, not of \[\d+\], got 'other'"),
        ({"prompts": {"split": "evaluation"}}, r"task\.data must be a readable data set with the split 'evaluation'"),
        ({"prompts": {"form": "dialogue"}}, r"task\.prompts\.form must be 'text' for texts without"),
        ({"train_prompts": 50}, r"task\.train_prompts \+ evaluation_prompts must be at most 32, the "
         r"distinct prompts in task\.rows=32 rows of .*, got 54"),
        ({"data": "nobody/no-such-data"}, r"task\.data must be a readable data set .*got nobody/no-such-data"),
    ],
    ids=str,
)  # fmt: skip
def test_data_that_does_not_fit_is_named(tmp_path, models, changes, message):
    written(tmp_path, "parquet")
    plain = {"kind": "prompts", "data": str(tmp_path), "rows": 32, "train_prompts": 20, **changes}
    plain["prompts"] = {"reward_model": str(models / "plain"), **changes.get("prompts", {})}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_task(build(TaskConfig, plain, group="task"), eval_prompts=4)


def test_damaged_files_and_files_of_other_kinds_are_named(tmp_path):
    path = written(tmp_path, "parquet")
    write_sums(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"task\.data must be a readable data set .*train\.parquet"):
        read_prompts(str(path), PromptsConfig(), 9, 0)
    with pytest.raises(ValueError, match=r"task\.data must be as it was saved, .* another train\.parquet"):
        read_prompts(str(tmp_path), PromptsConfig(), 9, 0)
    (tmp_path / "prompts.doc").write_text("x")
    with pytest.raises(ValueError, match=r"task\.data must be a file of one of the kinds parquet, json"):
        read_prompts(str(tmp_path / "prompts.doc"), PromptsConfig(), 9, 0)


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "jsonl.gz", "parquet"])
def test_an_empty_file_is_named_with_the_reason(tmp_path, kind):
    path = tmp_path / f"train.{kind}"
    path.write_bytes(gzip.compress(b"") if kind.endswith("gz") else b"")
    for data in (path, tmp_path):
        with pytest.raises(
            ValueError, match=rf"readable data set .* got {data}: (it has no|No col|Parquet file)"
        ):
            read_prompts(str(data), PromptsConfig(), 9, 0)


def test_a_reward_model_belongs_to_a_task_of_prompts_and_to_no_other():
    with pytest.raises(
        ValueError, match=r"task\.prompts\.reward_model must be a folder or hub name with kind"
    ):
        build(TaskConfig, {"kind": "prompts"}, group="task")
    with pytest.raises(ValueError, match=r"task\.prompts\.reward_model must be '' with kind 'imdb', got 'x'"):
        build(TaskConfig, {"kind": "imdb", "prompts": {"reward_model": "x"}}, group="task")


def test_the_models_of_these_tests_have_dropout_that_loading_switches_off(models):
    model, _ = load_model(models / "language")
    assert json.loads((models / "language" / "config.json").read_text())["attention_dropout"] == 0.1
    rates = {getattr(module, "attention_dropout", 0.0) for module in model.modules()}
    assert rates == {0.0} and model.config.attention_dropout == 0.0
