"""The figures of notebook 02b: they draw the numbers they are given, and the committed numbers are right."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem, estimators, landscape, listwise
from rsail.exact.family import FITS, HARD, alpha, flip, p, rho, t
from rsail.study import critical_radii, estimator_table, listwise_check
from rsail.study.figures import landscapes, relatives
from rsail.study.paths import FIGURES_DIR

FIGURES = {
    "collapse_line": landscapes.collapse_line,
    "collapse_plane": landscapes.collapse_plane,
    "critical_radii": landscapes.critical_radii,
    "gini_speed": relatives.gini_speed,
    "family": relatives.family,
    "listwise": relatives.listwise,
    "baselines": relatives.baselines,
}


def committed(name):
    return json.loads((FIGURES_DIR / f"{name}.json").read_text())


def drawn_lines(fig):
    return [np.asarray(line.get_xydata(), dtype=float) for ax in fig.axes for line in ax.get_lines()]


def expect_lines(fig, x, curves):
    lines = drawn_lines(fig)
    for curve in curves:
        points = np.array([(a, b) for a, b in zip(x, curve, strict=True) if b is not None])
        assert any(line.shape == points.shape and np.allclose(line, points) for line in lines)


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_labeled(name):
    fig = FIGURES[name](committed(name))
    shared = name in ("collapse_plane", "critical_radii", "collapse_line")
    assert shared or all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
    assert any(ax.get_xlabel() for ax in fig.axes) and any(ax.get_ylabel() for ax in fig.axes)
    plt.close(fig)


def test_every_curve_is_drawn():
    data = {name: committed(name) for name in FIGURES}
    figs = {name: draw(data[name]) for name, draw in FIGURES.items()}
    line = data["collapse_line"]
    expect_lines(figs["collapse_line"], line["theta"], [*line["excess"], line["identical"], line["entropy"]])
    family = data["family"]
    expect_lines(figs["family"], family["margin"], family["weight"].values())
    expect_lines(figs["family"], family["preference"], family["fit"].values())
    lists = data["listwise"]
    expect_lines(figs["listwise"], lists["margin"], lists["penalty"].values())
    expect_lines(figs["listwise"], lists["checked_rho"], lists["checked"].values())
    base = data["baselines"]
    expect_lines(figs["baselines"], base["count"], base["over_count"].values())
    expect_lines(figs["baselines"], base["kl"], base["over_kl"].values())
    for run in data["critical_radii"]["problems"]:
        for start in run["starts"].values():
            expect_lines(figs["critical_radii"], start["rho"], [start["gain"]])
    for paths in data["collapse_plane"]["paths"]:
        lines = drawn_lines(figs["collapse_plane"])
        assert all(any(np.array_equal(line, np.array(path)) for line in lines) for path in paths)
    plt.close("all")


def test_committed_landscapes():
    data = committed("collapse_line")
    pair = FiniteProblem([[[1.0], [0.0]]], [[[0.5, 0.8], [0.2, 0.5]]], beta=1.0)
    thetas = np.array(data["theta"])[:, None]
    for radius, curve in zip(data["rho"], data["excess"], strict=True):
        assert_allclose(curve, landscape.robust_losses(pair, thetas, radius) - np.log(2), atol=1e-8)
    assert_allclose(data["identical"], landscape.monitors(pair, thetas).identical, rtol=1e-8)
    data = committed("collapse_plane")
    plane = FiniteProblem.from_rewards([[[0.5, 0], [0, 1], [-0.5, 0]]], [[1.0, 0.0, -1.0]], beta=0.1)
    for k, j, i in [(0, 3, 5), (1, 40, 20), (2, 70, 33), (3, 10, 40)]:
        value = plane.robust_loss([data["x"][i], data["y"][j]], data["rho"][k]) - np.log(2)
        assert_allclose(data["excess"][k][j][i], value, atol=1e-5)


def test_committed_gains():
    for step, run in zip((0.4, 1.0), committed("critical_radii")["problems"], strict=True):
        problem = critical_radii.three_responses(step, 0.1)
        assert_allclose(
            [run["local"], run["critical"]], [problem.local_critical_radius(), problem.critical_radius()]
        )
        for name, start in (
            ("the reference", problem.theta_ref),
            ("a collapsed policy", critical_radii.COLLAPSED),
        ):
            found = run["starts"][name]
            again = critical_radii.sweep(problem, start, found["rho"][3:6])
            assert_allclose(again["gain"], found["gain"][3:6], atol=1e-3)
            assert_allclose(again["kl"], found["kl"][3:6], atol=1e-3)


def test_committed_family():
    data, point = committed("family"), {flip: 0.1, rho: 0.1, alpha: 6.0}
    for k in (7, 150):
        for name, curve in data["weight"].items():
            if name in HARD:
                value = -float(HARD[name].slope.subs(point).subs(t, data["margin"][k]))
                assert_allclose(curve[k], value, atol=1e-8)
        for name, curve in data["fit"].items():
            value = float(FITS[name].subs(point).subs(p, data["preference"][k]))
            assert_allclose(curve[k], np.clip(value, 0, 1), atol=1e-8)


def test_committed_lists():
    data = committed("listwise")
    losses = listwise_check.all_losses([1.0, 0.0, -0.5, 2.0])
    law = listwise.ranking_law([1.5, 0.2, 0.0, 1.0])
    curves, _ = listwise_check.radius_curves(losses, law, data["rho"], [0.5])
    for name, curve in curves.items():
        assert_allclose(data["curves"][name], curve, rtol=1e-8)


def test_committed_baselines():
    data = committed("baselines")
    problem, learned = estimator_table.example(beta=0.1, rho=0.1)
    terms = estimators.pair_terms(problem, learned, 0.1)
    unit = float(np.linalg.norm(problem.sail_gradient(problem.theta_ref)))
    kinds = ["log2", "other_prompts", "per_response", "best_constant"]
    found = estimator_table.needed(terms, kinds, data["count"], budget=120, unit=unit)
    for kind in kinds:
        pairs = zip(found[kind], data["over_count"][kind], strict=True)
        assert all((a is None and b is None) or abs(a / b - 1) < 1e-5 for a, b in pairs)
    assert_allclose(data["best"], estimators.best_count(terms, "log2"), rtol=1e-5)
