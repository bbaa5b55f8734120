"""Evaluation: the same numbers each time, the certificate holds, and a wrong reference is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from rsail.lm import load_model, save_model
from rsail.tasks import TaskConfig, load_task
from rsail.training import OnlineConfig, evaluate, evaluation, train
from rsail.training.checkpoint import checkpoints, read_log
from rsail.training.config import build
from rsail.training.evaluation import RESPONSES, evaluate_policy


@pytest.fixture(scope="module")
def trained(reference_folder, tmp_path_factory):
    """A finished run of six steps at a learning rate that moves the policy visibly."""
    return train(
        build(
            OnlineConfig,
            {
                "output_dir": str(tmp_path_factory.mktemp("runs") / "run"),
                "model": str(reference_folder),
                "task": {"train_prompts": 16},
                "oracle": {"kind": "bias", "strength": 0.15},
                "rho": 0.15,
                "prompts_per_step": 4,
                "max_new_tokens": 12,
                "steps": 6,
                "learning_rate": 1e-2,
                "evaluation_prompts": 16,
            },
        )
    )


def test_an_evaluation_later_is_the_last_one_of_the_run(trained):
    last = read_log(trained / "evaluations.jsonl")[-1]
    assert {"step": 6, **evaluate(trained)} == last
    assert json.loads((trained / "evaluation.json").read_text()) == evaluate(trained)


def test_a_moved_run_can_be_evaluated_into_any_file(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "moved")
    metrics = evaluate(tmp_path / "moved", output=tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics == evaluate(trained)


def test_global_random_state_plays_no_part(trained):
    torch.manual_seed(0)
    first = evaluate(trained)
    torch.manual_seed(1)
    assert evaluate(trained) == first


def policies(trained, reference_folder, **changes):
    policy, tokenizer = load_model(trained / "model")
    config = OnlineConfig(output_dir="unused", max_new_tokens=12, **changes)
    return config, policy, load_model(reference_folder)[0], tokenizer


@pytest.mark.parametrize(
    "oracle",
    [
        {"kind": "truth"},
        {"kind": "bias", "strength": 0.15},
        {"kind": "flip", "strength": 0.15},
        {"kind": "worst_case", "strength": 0.15},
        {"kind": "flatten", "strength": 0.3},
    ],
    ids=lambda o: o["kind"],
)
def test_the_certificate_holds_where_the_oracle_is_within_rho(trained, reference_folder, oracle):
    parts = policies(trained, reference_folder, rho=0.15, oracle=oracle)
    metrics = evaluate_policy(*parts, load_task(TaskConfig(), eval_prompts=16))
    assert metrics["oracle/deviation"] <= 0.15 + 1e-12
    gaps = [value for name, value in metrics.items() if name.startswith("robust/certificate_gap")]
    assert len(gaps) == 3 and min(gaps) >= -1e-12
    gap = metrics["robust/loss"] - metrics["robust/sail_loss_true"]
    assert metrics["robust/certificate_gap"] == pytest.approx(gap, abs=1e-12)
    assert gap <= 2 * 0.15 * 0.1 * metrics["robust/penalty"] + 1e-12
    assert metrics["robust/penalty"] > 0.1  # the policy has moved, so that the bounds mean something


def test_without_radius_the_worst_oracle_breaks_the_certificate(trained, reference_folder):
    parts = policies(trained, reference_folder, rho=0.0, oracle={"kind": "worst_case", "strength": 0.15})
    metrics = evaluate_policy(*parts, load_task(TaskConfig(), eval_prompts=16))
    assert metrics["robust/loss"] == metrics["robust/sail_loss_observed"]
    # This oracle disputes the policy, so the observed loss is above the true one; a flattering one is below.
    assert metrics["robust/certificate_gap"] == pytest.approx(0.15 * 0.1 * metrics["robust/penalty"])


def test_the_reference_evaluated_against_itself_is_even(reference_folder):
    reference, tokenizer = load_model(reference_folder)
    config = OnlineConfig(output_dir="unused", max_new_tokens=12)
    metrics = evaluate_policy(
        config, reference, reference, tokenizer, load_task(TaskConfig(), eval_prompts=64)
    )
    assert metrics["objective/kl"] == metrics["objective/kl_k3"] == metrics["robust/penalty"] == 0.0
    assert metrics["gold/win_rate"] == pytest.approx(0.5, abs=0.06)
    assert metrics["gold/win_rate/open"] == metrics["proxy/preference/open"] == 0.5  # all are equally good


def test_win_rates_count_every_pair_and_ties_half(trained, reference_folder, monkeypatch):
    own = np.tile([2.0, 0.0, 1.0, 1.0], (8, 1))  # against 1, 1, 1, 1: one win, one loss, two ties
    verdicts = iter([(own, {"filler": own}), (np.ones((8, RESPONSES)), {"filler": own})])
    monkeypatch.setattr("rsail.training.evaluation.judge", lambda *_: next(verdicts))
    parts = policies(trained, reference_folder, oracle={"kind": "flip", "strength": 0.1})
    metrics = evaluate_policy(*parts, load_task(TaskConfig(), eval_prompts=8))
    assert metrics["gold/win_rate"] == pytest.approx((1 + 0 + 0.5 + 0.5) / 4)
    true = 1 / (1 + np.exp(-np.array([1.0, -1.0, 0.0, 0.0])))
    assert metrics["gold/preference"] == pytest.approx(true.mean())
    assert metrics["proxy/preference"] == pytest.approx((0.9 * true + 0.1 * (1 - true)).mean())
    assert metrics["gold/reward"] == 1.0


def test_the_reward_of_an_oracle_that_does_not_know_the_truth_is_measured(trained, reference_folder):
    parts, task = policies(trained, reference_folder), load_task(TaskConfig(), eval_prompts=16)
    assert "proxy/reward" not in evaluate_policy(*parts, task)
    opposed = dataclasses.replace(task, learned=lambda prompts, texts: -task.reward(prompts, texts))
    metrics = evaluate_policy(*parts, opposed)
    for ending in ("", "/request", "/open"):
        assert metrics[f"proxy/reward{ending}"] == pytest.approx(-metrics[f"gold/reward{ending}"])
        both = metrics[f"proxy/preference{ending}"] + metrics[f"gold/preference{ending}"]
        assert both == pytest.approx(1)


def test_group_means_add_up_to_the_mean(trained, reference_folder):
    parts = policies(trained, reference_folder)
    task = load_task(TaskConfig(), eval_prompts=20)
    metrics = evaluate_policy(*parts, task)
    share = task.groups(task.eval_prompts)["open"].mean()
    assert 0 < share < 1
    for name in ("objective/kl", "attribute/filler", "length", "gold/reward"):
        mixed = share * metrics[f"{name}/open"] + (1 - share) * metrics[f"{name}/request"]
        assert metrics[name] == pytest.approx(mixed)


def test_held_out_prompts_are_not_those_of_training():
    task = load_task(TaskConfig(train_prompts=64), eval_prompts=64)
    assert len(set(task.train_prompts)) == 64 and len(set(task.eval_prompts)) == 64
    assert not set(task.train_prompts) & set(task.eval_prompts)


def test_as_many_responses_are_drawn_as_stated(trained, reference_folder, monkeypatch):
    seen = []
    task = load_task(TaskConfig(), eval_prompts=8)
    monkeypatch.setattr(
        "rsail.training.evaluation.judge",
        lambda t, k, prompts, samples, count, alone: seen.append((len(samples.response_ids), count)) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        evaluate_policy(*policies(trained, reference_folder), task)
    assert seen == [(8 * RESPONSES, RESPONSES)]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run must be the folder of a run, with run\.json"):
        evaluate(tmp_path)


def test_a_damaged_record_is_named(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("[]")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        evaluate(tmp_path / "run")


def test_an_unfinished_run_is_named(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    assert checkpoints(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"run must be finished, .* without model/; .* --resume"):
        evaluate(tmp_path / "run")


def test_another_reference_under_the_same_name_is_refused(trained, reference_folder, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    model, tokenizer = load_model(reference_folder)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    save_model(model, tokenizer, tmp_path / "reference")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["config"]["model"] = str(tmp_path / "reference")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        ValueError, match=r"run\.json is damaged.*delete the entry sha256 if the change was meant"
    ):
        evaluate(tmp_path / "run")
    del record["sha256"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="model must be the one that the run started from"):
        evaluate(tmp_path / "run")


def test_fixed_pairs_follow_the_oracle_and_leave_ties_out():
    ratio = np.array([[1.0, 2.0, 4.0, 8.0]])
    preferences = np.full((1, 4, 4), 0.5)
    preferences[0, 0, 1], preferences[0, 1, 0] = 0.9, 0.1  # 1 is preferred to 2
    preferences[0, 2, 3], preferences[0, 3, 2] = 0.2, 0.8  # 8 is preferred to 4
    found = evaluation._fixed_pairs(ratio, preferences)
    assert found == {"fixed/chosen": (1 + 8) / 2, "fixed/rejected": (2 + 4) / 2}
    assert evaluation._fixed_pairs(ratio, np.full((1, 4, 4), 0.5)) == {}


def test_at_the_reference_fixed_pairs_have_no_log_ratio(trained, reference_folder):
    config = evaluation.build(
        evaluation.OnlineConfig, evaluation.read_run(trained)["config"] | {"output_dir": "x"}
    )
    policy, tokenizer = evaluation.load_model(config.model)
    task = evaluation.load_task(config.task, eval_prompts=config.evaluation_prompts)
    metrics = evaluation.evaluate_policy(config, policy, policy, tokenizer, task)
    assert metrics["fixed/chosen"] == metrics["fixed/rejected"] == metrics["objective/kl_forward"] == 0


def test_a_missing_output_folder_is_named_before_any_work(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "load_model", None)
    with pytest.raises(PermissionError, match=r"output must be a file in a writable folder, got .*nowhere"):
        evaluation.evaluate(trained, output=tmp_path / "nowhere" / "x.json")
