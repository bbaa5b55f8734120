"""The folder of a run: who it belongs to, its log files, and checkpoints that survive a kill at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch

from rsail.checks import require
from rsail.files import sync, write_atomically
from rsail.lm.model import save_weights

KEEP = 2


@contextlib.contextmanager
def exclusive(folder: Path):
    """Hold `folder`, made where it is missing, for one run; a second run gets a `ValueError` that names it.

    The lock is on the folder itself and belongs to the process: it leaves no file, and ends with a kill. A file system
    without such locks gives none.
    """
    _make_writable(folder)
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


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another run that asks at this moment may have been faster
    except OSError as error:
        raise PermissionError(
            f"output_dir must be a writable folder, got {folder}: {error.strerror}"
        ) from None


def open_run(folder: Path, identity: dict, *, resume: bool) -> None:
    """Claim `folder` for the run `identity`, or make sure that it holds exactly this run.

    Raises `ValueError` when the folder holds another run, or this one and `resume` was not asked for;
    `PermissionError` when it cannot be written.
    """
    _make_writable(folder)
    record = folder / "run.json"
    if not record.exists():
        others = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        require(
            not others, "output_dir", str(folder), f"empty or a run of this program; it holds {others[:5]}"
        )
        write_atomically(record, json.dumps(identity, indent=1, sort_keys=True) + "\n")
        return
    found = read_run(folder)
    differ = sorted(_differences(found, identity))
    require(
        not differ,
        "output_dir",
        str(folder),
        f"empty or a folder of this run; different there: {', '.join(differ)}",
    )
    require(resume, "output_dir", str(folder), "empty, unless the run it holds is to be continued (--resume)")


def read_run(folder: str | Path) -> dict:
    """``run.json`` of a run: its configuration and the fingerprint of its reference."""
    path = Path(folder) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"run must be the folder of a run, with run.json, got {folder}")
    try:
        record = json.loads(path.read_text())
        dict(record["config"]), str(record["reference"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged, the run cannot be identified: {error!r}") from None
    return record


def _differences(found: dict, wanted: dict, prefix: str = "") -> list[str]:
    names = []
    for key in found.keys() | wanted.keys():
        left, right = found.get(key), wanted.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            names += _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            names.append(f"{prefix}{key} ({left!r} there, {right!r} asked for)")
    return names


class Log:
    """A file of one JSON object per step, in full precision."""

    def __init__(self, path: Path, keep_through: int):
        """Open for appending; rows after step `keep_through` (done again by a resumed run) are dropped."""
        self.path = path
        rows = read_log(path, complete=False) if path.exists() else []
        kept = [row for row in rows if row["step"] <= keep_through]
        self.steps = [row["step"] for row in kept]
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))
        self.file = open(path, "a")  # noqa: SIM115 - open for as long as the run

    def append(self, row: dict) -> None:
        self.file.write(json.dumps(row, allow_nan=False) + "\n")
        self.file.flush()

    def sync(self) -> None:
        """Make sure that the rows survive a power failure: a checkpoint must never be ahead of them."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_log(path: str | Path, *, complete: bool = True) -> list[dict]:
    """Rows of a log file. A broken last line (the run was killed while writing) is an error if `complete`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"log must be an existing file, got {path}")
    rows = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            row["step"]
            rows.append(row)
        except (ValueError, KeyError, TypeError):
            if number == len(lines) and not complete:
                break
            raise ValueError(f"{path} is damaged at line {number}: {line[:60]!r}") from None
    return rows


def save_checkpoint(
    folder: Path, step: int, model, optimizer, generators: dict, parts: dict | None = None
) -> None:
    """Write ``checkpoint-<step>`` under `folder`: weights, optimizer, generators, digests. Atomic by a rename.

    `parts` are further tensors of the run, in nested dicts.
    """
    final, temporary = folder / _checkpoint_name(step), folder / f".{_checkpoint_name(step)}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    save_weights(model, temporary)
    torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
    torch.save({name: _generator_state(g) for name, g in generators.items()}, temporary / "generators.pt")
    torch.save(parts or {}, temporary / "parts.pt")
    names = sorted(p.name for p in temporary.iterdir())
    state = {"step": step, "sha256": {name: _digest(temporary / name) for name in names}}
    write_atomically(temporary / "state.json", json.dumps(state, indent=1) + "\n")
    for path in temporary.iterdir():
        sync(path)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    sync(folder)
    for old in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)


def _checkpoint_name(step: int) -> str:
    return f"checkpoint-{step:06d}"


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints under `folder`, oldest first."""
    return sorted(folder.glob("checkpoint-*"))


def load_checkpoint(path: Path, model, optimizer, generators: dict, parts: dict | None = None) -> int:
    """Restore model, optimizer, generators and `parts` in place; returns the step.

    `ValueError` names a damaged file.
    """
    from safetensors.torch import load_file

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
        if not (path / name).is_file() or _digest(path / name) != digest:
            raise ValueError(
                f"checkpoint file {path / name} is missing or damaged (its SHA-256 is not the recorded one); "
                f"delete {path} to continue from the one before"
            )
    weights = load_file(path / "model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    require(not unexpected and set(missing) <= tied, "checkpoint", str(path), "of the same architecture")
    optimizer.load_state_dict(torch.load(path / "optimizer.pt", weights_only=True))
    for name, saved in torch.load(path / "generators.pt", weights_only=True).items():
        _restore_generator(generators[name], saved)
    if parts is not None:
        parts.update(torch.load(path / "parts.pt", weights_only=True, map_location="cpu"))
    return int(state["step"])


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


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
