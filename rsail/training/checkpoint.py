"""The folder of a run: who it belongs to, its log files, and checkpoints that survive a kill at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pickle
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import torch

from rsail.checks import require
from rsail.files import file_digest, make_writable, named_failure, sync, text_digest, write_atomically
from rsail.lm.model import restore_weights, save_weights
from rsail.versions import differences, versions

KEEP = 2
CHECKPOINT = re.compile(r"checkpoint-\d{6,}")


@contextlib.contextmanager
def exclusive(folder: Path):
    """Hold `folder`, made where it is missing, for one run; a second run gets a `ValueError` that names it.

    The lock is on the folder itself and belongs to the process: it leaves no file, and ends with a kill. A file system
    without such locks gives none.
    """
    make_writable("output_dir", folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"output_dir must be a folder that no other run writes now, got {folder}"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def open_run(folder: Path, identity: dict, *, resume: bool) -> None:
    """Claim `folder` for the run `identity`, or make sure that it holds exactly this run.

    Raises `ValueError` when the folder holds another run, or this one and `resume` was not asked for;
    `PermissionError` when it cannot be written. Other versions of the libraries than those that the run has had
    until now give a warning that names them, and are added to ``run.json``.
    """
    make_writable("output_dir", folder)
    record = folder / "run.json"
    if not record.exists():
        others = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        require(
            not others, "output_dir", str(folder), f"empty or a run of this program; it holds {others[:5]}"
        )
        _write_run(record, {**identity, "versions": [versions()]})
        return
    found = read_run(folder)
    differ = differences({key: found.get(key) for key in identity}, identity)
    require(
        not differ,
        "output_dir",
        str(folder),
        f"empty or a folder of this run; different there: {', '.join(differ)}",
    )
    require(resume, "output_dir", str(folder), "empty, unless the run it holds is to be continued (--resume)")
    for remains in folder.glob(".*.tmp"):  # of a kill in the middle of a write
        shutil.rmtree(remains) if remains.is_dir() else remains.unlink()
    if changed := differences(found["versions"][-1], versions(), now="now"):
        warnings.warn(
            f"the run in {folder} goes on with other versions, so that its numbers may not be those of an "
            f"uninterrupted run: {', '.join(changed)}",
            stacklevel=2,
        )
        _write_run(record, {**found, "versions": [*found["versions"], versions()]})


def _write_run(path: Path, record: dict) -> None:
    record = {**record, "sha256": _record_digest(record)}
    write_atomically(path, json.dumps(record, indent=1, sort_keys=True) + "\n")


def _record_digest(record: dict) -> str:
    return text_digest([json.dumps(record, sort_keys=True)])


def read_run(folder: str | Path) -> dict:
    """``run.json`` of a run: its configuration, the fingerprint of its reference, the versions it was made with."""
    path = Path(folder) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"run must be the folder of a run, with run.json, got {folder}")
    try:
        record = json.loads(path.read_text())
        dict(record["config"]), str(record["reference"]), dict(record["versions"][-1])
        digest = record.pop("sha256", None)
        if digest is not None and digest != _record_digest(record):
            raise ValueError("another SHA-256; delete the entry sha256 if the change was meant")
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is damaged, the run cannot be identified: {error!r}") from None
    return record


class Log:
    """A file of one JSON object per step, in full precision."""

    def __init__(self, path: Path, keep_through: int):
        """Open for appending; rows after step `keep_through` (done again by a resumed run) are dropped."""
        self.path = path
        rows = read_log(path, complete=False) if path.exists() else []
        kept = [row for row in rows if row["step"] <= keep_through]
        self.steps = [row["step"] for row in kept]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        self.digest = hashlib.sha256(text.encode())  # of all rows; a checkpoint keeps it
        write_atomically(path, text)
        self.file = open(path, "a")  # noqa: SIM115 - open for as long as the run

    def append(self, row: dict) -> None:
        line = json.dumps(row, allow_nan=False) + "\n"
        with named_failure(self.path.name, self.path.parent):
            self.file.write(line)
            self.file.flush()
        self.digest.update(line.encode())

    def sync(self) -> None:
        """Make sure that the rows survive a power failure: a checkpoint must never be ahead of them."""
        with named_failure(self.path.name, self.path.parent):
            os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_log(path: str | Path, *, complete: bool = True) -> list[dict]:
    """Rows of a log file. A broken last line (the run was killed while writing) is an error if `complete`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"log must be an existing file, got {path}")
    rows = []
    lines = path.read_bytes().splitlines()  # a wrong bit may leave no text
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            row["step"]
            rows.append(row)
        except (ValueError, KeyError, TypeError):
            if number == len(lines) and not complete:
                break
            raise ValueError(
                f"{path} is damaged at line {number}: {line[:60].decode(errors='replace')!r}"
            ) from None
    return rows


