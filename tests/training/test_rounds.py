"""Rounds: the reference moves, sets are collected once, all of it survives an interruption."""

import json

import numpy as np
import pytest
import torch

from rsail.lm import fingerprint, load_model
from rsail.training import METHODS, collection, evaluate, loop, method_config, train
from rsail.training.checkpoint import checkpoints, load_checkpoint, make_generators, read_log
from rsail.training.state import begins_round

LENGTH = 3  # steps of a round


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


@pytest.fixture
def run(settings):
    """Trains a method for 8 steps in rounds of 3, a checkpoint every 2."""

    def start(method: str, name: str = "run", *, resume: bool = False, **changes):
        every = changes.pop("checkpoint_every", 2)
        small = settings(
            name, steps=8, prompts_per_step=8, max_new_tokens=6, evaluate_every=4, checkpoint_every=every
        )
        del small["rho"]
        rounds = (
            {"steps_per_round": LENGTH}
            if METHODS[method].get("collection", {}).get("steps_per_round")
            else {}
        )
        group = {"stored_prompts": 12, **rounds, **changes.pop("collection", {})}
        return train(
            method_config(method, **small, collection=group, **changes), resume=resume, progress=False
        )

    return start


def rows(folder, name: str = "metrics") -> list[dict]:
    return read_log(folder / f"{name}.jsonl")


def test_rounds_begin_with_the_run_and_after_every_round():
    config = method_config("rebel", collection={"steps_per_round": 3})
    assert [step for step in range(1, 11) if begins_round(config, step)] == [1, 4, 7, 10]
    assert [step for step in range(1, 11) if begins_round(method_config("sail"), step)] == [1]


def test_the_reference_of_a_round_is_the_policy_with_which_it_began(run, reference_folder):
    folder = run("spac", checkpoint_every=LENGTH)
    found = {row["step"]: row["reference"] for row in rows(folder, "rounds")}
    assert list(found) == [1, 4, 7]
    assert found[1] == json.loads((folder / "run.json").read_text())["reference"]
    for path in checkpoints(folder)[:1]:  # of step 6
        model, _ = load_model(reference_folder)
        optimizer = loop.make_optimizer(method_config("spac"), model)
        parts: dict = {}
        assert load_checkpoint(path, model, optimizer, make_generators(0), parts) == 6
        assert fingerprint(model) == found[7] != found[4] != found[1]
        model.load_state_dict(parts["reference"])
        assert fingerprint(model) == found[4]


def test_at_the_start_of_each_round_policy_and_reference_agree(run):
    moving = {row["step"]: row["objective/kl_k3"] for row in rows(run("spac", "moving"))}
    assert [step for step, kl in moving.items() if kl == 0.0] == [1, 4, 7]
    still = run("spac", "still", collection={"reference": "initial", "steps_per_round": 0})
    assert [row["step"] for row in rows(still) if row["objective/kl_k3"] == 0.0] == [1]
    assert len(rows(still, "rounds")) == 1


def test_evaluations_are_against_the_initial_model_whatever_the_reference(run):
    folder = run("spac")
    last = rows(folder, "evaluations")[-1]
    assert last.pop("step") == 8 and last["objective/kl"] > 0
    assert evaluate(folder) == pytest.approx(last, abs=1e-12)


def test_a_set_is_collected_when_a_round_begins_and_learned_from_in_it(run, monkeypatch):
    sets, batches = [], []
    collect_set, collect = collection.collect_set, collection.collect

    def keep_set(config, state, *, offline):
        sets.append(collect_set(config, state, offline=offline))
        return sets[-1]

    monkeypatch.setattr("rsail.training.state.collect_set", keep_set)
    monkeypatch.setattr(loop, "collect", lambda *a: batches.append(collect(*a)) or batches[-1])
    folder = run("rebel")
    hashes = [row["pool"] for row in rows(folder, "rounds")]
    assert hashes == [collection.digest(pairs) for pairs in sets] and len(set(hashes)) == 3
    for step, batch in enumerate(batches):
        pairs = sets[step // LENGTH]
        known = {tuple(row) for row in pairs.samples.response_ids.view(12, -1).tolist()}
        assert {tuple(row) for row in batch.samples.response_ids.view(8, -1).tolist()} <= known
        assert batch.stored.shape == (8, 2)  # scores, as the loss is one of rewards


def test_the_first_residual_of_rebel_is_the_reward_gap(run, monkeypatch):
    """h = 0 at the sampler, so the loss of a round's first step is the mean squared gap of the oracle's scores."""
    calls, online_loss = [], loop.online_loss
    monkeypatch.setattr(loop, "online_loss", lambda *a: calls.append(a[3]) or online_loss(*a))
    folder = run("rebel")
    for row, scores in zip(rows(folder), calls, strict=True):
        gap = ((scores[:, 0] - scores[:, 1]) ** 2).mean().item()
        assert (abs(row["loss"] - gap) < 1e-6) == (row["step"] in (1, 4, 7))


def test_the_offline_set_stays_the_same_in_all_rounds(run):
    hashes = {row["offline"] for row in rows(run("spac"), "rounds")}
    assert len(hashes) == 1
    other = run("spac", "other", seed=1)
    assert {row["offline"] for row in rows(other, "rounds")} != hashes


@pytest.mark.parametrize(
    "method",
    ["rebel", "spac", "sail_dpp", "copo", "gshf_online", "gshf_offline", "group_robust", "multi_step_rso"],
)
@pytest.mark.parametrize("killed", [4, 6])
def test_a_resumed_run_equals_an_uninterrupted_one(run, monkeypatch, method, killed):
    """Killed before step 4 (a round begins there, the checkpoint is of step 2) and 6 (of step 4, in a round)."""
    whole = run(method, "whole")
    step, count = loop.online_step, iter(range(1, 100))

    def stop(*arguments):
        if next(count) == killed:
            raise Killed
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "online_step", stop)
        with pytest.raises(Killed):
            run(method, "parts")
    parts = run(method, "parts", resume=True)
    for name in ("metrics.jsonl", "evaluations.jsonl", "rounds.jsonl", "model/model.safetensors"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_group_weights_move_toward_the_group_with_the_larger_loss(run):
    folder = run("group_robust", addition={"reweighting_strength": 0.5})
    parts = torch.load(checkpoints(folder)[-1] / "parts.pt", weights_only=True)
    weights = parts["memory"]["group_weights"]
    assert weights.shape == (2,) and weights.sum() == pytest.approx(1, abs=1e-6)
    assert np.ptp(weights.numpy()) > 1e-3


def test_what_an_addition_amounts_to_is_logged(run):
    logged = {
        "kldpo": "objective/reweighting_kl",
        "hypo": "objective/term",
        "wdpo": "objective/wasserstein",
    }
    for method, name in logged.items():
        found = [row[name] for row in rows(run(method, method))]
        assert all(np.isfinite(found)) and max(map(abs, found)) > 0
    assert not set(logged.values()) & set(rows(run("online_dpo", "plain"))[0])
