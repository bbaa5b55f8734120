"""Every program of examples/ runs as its first lines say, at a small size, and does what it is there for."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rsail.lm import encode_prompts, load_model, response_log_probs, sample
from rsail.study.paths import ROOT
from rsail.study.results import read_result
from rsail.training import OnlineConfig, load_config, objective, train
from rsail.training.checkpoint import read_log, read_run
from rsail.training.config import build

EXAMPLES = ROOT / "examples"
SMALL = ("steps=6", "prompts_per_step=8", "evaluation_prompts=16", "max_new_tokens=16")
# Without the score term, whose noise needs larger batches than a test has time for.
STEADY = ("steps=8", "prompts_per_step=16", "score_weight=0", "learning_rate=0.001", "rho=0")
needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")


@pytest.fixture
def example(monkeypatch, capsys, tmp_path):
    """Runs examples/NAME.py with arguments, as a program in this process; returns what it prints and its names.

    In a folder that has nothing to do with the repository.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def run(name: str, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out, names

    return run


def imported(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_oracle_of_ones_own_is_asked_and_followed(example, tmp_path):
    run = tmp_path / "run"
    printed, _ = example("own_oracle", "--output", run, *SMALL, *STEADY)
    first, *_, last = read_log(run / "evaluations.jsonl")
    assert (
        last["fixed/chosen"] > last["fixed/rejected"]
    )  # of the initial model's responses, as the oracle says
    assert first["oracle/deviation"] > 0.3  # it is not the truth
    assert f"proxy/preference again: {last['proxy/preference']:.3f}" in printed
    assert re.fullmatch(r"prefers_shorter [0-9a-f]{64}", read_run(run)["oracle"])
    # Gone on with by another oracle, or by none, it would be another run.
    config = build(OnlineConfig, {**read_run(run)["config"], "output_dir": str(run)})
    for other in (None, prefers_first):
        with pytest.raises(ValueError, match=r"different there: oracle \('prefers_shorter"):
            train(config, oracle=other, resume=True)


def prefers_first(prompts, first, second):
    return [0.9 for _ in prompts]


def test_a_model_of_ones_own_is_trained_by_an_adapter(example, tmp_path):
    printed, _ = example("own_model", "--output", tmp_path / "run", *SMALL)
    first, *_, last = read_log(tmp_path / "run" / "evaluations.jsonl")
    assert first["objective/kl"] == 0 and last["objective/kl"] > 1e-3
    assert (tmp_path / "run" / "model" / "adapter_model.safetensors").is_file()
    few = int(re.search(r"trained parameters: (\d+)", printed)[1])
    printed, names = example(
        "own_model", "--output", tmp_path / "all", *SMALL, "policy.lora_rank=0", "steps=1"
    )
    model, _ = load_model(names["make_tiny_model"](tmp_path / "model"))
    trained, _ = load_model(tmp_path / "all" / "model")
    assert 0 < few < int(re.search(r"trained parameters: (\d+)", printed)[1]) == trained.num_parameters()
    assert any((a != b).any() for a, b in zip(model.parameters(), trained.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("own_model", ["nope=1"], "nope is not a setting, got 1"),
        ("own_model", ["--model", "/nowhere"], "/nowhere"),
        ("own_oracle", ["steps=0"], "steps: .* greater than or equal to 1, got 0"),
        ("own_data", ["--prompts", "/nowhere.jsonl"], "/nowhere.jsonl"),
        ("own_cluster", ["steps"], "settings must be key=value, got 'steps'"),
        ("own_cluster", ["--rho", "-0.1"], r"must be in \[0, 1\), got -0.1"),
        ("plain_loop", ["--rho", "3"], r"must be in \[0, 1\), got 3"),
        ("plain_loop", ["--batch", "1"], "--batch must be at least 2, got 1"),
        ("plain_loop", ["--prompts", "/nowhere.txt"], "/nowhere.txt"),
        ("plain_loop", ["--model", "/nowhere", "--prompts", __file__], "/nowhere"),
        ("plain_loop", ["--model", "mine"], "--model needs --prompts"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(example, capsys, name, given, message):
    with pytest.raises(SystemExit) as ended:
        example(name, *given)
    # Status 2 is argparse's, which says it on stderr below the usage.
    said = capsys.readouterr().err if ended.value.code == 2 else ended.value.code
    last = said.splitlines()[-1]
    assert re.match(rf"{name}(\.py)?: ", last) and re.search(message, last), said
    assert ended.value.code == 2 or "\n" not in said


def test_prompts_and_a_reward_model_of_ones_own_are_learned_from(example, tmp_path):
    _, names = example("own_data", "--output", tmp_path / "run", *SMALL, *STEADY)
    first, *_, last = read_log(tmp_path / "run" / "evaluations.jsonl")
    assert (
        first["fixed/chosen"] == first["fixed/rejected"] == 0
        and last["fixed/chosen"] > last["fixed/rejected"]
    )
    record = read_run(tmp_path / "run")
    assert record["reward"] and record["config"]["task"]["data"].endswith("prompts.jsonl")
    # The file of settings asks for the same.
    data, model = (
        names["write_prompts"](tmp_path / "p.jsonl"),
        names["make_tiny_reward_model"](tmp_path / "r"),
    )
    config = load_config(
        EXAMPLES / "own_data.yaml", [f"task.data={data}", f"task.prompts.reward_model={model}"]
    )
    assert config.task.kind == "prompts" and config.rho == config.oracle.strength > 0


def program(name: str, *arguments, folder: Path, code: int = 0) -> str:
    """What examples/NAME.py prints, run as a process of its own in `folder`, which must end with `code`."""
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr[-3000:]
    return ended.stdout


def test_runs_that_fail_on_a_cluster_are_named_with_their_errors(tmp_path):
    printed = program("own_cluster", "--seeds", "1", "steps=0", folder=tmp_path, code=1)
    assert "2 planned: 0 made, 0 kept, 2 failed" in printed and "planned by process" not in printed
    assert re.search("failed: rho0.15_seed0: ValueError: steps: .*, got 0", printed)


def test_a_cluster_makes_the_runs_and_makes_them_once(tmp_path):
    small = ("--output", tmp_path / "out", *SMALL, "steps=1")
    printed = program("own_cluster", *small, folder=tmp_path)
    assert "2 planned: 2 made, 0 kept, 0 failed" in printed
    assert "2 planned: 0 made, 2 kept, 0 failed" in program("own_cluster", *small, folder=tmp_path)
    planner = int(re.search(r"planned by process (\d+)", printed)[1])
    results = [read_result(path) for path in sorted(Path(tmp_path / "out").glob("*.json"))]
    assert {result["config"]["rho"] for result in results} == {0.0, 0.15}
    assert all(result["metrics"]["pid"] != planner for result in results)


def test_a_loop_of_ones_own_has_the_gradient_of_the_trainer():
    loop, config = imported("plain_loop"), OnlineConfig(rho=0.15, beta=0.3)
    policy, tokenizer = load_model(ROOT / config.model)
    prompts = [loop.format_prompt(p.text) for p in loop.request_prompts(loop.LanguageConfig(), 6, "train")]
    drawn = sample(
        policy, *encode_prompts(tokenizer, prompts), responses_per_prompt=2, max_new_tokens=10,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    reference = response_log_probs(policy, *drawn).sum(1).detach().view(-1, 2)
    reference = reference + torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    preference = torch.rand(6, generator=torch.Generator().manual_seed(2))
    ids, mask = torch.cat([drawn[0], drawn[2]], 1), torch.cat([drawn[1], drawn[3]], 1)
    log_probs = loop.log_prob(policy, ids, mask, drawn.prompt_ids.shape[1]).view(-1, 2)
    loop.robust_loss(log_probs, reference, preference, beta=0.3, rho=0.15).backward()
    found = [parameter.grad.clone() for parameter in policy.parameters()]
    policy.zero_grad()
    targets = torch.full((6, 2, 2), 0.5)
    targets[:, 0, 1], targets[:, 1, 0] = preference, 1 - preference
    log_probs = response_log_probs(policy, *drawn).sum(1).view(-1, 2)
    objective.online_loss(config, log_probs, reference, targets).backward()
    for one, parameter in zip(found, policy.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-5)
    assert max(one.abs().max() for one in found) > 1e-2


def test_a_loop_of_ones_own_learns_what_the_oracle_prefers(example):
    printed, _ = example("plain_loop", "--steps", 10, "--rho", 0, "--learning-rate", 0.003)
    margins = [float(value) for value in re.findall(r"margin (\S+)", printed)]
    assert len(margins) == 10 and margins[0] == 0 and sum(margins) > 0.1
    rewards = [float(value) for value in re.findall(r"reward (\S+),", printed)]
    assert sum(rewards[-3:]) > sum(rewards[:3]) + 3  # shorter by a word in the mean


def test_the_ten_lines_of_the_readme_train(example, monkeypatch, tmp_path, capsys):
    section = (ROOT / "README.md").read_text().split("## Use it on your own model")[1].split("\n##")[0]
    code = section.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    data = imported("own_data")
    small = ["task.train_prompts=16", "evaluation_prompts=4", "prompts_per_step=4", "max_new_tokens=6"]
    for old, new in {
        "Qwen/Qwen3-0.6B": data.SMALL,
        "my_prompts.jsonl": data.write_prompts(tmp_path / "prompts.jsonl"),
        "my_reward_model": data.make_tiny_reward_model(tmp_path / "reward"),
        "build/mine": tmp_path / "run",
        "steps=200": '", "'.join([*small, "steps=1"]),
    }.items():
        assert code.count(str(old)) >= 1
        code = code.replace(f"={old}" if "=" not in old else old, f"={new}" if "=" not in old else new)
    (tmp_path / "mine.py").write_text(code)
    runpy.run_path(str(tmp_path / "mine.py"), run_name="__main__")
    assert 0 < float(capsys.readouterr().out) < 1
    assert read_run(tmp_path / "run")["oracle"].startswith("oracle ")


def test_a_loop_of_ones_own_takes_prompts_of_another_model(example, tmp_path):
    model = imported("own_model").make_tiny_model(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text(
        "tell me a story about rain .\n\nwrite about the sea .\nname a tree .\n"
    )
    given = ("--model", model, "--prompts", tmp_path / "prompts.txt", "--steps", 2, "--batch", 2)
    printed, names = example("plain_loop", *given, "--new-tokens", 8)
    assert len(re.findall(r"step \d: loss [\d.]+, reward", printed)) == 2
    wanted = torch.tensor([1.0, -2.0]).sigmoid()  # of responses with one word less and two more
    torch.testing.assert_close(names["oracle"](["a b", "a b c", "a b c", "a"]), wanted)


@needs_trl
def test_trl_trains_by_the_loss(example):
    printed, _ = example("in_trl", "--steps", 6, "--rho", 0, "--learning-rate", 0.003)
    margins = [float(value) for value in re.findall(r"margin (\S+)", printed)]
    assert len(margins) == 6 and abs(margins[0]) < 1e-5 and margins[-1] > 0.01
