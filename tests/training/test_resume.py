"""`python -m rsail train` killed with SIGKILL five times and resumed gives the numbers of an uninterrupted run."""

import collections
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from rsail.training import load_config, train
from rsail.training.checkpoint import checkpoints, read_log

STEPS, EVERY, KILLS = 120, 10, 5


def rows(folder) -> int:
    """Complete rows of the metrics, while another process writes them."""
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def last_checkpoint(folder) -> int:
    found = checkpoints(folder)
    return int(found[-1].name.split("-")[1]) if found else 0


def start(config_file, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "rsail", "train", "--config", str(config_file), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_when(process: subprocess.Popen, folder, wanted_rows: int, delay: float) -> None:
    """SIGKILL, `delay` seconds after so many rows were there; the process must still have been at work."""
    deadline = time.monotonic() + 90
    while rows(folder) < wanted_rows:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no progress in 90 seconds"
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()


@pytest.fixture
def config_file(settings, tmp_path):
    values = settings(steps=STEPS, checkpoint_every=EVERY, evaluate_every=40, labels="drawn")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "run.yaml"


def test_five_kills_change_no_number_and_cost_at_most_the_steps_since_the_last_checkpoint(
    config_file, tmp_path
):
    rng, folder = random.Random(20260224), tmp_path / "run"
    done_again_at_most = 0
    for attempt in range(KILLS):
        goal = last_checkpoint(folder) + rng.randint(3, 18)
        kill_when(start(config_file, *["--resume"] * bool(attempt)), folder, goal, rng.uniform(0, 0.05))
        assert last_checkpoint(folder) < STEPS
        done_again_at_most += rows(folder) - last_checkpoint(folder)
        assert rows(folder) - last_checkpoint(folder) <= EVERY
    process = start(config_file, "--resume")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors

    whole = train(load_config(config_file, [f"output_dir={tmp_path / 'whole'}"]), progress=False)
    for name in ("metrics.jsonl", "evaluations.jsonl", "model/model.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert [row["step"] for row in read_log(folder / "metrics.jsonl")] == list(range(1, STEPS + 1))

    # Timings are kept of every step, also of those that were done again.
    times = collections.Counter(row["step"] for row in read_log(folder / "timings.jsonl"))
    assert set(times) == set(range(1, STEPS + 1)) - missing_timings(times)
    assert sum(times.values()) - len(times) <= done_again_at_most


def missing_timings(times) -> set[int]:
    """Steps whose timing a kill prevented, at most one for each."""
    missing = set(range(1, STEPS + 1)) - set(times)
    assert len(missing) <= KILLS
    return missing


def test_a_damaged_checkpoint_is_named_and_without_it_the_run_continues_from_the_one_before(
    config_file, tmp_path
):
    whole = train(load_config(config_file, [f"output_dir={tmp_path / 'whole'}", "steps=30"]), progress=False)
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    newest = checkpoints(tmp_path / "run")[-1]
    content = bytearray((newest / "optimizer.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "optimizer.pt").write_bytes(content)
    config = load_config(config_file, ["steps=30"])
    with pytest.raises(ValueError, match=r"checkpoint-000030/optimizer\.pt is missing or damaged"):
        train(config, resume=True)
    shutil.rmtree(newest)
    train(config, resume=True)
    for name in ("metrics.jsonl", "evaluations.jsonl", "model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()
