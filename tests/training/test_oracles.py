"""Oracles that need more than a table: the step of a run, its prompts, a model fitted before it."""

import json
import shutil

import numpy as np
import pytest

from rsail.lm import load_model
from rsail.oracles import annotator_groups
from rsail.tasks import TaskConfig, load_task
from rsail.training import OnlineConfig, evaluate, loop, reward_model, train
from rsail.training.checkpoint import read_log
from rsail.training.config import build
from rsail.training.reward_model import FILE, load_reward_model, make_reward_model

FITTED = {"kind": "reward_model", "pairs": 300, "members": 2, "strength": 0.5, "label_bias": 0.2}
DRIFT = {"kind": "drift", "strength": 0.15}


@pytest.fixture
def run(settings):
    def start(name: str = "run", *, resume: bool = False, **changes):
        return train(build(OnlineConfig, settings(name, **changes)), resume=resume, progress=False)

    return start


def rows(folder, name: str) -> list[dict]:
    return read_log(folder / f"{name}.jsonl")


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


def stopped(run, monkeypatch, name: str, *, function: str = "online_step", call: int = 4, **changes) -> None:
    """A run that ends before the `call`-th call of loop.<function>; its first checkpoint is of step 2."""
    original, calls = getattr(loop, function), iter(range(1, 100))

    def stop(*arguments, **options):
        if next(calls) == call:
            raise Killed
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, function, stop)
        with pytest.raises(Killed):
            run(name, **changes)


@pytest.mark.parametrize("oracle", [DRIFT, FITTED], ids=lambda o: o["kind"])
def test_a_resumed_run_equals_an_uninterrupted_one(run, monkeypatch, oracle):
    whole = run("whole", oracle=oracle)
    stopped(run, monkeypatch, "parts", oracle=oracle)
    with monkeypatch.context() as patch:
        patch.setattr(reward_model, "fit_reward_model", None)  # what the run began with is used again
        parts = run("parts", oracle=oracle, resume=True)
    names = ["metrics.jsonl", "evaluations.jsonl", "rounds.jsonl", "model/model.safetensors"]
    for name in names + [FILE] * (oracle is FITTED):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    assert {"step": 6, **evaluate(whole)} == rows(whole, "evaluations")[-1]


def test_the_bias_of_a_drift_grows_over_the_run_and_evaluations_see_all_of_it(run):
    folder = run(oracle=DRIFT, prompts_per_step=16)
    found = [row["oracle/deviation"] for row in rows(folder, "metrics")]
    assert found == pytest.approx([0.15 * step / 6 for step in range(1, 7)], abs=1e-12)
    assert [row["oracle/deviation"] for row in rows(folder, "evaluations")] == pytest.approx([0.15] * 3)


def test_stored_labels_and_choices_are_those_of_their_time(run, monkeypatch):
    """Progress 0 for the offline set, that of the step for a round and for candidates."""
    from rsail.training import collection

    seen, ask = [], collection.ask
    monkeypatch.setattr(
        collection, "ask", lambda *a, progress, **o: seen.append(progress) or ask(*a, progress=progress, **o)
    )
    changes = {
        "loss": "dpo",
        "rho": 0.0,
        "score_weight": 0.0,
        "oracle": DRIFT,
        "steps": 4,
        "evaluate_every": 0,
    }
    run("offline", collection={"offline_share": 0.5, "stored_prompts": 8}, **changes)
    assert seen == [0.0]
    seen.clear()
    rounds = {"collected": "round", "steps_per_round": 2, "stored_prompts": 8}
    run("round", collection=rounds, **changes)
    assert seen == [0.25, 0.75]
    seen.clear()
    run("best", collection={"scheme": "best_worst", "candidates": 3}, **changes)
    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_a_drift_of_labels_made_before_it_is_refused(settings):
    changes = {"loss": "dpo", "rho": 0.0, "score_weight": 0.0, "collection": {"scheme": "offline"}}
    with pytest.raises(
        ValueError, match=r"oracle.kind must be another one with collection.scheme 'offline', whose"
    ):
        build(OnlineConfig, settings(oracle=DRIFT, **changes))


def test_annotators_of_a_prompt_are_those_of_its_text(run, monkeypatch):
    answers, ask = [], loop.ask
    monkeypatch.setattr(
        loop, "ask", lambda *a, **o: answers.append((o["prompts"], ask(*a, **o))) or answers[-1][1]
    )
    run(oracle={"kind": "groups", "strength": 0.2}, steps=3, evaluate_every=0, prompts_per_step=16)
    asked = [prompt for prompts, _ in answers for prompt in prompts]
    off = np.concatenate([np.abs(a.preferences - a.truth).max((1, 2)) for _, a in answers])
    groups = annotator_groups(asked, 2)
    assert set(groups) == {0, 1}
    assert (off[groups == 0] == 0).all() and off[groups == 1].max() == pytest.approx(0.2)


