"""How a run ends before its end, and that nothing is lost: SIGTERM, no memory, a full disk, a reward that fails."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
import yaml

from rsail.files import SUMS
from rsail.lm import load_model
from rsail.stopping import Terminated
from rsail.tasks import Task, load_task
from rsail.training import OnlineConfig, loop, train
from rsail.training.checkpoint import checkpoints, read_log
from rsail.training.config import build

FILES = ("metrics.jsonl", "evaluations.jsonl", "rounds.jsonl", "model/model.safetensors")


class Killed(BaseException):
    """Stands for what ends a process at once: nothing in the program catches it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, reference_folder):
    """Settings of a small run, and the folder of one that nothing disturbed."""
    values = {
        "model": str(reference_folder),
        "task": {"train_prompts": 16},
        "oracle": {"kind": "bias", "strength": 0.15},
        "rho": 0.15,
        "labels": "drawn",
        "prompts_per_step": 4,
        "max_new_tokens": 12,
        "steps": 6,
        "learning_rate": 1e-2,
        "checkpoint_every": 3,
        "evaluate_every": 3,
        "evaluation_prompts": 8,
    }
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(build(OnlineConfig, {**values, "output_dir": str(folder)}), progress=False)
    return values, folder


@pytest.fixture
def run(whole, tmp_path):
    """Trains in one folder with the settings of `whole`."""

    def start(*, resume: bool = False, **changes):
        values = {**whole[0], "output_dir": str(tmp_path / "run"), **changes}
        return train(build(OnlineConfig, values), resume=resume, progress=False)

    return start


@pytest.fixture
def goes_on(run, whole):
    """Resumes the run of this test and compares it with the undisturbed one."""

    def check() -> None:
        folder = run(resume=True)
        for name in FILES:
            assert (folder / name).read_bytes() == (whole[1] / name).read_bytes()
        assert not list(folder.glob(".*"))

    return check


def before_step(monkeypatch, number: int, act) -> None:
    """Call `act` when step `number` begins."""
    step, calls = loop.online_step, iter(range(1, 100))

    def disturbed(*arguments):
        if next(calls) == number:
            act()
        return step(*arguments)

    monkeypatch.setattr(loop, "online_step", disturbed)


# SIGTERM.


def test_as_a_program_a_run_that_is_asked_to_stop_ends_with_status_143_and_a_checkpoint(
    whole, goes_on, tmp_path
):
    folder, config = tmp_path / "run", tmp_path / "run.yaml"
    # A task of which one step takes long enough for the signal to come in the middle of it.
    config.write_text(yaml.safe_dump({**whole[0], "output_dir": str(folder)}))
    program = (
        "import sys, time; from rsail.__main__ import main; from rsail.training import loop; step = loop.online_step; "
        "loop.online_step = lambda *a: (time.sleep(0.2), step(*a))[1]; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "train", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log, deadline = folder / "metrics.jsonl", time.monotonic() + 90
    while not (log.exists() and log.read_bytes().count(b"\n")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    step = read_log(log)[-1]["step"]
    assert process.returncode == 143 and not out and 1 < step < 6
    last = errors.strip().splitlines()[-1]
    assert last == f"rsail train: stopped by SIGTERM after step {step}; --resume goes on from there"
    assert checkpoints(folder)[-1].name == f"checkpoint-{step:06d}"
    goes_on()


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_run_that_is_asked_to_stop_finishes_its_step(run, goes_on, monkeypatch, tmp_path, number):
    with monkeypatch.context() as patch:
        before_step(patch, number, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Terminated, match=f"after step {number}; --resume") as caught:
            run()
    assert caught.value.code == 143 and isinstance(caught.value, SystemExit)
    assert checkpoints(tmp_path / "run")[-1].name == f"checkpoint-{number:06d}"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    goes_on()


def test_asked_to_stop_in_the_last_step_a_run_is_finished(run, goes_on, monkeypatch):
    with monkeypatch.context() as patch:
        before_step(patch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert (run() / "model").is_dir()
    goes_on()


def test_a_run_in_a_thread_leaves_signals_alone(run, goes_on):
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    goes_on()


# A reward that fails or takes its time.


def with_reward(monkeypatch, reward, *, call: int) -> None:
    """Let the reward of the task be `reward(judged, texts)` in its `call`-th call on a batch."""

    def load(config, *, eval_prompts, tokenizer) -> Task:
        task, calls = load_task(config, eval_prompts=eval_prompts), iter(range(1, 1000))

        def judge(prompts, texts):
            good = task.reward(prompts, texts)
            return reward(good, texts) if len(texts) > 1 and next(calls) == call else good

        return Task(task.train_prompts, task.eval_prompts, judge, task.attributes, task.groups)

    monkeypatch.setattr(loop, "load_task", load)


@pytest.mark.parametrize(
    "error", [RuntimeError("the judge is down"), TimeoutError("no answer in 30 s"), KeyError("choices")]
)
def test_what_a_reward_raises_is_passed_on_as_it_is(run, goes_on, monkeypatch, error):
    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        with_reward(patch, fail, call=7)  # in step 5; an evaluation asks twice
        with pytest.raises(type(error)) as caught:
            run()
        assert caught.value is error
    goes_on()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_reward_that_is_not_finite_ends_the_run_before_it_is_learned_from(
    run, goes_on, monkeypatch, tmp_path, value
):
    with monkeypatch.context() as patch:
        with_reward(patch, lambda good, _: np.r_[good[:-1], value], call=4)
        with pytest.raises(ValueError, match=r"reward must give 8 finite numbers, got shape \(8,\)"):
            run()
    assert len(read_log(tmp_path / "run" / "metrics.jsonl")) == 1
    goes_on()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda good, texts: np.sort(good),
        lambda good, texts: good[::-1],
        lambda good, texts: good[np.argsort([len(text) for text in texts])],
        lambda good, texts: (good - good.mean()) / good.std(),
    ],
    ids=["sorted", "reversed", "by length", "relative to the batch"],
)
def test_rewards_in_another_order_or_of_the_batch_are_refused_before_a_step(
    run, monkeypatch, tmp_path, wrong
):
    with_reward(monkeypatch, wrong, call=1)
    with pytest.raises(ValueError, match="reward must be a number of its prompt and response, in the order"):
        run()
    assert not read_log(tmp_path / "run" / "metrics.jsonl")


def test_a_reward_that_hangs_is_waited_for_until_the_second_sigterm(run, goes_on, monkeypatch):
    asked = []

    def hang(*_):
        for delay in (0.05, 0.3):
            threading.Timer(delay, lambda: (asked.append(0), os.kill(os.getpid(), signal.SIGTERM))).start()
        time.sleep(60)

    def end(*_):
        raise Killed

    before = signal.signal(signal.SIGTERM, end)  # the default would end the tests
    try:
        with monkeypatch.context() as patch:
            with_reward(patch, hang, call=7)
            with pytest.raises(Killed):
                run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(asked) == 2
    goes_on()


# Strange samples.


@pytest.mark.parametrize("ends", [True, False], ids=["empty", "without end"])
def test_responses_that_are_all_empty_or_never_end_are_learned_from_like_others(
    run, whole, monkeypatch, ends
):
    """All are the same then: nothing to tell apart, no penalty, finite gradients."""
    _, tokenizer = load_model(whole[0]["model"])
    token = tokenizer.eos_token_id if ends else len(tokenizer) - 1
    monkeypatch.setattr(
        "rsail.lm.sampling.inverse_transform", lambda logits, uniforms: torch.full((len(logits),), token)
    )
    rows = read_log(run(steps=3) / "metrics.jsonl")
    assert len(rows) == 3
    for row in rows:
        assert row["robust/identical_pairs"] == 1.0 and row["robust/penalty"] == 0.0
        assert row["val/contain_eos_token"] == ends and row["length"] == (1 if ends else 12)


# Memory.


@pytest.fixture
def boundless_model(reference_folder, tmp_path):
    """The reference model with room for more tokens than any machine has memory for."""
    folder = shutil.copytree(reference_folder, tmp_path / "boundless")
    (folder / SUMS).unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2**50}))
    return str(folder)


