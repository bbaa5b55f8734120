"""Learning across the critical radii: measured thresholds are the predicted ones."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem
from rsail.exact.descent import descend
from rsail.study import critical_radii


@pytest.mark.parametrize(("step", "beta"), [(0.4, 0.1), (1.0, 0.1), (0.7, 1.0)])
def test_measured_radii_are_the_predicted_ones(step, beta):
    problem = critical_radii.three_responses(step, beta)
    assert_allclose(critical_radii.measured_local_radius(problem), problem.local_critical_radius(), atol=1e-6)
    assert_allclose(critical_radii.measured_critical_radius(problem), problem.critical_radius(), atol=1e-4)


def test_a_collapsed_learner_ends_at_the_minimum_of_two_responses():
    problem = critical_radii.three_responses(1.0, 0.1)
    pair = critical_radii.best_and_worst(problem)
    found = critical_radii.sweep(problem, critical_radii.COLLAPSED, [0.2, 0.34, 0.4])
    expected = [1e3 * (np.log(2) - descend(pair, pair.theta_ref, rho).loss) for rho in found["rho"]]
    assert_allclose(found["gain"], expected, atol=1e-4)
    assert found["gain"][1] > 0 and abs(found["gain"][2]) < 1e-4
    assert max(found["middle"]) < 1e-8 and min(found["kl"]) > np.log(1.5) - 1e-6


def test_crossing_radius():
    problem = critical_radii.three_responses(1.0, 0.1)
    at = critical_radii.crossing_radius(problem)
    pair = critical_radii.best_and_worst(problem)
    losses = [[descend(p, p.theta_ref, rho).loss for p in (problem, pair)] for rho in (at - 1e-4, at + 1e-4)]
    assert losses[0][0] < losses[0][1] and losses[1][0] > losses[1][1]
    assert critical_radii.crossing_radius(critical_radii.three_responses(1.0, 1.0)) == 0.0


def test_bisection_refuses_an_interval_without_a_change():
    with pytest.raises(ValueError, match="learns must be true at low"):
        critical_radii.last_radius(lambda rho: True, 0.0, 1.0, 1e-3)
    assert_allclose(critical_radii.last_radius(lambda rho: rho < 0.3, 0.0, 1.0, 1e-6), 0.3, atol=1e-6)


def test_marks_of_example_4_4():
    pair = FiniteProblem([[[1.0], [0.0]]], [[[0.5, 0.8], [0.2, 0.5]]], beta=1.0)
    marks = critical_radii.line_marks(pair, [0.0, 0.4], end=9.0)
    assert marks["minimum"]["theta"][1] == 0.0 and marks["minimum"]["excess"][0] < -0.05
    grid = np.linspace(0, 9, 9001)
    for k, rho in enumerate((0.0, 0.4)):
        losses = np.array([pair.robust_loss([x], rho) for x in grid[::10]])
        assert abs(grid[::10][losses.argmin()] - marks["minimum"]["theta"][k]) < 0.02
        assert abs(losses.max() - np.log(2) - marks["ridge"]["excess"][k]) < 1e-4


def test_a_drawn_path_starts_and_ends_where_the_descent_does():
    plane = FiniteProblem.from_rewards([[[0.5, 0], [0, 1], [-0.5, 0]]], [[1.0, 0.0, -1.0]], beta=0.1)
    path = critical_radii.drawn_path(plane, [2.0, -3.0], 0.0, limit=7.0)
    assert len(path) == 40 and path[0] == [2.0, -3.0]
    assert_allclose(path[-1], descend(plane, [0.0, 0.0], 0.0).theta, atol=2e-3)