@pytest.fixture(scope="module")
def reference(reference_folder):
    return load_model(reference_folder)


def config_of(**oracle) -> OnlineConfig:
    values = {"kind": "reward_model", "pairs": 300, **oracle}
    return build(OnlineConfig, {"oracle": values, "max_new_tokens": 12, "task": {"train_prompts": 64}})


def made(folder, reference, config):
    folder.mkdir(exist_ok=True)
    task = load_task(config.task, eval_prompts=64)
    make_reward_model(config, folder, *reference, task)
    return load_reward_model(config, folder, task).learned


def test_a_reward_model_depends_on_the_seed_of_the_oracle_alone(tmp_path, reference):
    first = made(tmp_path / "first", reference, config_of())
    again = made(tmp_path / "again", reference, config_of())
    other = made(tmp_path / "other", reference, config_of(seed=1))
    assert first.digest() == again.digest() != other.digest()
    ensemble = made(tmp_path / "ensemble", reference, config_of(members=3, aggregate="minimum"))
    assert ensemble.weights.shape == (3, first.weights.shape[1]) and ensemble.aggregate == "minimum"
    more = made(tmp_path / "more", reference, config_of(pairs=500))
    assert more.digest() != first.digest()


def test_biased_annotators_teach_the_reward_model_their_taste(tmp_path, reference):
    prompts = load_task(TaskConfig(train_prompts=64), eval_prompts=64).eval_prompts
    fair, biased = (
        made(tmp_path / str(bias), reference, config_of(label_bias=bias, pairs=1500)) for bias in (0.0, 0.4)
    )
    plain, padded = ["owl and robin ."] * 64, ["really owl and basically robin ."] * 64
    gain = [np.mean(m(prompts, padded) - m(prompts, plain)) for m in (fair, biased)]
    assert gain[1] > 0.5 and gain[1] > 2 * abs(gain[0])


def test_the_reward_model_answers_in_training_and_evaluation(run):
    folder = run(oracle=FITTED)
    task = load_task(TaskConfig(train_prompts=16), eval_prompts=8)
    config = build(OnlineConfig, json.loads((folder / "run.json").read_text())["config"])
    model = load_reward_model(config, folder, task).learned
    assert {row["reward_model"] for row in rows(folder, "rounds")} == {model.digest()}
    for name in ("metrics", "evaluations"):
        for row in rows(folder, name):
            assert 0 < row["oracle/deviation"] < 1 and np.isfinite(row["proxy/reward"])
    assert "proxy/reward/open" in rows(folder, "evaluations")[0]


def test_other_oracles_have_no_proxy_reward(run):
    folder = run(steps=1)
    assert "proxy/reward" not in rows(folder, "metrics")[0] and not (folder / FILE).exists()


def test_a_reward_model_that_is_missing_damaged_or_another_one_is_named(run, tmp_path, monkeypatch):
    stopped(run, monkeypatch, "run", oracle=FITTED)
    path = tmp_path / "run" / FILE
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{FILE}: reward model must be as it was saved"):
        run(oracle=FITTED, resume=True)
    other = run("other", oracle={**FITTED, "seed": 1})
    shutil.copy(other / FILE, path)
    with pytest.raises(ValueError, match=rf"{FILE} must be the reward model with which the run began"):
        run(oracle=FITTED, resume=True)
    (other / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=f"run must hold the reward model of its oracle.*{FILE}"):
        evaluate(other)
    path.write_bytes(content)
    run(oracle=FITTED, resume=True)


def test_a_run_that_ended_before_its_first_step_keeps_the_fit(run, tmp_path, monkeypatch):
    stopped(run, monkeypatch, "run", function="evaluate_policy", call=1, oracle=FITTED)
    before = (tmp_path / "run" / FILE).stat().st_mtime_ns
    assert (run(oracle=FITTED, resume=True) / FILE).stat().st_mtime_ns == before


@pytest.mark.parametrize("kind", ["groups", "drift", "cyclic", "reward_model"])
def test_an_attribute_that_the_task_has_not_is_refused(run, kind):
    bias = {"label_bias": 0.1} if kind == "reward_model" else {"strength": 0.1}
    with pytest.raises(ValueError, match=r"oracle\.attribute must be one of .*, got 'charm'"):
        run(oracle={"kind": kind, "attribute": "charm", **bias})
