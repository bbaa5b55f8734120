"""Run folders and checkpoints: claimed by one run, complete or absent, and named when damaged."""

import errno
import json
import os
import shutil
import warnings

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from rsail.files import file_digest, write_atomically
from rsail.lm import fingerprint, load_model
from rsail.training import OnlineConfig, checkpoint, loop
from rsail.training.checkpoint import (
    Log,
    checkpoints,
    exclusive,
    load_checkpoint,
    make_generators,
    open_run,
    read_log,
    read_run,
    save_checkpoint,
)
from rsail.versions import versions

IDENTITY = {"config": {"beta": 0.1, "oracle": {"kind": "truth"}}, "reference": "abc"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it, so the disk keeps what it had."""


@pytest.fixture
def state(reference_folder):
    """Model, optimizer with momentum, and generators that have been used."""

    def build(steps: int):
        model, _ = load_model(reference_folder)
        optimizer = loop.make_optimizer(OnlineConfig(output_dir="unused"), model)
        generators = make_generators(0)
        for _ in range(steps):
            model(input_ids=torch.tensor([[1, 5, 7]])).logits.square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            for name in ("prompts", "labels"):
                generators[name].random(3)
            torch.rand(3, generator=generators["sampling"])
        return model, optimizer, generators

    return build


def draws(generators) -> list[float]:
    return [
        generators["prompts"].random(),
        generators["labels"].random(),
        torch.rand(1, generator=generators["sampling"]).item(),
    ]


def test_a_checkpoint_restores_model_optimizer_and_generators(state, tmp_path):
    saved = state(3)
    save_checkpoint(tmp_path, 3, *saved)
    fresh = state(0)
    assert load_checkpoint(checkpoints(tmp_path)[-1], *fresh) == 3
    assert fingerprint(fresh[0]) == fingerprint(saved[0])
    wanted, found = (s[1].state_dict()["state"] for s in (saved, fresh))
    for key, values in wanted.items():
        assert all(torch.equal(found[key][name], value) for name, value in values.items())
    assert draws(fresh[2]) == draws(saved[2])


def test_generators_differ_from_each_other_and_between_seeds():
    first, again, other = (draws(make_generators(seed)) for seed in (0, 0, 1))
    assert first == again and len({*first, *other}) == 6


def test_the_last_two_checkpoints_are_kept(state, tmp_path):
    saved = state(1)
    for step in (2, 4, 999_999):
        save_checkpoint(tmp_path, step, *saved)
    assert [p.name for p in checkpoints(tmp_path)] == ["checkpoint-000004", "checkpoint-999999"]
    (tmp_path / "checkpoint-000004 (copy)").mkdir()
    save_checkpoint(tmp_path, 1_000_000, *saved)  # the last by its number, not by its name
    assert [p.name for p in checkpoints(tmp_path)] == ["checkpoint-999999", "checkpoint-1000000"]
    assert (tmp_path / "checkpoint-000004 (copy)").exists()


def test_a_checkpoint_restores_a_model_whose_published_weights_have_other_names(tmp_path):
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2, max_position_embeddings=16,
    )  # fmt: skip
    saved, fresh = (MixtralForCausalLM(config) for _ in range(2))
    assert fingerprint(saved) != fingerprint(fresh)
    settings = OnlineConfig(output_dir="unused")
    save_checkpoint(tmp_path, 1, saved, loop.make_optimizer(settings, saved), make_generators(0))
    optimizer = loop.make_optimizer(settings, fresh)
    assert load_checkpoint(checkpoints(tmp_path)[-1], fresh, optimizer, make_generators(0)) == 1
    assert fingerprint(fresh) == fingerprint(saved)


FILES = ["model.safetensors", "optimizer.pt", "generators.pt", "parts.pt", "config.json", "state.json"]


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "empty"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_file_is_named(state, tmp_path, name, damage):
    save_checkpoint(tmp_path, 3, *state(1))
    folder = checkpoints(tmp_path)[-1]
    content = bytearray((folder / name).read_bytes())
    if damage == "flip":
        # In state.json the step is the one thing that no digest covers; elsewhere any bit will do.
        at = content.index(b"3") if name == "state.json" else len(content) // 2
        content[at] ^= 1
    (folder / name).write_bytes({"cut": content[: len(content) // 2], "empty": b""}.get(damage, content))
    if damage == "gone":
        (folder / name).unlink()
    with pytest.raises(ValueError, match="missing or damaged") as caught:
        load_checkpoint(folder, *state(0))
    assert str(folder / name) in str(caught.value) and f"delete {folder}" in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_file_with_one_wrong_bit_or_cut_anywhere_is_named(state, tmp_path, name):
    parts = state(1)
    save_checkpoint(tmp_path, 3, *parts)
    path = checkpoints(tmp_path)[-1] / name
    content = path.read_bytes()
    # state.json, which no digest covers, at every byte; of the others some bytes from the first to the last.
    step = 1 if name == "state.json" else max(1, (len(content) - 1) // 7)
    for at in range(0, len(content), step):
        for damaged in (content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :], content[:at]):
            path.write_bytes(damaged)
            if name == "state.json" and not damaged[at:].strip() and damaged[:at] == content[:at]:
                continue  # no more than the end of the last line is gone
            with pytest.raises(ValueError, match="missing or damaged"):
                load_checkpoint(path.parent, *parts)


class Intruder:
    """In a pickle: what reads it calls `os.mkdir(folder)`."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("name", ["optimizer.pt", "generators.pt", "parts.pt"])
def test_code_in_a_checkpoint_is_not_run(state, tmp_path, name):
    save_checkpoint(tmp_path, 3, *state(1))
    folder = checkpoints(tmp_path)[-1]
    torch.save({"state": Intruder(tmp_path / "was here")}, folder / name)
    record = json.loads((folder / "state.json").read_text())
    record["sha256"][name] = file_digest(folder / name)  # whoever puts code there does that, too
    (folder / "state.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"{name} must hold tensors and plain values"):
        load_checkpoint(folder, *state(0), {})
    assert not (tmp_path / "was here").exists()
    torch.load(folder / name, weights_only=False)  # it would have
    assert (tmp_path / "was here").exists()


def stop_at(monkeypatch, stage: str) -> None:
    """Kill the next checkpoint at one of the moments at which it touches the disk."""

    def die(*_, **__):
        raise Killed

    if stage == "weights":
        monkeypatch.setattr(checkpoint, "save_weights", lambda _, folder, **__: (folder.mkdir(), die()))
    elif stage == "optimizer":
        monkeypatch.setattr(torch, "save", lambda value, path: (path.write_bytes(b"PK"), die()))
    elif stage == "state":
        monkeypatch.setattr(checkpoint, "write_atomically", die)
    elif stage == "rename":
        monkeypatch.setattr(os, "replace", die)
    elif stage == "prune":
        monkeypatch.setattr(checkpoint, "checkpoints", die)


@pytest.mark.parametrize("stage", ["weights", "optimizer", "state", "rename", "prune"])
def test_a_kill_while_a_checkpoint_is_written_leaves_a_complete_one(state, tmp_path, monkeypatch, stage):
    save_checkpoint(tmp_path, 1, *state(1))
    with monkeypatch.context() as patch:
        stop_at(patch, stage)
        with pytest.raises(Killed):
            save_checkpoint(tmp_path, 2, *state(2))
    survivor = checkpoints(tmp_path)[-1]
    assert load_checkpoint(survivor, *state(0)) == (2 if stage == "prune" else 1)
    save_checkpoint(tmp_path, 2, *state(2))  # what the resumed run does, over the remains
    assert load_checkpoint(checkpoints(tmp_path)[-1], *state(0)) == 2


def test_a_folder_is_claimed_once_and_continued_only_on_request(tmp_path):
    open_run(tmp_path / "run", IDENTITY, resume=False)
    with pytest.raises(ValueError, match=r"output_dir must be empty, unless .*\(--resume\)"):
        open_run(tmp_path / "run", IDENTITY, resume=False)
    open_run(tmp_path / "run", IDENTITY, resume=True)


def test_resume_in_an_empty_folder_starts_a_run(tmp_path):
    open_run(tmp_path / "run", IDENTITY, resume=True)
    assert read_run(tmp_path / "run") == {**IDENTITY, "versions": [versions()]}


@pytest.mark.parametrize("resume", [False, True])
def test_another_run_in_the_folder_is_refused_naming_what_differs(tmp_path, resume):
    open_run(tmp_path, IDENTITY, resume=False)
    other = {**IDENTITY, "config": {"beta": 0.2, "oracle": {"kind": "flip"}}}
    with pytest.raises(ValueError) as caught:
        open_run(tmp_path, other, resume=resume)
    assert "config.beta (0.1 there, 0.2 asked for)" in str(caught.value)
    assert "config.oracle.kind ('truth' there, 'flip' asked for)" in str(caught.value)
    assert "reference" not in str(caught.value)


def test_another_reference_is_refused(tmp_path):
    open_run(tmp_path, IDENTITY, resume=False)
    with pytest.raises(ValueError, match=r"reference \('abc' there, 'abd' asked for\)"):
        open_run(tmp_path, {**IDENTITY, "reference": "abd"}, resume=True)


def test_other_versions_are_named_once_and_recorded(tmp_path, monkeypatch):
    open_run(tmp_path, IDENTITY, resume=False)
    now = versions()
    other = {**now, "libraries": {**now["libraries"], "torch": "9.9"}}
    monkeypatch.setattr(checkpoint, "versions", lambda: other)
    with pytest.warns(UserWarning, match=r"other versions, .*: libraries\.torch \('.*' there, '9\.9' now\)$"):
        open_run(tmp_path, IDENTITY, resume=True)
    assert read_run(tmp_path) == {**IDENTITY, "versions": [now, other]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_run(tmp_path, IDENTITY, resume=True)


def test_a_folder_with_foreign_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match=r"it holds \['thesis.tex'\]"):
        open_run(tmp_path, IDENTITY, resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"config": 3, "reference": "abc"}', json.dumps(IDENTITY)]
)
def test_a_damaged_run_record_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        open_run(tmp_path, IDENTITY, resume=True)


def test_a_run_record_with_one_wrong_bit_anywhere_is_named_or_read_as_it_was(tmp_path):
    open_run(tmp_path, IDENTITY, resume=False)
    path, right = tmp_path / "run.json", read_run(tmp_path)
    content, named = path.read_bytes(), 0
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        try:
            found = read_run(tmp_path)
        except ValueError as error:
            assert "run.json is damaged" in str(error)
            named += 1
        else:  # the bit was in a space, or in the name of the digest
            assert {key: found[key] for key in right} == right
    assert named > 0.7 * len(content)


def test_a_folder_is_held_by_one_run_at_a_time_and_free_after_an_error(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Killed), exclusive(folder):
        with pytest.raises(ValueError, match=r"no other run writes now, got .*run"), exclusive(folder):
            pass
        raise Killed
    with exclusive(folder):
        assert not list(folder.iterdir())


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with exclusive(tmp_path / "run"), exclusive(tmp_path / "run"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(PermissionError, match="output_dir must be a writable folder") as caught:
            open_run(folder, IDENTITY, resume=False)
        assert str(folder) in str(caught.value)
        with pytest.raises(PermissionError, match="output_dir must be a writable folder"), exclusive(folder):
            pass


def test_a_folder_that_is_not_writable_is_named(tmp_path, without_privileges):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="output_dir must be a writable folder"):
        open_run(tmp_path, IDENTITY, resume=False)


def test_a_refusal_to_write_is_named_whoever_asks(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(
        PermissionError, match=r"output_dir must be a writable folder, got .*: Permission denied"
    ):
        open_run(tmp_path, IDENTITY, resume=False)


def write_rows(path, steps) -> None:
    path.write_text("".join(json.dumps({"step": s, "x": s / 3}) + "\n" for s in steps))


def test_a_log_is_appended_to_in_full_precision(tmp_path):
    log = Log(tmp_path / "log.jsonl", 0)
    log.append({"step": 1, "x": 1 / 3})
    log.close()
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "x": 1 / 3}]


