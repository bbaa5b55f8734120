"""Generated parts of README.md and REPRODUCING.md: each stands between two markers, ``<!-- NAME:begin -->`` and end."""

from __future__ import annotations

from pathlib import Path

from rsail.files import write_atomically


def _split(text: str, name: str) -> tuple[str, str, str]:
    """What is before, between and after the markers, which stay with the outer parts."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the page must have the markers {begin} and {end}, in this order and once each")
    head, rest = text.split(begin)
    middle, tail = rest.split(end)
    return head + begin, middle, end + tail


def generated(path: str | Path, name: str) -> str:
    """What the page has between the markers of `name`; ValueError if it does not have each marker once."""
    return _split(Path(path).read_text(encoding="utf-8"), name)[1].strip()


def put(path: str | Path, name: str, content: str) -> bool:
    """Write `content` between the markers of `name`; returns whether that changed the file."""
    old = Path(path).read_text(encoding="utf-8")
    head, _, tail = _split(old, name)
    new = f"{head}\n{content}\n{tail}"
    if new != old:
        write_atomically(path, new)
    return new != old
