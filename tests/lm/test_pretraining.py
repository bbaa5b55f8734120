"""A reference model from scratch: it learns, it is cached by its recipe, and another recipe is refused."""

import dataclasses
import json

import pytest
import torch

from rsail import language
from rsail.lm import load_model
from rsail.lm.pretraining import PretrainConfig, new_model, pretrain, recipe_hash
from rsail.tasks import TaskConfig, pretraining_texts

CONFIG = PretrainConfig(
    hidden_size=16, intermediate_size=32, layers=1, heads=2, steps=20, batch_size=16, learning_rate=2e-2
)


@pytest.fixture(scope="module")
def texts():
    return pretraining_texts(TaskConfig(), 100)


@pytest.fixture(scope="module")
def folder(texts, tmp_path_factory):
    return pretrain(*texts, CONFIG, tmp_path_factory.mktemp("pretraining") / "model")


@torch.no_grad()
def loss(model, corpus, tokenizer) -> float:
    """Mean negative log-likelihood per token of the responses and their ends, one text at a time."""
    total = count = 0
    for prompt, response in corpus:
        start = tokenizer(prompt)["input_ids"]
        end = [*tokenizer(response)["input_ids"], tokenizer.eos_token_id]
        log_probs = model(input_ids=torch.tensor([start + end])).logits[0].log_softmax(-1)
        total -= log_probs[range(len(start) - 1, len(start + end) - 1), end].sum().item()
        count += len(end)
    return total / count


def test_twenty_steps_teach_something(texts, folder):
    corpus, tokenizer = texts
    trained, _ = load_model(folder)
    before = loss(new_model(tokenizer, CONFIG), corpus[:20], tokenizer)
    assert loss(trained, corpus[:20], tokenizer) < before - 0.8


def test_the_folder_says_what_made_it_and_holds_nothing_of_the_training(texts, folder):
    record = json.loads((folder / "recipe.json").read_text())
    assert record["sha256"] == recipe_hash(CONFIG, texts[1], texts[0])
    assert record["pretraining"] == dataclasses.asdict(CONFIG) and record["texts"] == 100
    assert {p.name for p in folder.parent.iterdir()} == {"model"}
    assert json.loads((folder / "config.json").read_text())["use_cache"] is True


def test_the_same_recipe_is_read_from_the_folder_and_not_trained_again(texts, folder):
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert pretrain(*texts, CONFIG, folder) == folder
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_another_recipe_is_refused_before_any_work(texts, folder):
    corpus, tokenizer = texts
    for config, other in (
        (dataclasses.replace(CONFIG, steps=21), corpus),
        (CONFIG, corpus[:-1]),
        (CONFIG, [*corpus[:-1], (corpus[-1][0], "the end .")]),
    ):
        with pytest.raises(ValueError, match="folder must be empty or a model of recipe"):
            pretrain(other, tokenizer, config, folder)


def test_a_foreign_folder_is_refused_and_left_alone(texts, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="folder must be empty or a model of recipe"):
        pretrain(*texts, CONFIG, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_folder_with_a_damaged_recipe_is_refused(texts, tmp_path, content):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(ValueError, match="folder must be empty or a model of recipe"):
        pretrain(*texts, CONFIG, tmp_path)


def test_the_same_recipe_gives_the_same_weights_on_one_machine(texts, folder, tmp_path):
    again = pretrain(*texts, CONFIG, tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_training_prints_nothing_on_standard_output(texts, tmp_path, capsys):
    pretrain(*texts, dataclasses.replace(CONFIG, steps=1), tmp_path / "model")
    assert capsys.readouterr().out == ""


def test_an_interrupted_training_leaves_no_folder(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "rsail.lm.pretraining.save_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        pretrain(*texts, dataclasses.replace(CONFIG, steps=1), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_recipe_hash_sees_every_setting(texts):
    corpus, tokenizer = texts
    wanted = recipe_hash(CONFIG, tokenizer, corpus)
    for field in dataclasses.fields(CONFIG):
        changed = dataclasses.replace(CONFIG, **{field.name: getattr(CONFIG, field.name) * 2 or 1})
        assert recipe_hash(changed, tokenizer, corpus) != wanted
    assert recipe_hash(CONFIG, language.build_tokenizer(language.LanguageConfig()), corpus) == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be a finite number > 0, got -1.0"),
        ({"hidden_size": 30, "heads": 4}, "hidden_size must be a multiple of heads = 4, got 30"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**changes)


def test_an_empty_corpus_is_refused(texts, tmp_path):
    with pytest.raises(ValueError, match="corpus must be a non-empty list"):
        pretrain([], texts[1], CONFIG, tmp_path / "model")
