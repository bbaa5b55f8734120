"""Over-optimization along training, exactly: gold and proxy while a policy follows its gradient (Q3).

Training is the gradient flow of the tabular logits, d theta / dt = -grad L^W_rho, score term included: gradient descent
with a step so small that it no longer matters. Each step follows the flow of the local quadratic model exactly, which
is what a stiff problem needs: responses die out at very different speeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsail.study.every_method.problem import BETA
from rsail.study.misspecification.exact_central import bands
from rsail.study.misspecification.exact_setting import Bench, measure
from rsail.study.misspecification.exact_solver import Prompts, hessians, loss_and_slopes, make_prompts
from rsail.study.statistics import mean_interval

TIMES = np.logspace(-1, 4, 51)  # in units of the margins' gradient flow, s' = -dL/ds
SUBSTEPS = 6
WIDTH = 1e-3  # of the hyperbolas that stand for the kinks, in units of the margin
HALVINGS = 20  # of a step that would cross a kink uphill
GROWTH = 3.0  # where the model is concave its flow grows; by no more than e^GROWTH in a step
MEASURES = ("proxy", "win", "gold", "spurious", "kl")


def flow(
    prompts: Prompts, times: np.ndarray = TIMES, *, substeps: int = SUBSTEPS, width: float = WIDTH
) -> np.ndarray:
    """Log-ratios (T, N, Y) of the gradient flow from the reference at the increasing `times` > 0."""
    margins = np.zeros_like(prompts.ref_log_probs)
    path, now = [], 0.0
    for time in times:
        for _ in range(substeps):
            margins = _advance(prompts, margins, (time - now) / substeps, width, HALVINGS)
        now = time
        path.append(prompts.log_probs(margins) - prompts.ref_log_probs)
    return np.array(path)


def _advance(prompts, margins, step, width, halvings):
    """The flow of the local quadratic model for a time `step`; in two halves where the loss would rise."""
    gradient, hessian = hessians(prompts, margins, width)
    values, vectors = np.linalg.eigh(hessian)
    along = np.einsum("nij,ni->nj", vectors, gradient)
    growth = np.minimum(-values * step, GROWTH)
    small = np.abs(growth) < 1e-8
    # phi(z) = (e^z - 1) / z: the step of s' = -(g + H (s - s0)).
    phi = np.where(small, 1.0, np.expm1(growth) / np.where(small, 1.0, growth))
    found = margins - step * np.einsum("nij,nj->ni", vectors, phi * along)
    before, after = (loss_and_slopes(prompts, point, width)[0] for point in (margins, found))
    uphill = np.flatnonzero(after > before + 1e-13)
    if halvings and len(uphill):
        rows, point = prompts.rows(uphill), margins[uphill]
        for _ in range(2):
            point = _advance(rows, point, step / 2.0, width, halvings - 1)
        found[uphill] = point
    return found


@dataclass(frozen=True, eq=False)
class Training:
    """Measures (T, problems) along the flow at each rho: see `over_time`."""

    times: np.ndarray
    measures: dict[float, dict[str, np.ndarray]]
    rise: float  # the largest rise of a prompt's smoothed loss between two times; a flow has none


def over_time(bench: Bench, preferences: np.ndarray, rhos, *, times: np.ndarray = TIMES) -> Training:
    """Follow training at every rho under the oracle `preferences` (N, Y, Y), which is also the proxy.

    `proxy` is the probability with which the oracle prefers the policy's response to the reference's, `win` that of the
    truth; `gold`, `spurious` and `kl` are those of `exact_setting.measure`.
    """
    found, rise = {}, 0.0
    for rho in rhos:
        prompts = make_prompts(bench.ref_log_probs, preferences, beta=BETA, rho=rho)
        path = flow(prompts, times)
        losses = np.array([loss_and_slopes(prompts, BETA * ratio, WIDTH)[0] for ratio in path])
        rise = max(rise, float(np.diff(losses, axis=0).max(initial=0.0)))
        rows = [measure(bench, ratio) for ratio in path]
        result = {name: np.array([row[name] for row in rows]) for name in ("gold", "spurious", "kl")}
        for name, table in (("proxy", preferences), ("win", bench.truth)):
            result[name] = np.array([win_rates(bench, ratio, table) for ratio in path])
        found[float(rho)] = result
    return Training(times, found, rise)


def win_rates(bench: Bench, log_ratio: np.ndarray, preferences: np.ndarray) -> np.ndarray:
    """P(a response of the policy beats one of the reference), (problems,); equal responses count half."""
    reference = np.exp(bench.ref_log_probs)
    return bench.per_problem(np.einsum("ni,nij,nj->n", reference * np.exp(log_ratio), preferences, reference))


def lost(values: np.ndarray) -> np.ndarray:
    """How far a curve (T, problems) ends below its highest point, (problems,)."""
    return values.max(axis=0) - values[-1]


def figure_data(training: Training) -> dict:
    """For `figures.misspecification_exact.training`."""
    curves = {
        f"{rho:g}": {name: bands(map(mean_interval, values[name])) for name in MEASURES}
        for rho, values in training.measures.items()
    }
    return {"time": training.times, "curves": curves}
