"""What is in `figures/`: what belongs there, what was drawn anew, and which bytes it has."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from PIL import Image

from rsail.files import write_atomically
from rsail.study.display import markdown_table
from rsail.study.figures import FIGURES, SUFFIXES
from rsail.study.paths import FIGURES_DIR

INDEX = "README.md"


def declared_files() -> set[str]:
    """Names of all files that the declared figures consist of."""
    return {name + suffix for name in FIGURES for suffix in SUFFIXES}


def stamps(folder: Path = FIGURES_DIR) -> dict[str, tuple[int, int]]:
    """When and where each file was written (time in nanoseconds, inode): it changes with every writing."""
    found = sorted(path for path in folder.glob("*") if path.is_file())
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in found}


def require_drawn_anew(before: dict[str, tuple[int, int]], folder: Path = FIGURES_DIR) -> None:
    """Check that every declared figure was written since `before`, and that nothing else lies in `folder`.

    Raises
    ------
    RuntimeError
        Naming the files that are missing, old, or belong to no declared figure.
    """
    after, declared = stamps(folder), declared_files()
    problems = {
        "missing": sorted(declared - after.keys()),
        "not drawn in this run": sorted(n for n in declared & after.keys() if after[n] == before.get(n)),
        "of no declared figure": sorted(after.keys() - declared - {INDEX}),
    }
    if any(problems.values()):
        parts = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
        raise RuntimeError(f"files in {folder.name}/ " + "; ".join(parts))


def digest(path: Path, length: int = 12) -> str:
    """First hexadecimal digits of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:length]


def digest_rows(folder: Path = FIGURES_DIR) -> list[tuple[str, str, str, str]]:
    """One row per figure: name, notebook, digest of its numbers (JSON), digest of its picture (PNG)."""
    return [
        (name, notebook, digest(folder / f"{name}.json"), digest(folder / f"{name}.png"))
        for name, notebook in FIGURES.items()
    ]


def preview(name: str, folder: Path = FIGURES_DIR) -> bytes:
    """The picture at half its resolution in 32 colors, as a PNG for a notebook that shows all figures."""
    buffer = io.BytesIO()
    picture = Image.open(folder / f"{name}.png").convert("RGB")
    half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    half.quantize(32, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def index_text() -> str:
    """The README of `figures/`: which notebook draws which figure."""
    rows = [
        (f"[`{name}`]({name}.png)", f"[{notebook}](../notebooks/{notebook}.ipynb)", f"[numbers]({name}.json)")
        for name, notebook in FIGURES.items()
    ]
    return (
        "# Figures\n\n"
        "Drawn by the notebooks; `make reproduce` draws every file of this folder again: the same bytes. A figure\n"
        "whose numbers differ from the stored ones by rounding errors alone (another processor) keeps its files.\n"
        "Each figure is a PNG, a PDF and the plotted numbers in JSON.\n\n"
        + markdown_table(rows, ("figure", "drawn by", "plotted numbers"))
        + "\n"
    )


def write_index(folder: Path = FIGURES_DIR) -> None:
    """Write the README of `figures/`."""
    write_atomically(folder / INDEX, index_text())
