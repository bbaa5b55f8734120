"""What the figures of notebook 07 plot: group means, oracle points, shares; and that the drawing shows it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rsail.oracles import OracleConfig, ask
from rsail.study.figures import language as figures


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_means_by_level_are_group_means_with_normal_intervals():
    rng = np.random.default_rng(0)
    levels = np.repeat([0.0, 1.0, 5.0], [400, 100, 10])
    values = rng.normal(size=510) + levels
    found = figures.mean_by_level(values, levels)
    assert found["level"].tolist() == [0.0, 1.0] and found["count"].tolist() == [400, 100]  # 10 are too few
    assert found["mean"] == pytest.approx([values[:400].mean(), values[400:500].mean()])
    assert found["half_width"] == pytest.approx([1.96 / 20, 1.96 / 10], rel=0.2)
    with pytest.raises(ValueError, match=r"levels\.shape"):
        figures.mean_by_level(values, levels[:-1])


def test_oracle_points_hold_every_ordered_pair_once():
    rng = np.random.default_rng(1)
    rewards, filler = rng.integers(0, 3, (20, 4)) / 2, rng.integers(0, 3, (20, 4)).astype(float)
    answer = ask(OracleConfig("bias", 0.1), rewards, attributes={"filler": filler})
    points = figures.oracle_points(answer.preferences, answer.truth, filler)
    assert points["count"].sum() == 20 * 4 * 3
    assert np.allclose(points["observed"] - points["truth"], 0.1 * points["sign"], atol=1e-8)
    mirrored = {
        (round(1 - t, 6), round(1 - p, 6), -s) for t, p, s in zip(*list(points.values())[:3], strict=True)
    }
    assert mirrored == {
        (round(t, 6), round(p, 6), s) for t, p, s in zip(*list(points.values())[:3], strict=True)
    }


def test_shares_count_each_text_once_and_collect_what_lies_beyond():
    found = figures.shares(np.arange(4), [0, 1, 1, 2], [0, 3, 9, 3])
    assert found["corpus"].tolist() == [0.25, 0.5, 0.25, 0]
    assert found["model"].tolist() == [0.25, 0, 0, 0.75]


def test_the_preference_figure_shows_radius_and_delta_where_they_are():
    data = {
        "reward": [0.0, 1.5],
        "reward_share": [0.3, 0.7],
        "edges": [0.2, 0.5, 0.8],
        "pair_share": [0.4, 0.6],
    }
    fig = figures.gold_and_preferences({**data, "rho": 0.1, "delta": 0.2})
    left, right = fig.axes
    assert [bar.get_height() for bar in left.patches] == [0.3, 0.7]
    assert [line.get_xdata()[0] for line in right.lines] == [0.2, 0.8]
    assert right.patches[0].get_x() == pytest.approx(0.4) and right.patches[0].get_width() == pytest.approx(
        0.2
    )


def test_the_oracle_figure_has_a_panel_per_oracle_with_its_points():
    points = {"truth": [0.3, 0.7], "observed": [0.4, 0.6], "sign": [1, -1], "count": [3, 3]}
    panel = {"title": "flips", **{name: np.array(values) for name, values in points.items()}}
    fig = figures.oracle_panels([panel, {**panel, "title": "bias"}], 0.15)
    assert [ax.get_title() for ax in fig.axes] == ["flips", "bias"]
    drawn = np.concatenate([dots.get_offsets() for dots in fig.axes[0].collections[1:]])
    assert sorted(map(tuple, drawn.tolist())) == [(0.3, 0.4), (0.7, 0.6)]


def test_the_other_figures_draw_what_they_are_given():
    panel = {"level": np.array([0.0, 1.0]), "mean": np.array([0.9, 1.0]), "half_width": np.array([0.1, 0.1])}
    fig = figures.gold_by_attribute({"filler": panel, "format": panel}, 0.95)
    assert [ax.get_xlabel() for ax in fig.axes] == ["filler words", 'ends in "!"']
    assert fig.axes[0].lines[0].get_ydata()[0] == 0.95
    shares = {"level": [0, 1, 2], "corpus": [0.5, 0.3, 0.2], "model": [0.4, 0.4, 0.2]}
    fig = figures.samples_against_corpus({"length": shares, "filler": shares})
    assert fig.axes[1].lines[0].get_ydata().tolist() == [0.4, 0.4, 0.2]
