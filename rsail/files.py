"""Files that are either the old one or the new one, never half of one."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: str | Path) -> None:
    """Make sure that a file, or the entries of a folder, survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
        temporary.unlink(missing_ok=True)
