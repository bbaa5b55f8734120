"""Why the mutants that live do: by module and change, and by what several modules have in common."""

from __future__ import annotations


def reason(module: str, change: str) -> str | None:
    """The reason for a survivor of the record; None if there is none yet."""
    return None
