"""The figure of notebook 10 on real text draws the numbers that it is given, and they are those of the files."""

import json

import matplotlib.pyplot as plt
import numpy as np

from rsail.study.figures.imdb import AXES, STYLES, real_text
from rsail.study.imdb import analysis, plan
from rsail.study.paths import FIGURES_DIR

DATA = json.loads((FIGURES_DIR / "real_text.json").read_text())


def test_the_figure_shows_every_number():
    fig = real_text(DATA)
    for row, metric in zip(np.reshape(fig.axes, (2, 2)), AXES, strict=True):
        steps, plane = row
        assert steps.get_ylabel() == AXES[metric]
        *curves, before = steps.get_lines()
        for line, values in zip(curves, DATA["paths"][metric].values(), strict=True):
            np.testing.assert_allclose(line.get_xdata(), DATA["steps"])
            np.testing.assert_allclose(line.get_ydata(), np.mean(values, axis=0))
        assert set(before.get_ydata()) == {DATA["before"][metric]}
        joined, reference, *marks = plane.get_lines()
        assert reference.get_xydata().tolist() == [[0, DATA["before"][metric]]]
        for (method, found), runs, mean in zip(DATA["final"].items(), marks[::2], marks[1::2], strict=True):
            np.testing.assert_allclose(runs.get_xydata(), np.transpose([found["kl"], found[metric]]))
            middle = [[np.mean(found["kl"]), np.mean(found[metric])]]
            np.testing.assert_allclose(mean.get_xydata(), middle)
            assert mean.get_label() == STYLES[method][3]
            if method in DATA["family"]:
                assert np.isclose(joined.get_xydata(), middle).all(axis=1).any()
    assert fig.axes[2].get_xlabel() and fig.axes[3].get_xlabel()
    plt.close(fig)


def test_every_method_of_the_plan_has_a_style_of_its_own():
    assert set(STYLES) == set(plan.METHODS)
    assert len({style[:2] for style in STYLES.values()}) == len(STYLES)


def test_the_numbers_are_those_of_the_result_files():
    study = analysis.load_study()
    for method in plan.METHODS:
        for name, metric in (("kl", analysis.KL), ("length", analysis.LENGTH), ("gold", analysis.GOLD)):
            np.testing.assert_allclose(DATA["final"][method][name], study.final(method, metric), rtol=1e-8)
    for method, values in DATA["paths"]["length"].items():
        np.testing.assert_allclose(values, study.path(method, analysis.LENGTH)[1], rtol=1e-8)