def test_a_resumed_log_drops_the_steps_that_are_done_again(tmp_path):
    write_rows(tmp_path / "log.jsonl", range(1, 8))
    log = Log(tmp_path / "log.jsonl", 4)
    log.append({"step": 5, "x": 0.0})
    log.close()
    assert [row["step"] for row in read_log(tmp_path / "log.jsonl")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("cut", [1, 2, 10])
def test_a_last_line_cut_off_by_a_kill_is_dropped_on_resume_and_an_error_otherwise(tmp_path, cut):
    path = tmp_path / "log.jsonl"
    write_rows(path, range(1, 4))
    path.write_text(path.read_text()[:-cut])
    if cut > 1:  # more than the end of the line is gone
        with pytest.raises(ValueError, match=r"log\.jsonl is damaged at line 3"):
            read_log(path)
    Log(path, 9).close()
    assert [row["step"] for row in read_log(path)] == ([1, 2, 3] if cut == 1 else [1, 2])


def test_a_byte_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    write_rows(path, range(1, 4))
    content = bytearray(path.read_bytes())
    content[content.index(b"step", 20)] ^= 0x80
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"log\.jsonl is damaged at line 2"):
        Log(path, 9)
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"x": 1}'])
def test_a_damaged_line_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / "log.jsonl"
    write_rows(path, range(1, 4))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[2], ""]))
    with pytest.raises(ValueError, match=r"log\.jsonl is damaged at line 2"):
        Log(path, 9)
    assert path.read_text().splitlines()[1] == line


def test_a_log_holds_no_numbers_that_json_has_not(tmp_path):
    log = Log(tmp_path / "log.jsonl", 0)
    with pytest.raises(ValueError):
        log.append({"step": 1, "x": float("nan")})


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"log must be an existing file, got .*metrics\.jsonl"):
        read_log(tmp_path / "metrics.jsonl")


def test_an_atomic_write_that_is_interrupted_leaves_the_old_file(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", "old")

    def die(*_):
        raise Killed

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(Killed):
        write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"


def test_a_checkpoint_of_another_step_under_this_name_is_named(state, tmp_path):
    save_checkpoint(tmp_path, 3, *state(1))
    shutil.move(tmp_path / "checkpoint-000003", tmp_path / "checkpoint-000005")
    with pytest.raises(ValueError, match="it is of step 3"):
        load_checkpoint(tmp_path / "checkpoint-000005", *state(0))
