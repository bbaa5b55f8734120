"""The section "Your own model" of docs/USING.md: its configuration and commands, on tiny local files."""

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rsail.__main__ import main
from rsail.study.paths import ROOT
from rsail.training import load_config
from rsail.training.checkpoint import read_log
from tests.lm.architectures import TEXTS, save

CONFIG = "data/configurations/own_model.yaml"


def commands() -> list[list[str]]:
    section = (ROOT / "docs" / "USING.md").read_text().split("## Your own model")[1].split("##")[0]
    return [shlex.split(line) for line in section.split("```")[1].strip().splitlines()]


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Overrides that put tiny files in the place of what the configuration names."""
    save(tmp_path / "model", "qwen3")
    save(tmp_path / "reward", "llama", labels=1)
    turns = [f"\n\nHuman: {text} {n}\n\nAssistant: well" for n in range(5) for text in TEXTS]
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({"chosen": t, "rejected": t}) + "\n" for t in turns)
    )
    return [
        f"output_dir={tmp_path / 'run'}", f"model={tmp_path / 'model'}", f"task.data={tmp_path / 'pairs.jsonl'}",
        f"task.prompts.reward_model={tmp_path / 'reward'}", "task.train_prompts=12", "evaluation_prompts=4",
        "prompts_per_step=4", "max_new_tokens=6", "steps=2", "policy.lora_rank=2",
    ]  # fmt: skip


def test_the_configuration_is_valid_and_trains_an_adapter_on_dialogues():
    config = load_config(ROOT / CONFIG)
    assert config.policy.lora_rank > 0 and config.task.prompts.form == "dialogue"
    assert set(yaml.safe_load((ROOT / CONFIG).read_text())) >= {"model", "task", "policy", "oracle", "rho"}


def test_the_commands_train_and_evaluate(files, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(ROOT)
    train, _, evaluate = commands()
    assert train[:3] == evaluate[:3] == [".venv/bin/python", "-m", "rsail"] and CONFIG in train
    assert main([*train[3:], *files]) == 0
    run = tmp_path / "run"
    assert capsys.readouterr().out == f"{run}\n"
    assert (run / "model" / "adapter_model.safetensors").is_file()
    assert json.loads((run / "run.json").read_text())["reward"]
    assert len({row["gold/reward"] for row in read_log(run / "metrics.jsonl")}) == 2
    assert main([*evaluate[3:-1], str(run)]) == 0
    assert "gold/preference" in json.loads(capsys.readouterr().out)
    save(tmp_path / "reward", "llama", labels=1, hidden_act="gelu", tie_word_embeddings=True, head_dim=8)
    assert main([*evaluate[3:-1], str(run)]) == 2
    assert "task.prompts.reward_model must be the one that the run asked" in capsys.readouterr().err


def test_two_processes_are_launched_by_accelerate(files, tmp_path):
    _, launch, _ = commands()
    assert launch[:2] == [".venv/bin/accelerate", "launch"] and launch[launch.index("-m") + 1] == "rsail"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = ["--main_process_port", str(probe.getsockname()[1])]
    program = [
        sys.executable,
        "-m",
        "accelerate.commands.accelerate_cli",
        "launch",
        *port,
        *launch[2:],
        *files,
    ]
    caches = {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(program, cwd=ROOT, env={**os.environ, **caches}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout == f"{tmp_path / 'run'}\n"  # said once
    assert [row["step"] for row in read_log(Path(tmp_path / "run" / "metrics.jsonl"))] == [1, 2]
