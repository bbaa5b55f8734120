"""The figures of notebook 01: they draw the numbers they are given, and the committed numbers are right."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem, one_pair_loss, robust_fit
from rsail.study.figures import theory
from rsail.study.paths import FIGURES_DIR

FIGURES = {
    "one_pair_loss": (theory.one_pair_loss, "margin", "loss"),
    "soft_threshold": (theory.soft_threshold, "preference", "fit"),
    "example_landscape": (theory.example_landscape, "theta", "loss"),
}


def committed(name):
    return json.loads((FIGURES_DIR / f"{name}.json").read_text())


@pytest.mark.parametrize("name", FIGURES)
def test_every_curve_is_drawn(name):
    draw, x, curves = FIGURES[name]
    data = committed(name)
    fig = draw(data)
    lines = [np.asarray(line.get_xydata()) for line in fig.axes[-1].get_lines()]
    for curve in data[curves]:
        expected = np.column_stack([data[x], curve])
        assert any(line.shape == expected.shape and np.allclose(line, expected) for line in lines)
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
    plt.close(fig)


def test_committed_losses_of_one_pair():
    data = committed("one_pair_loss")
    expected = [one_pair_loss(data["margin"], data["preference"], rho) for rho in data["rho"]]
    assert_allclose(data["loss"], expected, rtol=1e-8)
    assert_allclose(data["minimum_loss"], np.min(expected, axis=1), atol=1e-4)


def test_committed_soft_threshold():
    data = committed("soft_threshold")
    expected = [robust_fit(data["preference"], rho) for rho in data["rho"]]
    assert_allclose(data["fit"], expected, rtol=1e-8)


def test_committed_landscape():
    data = committed("example_landscape")
    p = data["preference"]
    problem = FiniteProblem([[[1.0], [0.0]]], [[[0.5, p], [1 - p, 0.5]]], data["beta"])
    for k in range(0, len(data["theta"]), 40):
        theta = [data["theta"][k]]
        assert_allclose(data["penalty"][k], problem.penalty(theta), rtol=1e-8, atol=1e-12)
        for rho, curve in zip(data["rho"], data["loss"], strict=True):
            assert_allclose(curve[k], problem.robust_loss(theta, rho), rtol=1e-8)
