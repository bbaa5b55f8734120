"""After a run of the notebooks with RSAIL_FIGURES set: their figures show the committed numbers and look alike.

`make test` calls this by name; without a run of the notebooks there is nothing to compare, so pytest does not
collect it.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsail.study.figures import FIGURES, SUFFIXES
from rsail.study.paths import FIGURES_DIR


@pytest.fixture(scope="module")
def drawn():
    folder = os.environ.get("RSAIL_FIGURES")
    assert folder, "set RSAIL_FIGURES to the folder into which the notebooks drew"
    return Path(folder)


@pytest.mark.parametrize("name", FIGURES)
def test_a_redrawn_figure_shows_the_committed_numbers(drawn, name):
    assert (drawn / f"{name}.json").read_text() == (FIGURES_DIR / f"{name}.json").read_text()
    assert all((drawn / f"{name}{suffix}").stat().st_size > 0 for suffix in SUFFIXES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_redrawn_figure_looks_like_the_committed_one(drawn, name):
    committed, redrawn = (
        np.asarray(Image.open(f / f"{name}.png").convert("RGB"), int) for f in (FIGURES_DIR, drawn)
    )
    assert committed.shape == redrawn.shape
    # Anti-aliasing may differ between builds of the fonts; a line in another color or place may not.
    differs = np.abs(committed - redrawn).max(axis=-1) > 48
    assert differs.mean() < 1e-3
