"""After a run of the notebooks with RSAIL_FIGURES set: the figures they drew show the committed numbers.

`make test` calls this by name; without a run of the notebooks there is nothing to compare, so pytest does not
collect it.
"""

import os
from pathlib import Path

import pytest

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
