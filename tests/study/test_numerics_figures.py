"""Figures of notebook 02: drawn from the numbers that are stored, so rounding errors do not reach the picture."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rsail.study.figures import numerics, render, rounded, use_style
from rsail.study.paths import FIGURES_DIR

NAMES = ["finite_problems", "enumerable_transformer", "gradient_estimators", "certificate"]


@pytest.fixture(autouse=True)
def style():
    backend = plt.get_backend()
    plt.switch_backend("agg")
    with plt.rc_context():
        use_style()
        yield
    plt.close("all")
    plt.switch_backend(backend)


def stored(name):
    return json.loads((FIGURES_DIR / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_each_is_drawn_from_its_stored_numbers_alone(name):
    fig = getattr(numerics, name)(stored(name))
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["a", "b"]
    assert all(ax.get_xlabel() for ax in fig.axes)
    assert fig.axes[0].get_ylabel()


def test_rounding_errors_do_not_reach_the_picture_and_a_thousandth_does():
    data = stored("finite_problems")

    def picture(factor):
        changed = data | {"share": np.asarray(data["share"]) * factor}
        return render(numerics.finite_problems(changed), "pdf")

    assert picture(1 + 1e-13) == picture(1.0)
    assert picture(1 - 1e-3) != picture(1.0)


def test_rounding_keeps_the_order_and_nine_digits():
    data = {"b": np.array([1 / 3]), "a": {"z": 1e-20, "y": -0.0}}
    assert list(rounded(data)) == ["b", "a"]
    assert rounded(data) == {"b": [0.333333333], "a": {"z": 1e-20, "y": 0.0}}