def test_an_evaluation_without_memory_names_the_settings_to_lower(run, boundless_model):
    with pytest.raises(MemoryError) as caught:
        run(model=boundless_model, max_new_tokens=2**43)
    message = str(caught.value)
    assert message.startswith(
        "evaluation after step 0: out of memory; lower one of evaluation_prompts (now 8), "
    )
    assert f"max_new_tokens (now {2**43})" in message and "can't allocate memory" in message
    assert "\n" not in message


def test_a_step_without_memory_names_the_settings_to_lower(run):
    with pytest.raises(
        MemoryError, match=r"step 1: out of memory; .*prompts_per_step \(now 4\), resp"
    ) as caught:
        run(responses_per_prompt=2**42)
    assert f"responses_per_prompt (now {2**42}), max_new_tokens (now 12)" in str(caught.value)


@pytest.mark.parametrize("when", ["begin_run", "begin_round"])
def test_stored_pairs_without_memory_name_their_setting(run, monkeypatch, when):
    def fail(*_):
        torch.empty(2**50)  # 4 PiB

    monkeypatch.setattr(loop, when, fail)
    with pytest.raises(
        MemoryError, match=r"begin of the (run|round of step 1): .*collection\.stored_prompts \(now"
    ):
        run()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()]
)
def test_other_ways_to_run_out_of_memory_say_the_same_and_lose_nothing(run, goes_on, monkeypatch, error):
    def fail():
        raise error

    with monkeypatch.context() as patch:
        before_step(patch, 5, fail)
        with pytest.raises(MemoryError, match="step 5: out of memory; lower one of prompts_per_step"):
            run()
    goes_on()


def test_another_error_in_a_step_is_not_taken_for_a_lack_of_memory(run, monkeypatch):
    def fail():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    before_step(monkeypatch, 2, fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run()


# Disks.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("call", [1, 8, 20])
def test_a_disk_that_takes_no_more_ends_a_run_that_can_go_on_later(
    run, goes_on, monkeypatch, tmp_path, number, call
):
    fsync, calls = os.fsync, iter(range(1, 1000))

    def refuse(handle):
        if next(calls) >= call:
            raise OSError(number, os.strerror(number))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match=f"cannot write .* into {tmp_path}.*{os.strerror(number)}"):
            run()
    goes_on()
