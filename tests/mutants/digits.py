"""One digit of a notebook's committed output is another digit: the comparison of outputs must notice it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np

from .mutant import ROOT, Mutant, digest
from .others import DIGESTS, REPRODUCE


@dataclass(frozen=True)
class DigitMutant(Mutant):
    """A digit drawn with `seed` when the mutant is run: the notebooks' outputs change more often than the mutant."""

    seed: int = 0

    @property
    def identity(self) -> str:
        return digest(f"{self.file}\0digit\0{self.seed}")


def digit_mutants(seed: int) -> list[DigitMutant]:
    """One per notebook."""
    return [digit_mutant(path, seed) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


def digit_mutant(path: Path, seed: int) -> DigitMutant:
    """One digit, drawn with `seed`, of a compared text output (of a digest, for notebook 00) is another digit."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    places = list(digit_places(notebook, digests_only=path.stem == REPRODUCE))
    if not places:
        raise ValueError(f"{path.name} has no output with a digit that a test compares; execute it first")
    rng = np.random.default_rng([seed, *path.stem.encode()])
    holder, key, position = places[rng.integers(len(places))]
    old = holder[key]
    digit = str((int(old[position]) + rng.integers(1, 10)) % 10)
    holder[key] = old[:position] + digit + old[position + 1 :]
    targets = (DIGESTS,) if path.stem == REPRODUCE else (f"notebooks/{path.name}",)
    changed = nbformat.writes(notebook)
    return DigitMutant(f"digit in {path.stem}", f"notebooks/{path.name}", text, changed, targets, seed=seed)


def digit_places(notebook, *, digests_only: bool):
    """(mapping, key, position) of every digit in the text outputs that nbval, or the digest test, compares."""
    pattern = r"(?<=[0-9a-f]{%d})\d(?=[0-9a-f]{%d})"
    inside = "|".join(pattern % (k, 11 - k) for k in range(12)) if digests_only else r"\d"
    for cell in notebook.cells:
        if cell.cell_type != "code" or {"nbval-skip", "nbval-ignore-output"} & set(
            cell.metadata.get("tags", [])
        ):
            continue
        for output in cell.outputs:
            holder = output if output.output_type == "stream" else output.get("data", {})
            for key in ("text", "text/plain", "text/latex", "text/markdown", "text/html"):
                # A repr such as <Figure size 640x480> is compared, too, but says nothing about a result.
                if isinstance(holder.get(key), str) and not holder[key].startswith("<"):
                    yield from ((holder, key, match.start()) for match in re.finditer(inside, holder[key]))
