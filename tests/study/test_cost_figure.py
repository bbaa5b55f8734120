"""The figure of notebook 10 draws the numbers it is given."""

import json

import matplotlib.pyplot as plt
import numpy as np

from rsail.study.figures.cost import cost
from rsail.study.paths import FIGURES_DIR


def test_the_figure_shows_every_number():
    data = json.loads((FIGURES_DIR / "cost.json").read_text())
    fig = cost(data)
    race, phases, exact = fig.axes
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
    marks = race.containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(marks[:, 0], data["race"]["ratio"])
    assert marks[0, 1] > marks[-1, 1]  # in the order of the table
    assert [tick.get_text() for tick in race.get_yticklabels()] == data["race"]["label"]
    (bars,) = race.containers[0].lines[2]
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, np.transpose([data["race"]["low"], data["race"]["high"]]))
    assert np.min(ends) > 0 and np.max(ends) < race.get_xlim()[1]
    drawn = {line.get_label(): line.get_ydata() for line in phases.get_lines()}
    for name, times in data["phases"]["times"].items():
        np.testing.assert_allclose(drawn[name], times)
        assert phases.get_ylim()[0] < min(times) and max(times) < phases.get_ylim()[1]
    lines = {line.get_label(): line.get_xydata() for line in exact.get_lines()}
    np.testing.assert_allclose(
        lines["sorted"], np.transpose([data["exact"]["size"], data["exact"]["seconds"]])
    )
    np.testing.assert_allclose(
        lines["all pairs"], [[data["exact"]["pairs_size"], data["exact"]["pairs_seconds"]]]
    )
    plt.close(fig)
