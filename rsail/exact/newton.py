"""Damped Newton for square systems whose Jacobian has no null vector outside the solution's own freedom.

Every system solved here (gradient of a convex function, fixed point of a regularized game) has a Jacobian J with
J^T G = 0 only where G = 0. Then |G| has no other stationary point, and steps that lower it end at the solution
(Nocedal and Wright, Numerical Optimization, section 11.2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize

from rsail import checks

Smooth = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]
System = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def solve(system: System, start, *, tolerance: float = 1e-10, max_steps: int = 500) -> np.ndarray:
    """The zero (n,) of a system that returns its values (n,) and its Jacobian (n, n).

    A step is the shortest solution of the linearized system, so that a singular Jacobian (logits shifted by a
    constant) does no harm. Steps go on past `tolerance` until rounding stops them.

    Raises
    ------
    RuntimeError
        If no step lowers |G| any more, or `max_steps` do not suffice, and |G| is above `tolerance`.
    """
    point, tolerance = checks.finite("start", start), checks.positive("tolerance", tolerance)
    values, jacobian = system(point)
    size = float(np.linalg.norm(values))
    for _ in range(max_steps):
        if size == 0:
            break
        step = -np.linalg.lstsq(jacobian, values, rcond=1e-13)[0]
        # Below the tolerance only whole steps are worth a trial: the rest is rounding.
        for length in 0.5 ** np.arange(1 if size <= tolerance else 60):
            new_values, new_jacobian = system(point + length * step)
            new_size = float(np.linalg.norm(new_values))
            if new_size <= (1.0 - 1e-4 * length) * size:
                break
        else:
            break
        point, values, jacobian, size = point + length * step, new_values, new_jacobian, new_size
    if not size <= tolerance:
        raise RuntimeError(f"Newton's method stopped at a residual of {size:.1e}, above {tolerance:.1e}")
    return point


def minimize(function: Smooth, start, *, tolerance: float = 1e-10) -> np.ndarray:
    """The minimizer (d,) of a smooth convex function that returns value, gradient (d,) and Hessian (d, d).

    SciPy's trust-region method comes near, also where the Hessian almost vanishes; `solve` removes what rounding of
    the value leaves. Raises as `solve` does.
    """
    near = optimize.minimize(
        lambda point: function(point)[:2],
        checks.finite("start", start),
        jac=True,
        hess=lambda point: function(point)[2],
        method="trust-exact",
        options={"gtol": checks.positive("tolerance", tolerance), "maxiter": 2000},
    )
    return solve(lambda point: function(point)[1:], near.x, tolerance=tolerance)
