"""Real text end to end: pretrain, train with an interruption, resume and evaluate on 2,000 IMDb reviews.

Needs the folder named by RSAIL_DATA, with imdb/train.parquet and imdb/test.parquet in the columns of the hub's
stanfordnlp/imdb. About a minute; shows that the programs run on real input, claims nothing about the result.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rsail.lm import load_model
from rsail.training.checkpoint import checkpoints, read_log

DATA = Path(os.environ.get("RSAIL_DATA", "")) / "imdb"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not (os.environ.get("RSAIL_DATA") and (DATA / "train.parquet").is_file()),
        reason="RSAIL_DATA names no folder with imdb/train.parquet",
    ),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Caches of the data library go into a folder of the test."""
    caches = tmp_path_factory.mktemp("caches")
    return {**os.environ, "HF_HOME": str(caches / "home"), "HF_DATASETS_CACHE": str(caches / "datasets")}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "rsail", *map(str, arguments)]


def succeed(environment, *arguments: object) -> str:
    ended = subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def model(environment, tmp_path_factory) -> Path:
    """A model of about 1 M parameters that has seen the reviews for a few steps."""
    folder = tmp_path_factory.mktemp("imdb") / "model"
    succeed(
        environment, "pretrain", "--output", folder, "--texts", 2000, "task.kind=imdb", f"task.data={DATA}",
        "model.hidden_size=128", "model.intermediate_size=256", "model.layers=3", "model.heads=4",
        "model.steps=30", "model.batch_size=16", "model.learning_rate=3e-3",
    )  # fmt: skip
    return folder


def settings(model: Path, run: Path, data: Path = DATA) -> list[str]:
    return [
        f"output_dir={run}", f"model={model}", "task.kind=imdb", f"task.data={data}", "task.rows=2000",
        "task.train_prompts=256", "oracle.kind=bias", "oracle.strength=0.15", "oracle.attribute=length", "rho=0.15",
        "steps=10", "prompts_per_step=8", "max_new_tokens=16", "checkpoint_every=3", "evaluate_every=0",
        "evaluation_prompts=32", "learning_rate=1e-3",
    ]  # fmt: skip


def kill_after(process: subprocess.Popen, path: Path, rows: int) -> None:
    deadline = time.monotonic() + 200
    while not path.exists() or path.read_bytes().count(b"\n") < rows:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_ten_steps_on_reviews_with_an_interruption_and_an_evaluation(environment, model, tmp_path):
    parameters = sum(p.numel() for p in load_model(model)[0].parameters())
    assert 0.5e6 < parameters < 2e6
    run = tmp_path / "run"
    process = subprocess.Popen(
        command("train", *settings(model, run)),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    kill_after(process, run / "metrics.jsonl", 4)
    assert checkpoints(run) and not (run / "model").exists()
    kept = (run / "metrics.jsonl").read_text().splitlines()[:3]

    assert succeed(environment, "train", "--resume", *settings(model, run)) == f"{run}\n"
    rows = read_log(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert (run / "metrics.jsonl").read_text().splitlines()[:3] == kept
    assert rows[0]["objective/kl"] == 0.0 and rows[-1]["robust/penalty"] > 0
    assert {row["step"] for row in rows if abs(row["gold/reward"]) > 0}  # words of the reviews are judged

    printed = json.loads(succeed(environment, "evaluate", run))
    stored = json.loads((run / "evaluation.json").read_text())
    assert printed == {name: round(value, 4) for name, value in stored.items()}
    assert {"step": 10, **stored} == read_log(run / "evaluations.jsonl")[-1]
    # The oracle's classifier is not the gold one, and its bias comes on top.
    assert 0.15 < stored["oracle/deviation"] <= 1
    assert 0 < stored["length"] <= 16 and stored["objective/kl_k3"] > 0


def refused(environment, model, tmp_path, data: Path) -> str:
    """The message of a run that must end with status 2 before it makes its folder."""
    run = tmp_path / "run"
    ended = subprocess.run(
        command("train", *settings(model, run, data)), env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    assert not run.exists()
    return ended.stderr.strip().splitlines()[-1]


def test_a_missing_data_file_is_named(environment, model, tmp_path):
    data = tmp_path / "imdb"
    data.mkdir()
    (data / "train.parquet").symlink_to(DATA / "train.parquet")
    message = refused(environment, model, tmp_path, data)
    assert message == f"rsail train: task.data must be a folder that holds test.parquet, got {data}"


def test_a_damaged_data_file_is_named(environment, model, tmp_path):
    data = tmp_path / "imdb"
    data.mkdir()
    (data / "test.parquet").symlink_to(DATA / "test.parquet")
    shutil.copyfile(DATA / "train.parquet", data / "train.parquet")
    with open(data / "train.parquet", "r+b") as file:
        file.truncate(5_000_000)
    message = refused(environment, model, tmp_path, data)
    assert message.startswith(f"rsail train: task.data holds a damaged file: {data / 'train.parquet'}")
