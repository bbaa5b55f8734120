"""The command line: results on standard output; bad input ends with one message, status 2 and no traceback."""

import dataclasses
import json
import subprocess
import sys

import pytest
import yaml

from rsail.__main__ import main
from rsail.oracles import OracleConfig
from rsail.tasks import TaskConfig, load_task
from rsail.training import OnlineConfig


@pytest.fixture
def config_file(settings, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings(steps=2, evaluate_every=0)))
    return path


def refuse(capsys, *arguments: str) -> str:
    """The message of a command that must end with status 2 and write nothing to standard output."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 2
    output = capsys.readouterr()
    assert output.out == "" and "Traceback" not in output.err
    assert output.err.startswith(f"rsail {arguments[0]}: ")
    return output.err


def test_pretrain_train_and_evaluate_one_after_the_other(tmp_path, capsys):
    model, run = tmp_path / "model", tmp_path / "run"
    small = ["model.hidden_size=16", "model.layers=1", "model.heads=2", "model.intermediate_size=16"]
    assert main(["pretrain", "--output", str(model), "--texts", "50", "model.steps=2", *small]) == 0
    assert capsys.readouterr().out == f"{model}\n"
    settings = [
        f"output_dir={run}", f"model={model}", "steps=2", "prompts_per_step=2", "max_new_tokens=4",
        "evaluation_prompts=4", "oracle.kind=bias", "oracle.strength=1e-1", "rho=0.1",
    ]  # fmt: skip
    assert main(["train", *settings]) == 0
    assert capsys.readouterr().out == f"{run}\n"
    assert main(["evaluate", str(run)]) == 0
    printed = json.loads(capsys.readouterr().out)
    stored = json.loads((run / "evaluation.json").read_text())
    assert printed == {name: round(value, 4) for name, value in stored.items()}


def test_a_run_is_continued_only_on_request(config_file, capsys):
    assert main(["train", "--config", str(config_file)]) == 0
    capsys.readouterr()
    assert "--resume" in refuse(capsys, "train", "--config", config_file)
    assert main(["train", "--config", str(config_file), "--resume"]) == 0
    assert "config.rho (0.15 there, 0.2 asked for)" in refuse(
        capsys, "train", "--config", config_file, "--resume", "rho=0.2"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["betta=1"], "betta is not a setting"),
        (["beta=-1"], "beta: Input should be greater than 0, got -1"),
        (["beta=[1"], "override must have a YAML value"),
        (["oracle.kind=nobody"], "oracle.kind must be one of"),
        (["oracle.attribute=charm"], "oracle.attribute must be one of"),
        (["baseline=disjoint"], "responses_per_prompt must be at least 4"),
        (["loss=hinge"], "loss must be one of"),
        (["model=./nothing"], "model must be a folder"),
        (["model=nobody/no-such-model"], "got nobody/no-such-model"),
        (["model=data/models/no_such_model"], "got data/models/no_such_model"),
        (["output_dir=/dev/null/run"], "output_dir must be a writable folder, got /dev/null/run"),
        (["max_new_tokens=100000"], "max_new_tokens must be at most"),
        (["task.kind=imdb", "task.data=./nothing"], "task.data must be a folder"),
        (["learning_rate=1e30"], "step 2: not finite"),
        (
            ["task.kind=prompts"],
            "task.prompts.reward_model must be a folder or hub name with kind 'prompts', got ''",
        ),
        (
            ["policy.lora_rank=2", "policy.lora_targets=[nothing]"],
            "policy.lora_targets must be names of layers",
        ),
        (["policy.sharding=fsdp"], "policy.sharding must be 'none' in one process, got 'fsdp'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_settings_end_with_a_message(config_file, capsys, overrides, message):
    assert message in refuse(capsys, "train", "--config", config_file, *overrides)


def test_a_missing_or_broken_configuration_file_is_named(tmp_path, capsys):
    assert "nothing.yaml" in refuse(capsys, "train", "--config", tmp_path / "nothing.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    assert "broken.yaml" in refuse(capsys, "train", "--config", tmp_path / "broken.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "binary.yaml" in refuse(capsys, "train", "--config", tmp_path / "binary.yaml")
    assert str(tmp_path) in refuse(capsys, "train", "--config", tmp_path)


def test_a_reward_that_is_not_finite_ends_with_a_message(config_file, capsys, monkeypatch):
    import numpy as np

    def load(config, *, eval_prompts, tokenizer):
        task = load_task(config, eval_prompts=eval_prompts)
        return dataclasses.replace(task, reward=lambda prompts, texts: np.full(len(texts), np.nan))

    monkeypatch.setattr("rsail.training.loop.load_task", load)
    assert "reward must give 32 finite numbers" in refuse(capsys, "train", "--config", config_file)


def test_evaluate_names_a_folder_that_holds_no_finished_run(tmp_path, capsys):
    assert "run must be the folder of a run" in refuse(capsys, "evaluate", tmp_path)
    assert "run must be the folder of a run" in refuse(capsys, "evaluate", tmp_path / "nothing")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steps=3"], "override must be a task.* or model.* setting, got steps"),
        (["model.steps=0"], "model.steps must be >= 1, got 0"),
        (["model.size=3"], "model.size is not a setting, got 3"),
        (["model=small"], "model must be a group of settings, got 'small'"),
        (["model.learning_rate=.inf"], "model.learning_rate must be a finite number > 0, got inf"),
        (["model.heads=3"], "model.hidden_size must be a multiple of heads = 3, got 64"),
        (["model.steps=many"], "model.steps: Input should be a valid integer"),
        (["task.kind=imdb", "task.data=./nothing"], "task.data must be a folder"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_pretraining_settings_end_with_a_message(tmp_path, capsys, overrides, message):
    assert message in refuse(capsys, "pretrain", "--output", tmp_path / "model", "--texts", "30", *overrides)
    assert not (tmp_path / "model").exists()


def test_pretraining_into_a_foreign_folder_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("precious")
    assert "folder must be empty" in refuse(capsys, "pretrain", "--output", tmp_path, "--texts", "30")


@pytest.mark.parametrize("texts", ["0", "-5"])
def test_pretraining_on_no_text_is_refused(tmp_path, capsys, texts):
    refuse(capsys, "pretrain", "--output", tmp_path / "model", "--texts", texts)


def test_an_unknown_profile_is_refused(tmp_path, capsys):
    message = refuse(capsys, "study", "--output", tmp_path / "results", "--profile", "enormous")
    assert "enormous" in message and "quick" in message


def test_help_lists_the_settings(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    printed = capsys.readouterr().out
    for name in ("rho", "score_weight", "responses_per_prompt"):
        assert f"\n  {name} " in printed


def test_help_describes_the_settings_of_groups_too_with_their_defaults(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    for kind, group in ((OnlineConfig, ""), (TaskConfig, "task."), (OracleConfig, "oracle.")):
        for field in dataclasses.fields(kind):
            assert f"{group}{field.name}" in lines
    assert lines["task.rows"].endswith("drawn with the seed below. (default 2000)")
    assert "radius" in lines["oracle.strength"] and lines["oracle.strength"].endswith("(default 0.0)")
    assert lines["beta"].endswith("(default 0.1)")


@pytest.mark.parametrize(
    "arguments", ["--help", "train --help", "train beta=0", "train a", "pretrain task.rows=0"]
)
def test_help_and_bad_settings_need_neither_torch_nor_transformers(arguments):
    code = f"""
import sys
from rsail.__main__ import main
try:
    status = main({(arguments + " --output x" * arguments.startswith("pretrain")).split()})
except SystemExit as end:
    status = end.code
sys.exit(0 if status == {0 if "help" in arguments else 2} and not {{"torch", "transformers"}} & set(sys.modules) else 1)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_as_a_program_it_ends_with_status_2_and_one_line(tmp_path):
    command = [sys.executable, "-m", "rsail", "train", "output_dir=x", "beta=0"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "rsail train: beta: Input should be greater than 0, got 0\n"
