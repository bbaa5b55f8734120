"""Figures of notebook 06 show what they are given."""

import numpy as np
import pytest

from rsail.study.every_method.experiment import FRONTIER
from rsail.study.every_method.methods import FAMILIES, METHODS
from rsail.study.figures import methods as figures

pytestmark = pytest.mark.usefixtures("without_windows")


def points(ax, marker):
    return [
        line.get_xydata()[0] for line in ax.lines if line.get_marker() == marker and len(line.get_xydata())
    ]


def test_every_family_and_every_sweep_has_its_look():
    assert set(figures.FAMILIES) == set(FAMILIES) == {method.family for method in METHODS.values()}
    assert set(figures.SWEEPS) == set(FRONTIER)


def test_regret_draws_one_point_per_method_and_oracle_and_marks_the_unbounded():
    oracle = {"mean": [0.1, 0.3], "low": [0.05, 0.2], "high": [0.15, 0.4], "bounded": [True, False]}
    data = {
        "methods": ["DPO", "XPO"],
        "family": ["offline", "rounds"],
        "oracles": {name: {**oracle, "reference": 0.2, "dpo": 0.1} for name in ("truth", "bias")},
    }
    ax, other = figures.regret(data).axes
    assert [a.get_title(loc="left") for a in (ax, other)] == ["truth", "bias"]
    assert np.allclose(points(ax, "o"), [[0.1, 0], [0.3, 1]])
    faces = [line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"]
    assert faces == [figures.FAMILIES["offline"], "white"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["DPO", "XPO"]
    assert ax.get_xscale() == "linear" and ax.get_xlim()[1] > 0.4


def test_plane_places_methods_and_names_those_asked_for():
    point = {"spurious": 0.2, "gold": 1.0, "family": "offline", "kink": False, "bounded": True}
    data = {
        "points": {
            "DPO": point,
            "robust SAIL": {**point, "spurious": 0.0, "family": "own pairs", "kink": True},
        },
        "shown": {"DPO": (4, 4)},
        "reference": [0.0, 0.7],
        "optimum": [0.0, 1.3],
    }
    (ax,) = figures.plane(data).axes
    assert np.allclose(points(ax, "o")[0], [0.2, 1.0]) and np.allclose(points(ax, "D")[0], [0.0, 1.0])
    assert {text.get_text() for text in ax.texts} == {"reference", "optimum", "DPO"}


def test_frontier_draws_every_sweep_in_both_panels():
    curve = {"DPO": [1.0, 0.5], "robust SAIL": [0.4, 0.2]}
    data = {"kl": curve, "gold": {k: [2.0, 1.0] for k in curve}, "spurious": {k: [0.3, 0.1] for k in curve}}
    left, right = figures.frontier(data | {"kl_shared": 0.4}).axes
    for ax, values in ((left, [2.0, 1.0]), (right, [0.3, 0.1])):
        drawn = {line.get_label(): line.get_xydata() for line in ax.lines if line.get_label() in curve}
        assert np.allclose(drawn["DPO"], np.column_stack([curve["DPO"], values])) and len(drawn) == 2


def test_game_draws_gaps_over_rounds_and_against_regret():
    data = {
        "rounds": [1, 2],
        "gap": {"own pairs": [0.1, 0.01]},
        "points": {"Nash": {"regret": 0.2, "gap": 0.0, "family": "other"}},
        "shown": {"Nash": (6, 0)},
    }
    left, right = figures.game(data).axes
    assert np.allclose(left.lines[0].get_xydata(), [[1, 0.1], [2, 0.01]])
    assert np.allclose(points(right, "o"), [[0.2, 0.0]])


def test_collection_draws_trials_rounds_and_hops():
    band = {"mean": [2.0, 1.0], "low": [1.5, 0.5], "high": [2.5, 1.5]}
    data = {
        "greedy": [-0.2, 1.0], "pessimist": {"true": [0.1, 0.5], "√d": [0.2, 0.6]}, "rounds": [1, 2],
        "regret": {"enhancer": band},
        "hops": [1, 2], "rate_hops": [0.1, 0.4], "rate_once": 0.1,
    }  # fmt: skip
    left, middle, right = figures.collection(data).axes
    assert np.allclose(left.lines[-2].get_xydata(), [[-0.2, 0.1], [1.0, 0.5]])
    assert np.allclose(left.lines[-1].get_ydata(), [0.2, 0.6])
    assert np.allclose(middle.lines[0].get_ydata(), band["mean"])
    assert np.allclose(right.lines[0].get_ydata(), [0.1, 0.4])
