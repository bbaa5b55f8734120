"""Figures of notebook 09's exact half show what they are given."""

import numpy as np
import pytest

from rsail.study.figures import misspecification_exact as figures

pytestmark = pytest.mark.usefixtures("without_windows")


def band(*values) -> dict:
    values = np.array(values, dtype=float)
    return {"mean": values, "low": values - 0.1, "high": values + 0.1}


def column() -> dict:
    rho = {"value": [0.0, 0.15], "gold": band(0.5, 0.4), "spurious": band(0.3, 0.0), "kl": band(1.0, 0.5)}
    beta = {"value": [0.1, 1.0], "gold": band(0.5, 0.2), "spurious": band(0.3, 0.1), "kl": band(1.0, 0.2)}
    return {"score": {"rho": rho, "beta": beta}, "online": {"rho": rho, "beta": beta}}


def lines(ax, marker):
    return [line.get_xydata() for line in ax.lines if line.get_marker() == marker]


def test_central_draws_both_paths_and_marks_start_and_bias():
    fig = figures.central({"exact": column()})
    plane, spurious, gold = fig.axes
    assert np.allclose(lines(plane, "o")[0], [[0.5, 0.3], [0.4, 0.0]])
    assert np.allclose(lines(plane, "s")[0], [[0.5, 0.3], [0.2, 0.1]])
    assert np.allclose(lines(plane, "*")[0], [[0.4, 0.0]]) and np.allclose(lines(plane, "D")[0], [[0.5, 0.3]])
    assert np.allclose(lines(spurious, "o")[0], [[1.0, 0.3], [0.5, 0.0]])
    assert np.allclose(lines(gold, "s")[0], [[1.0, 0.5], [0.2, 0.2]])
    words = [text.get_text() for text in fig.legends[0].get_texts()]
    assert len(words) == 6 and "raise" in words[0] and words[-1] == "nominal SAIL"


def test_central_with_a_language_model_has_two_columns_and_needs_no_second_objective():
    lm = {"score": column()["score"]}
    fig = figures.central(
        {"exact": column(), "language model": lm}, units={"language model": {"gold": "gold, tokens"}}
    )
    assert len(fig.axes) == 6 and [ax.get_title() for ax in fig.axes[:2]] == ["exact", "language model"]
    assert len(lines(fig.axes[0], "o")) == 2 and len(lines(fig.axes[1], "o")) == 1
    assert fig.axes[1].get_xlabel() == "gold, tokens" != fig.axes[0].get_xlabel()


def test_sweeps_draw_a_row_per_measure_and_a_column_per_knob():
    data = {key: path | {"kl_open": band(0.9, 0.0)} for key, path in column()["score"].items()}
    axes = figures.sweeps(data | {"bias": 0.15}).axes
    assert len(axes) == 6 and axes[1].get_xscale() == "log"
    assert np.allclose(lines(axes[2], "o")[0], [[0.0, 0.3], [0.15, 0.0]])


def test_training_draws_a_curve_per_radius_and_the_root_of_the_kl():
    curve = {name: band(0.5, 0.6) for name in ("proxy", "win", "spurious", "gold")} | {"kl": band(0.0, 4.0)}
    axes = figures.training({"time": [1.0, 10.0], "curves": {"0": curve, "0.15": curve}}).axes
    assert len(axes[0].lines) == 2 and axes[0].get_xscale() == "log"
    assert np.allclose(axes[3].lines[0].get_xydata(), [[0.0, 0.5], [2.0, 0.6]])


def test_radii_draws_both_kinds_of_prediction():
    found = {"local": [0.1, 0.2], "left": [0.1, 0.21], "critical": [0.3, 0.4], "stayed": [0.3, 0.4]}
    (ax,) = figures.radii({"oracle right": found}).axes
    assert np.allclose(lines(ax, "o")[0], [[0.1, 0.1], [0.2, 0.21]]) and len(lines(ax, "s")[0]) == 2


def test_oracles_marks_the_deviation_on_each_line():
    found = {name: band(0.3, 0.1, 0.2) for name in ("regret", "gold", "spurious")} | {"deviation": 0.15}
    names = {"bias": found, "truth": found | {"deviation": 0.0}}
    axes = figures.oracles({"rhos": [0.0, 0.1, 0.2], "names": names}).axes
    assert np.allclose(lines(axes[0], "o"), [[[0.15, 0.15]]]) and len(axes[0].lines) == 3


def test_certificate_draws_both_policies_of_every_problem():
    found = {"ratio": [[0, 1, 2]] * 2, "gap": [[0, 1e-3, 2e-3]] * 2, "first": [[-1e-3, 0, 4e-3]] * 2}
    axes = figures.certificate({"bias": found, "flips": found}).axes
    assert len(axes) == 2 and np.allclose(axes[0].lines[0].get_ydata(), [-1.0, 0.0, 4.0])
    assert axes[0].get_ylim()[0] < -1 and axes[0].get_ylim()[1] > 4


def test_choice_draws_a_row_per_rule_and_a_line_per_oracle():
    data = {
        "wrong": {"bias": {"factor": [0.5, 1.0]} | band(0.1, 0.0)},
        "oracles": ["truth", "bias"],
        "rules": {"agreement": {"cost": band(0.2, 0.3)}, "labels": {"cost": band(0.1, 0.1)}},
    }
    left, right = figures.choice(data).axes
    assert np.allclose(left.lines[0].get_ydata(), [0.1, 0.0])
    assert [label.get_text() for label in right.get_yticklabels()] == ["agreement", "labels"]
    assert right.get_ylim()[0] > right.get_ylim()[1]
