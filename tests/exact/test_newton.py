"""Newton's method: it ends at the zero, in few steps, also where whole steps overshoot, and says where it does not."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import newton


def counted(system):
    calls = []

    def wrapped(point):
        calls.append(np.array(point))
        return system(point)

    return wrapped, calls


def test_steps_go_on_until_rounding_stops_them_and_no_further():
    def system(point):
        return point**2 - [2.0, 3.0], np.diag(2.0 * point)

    wrapped, calls = counted(system)
    assert_allclose(newton.solve(wrapped, [1.0, 1.0], tolerance=0.1), np.sqrt([2.0, 3.0]), rtol=1e-15)
    assert len(calls) < 12


def test_steps_that_overshoot_are_halved():
    def system(point):
        return np.arctan(point), np.diag(1.0 / (1.0 + point**2))

    wrapped, calls = counted(system)
    assert_allclose(newton.solve(wrapped, [20.0]), 0.0, atol=1e-10)
    steps = np.abs(np.diff(np.concatenate(calls[1:4])))
    assert_allclose(steps[0], 2.0 * steps[1])  # trials from the start at 1, 1/2 and 1/4 of the step


def test_a_freedom_of_the_solution_does_no_harm():
    def system(point):
        return np.array([1.0, -1.0]) * np.sinh(point[0] - point[1] - 1.0), np.cosh(
            point[0] - point[1] - 1.0
        ) * np.array([[1.0, -1.0], [-1.0, 1.0]])

    assert_allclose(newton.solve(system, [2.0, 4.0]), [3.5, 2.5], atol=1e-12)


def test_a_system_without_a_zero_is_an_error():
    with pytest.raises(RuntimeError, match="stopped at a residual of"):
        newton.solve(lambda point: (point**2 + 1.0, np.diag(2.0 * point)), [1.0])
    with pytest.raises(RuntimeError, match=r"above 1\.0e-10"):
        newton.solve(lambda point: (np.arctan(point), np.eye(1)), [1.0], max_steps=1)


def test_the_minimizer_of_a_convex_function_that_is_almost_flat_at_the_start():
    def function(point):
        ends = np.exp([point[0] - 30.0, -point[0] - 30.0, point[1], -2.0 * point[1]])
        return (
            float(ends.sum()),
            np.array([ends[0] - ends[1], ends[2] - 2.0 * ends[3]]),
            np.diag([ends[0] + ends[1], ends[2] + 4.0 * ends[3]]),
        )

    found = newton.minimize(function, [3.0, -1.0], tolerance=1e-14)
    assert_allclose(found, [0.0, np.log(2.0) / 3.0], atol=1e-3)


@pytest.mark.parametrize(
    ("start", "tolerance", "message"), [([np.nan], 1.0, "start"), ([1.0], 0.0, "tolerance")]
)
def test_bad_input_is_named(start, tolerance, message):
    with pytest.raises(ValueError, match=message):
        newton.solve(lambda point: (point, np.eye(1)), start, tolerance=tolerance)
