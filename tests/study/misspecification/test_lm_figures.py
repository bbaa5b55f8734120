"""Figures of notebook 09b show what they are given."""

import numpy as np
import pytest

from rsail.study.figures import misspecification_lm as figures

pytestmark = pytest.mark.usefixtures("without_windows")


def band(*values) -> dict:
    values = np.array(values, dtype=float)
    return {"mean": values, "low": values - 0.1, "high": values + 0.2}


def test_training_has_a_row_per_objective_and_a_column_per_metric():
    panel = {"reference": 0.5, "curves": {"nominal": band(1.0, 2.0), "robust": band(1.0, 1.5)}}
    data = {"steps": [0, 10], "rows": {"a": {"x": panel, "y": panel}, "b": {"x": panel, "y": panel}}}
    fig = figures.over_optimisation(data)
    assert len(fig.axes) == 4
    lines = [line.get_ydata() for line in fig.axes[3].lines]
    assert [list(line) for line in lines[1:]] == [[1.0, 2.0], [1.0, 1.5]]
    assert list(lines[0]) == [0.5, 0.5]


def test_radius_marks_the_bias_and_the_critical_radius():
    line = {"rho": [0.0, 0.15]} | band(1.0, 0.5)
    panels = {name: {"reference": 0.2, "lines": {"score term, biased": line}} for name in ("gold", "KL")}
    fig = figures.radius({"bias": 0.15, "critical": 0.318, "panels": panels})
    marked = [ax_line.get_xdata()[0] for ax_line in fig.axes[0].lines if len(set(ax_line.get_xdata())) == 1]
    assert {0.15, 0.318} <= set(marked)
    (errors,) = fig.axes[0].containers
    assert list(errors[0].get_ydata()) == [1.0, 0.5]
    (segments,) = errors[2]
    assert np.allclose(segments.get_segments()[0][:, 1], [0.9, 1.2])


def test_forest_draws_every_row_in_every_panel_with_the_color_of_its_group():
    data = {
        "rows": ["a", "b", "c"],
        "groups": ["one", "two", "one"],
        "panels": {"x": band(1, 2, 3) | {"line": 0.0}, "y": band(3, 2, 1) | {"line": 1.5}},
    }
    fig = figures.forest(data)
    left, right = fig.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b", "c"]
    points = [line for line in right.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in points] == [3, 2, 1]
    assert points[0].get_color() == points[2].get_color() != points[1].get_color()
    assert right.lines[0].get_xdata()[0] == 1.5
