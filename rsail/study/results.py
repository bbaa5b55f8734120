"""Result files: one JSON per run, with everything needed to know where its numbers come from.

A file holds the resolved configuration, the metrics, the history per step, the seeds, the wall time and the
provenance, and a checksum of all of it: a file that was cut short or edited by hand is an error when read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

from rsail.files import write_atomically
from rsail.versions import versions

SCHEMA = "rsail.result/1"
_TYPES = {
    "schema": str,
    "study": str,
    "config": dict,
    "metrics": dict,
    "history": (list, dict),
    "seeds": (list, dict),
    "wall_time": (int, float),
    "provenance": dict,
    "checksum": str,
}


class ResultError(ValueError):
    """A result file that is missing, cut short, edited or of another kind; the message names it."""


def write_result(
    path: str | Path,
    *,
    study: str,
    config: dict,
    metrics: dict,
    history: list | dict,
    seeds: list | dict,
    wall_time: float,
    overwrite: bool = False,
) -> dict:
    """Write one run to `path` (JSON, atomically; the folder is made) and return what was written.

    Parameters
    ----------
    study : str
        Name of the study, such as "biased_oracle".
    config : dict
        The resolved configuration: every option, also the defaults.
    metrics, history : dict, list or dict
        Final numbers, and numbers per step. A number that is not finite is stored as null, because a run that
        diverged must be reported, too.
    seeds : list or dict
        Every seed the run used.
    wall_time : float
        Seconds.
    overwrite : bool
        Replace a file of another run (another study, configuration or seed) or an unreadable one, which is
        refused otherwise. The same run may always replace its own file.

    Raises
    ------
    ResultError
        If the content does not fit the schema, or `path` holds another run.
    OSError
        If the folder cannot be written to.
    """
    path = Path(path)
    content = {
        "schema": SCHEMA,
        "study": study,
        "config": config,
        "metrics": metrics,
        "history": history,
        "seeds": seeds,
        "wall_time": wall_time,
        "provenance": provenance(),
    }
    content = _plain(content, str(path))
    content["checksum"] = checksum(content)
    _check_schema(content, path)
    if path.exists() and not overwrite:
        _require_same_run(path, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _dump(content))
    return content


def read_result(path: str | Path) -> dict:
    """The content of a result file.

    Raises
    ------
    ResultError
        If the file is missing or cannot be read, is not JSON, not of this schema, or its checksum does not fit its
        content.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ResultError(f"result file {path} does not exist") from None
    except OSError as error:
        raise ResultError(f"result file {path} cannot be read: {error.strerror}") from None
    return parse_result(text, path)


def parse_result(text: str | bytes, source: str | Path) -> dict:
    """The content of a result file from its text; `ResultError` as `read_result`, naming `source`."""
    try:
        content = json.loads(text)
        found = checksum(content) if isinstance(content, dict) else None
    except (ValueError, RecursionError) as error:  # NaN and 1e999 are read, but have no checksum
        raise ResultError(f"result file {source} is cut short or damaged: it is not JSON ({error})") from None
    _check_schema(content, source)
    if found != content["checksum"]:
        raise ResultError(
            f"result file {source} was changed after it was written: its content has checksum {found[:12]}, "
            f"it says {content['checksum'][:12]}; make the run again instead of editing its file"
        )
    return content


def checksum(content: dict) -> str:
    """SHA-256 of the content without its "checksum" entry, in canonical JSON."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def provenance() -> dict:
    """What made a number: package, commit, libraries, Python, processor, threads; no host name, no path."""
    return {
        **versions(),
        "commit": commit(),
        "platform": f"{platform.system()} {platform.machine()}",
        **_hardware(),
    }


def commit() -> str:
    """The checkout's commit, "-dirty" if the package or the lock differs from it; "unknown" outside git."""
    package = Path(__file__).resolve().parents[1]
    # A wheel inside a virtual environment of some other repository must not report that one's commit.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return "unknown"
    head = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--", ".", "../requirements.lock")
    return "unknown" if head is None else head + ("-dirty" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _hardware() -> dict:
    # torch is looked up, not imported: a study without it must not load it to say so.
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    threads = torch.get_num_threads() if torch is not None else os.environ.get("OMP_NUM_THREADS")
    return {"cpu": _cpu_model(), "cores": os.cpu_count(), "gpu": gpu, "threads": threads}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _plain(value, where: str):
    """`value` in JSON's types: arrays to lists, numbers that are not finite to None."""
    if isinstance(value, dict):
        return {str(key): _plain(item, where) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool | int | str) or value is None:
        return value
    raise ResultError(
        f"result for {where} must hold numbers, strings, lists and dicts, got {type(value).__name__}"
    )


def _check_schema(content, path: str | Path) -> None:
    if not isinstance(content, dict):
        raise ResultError(f"result file {path} must hold a JSON object, got {type(content).__name__}")
    if missing := sorted(_TYPES.keys() - content.keys()):
        raise ResultError(f"result file {path} lacks {', '.join(missing)}")
    if unknown := sorted(content.keys() - _TYPES.keys()):
        raise ResultError(f"result file {path} has unknown entries: {', '.join(unknown)}")
    for key, kind in _TYPES.items():
        if not isinstance(content[key], kind) or isinstance(content[key], bool):
            raise ResultError(f"result file {path}: {key} has the wrong type, {type(content[key]).__name__}")
    if content["schema"] != SCHEMA:
        raise ResultError(f"result file {path} has schema {content['schema']!r}, expected {SCHEMA!r}")


def _require_same_run(path: Path, content: dict) -> None:
    try:
        old = read_result(path)
    except ResultError as error:
        raise ResultError(f"{error}; pass overwrite=True to replace it") from None
    if differing := [key for key in ("study", "config", "seeds") if old[key] != content[key]]:
        raise ResultError(
            f"result file {path} holds another run (its {' and '.join(differing)} differ); "
            "choose another file or pass overwrite=True"
        )


def _dump(content: dict) -> str:
    # One line per entry, and per step of a history: readable differences without a line for every number.
    def lines(value) -> str:
        if isinstance(value, list):
            return "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]" if value else "[]"
        return json.dumps(value)

    entries = [
        f" {json.dumps(key)}: {lines(value) if key == 'history' else json.dumps(value)}"
        for key, value in content.items()
    ]
    return "{\n" + ",\n".join(entries) + "\n}\n"
