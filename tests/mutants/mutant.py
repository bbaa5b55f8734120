"""What a mutant is: one small wrong change, and the tests that must notice it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """Replace `old` by `new` in `file`; a test in `targets` (tests, or notebooks) must then fail.

    With `figures`, the notebooks among the targets are run for what they draw: exactly the files of these figures
    must change, and the targets behind the notebooks must fail.
    """

    name: str
    file: str
    old: str
    new: str
    targets: tuple[str, ...]
    figures: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Changes when the mutant does: what was found out about another one says nothing about it."""
        return digest("\0".join((self.file, self.old, self.new)))


def digest(text: str) -> str:
    """The first twelve hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def mutated(mutant: Mutant) -> str:
    """The file's text with the mutant in it.

    Raises
    ------
    ValueError
        Unless the old text is there exactly once: a refactoring must not disable a mutant silently.
    SyntaxError
        If the mutant is not Python: every test would notice that.
    """
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    if (count := text.count(mutant.old)) != 1 or mutant.old == mutant.new:
        raise ValueError(
            f"mutant {mutant.name!r} is out of date: its old text is {count} times in {mutant.file}, expected once"
        )
    changed = text.replace(mutant.old, mutant.new)
    if mutant.file.endswith(".py"):
        compile(changed, mutant.file, "exec")
    return changed
