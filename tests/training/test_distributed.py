"""Two processes make the run of one: the same prompts and responses, the same gradient, the same metrics and files."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import DistributedType

from rsail.training import METHODS, OnlineConfig
from rsail.training.checkpoint import read_log
from rsail.training.config import _layered, build
from rsail.training.processes import Processes, check_shares, make_processes
from tests.lm.architectures import save

from .pair import run_pair, train_observed

ROUND = {"steps_per_round": 2, "stored_prompts": 6, "collected": "round"}
FSDP = {"sharding": "fsdp"}
CASES = {
    "the default": {},
    "an odd number of prompts": {"prompts_per_step": 5, "labels": "drawn"},
    "half of the prompts offline": {
        "loss": "dpo", "rho": 0.0, "labels": "drawn", "collection": {"offline_share": 0.5, "stored_prompts": 5},
    },
    "losses weighted against each other": {
        "score_weight": 0.0, "addition": {"reweighting": "kl_ball", "reweighting_strength": 0.1},
    },
    "weights of groups that are remembered": {
        "score_weight": 0.0, "addition": {"reweighting": "group_robust", "reweighting_strength": 0.5},
    },
    "candidates accepted one after the other": {
        "method": "rso", "rho": 0.0, "collection": {"candidates": 3, **ROUND},
    },
    "candidates far from what was seen": {"method": "gshf_online", "rho": 0.0, "collection": {"candidates": 2}},
    "a bonus for further responses": {
        "method": "copo", "rho": 0.0, "collection": {"candidates": 2, "steps_per_round": 2},
        "addition": {"term_weight": 0.1},
    },
    "the policy gradient of tokens": {"method": "grpo", "rho": 0.0, "responses_per_prompt": 3},
    "a reward model, fitted before the run, as the oracle": {
        "oracle": {"kind": "reward_model", "pairs": 40, "members": 2, "label_bias": 0.2},
    },
    "annotators in groups": {"oracle": {"kind": "groups"}},
    "an adapter, activations computed again": {
        "model": "qwen3", "labels": "drawn", "policy": {"lora_rank": 2, "gradient_checkpointing": "layers"},
    },
    "weights in parts": {"labels": "drawn", "optimizer": "adamw", "learning_rate": 1e-3, "policy": FSDP},
    "weights in parts, activations computed again": {
        "model": "qwen3", "labels": "drawn", "policy": {**FSDP, "gradient_checkpointing": "layers"},
    },
    "learned positions": {"model": "gpt2", "labels": "drawn"},
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, reference_folder):
    """Each case as two processes and as one see it; a run that is interrupted after three steps and goes on."""
    root = tmp_path_factory.mktemp("distributed")
    models = {kind: str(save(root / kind, kind)) for kind in ("qwen3", "gpt2")}

    def settings(case: str, where: str) -> dict:
        changes = dict(CASES[case])
        plain = {
            "output_dir": str(root / where / case.replace(" ", "_")),
            "task": {"train_prompts": 16}, "oracle": {"kind": "bias", "strength": 0.2, "attribute": "length"},
            "rho": 0.15, "prompts_per_step": 4, "max_new_tokens": 6, "steps": 2, "optimizer": "sgd",
            "learning_rate": 0.1, "max_grad_norm": 1e9, "checkpoint_every": 2, "evaluate_every": 0,
            "evaluation_prompts": 5, "model": models.get(changes.pop("model", ""), str(reference_folder)),
        }  # fmt: skip
        return _layered(METHODS[changes.pop("method", "sail")], _layered(plain, changes))

    longer = {"steps": 4, "optimizer": "adamw", "learning_rate": 1e-2, "labels": "drawn"}
    whole, parts = ({**settings("the default", where), **longer} for where in ("whole", "parts"))
    evaluation = {"evaluation": str(root / "evaluation.json")}
    jobs = [(settings(case, "two"), evaluation if case == "the default" else {}) for case in CASES]
    jobs += [(whole, {}), (parts, {"steps": 3}), (parts, {"resume": True})]
    sharded = [
        {**values, "policy": FSDP, "output_dir": values["output_dir"] + "_fsdp"} for values in (whole, parts)
    ]
    jobs += [(sharded[0], {}), (sharded[1], {"steps": 3}), (sharded[1], {"resume": True})]
    two = run_pair(jobs, root)
    one = [train_observed(_in_one(settings(case, "one"))) for case in CASES]
    seen = {case: SimpleNamespace(one=one[k], two=two[k]) for k, case in enumerate(CASES)}
    return SimpleNamespace(root=root, seen=seen, whole=whole, parts=parts)


def _in_one(values: dict) -> dict:
    """What one process is asked for: the same, with weights that are whole."""
    policy = {name: value for name, value in values.get("policy", {}).items() if name != "sharding"}
    return {**values, "policy": policy}


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_two_processes_is_that_of_one(runs, case):
    seen = runs.seen[case]
    (first, second), one = (
        [np.stack(process["gradients"]) for process in seen.two],
        np.stack(seen.one["gradients"]),
    )
    np.testing.assert_array_equal(first, second)
    assert np.linalg.norm(one[0]) > 1e-4
    assert distance(first[0], one[0]) < 1e-5
    assert distance(first[1], one[1]) < 1e-3  # of parameters that differ by rounding


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case].get("policy", {}).get("sharding")])
def test_each_process_holds_its_part_of_the_weights(runs, case):
    held, (total,) = [process["held"] for process in runs.seen[case].two], {runs.seen[case].one["held"]}
    assert sum(held) >= total and max(held) < 0.6 * total  # parts are padded to one size
    assert {process["held"] for process in runs.seen["the default"].two} == {
        runs.seen["the default"].one["held"]
    }


@pytest.mark.parametrize("case", CASES)
def test_each_process_samples_its_prompts_and_together_they_are_those_of_one(runs, case):
    for mine, other, wanted in zip(
        *(process["samples"] for process in runs.seen[case].two), runs.seen[case].one["samples"], strict=True
    ):
        assert mine and other and not {k for k, *_ in mine} & {k for k, *_ in other}
        assert sorted([*mine, *other], key=lambda row: row[0]) == wanted


@pytest.mark.parametrize("case", CASES)
def test_metrics_evaluations_and_files_are_those_of_one_process(runs, case):
    one, two = (runs.root / where / case.replace(" ", "_") for where in ("one", "two"))
    files = {path.relative_to(one) for path in one.rglob("*")}
    assert {path.relative_to(two) for path in two.rglob("*")} - {two / "evaluation.json"} == files
    for name, tolerance in (("metrics", 1e-5), ("evaluations", 1e-3)):
        for found, wanted in zip(*(read_log(where / f"{name}.jsonl") for where in (two, one)), strict=True):
            assert found.keys() == wanted.keys()
            bound = tolerance if found["step"] <= 1 else 1e-3
            for key, value in wanted.items():
                assert found[key] == pytest.approx(value, rel=bound, abs=bound), (found["step"], key)
    assert len({read_log(where / "rounds.jsonl")[0]["reference"] for where in (one, two)}) == 1


@pytest.mark.parametrize("kind", ["the_default", "the_default_fsdp"])
def test_an_interrupted_run_of_two_processes_goes_on_as_if_nothing_had_been(runs, kind):
    for name in ("metrics.jsonl", "evaluations.jsonl", "model/model.safetensors"):
        one, other = ((runs.root / where / kind / name).read_bytes() for where in ("whole", "parts"))
        assert one == other, name


def test_an_evaluation_by_two_processes_is_that_of_the_run(runs):
    stored = json.loads((runs.root / "evaluation.json").read_text())
    assert {"step": 2, **stored} == read_log(runs.root / "two" / "the_default" / "evaluations.jsonl")[-1]


def test_shares_are_all_rows_once_and_differ_by_one_at_most():
    for count in (1, 2, 3):
        shares = [Processes(index, count).share(7) for index in range(count)]
        assert np.concatenate(shares).tolist() == list(range(7))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prompts_per_step": 2},
            "prompts_per_step must be at least one prompt that is not stored for each of 3",
        ),
        (
            {"prompts_per_step": 8, "collection": {"offline_share": 0.75}},
            "prompts_per_step must be at least one prompt that is not stored for each of 3 processes",
        ),
        ({"evaluation_prompts": 2}, "evaluation_prompts must be at least 3, the number of processes, got 2"),
        ({"collection": {"stored_prompts": 2}}, "collection.stored_prompts must be at least 3"),
        (
            {"score_weight": 0.0, "addition": {"wasserstein": 0.1}},
            "addition.wasserstein must be 0 with 3 processes",
        ),
    ],
    ids=str,
)
def test_a_run_too_small_for_its_processes_is_refused(changes, message):
    config = build(OnlineConfig, changes)
    check_shares(config, Processes())
    with pytest.raises(ValueError, match=re.escape(message)):
        check_shares(config, Processes(1, 3))


def test_processes_that_are_not_data_parallel_are_refused(monkeypatch):
    def launched(count: int, kind: str):
        return SimpleNamespace(num_processes=count, process_index=0, distributed_type=DistributedType[kind])

    monkeypatch.setenv("WORLD_SIZE", "2")
    assert make_processes(launched(2, "MULTI_CPU")) == Processes(0, 2)
    with pytest.raises(ValueError, match="number of processes must be 2, as were launched, got 1"):
        make_processes(launched(1, "NO"))
    with pytest.raises(ValueError, match=r"kind of processes must be that of DDP .* got 'DEEPSPEED'"):
        make_processes(launched(2, "DEEPSPEED"))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")  # which accelerate passes over on a CPU
    with pytest.raises(ValueError, match=r"kind of processes must be that of DDP .* got 'FSDP'"):
        make_processes(launched(2, "MULTI_CPU"))