def save_checkpoint(
    folder: Path, step: int, model, optimizer, generators: dict, parts: dict | None = None
) -> None:
    """Write ``checkpoint-<step>`` under `folder`: weights, optimizer, generators, digests. Atomic by a rename.

    `parts` are further tensors of the run, in nested dicts. `OSError` names what could not be written, on a full
    disk, say; the checkpoints before it are left as they were.
    """
    final, temporary = folder / _checkpoint_name(step), folder / f".{_checkpoint_name(step)}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with named_failure(final.name, folder):
            # One file, in the names of the model in memory: on the hub they may be others, and stacked weights apart.
            save_weights(model, temporary, save_original_format=False, max_shard_size=2**62)
            torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
            states = {name: _generator_state(g) for name, g in generators.items()}
            torch.save(states, temporary / "generators.pt")
            torch.save(parts or {}, temporary / "parts.pt")
            names = sorted(p.name for p in temporary.iterdir())
            state = {"step": step, "sha256": {name: file_digest(temporary / name) for name in names}}
            write_atomically(temporary / "state.json", json.dumps(state, indent=1) + "\n")
            for path in temporary.iterdir():
                sync(path)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(temporary, final)
            sync(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)  # it would fill the disk for nothing
        raise
    for old in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)


def _checkpoint_name(step: int) -> str:
    return f"checkpoint-{step:06d}"


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints under `folder`, oldest first; whatever else is there, a copy of one, say, is none."""
    found = [path for path in folder.glob("checkpoint-*") if CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def load_checkpoint(path: Path, model, optimizer, generators: dict, parts: dict | None = None) -> int:
    """Restore model, optimizer, generators and `parts` in place; returns the step.

    `ValueError` names a damaged file.
    """
    try:
        state = json.loads((path / "state.json").read_text())
        digests = dict(state["sha256"])
        if path.name != _checkpoint_name(state["step"]):
            raise ValueError(f"it is of step {state['step']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"checkpoint file {path / 'state.json'} is missing or damaged ({error}); "
            f"delete {path} to continue from the one before"
        ) from None
    for name, digest in digests.items():
        if not (path / name).is_file() or file_digest(path / name) != digest:
            raise ValueError(
                f"checkpoint file {path / name} is missing or damaged (its SHA-256 is not the recorded one); "
                f"delete {path} to continue from the one before"
            )
    restore_weights(model, path)
    optimizer.load_state_dict(_load(path / "optimizer.pt"))
    for name, saved in _load(path / "generators.pt").items():
        _restore_generator(generators[name], saved)
    if parts is not None:
        parts.update(_load(path / "parts.pt", map_location="cpu"))
    return int(state["step"])


def _load(path: Path, **options) -> dict:
    """Tensors and plain values of a file of torch's; code in it, which a pickle may carry, is not run."""
    try:
        return torch.load(path, weights_only=True, **options)
    except pickle.UnpicklingError as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(
            f"checkpoint file {path} must hold tensors and plain values, got more than that: {reason}"
        ) from None


def make_generators(seed: int) -> dict:
    """One independent generator per purpose, derived from the run's seed.

    The first three make a run without a scheme of collection; whatever the others are used for leaves it as it is.
    """
    children = np.random.SeedSequence(seed).spawn(6)

    def of_torch(child) -> torch.Generator:
        return torch.Generator().manual_seed(int(child.generate_state(1, np.uint64)[0] >> 1))

    return {
        "prompts": np.random.default_rng(children[0]),
        "sampling": of_torch(children[1]),
        "labels": np.random.default_rng(children[2]),
        "offline": np.random.default_rng(children[3]),  # prompts and labels of the offline set
        "further": of_torch(children[4]),  # responses of the offline set and of terms
        "acceptance": np.random.default_rng(children[5]),  # rejection sampling
    }


def _generator_state(generator):
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    return json.dumps(generator.bit_generator.state)


def _restore_generator(generator, saved) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(saved)
    else:
        generator.bit_generator.state = json.loads(saved)
