"""The figures of notebook 05: they draw the numbers they are given, and the committed numbers are right."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import robust_fit
from rsail.exact import sail_family as sail
from rsail.exact.reference_kl import DIRECTIONS, identifiable_basis, penalized, reference_kl
from rsail.exact.sail_estimates import estimates
from rsail.study import sail_family as study
from rsail.study.figures import sail as figures
from rsail.study.paths import FIGURES_DIR

NAMES = ("sail_settings", "sail_preference_term", "sail_response_term", "sail_released", "sail_reference_kl")


def committed(name):
    return json.loads((FIGURES_DIR / f"{name}.json").read_text())


def drawn(fig, ax):
    return [np.asarray(line.get_xydata(), dtype=float) for line in fig.axes[ax].get_lines()]


def shows(lines, x, y):
    expected = np.column_stack([x, y])
    return any(line.shape == expected.shape and np.allclose(line, expected) for line in lines)


@pytest.mark.parametrize("name", NAMES[1:])
def test_every_panel_has_labels(name):
    fig = getattr(figures, name)(committed(name))
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
    plt.close(fig)


def test_the_landscapes_draw_every_path_and_end():
    data = committed("sail_settings")
    fig = figures.sail_settings(data)
    for ax, setting in enumerate(data["settings"]):
        lines = drawn(fig, ax)
        for path in setting["paths"]:
            assert shows(lines, *(np.array(path) @ figures.CORNERS).T)
        for end in (*setting["ends"], data["gibbs"]):
            assert shows(lines, *(np.array([end]) @ figures.CORNERS).T)
    plt.close(fig)


def test_committed_landscapes_are_the_objectives():
    data = committed("sail_settings")
    problem, pairs = study.three_responses()
    for setting, name in zip(data["settings"], ("offline", "ddp", "dpp", "dpr"), strict=True):
        for k in range(0, len(data["policies"]), 60):
            value = sail.objective(problem, np.log(data["policies"][k]), name, pairs)
            assert_allclose(setting["gain"][k], value + np.log(2), atol=1e-6)
        path = study.ascent(problem, name, pairs, setting["paths"][0][0], 500.0)
        assert_allclose(setting["paths"][0], path, atol=1e-4)
        assert setting["ends"] == [path[-1] for path in setting["paths"]]


def test_the_preference_figure_draws_every_curve():
    data = committed("sail_preference_term")
    fig = figures.sail_preference_term(data)
    for name in ("first", "second", "mean"):
        assert shows(drawn(fig, 0), data["margin"], data[name])
    preference = np.array(data["preference"])
    for fit in data["fits"]:
        for side in (preference < 0.5, preference > 0.5):
            assert shows(drawn(fig, 1), preference[side], np.array(fit)[side])
    assert shows(drawn(fig, 1), preference, data["robust_fit"])
    plt.close(fig)


def test_committed_preference_curves():
    data = committed("sail_preference_term")
    first, second = study.drawn_steps(data["margin"], 1.0)
    assert_allclose([data["first"], data["second"]], [first, second], rtol=1e-8, atol=1e-9)
    slopes = sail.label_mean(np.array(data["margin"]), 0.5, 1.0, "ddp")[1]
    assert_allclose(data["mean"], slopes, rtol=0, atol=1e-9)
    assert_allclose(data["robust_fit"], [robust_fit(p, data["rho"]) for p in data["preference"]], rtol=1e-8)
    for fit, ratio in zip(data["fits"], (0.0, 0.5, 1.0, 2.0), strict=True):
        assert_allclose(fit, study.fitted_preference(data["preference"], ratio), rtol=1e-8)


def test_the_response_figure_draws_every_curve():
    data = committed("sail_response_term")
    fig = figures.sail_response_term(data)
    for probs in np.array(data["policy"]).T:
        assert shows(drawn(fig, 0), data["weight"], probs)
    for noise in data["noise"].values():
        assert shows(drawn(fig, 1), data["weight"], noise)
    plt.close(fig)


def test_committed_stationary_policies_and_noise():
    data = committed("sail_response_term")
    problem, _ = study.three_responses()
    for k, weight in enumerate(data["weight"]):
        theta = np.log(data["policy"][k])
        assert_allclose(sail.terms(problem, theta, "dpr").gradient(weight), 0, atol=1e-8)
        baselines = {"no baseline": 0.0, "baseline $J$": sail.objective(problem, theta, "dpr")}
        assert baselines.keys() == figures.NOISE.keys()
        for name, baseline in baselines.items():
            found = estimates(problem, theta, "dpr", response_weight=weight, baseline=baseline)
            assert_allclose(data["noise"][name][k], np.sqrt(np.trace(found.covariance)), rtol=1e-6)


def test_the_released_figure_draws_medians_and_bands():
    data = committed("sail_released")
    fig = figures.sail_released(data)
    for ax, key in enumerate(("cosine", "ratio")):
        assert shows(drawn(fig, ax), data["nats"], data[key]["middle"])
        (band,) = fig.axes[ax].collections
        edges = band.get_paths()[0].vertices
        for name in ("low", "high"):
            assert all(
                np.abs(edges - point).sum(axis=1).min() < 1e-9
                for point in zip(data["nats"], data[key][name], strict=True)
            )
        assert np.all(np.array(data[key]["low"]) <= data[key]["high"])
    plt.close(fig)


def test_the_kl_figure_draws_eigenvalues():
    data = committed("sail_reference_kl")
    fig = figures.sail_reference_kl(data)
    problem, _ = study.three_responses()
    basis, unit = identifiable_basis(problem.features), np.array(study.REWARDS) / np.sqrt(2)
    for name, direction in zip(figures.KL, DIRECTIONS, strict=True):
        curve = data["kl"][name]
        assert shows(drawn(fig, 0), data["distance"], curve)
        for k in range(0, len(curve), 20):
            hessian = reference_kl(problem, data["distance"][k] * unit, direction).hessian
            assert_allclose(curve[k], np.linalg.eigvalsh(basis.T @ hessian @ basis)[0], atol=1e-8)
    for coefficient, curve in zip(data["coefficient"], data["objective"], strict=True):
        assert shows(drawn(fig, 1), data["distance"], curve)
        hessian = penalized(problem, data["distance"][20] * unit, "dpr", coefficient, DIRECTIONS[0]).hessian
        assert_allclose(curve[20], np.linalg.eigvalsh(basis.T @ hessian @ basis)[-1], atol=1e-8)
    plt.close(fig)
