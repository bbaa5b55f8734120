"""The figures of notebook 04: they draw the numbers they are given, and the committed numbers are right."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem
from rsail.exact.moreau import solve_prox
from rsail.exact.subdifferential import stationarity
from rsail.study.convergence import KINDS, load_rates
from rsail.study.figures import convergence
from rsail.study.paths import FIGURES_DIR

NAMES = ("moreau_envelope", "rscgd_path", "convergence_rate", "iteration_counts", "prox_certificate")


def committed(name):
    return json.loads((FIGURES_DIR / f"{name}.json").read_text())


def drawn(fig, ax):
    return [np.asarray(line.get_xydata(), dtype=float) for line in fig.axes[ax].get_lines()]


def shows(lines, x, y):
    expected = np.column_stack([x, y])
    return any(line.shape == expected.shape and np.allclose(line, expected) for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_has_labels(name):
    fig = getattr(convergence, name)(committed(name))
    panels = [ax for ax in fig.axes if ax.get_label() != "<colorbar>"]
    assert all(ax.get_xlabel() for ax in panels) and panels[0].get_ylabel()
    plt.close(fig)


def test_the_envelope_figure_draws_every_curve():
    data = committed("moreau_envelope")
    fig = convergence.moreau_envelope(data)
    assert shows(drawn(fig, 0), data["theta"], data["loss"])
    for envelope, gradient in zip(data["envelope"], data["gradient"], strict=True):
        assert shows(drawn(fig, 0), data["theta"], envelope)
        assert shows(drawn(fig, 1), data["theta"], gradient)
    plt.close(fig)


def test_committed_envelopes():
    data = committed("moreau_envelope")
    problem, rho, radius = FiniteProblem([[[1.0], [0.0]]], [[[0.5, 0.6], [0.4, 0.5]]], 1.0), 0.3, 2.0
    curvature = problem.constants(radius, rho, "refined").curvature
    for k in range(0, len(data["theta"]), 20):
        theta = [data["theta"][k]]
        assert_allclose(data["loss"][k], problem.robust_loss(theta, rho), rtol=1e-8)
        assert_allclose(data["slope"][k], stationarity(problem, theta, rho, theta_radius=radius), atol=1e-8)
        for s, share in enumerate(data["share"]):
            found = solve_prox(
                problem, theta, rho, share / curvature, theta_radius=radius, curvature=curvature
            )
            assert_allclose(data["envelope"][s][k], found.value, rtol=1e-8)
            assert_allclose(data["gradient"][s][k], np.linalg.norm(found.gradient), atol=1e-8)


def test_the_path_figure_draws_every_run_in_both_panels():
    data = committed("rscgd_path")
    fig, path = convergence.rscgd_path(data), np.array(data["path"])
    for ax in (0, 1):
        assert all(shows(drawn(fig, ax), *path[:, run].T) for run in range(path.shape[1]))
    assert np.all(np.linalg.norm(path, axis=-1) <= data["radius"] * (1 + 1e-8))
    plt.close(fig)


def test_the_rate_figure_draws_bounds_and_means_of_the_result_files():
    data = committed("convergence_rate")
    fig = convergence.convergence_rate(data)
    stored = load_rates()
    for ax, (problem, name) in enumerate(zip(data["problems"], ("narrow", "unit"), strict=True)):
        for kind in KINDS:
            rate = stored[name, kind]
            assert_allclose(problem[kind]["mean"], rate.mean, rtol=1e-8)
            assert_allclose(problem[kind]["half_width"], rate.half_width, rtol=1e-8)
            assert shows(drawn(fig, ax), rate.steps, problem[kind]["mean"])
            assert shows(drawn(fig, ax), rate.steps, problem[kind]["bound"])
    plt.close(fig)


def test_the_count_figure_draws_every_curve():
    data = committed("iteration_counts")
    fig = convergence.iteration_counts(data)
    for kind, factor in data["factor"].items():
        assert shows(drawn(fig, 0), data["noise"], factor)
        assert shows(drawn(fig, 0), data["marked_noise"], data["marked"][kind])
    plt.close(fig)


def test_the_certificate_figure_draws_every_curve():
    data = committed("prox_certificate")
    fig = convergence.prox_certificate(data)
    for ax, name in enumerate(("distance", "residual")):
        assert shows(drawn(fig, ax), data["steps"], data[name])
        assert shows(drawn(fig, ax), data["steps"], data[f"snapped_{name}"])
    plt.close(fig)
