"""After a run of the notebooks with RSAIL_FIGURES set: their figures show the committed numbers and look alike.

`make test` calls this by name; without a run of the notebooks there is nothing to compare, so pytest does not
collect it.
"""

import os
from pathlib import Path

import pytest

from rsail.study.figures import FIGURES, SUFFIXES
from rsail.study.figures.agreement import numbers_agree, pictures_agree
from rsail.study.paths import FIGURES_DIR


@pytest.fixture(scope="module")
def drawn():
    folder = os.environ.get("RSAIL_FIGURES")
    assert folder, "set RSAIL_FIGURES to the folder into which the notebooks drew"
    return Path(folder)


@pytest.mark.parametrize("name", FIGURES)
def test_a_redrawn_figure_shows_the_committed_numbers(drawn, name):
    redrawn, committed = ((folder / f"{name}.json").read_text() for folder in (drawn, FIGURES_DIR))
    assert numbers_agree(redrawn, committed)
    assert all((drawn / f"{name}{suffix}").stat().st_size > 0 for suffix in SUFFIXES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_redrawn_figure_looks_like_the_committed_one(drawn, name):
    assert pictures_agree(*((folder / f"{name}.png").read_bytes() for folder in (drawn, FIGURES_DIR)))
