"""The figures of notebook 03: they draw the numbers they are given, and the committed numbers are right."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem, sharp_constants
from rsail.exact.extremal import extremal_law, largest_for_mean
from rsail.study.constants_check import PATH
from rsail.study.figures import convexity
from rsail.study.paths import FIGURES_DIR
from rsail.study.results import read_result

# Figure, the axes that hold the curves, the common x of the curves, the curves (several: a list of lists).
FIGURES = {
    "smoothed_penalty": (convexity.smoothed_penalty, "theta", ("penalty", "curvature")),
    "extremal_law": (convexity.extremal_law, "mean", ("exact", "short_proof", "two_points")),
}


def committed(name):
    return json.loads((FIGURES_DIR / f"{name}.json").read_text())


def drawn_lines(fig):
    return [np.asarray(line.get_xydata(), dtype=float) for ax in fig.axes for line in ax.get_lines()]


@pytest.mark.parametrize("name", FIGURES)
def test_every_curve_is_drawn(name):
    draw, x, fields = FIGURES[name]
    data = committed(name)
    fig = draw(data)
    lines = drawn_lines(fig)
    for curve in np.vstack([np.atleast_2d(data[field]) for field in fields]):
        expected = np.column_stack([data[x], curve])
        assert any(line.shape == expected.shape and np.allclose(line, expected) for line in lines)
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
    plt.close(fig)


def test_the_room_of_every_constant_is_drawn():
    data = committed("constants_room")
    fig = convexity.constants_room(data)
    for k, ax in enumerate(fig.axes):
        lines = [np.asarray(line.get_xydata()) for line in ax.get_lines()]
        for kind in data["kinds"]:
            expected = np.column_stack([data["theta_radius"], data["share"][kind][k]])
            assert any(line.shape == expected.shape and np.allclose(line, expected) for line in lines)
    plt.close(fig)


def test_the_largest_ratios_are_drawn_and_those_of_the_result_file():
    data, metrics = committed("constants_measured"), read_result(PATH)["metrics"]
    fig = convexity.constants_measured(data)
    dots = [line for line in drawn_lines(fig) if len(line) == 1]
    for kind in data["kinds"]:
        for row, name in enumerate(data["quantities"]):
            for family in ("random", "optimized"):
                value = data[f"largest_{family}"][kind][row]
                if value is None:
                    assert (kind, name) == ("paper", "sail_smoothness")
                    continue
                assert_allclose(value, metrics[family]["largest"][kind][name], rtol=1e-8)
                assert any(np.isclose(dot[0, 0], value) for dot in dots)
    plt.close(fig)


def test_committed_smoothed_penalty():
    data = committed("smoothed_penalty")
    example = FiniteProblem([[[1.0], [0.0]]], [[[0.5, 0.8], [0.2, 0.5]]], beta=1.0)
    for k in (0, 60, 200):
        at = data["exact_theta"][k]
        assert_allclose(data["exact_penalty"][k], example.penalty([at]), rtol=1e-8)
        assert_allclose(data["exact_curvature"][k], example.penalty_hessian([at])[0, 0], rtol=1e-6)
    for epsilon, values, second in zip(data["epsilon"], data["penalty"], data["curvature"], strict=True):
        step = data["theta"][1] - data["theta"][0]
        differences = np.diff(values, 2) / step**2
        assert_allclose(differences, second[1:-1], atol=2 * step**2 / epsilon**3)
    assert_allclose(-data["bound"], sharp_constants(0.5, 3.0, 1.0, 0.1).penalty_curvature, rtol=1e-8)


def test_committed_extremal_law():
    data, law = committed("extremal_law"), extremal_law()
    assert_allclose(data["best"], [law["mean"], law["value"]], rtol=1e-7)
    assert_allclose(data["exact"], [largest_for_mean(mean) for mean in data["mean"]], rtol=1e-8)
    points, probs = np.array(data["points"]), np.array(data["probs"])
    assert_allclose(probs.sum(), 1, rtol=1e-8)
    squares = (points - probs @ points) ** 2
    value = 2 * probs @ np.abs(squares[:, None] - squares) @ probs
    assert 1.5410 < value < law["value"]
    cdf = np.array(data["law_cdf"])
    assert np.all(np.diff(cdf) >= -1e-9) and cdf[0] == 0 and cdf[-1] == 1
