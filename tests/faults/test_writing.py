"""A kill, a full disk or a read-only one at every point of a write: what was there before, or what was written."""

import os
import shutil
import signal

import pytest
import torch

from rsail.files import write_atomically
from rsail.lm import fingerprint, load_model, save_model
from rsail.study import figures
from rsail.study.figures import SUFFIXES, save_figure
from rsail.study.results import read_result, write_result
from rsail.training import OnlineConfig, loop
from rsail.training.checkpoint import (
    Log,
    checkpoints,
    load_checkpoint,
    make_generators,
    open_run,
    read_log,
    save_checkpoint,
)

from .child import at_byte, disk_full, every_operation, forked, kill, read_only

IDENTITY = {"config": {"beta": 0.1}, "reference": "abc"}
ACTS = {"killed": kill, "disk full": disk_full, "read-only": read_only}
REASON = {"disk full": "No space left on device", "read-only": "Read-only file system"}


@pytest.fixture(autouse=True)
def no_power_failure(monkeypatch):
    """No fsync, for speed: what a process has written outlives it without."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(params=ACTS)
def fault(request) -> str:
    return request.param


def check_end(fault: str, status: int, said: str, *names: str) -> None:
    """A child ended by the fault was killed, or said what it could not write, where and why."""
    if fault == "killed":
        assert status == -signal.SIGKILL and not said
    else:
        assert status == 1 and REASON[fault] in said and all(name in said for name in names), said


def replaced(folder, template) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)


# One file, a result, a figure.


def test_a_file_is_the_old_or_the_new_one(fault, tmp_path):
    path, ends = tmp_path / "file", 0
    path.write_text("old")
    for status, said in every_operation(ACTS[fault], lambda: write_atomically(path, "new")):
        if status:
            check_end(fault, status, said, "file", str(tmp_path))
            ends += 1
        assert path.read_text() in ("old", "new")
    assert path.read_text() == "new" and ends >= 3  # created, synced, renamed


def test_a_result_is_the_old_or_the_new_one(fault, tmp_path):
    path, ends = tmp_path / "results" / "run.json", 0
    run = {"study": "s", "config": {"rho": 0.1}, "history": [], "seeds": [3], "wall_time": 1.0}
    old = write_result(path, **run, metrics={"gold": 1.0})
    for status, said in every_operation(
        ACTS[fault], lambda: write_result(path, **run, metrics={"gold": 2.0})
    ):
        if status:
            check_end(fault, status, said, "run.json", str(tmp_path))
            ends += 1
        assert read_result(path)["metrics"] in ({"gold": 1.0}, {"gold": 2.0})
    assert read_result(path)["metrics"] == {"gold": 2.0} and old["metrics"] == {"gold": 1.0} and ends >= 3


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "refused"])
def test_a_file_or_result_cut_at_a_byte_is_the_old_one(killed, tmp_path):
    path, result = tmp_path / "file", tmp_path / "run.json"
    run = {"study": "s", "config": {}, "metrics": {}, "history": [], "seeds": [3]}
    path.write_text("old")
    write_result(result, **run, wall_time=1.0)
    writes = {
        "file": lambda: write_atomically(path, "new!"),
        "run.json": lambda: write_result(result, **run, wall_time=2.0),
    }
    for name, length in {"file": 4, "run.json": 200}.items():
        for limit in range(0, length, length // 4):
            status, said = forked(at_byte(limit, kill=killed), writes[name])
            assert status == (-signal.SIGXFSZ if killed else 1)
            assert killed or f"cannot write {name} into {tmp_path}: File too large" in said
            assert path.read_text() == "old" and read_result(result)["wall_time"] == 1.0


def test_each_file_of_a_figure_is_the_old_or_the_new_one_and_drawing_again_completes_them(
    fault, tmp_path, monkeypatch
):
    import matplotlib.pyplot as plt

    def draw(folder, height: float) -> None:
        figure, axes = plt.subplots(figsize=(1, 1))
        axes.plot([0, 1], [0, height])
        save_figure(figure, "family", {"y": [0, height]}, folder=folder)
        plt.close(figure)

    def content(folder) -> list[bytes]:
        return [(folder / f"family{suffix}").read_bytes() for suffix in SUFFIXES]

    draw(tmp_path / "old", 1.0)
    draw(tmp_path / "new", 2.0)
    old, new, folder = content(tmp_path / "old"), content(tmp_path / "new"), tmp_path / "figures"
    assert all(a != b for a, b in zip(old, new, strict=True))
    replaced(folder, tmp_path / "old")
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.plot([0, 1], [0, 2.0])
    ends, pictures = 0, {suffix: figures.render(figure, suffix) for suffix in ("png", "pdf")}
    monkeypatch.setattr(figures, "render", lambda figure, suffix: pictures[suffix])  # drawn once is enough
    for status, said in every_operation(
        ACTS[fault], lambda: save_figure(figure, "family", {"y": [0, 2.0]}, folder=folder)
    ):
        if status:
            check_end(fault, status, said, "family.", str(folder))
            ends += 1
            assert all(found in pair for found, *pair in zip(content(folder), old, new, strict=True))
        else:
            assert content(folder) == new
    assert ends >= 9
    replaced(folder, tmp_path / "old")
    for limit in (0, 50):  # the numbers have fewer bytes than the pictures
        status, _ = forked(
            at_byte(limit, kill=fault == "killed"),
            lambda: save_figure(figure, "family", {"y": [0, 2.0]}, folder=folder),
        )
        assert status == (-signal.SIGXFSZ if fault == "killed" else 1) and content(folder) == old
    monkeypatch.undo()
    draw(folder, 2.0)
    assert content(folder) == new


# Checkpoints and models: much of them is written by torch and safetensors.


@pytest.fixture(scope="module")
def parts(reference_folder):
    """Model, optimizer with momentum, generators; `moved` is the number of steps that were taken."""
    model, _ = load_model(reference_folder)
    optimizer = loop.make_optimizer(OnlineConfig(output_dir="unused"), model)
    return model, optimizer, make_generators(0)


def move(model, optimizer, _) -> str:
    """One step; returns the identity of the weights."""
    model(input_ids=torch.tensor([[1, 5, 7]])).logits.square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return fingerprint(model)


@pytest.fixture(scope="module")
def run_folder(parts, tmp_path_factory):
    """A run with checkpoints of its steps 1 and 2, about to write the third; and the weights of each step."""
    folder, weights = tmp_path_factory.mktemp("run") / "run", {}
    open_run(folder, IDENTITY, resume=False)
    for step in (1, 2):
        weights[step] = move(*parts)
        save_checkpoint(folder, step, *parts)
    weights[3] = move(*parts)
    return folder, weights


def newest(folder, parts) -> tuple[int, str]:
    """Step of the last checkpoint, which must be whole, and its weights."""
    model, optimizer, generators = parts
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    step = load_checkpoint(checkpoints(folder)[-1], model, optimizer, generators, {})
    found = fingerprint(model)
    model.load_state_dict(kept)
    return step, found


def check_recovery(folder, parts, weights) -> None:
    """The newest checkpoint is whole; a resumed run clears the remains and writes the third one."""
    step, found = newest(folder, parts)
    assert step in (2, 3) and found == weights[step]
    open_run(folder, IDENTITY, resume=True)
    assert not list(folder.glob(".*"))
    save_checkpoint(folder, 3, *parts)
    assert newest(folder, parts) == (3, weights[3])
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-000002", "checkpoint-000003"]


def test_a_checkpoint_is_whole_or_the_one_before_it_counts(fault, parts, run_folder, tmp_path):
    (template, weights), folder, ends = run_folder, tmp_path / "run", 0
    replaced(folder, template)
    stride = 3 if fault == "read-only" else 1  # as a full disk, but that nothing can be removed
    for status, said in every_operation(ACTS[fault], lambda: save_checkpoint(folder, 3, *parts), stride):
        if status and checkpoints(folder)[-1].name == "checkpoint-000002":
            check_end(fault, status, said, "checkpoint-000003", str(folder))
            ends += 1
        check_recovery(folder, parts, weights)
        replaced(folder, template)
    assert ends >= 18 // stride


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "refused"])
def test_a_checkpoint_cut_at_a_byte_is_none(killed, parts, run_folder, tmp_path):
    (template, weights), folder = run_folder, tmp_path / "run"
    sizes = {path.stat().st_size for path in (template / "checkpoint-000002").iterdir()}
    limits = sorted({0, 4096, *(size - 1 for size in sizes)})
    for limit in limits:
        replaced(folder, template)
        status, said = forked(at_byte(limit, kill=killed), lambda: save_checkpoint(folder, 3, *parts))
        if killed:
            assert status == -signal.SIGXFSZ
        else:
            assert status == 1 and "cannot write checkpoint-000003" in said and str(folder) in said, said
            assert "MiB)" in said and not list(folder.glob(".*"))
        assert checkpoints(folder)[-1].name == "checkpoint-000002"
        check_recovery(folder, parts, weights)


@pytest.fixture(scope="module")
def other_model(reference_folder):
    """The reference model with another weight."""
    model, _ = load_model(reference_folder)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1.0
    return model


def test_a_saved_model_is_whole_or_the_one_before_it(fault, other_model, reference_folder, tmp_path):
    (old, tokenizer), folder, ends = load_model(reference_folder), tmp_path / "model", 0
    known = {fingerprint(old), fingerprint(other_model)}
    assert len(known) == 2

    def put_back() -> None:
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        shutil.copytree(reference_folder, folder)

    put_back()
    stride = 3 if fault == "read-only" else 1
    for status, said in every_operation(
        ACTS[fault], lambda: save_model(other_model, tokenizer, folder), stride
    ):
        if status:
            ends += 1
        if status == 1 and folder.exists():
            assert REASON[fault] in said and "cannot write model" in said
        # Between two renames, of which the second is refused or never comes, the old one is beside its place.
        whole = folder if folder.exists() else tmp_path / ".model.old.tmp"
        assert fingerprint(load_model(whole)[0]) in known
        put_back()
    assert ends >= 10 // stride


def test_a_model_cut_at_a_byte_is_none(other_model, reference_folder, tmp_path):
    _, tokenizer = load_model(reference_folder)
    for limit in (0, 100, 1000, 10_000):
        for killed in (True, False):
            folder = tmp_path / f"{limit}_{killed}"
            status, said = forked(
                at_byte(limit, kill=killed), lambda folder=folder: save_model(other_model, tokenizer, folder)
            )
            assert status == (-signal.SIGXFSZ if killed else 1) and not folder.exists()
            assert killed or f"cannot write {folder.name} into {tmp_path}" in said


# Logs.


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "refused"])
def test_a_log_cut_at_a_byte_keeps_its_whole_rows(killed, tmp_path):
    path, row = tmp_path / "metrics.jsonl", {"step": 1, "x": 1 / 3}
    length = len('{"step": 1, "x": 0.3333333333333333}\n')  # of which a row lacks nothing but its end

    def write() -> None:
        log = Log(path, 0)
        for step in range(1, 4):
            log.append({**row, "step": step})

    for limit in (1, length - 1, length, length + 1, 2 * length + 5):
        path.unlink(missing_ok=True)
        status, said = forked(at_byte(limit, kill=killed), write)
        assert status == (-signal.SIGXFSZ if killed else 1)
        assert killed or f"cannot write metrics.jsonl into {tmp_path}: File too large" in said
        Log(path, 9).close()
        assert [r["step"] for r in read_log(path)] == [1, 2, 3][: (limit + 1) // length]
