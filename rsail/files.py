"""Files that are either the old one or the new one, never half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

SUMS = "SHA256SUMS"


def sync(path: str | Path) -> None:
    """Make sure that a file, or the entries of a folder, survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_writable(name: str, folder: Path) -> None:
    """Make `folder` where it is missing; `PermissionError` with the argument's `name` if it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another run that asks at this moment may have been faster
    except OSError as error:
        raise PermissionError(f"{name} must be a writable folder, got {folder}: {error.strerror}") from None


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(texts: list[str]) -> str:
    """SHA-256 of texts in their order, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of every file of `folder` into its ``SHA256SUMS``, in the format of ``sha256sum``."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    write_atomically(folder / SUMS, "".join(f"{file_digest(folder / name)}  {name}\n" for name in names))


def check_sums(what: str, folder: Path) -> None:
    """Raise `ValueError` naming the first file of `folder` that is not the one in its ``SHA256SUMS``, if it has any."""
    if not (folder / SUMS).is_file():
        return
    for line in (folder / SUMS).read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if not name or not (folder / name).is_file() or file_digest(folder / name) != digest:
            raise ValueError(
                f"{what} must be as it was saved, got {folder} with another {name or repr(line)} than {SUMS} says; "
                f"copy it again or, if the change was meant, delete {SUMS}"
            )


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write `content` to a temporary file beside `path`, then rename it over `path`.

    A process that dies in between leaves the old file as it was. The folder must exist.

    Raises
    ------
    OSError
        If the folder is missing or cannot be written to; the message names it.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    # Not tempfile.mkstemp: its files are readable by their owner alone.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot write {path.name} into {path.parent}: {error.strerror}"
        ) from error
    finally:
        # A file system that has become read-only does not unlink either: the error above says more.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def named_failure(what: str, folder: Path):
    """Turn whatever a failed write raises inside into an `OSError` that names `what` and `folder`.

    torch and safetensors write by themselves; a full disk makes them raise other errors, such as torch's "unexpected
    pos 768 vs 662".
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")
        message = f"cannot write {what} into {folder}: {reason}"
        with contextlib.suppress(OSError):
            message += f" (free there: {shutil.disk_usage(folder).free >> 20} MiB)"
        if isinstance(error, OSError):
            raise type(error)(error.errno, message) from error
        raise OSError(message) from error
