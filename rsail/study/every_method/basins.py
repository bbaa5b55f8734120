"""Where descents on SAIL's losses end: from several starts, and at a given distance from the reference.

A loss on the policy's own pairs is not convex. Everywhere else in this study it is descended from the reference.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import brentq

from rsail.exact import losses
from rsail.study.every_method import problem
from rsail.study.every_method.measures import measure
from rsail.study.every_method.methods import METHODS
from rsail.study.every_method.setting import make_setting

# The two losses, as options of robust SAIL, whose radius 0 is SAIL.
RADII = {"SAIL": 0.0, "robust SAIL": problem.BIAS}
SMALL_BETA = 0.05
STARTS = "reference", "DPO", "robust DPO", "the other loss", "its own at β = 0.05", "random 1", "random 2"
SPREAD = 0.5  # of random starts, normal in the margins: log-ratios of a few units


def start_point(name: str, loss: str, oracle: str, seed: int):
    """Log-ratios (X, Y) of a start of `loss`; None is the reference."""
    setting = make_setting(problem.make_testbed(seed), oracle)
    if name == "reference":
        return None
    if name.startswith("random"):
        rng = np.random.default_rng([10, int(name.split()[1]), seed])
        return torch.tensor(SPREAD / problem.BETA * rng.normal(size=setting.shape))
    robust = METHODS["robust SAIL"].solve
    other = problem.BIAS - RADII[loss]
    found = {
        "DPO": lambda: METHODS["DPO"].solve(setting),
        "robust DPO": lambda: METHODS["robust DPO"].solve(setting, rho=problem.BIAS),
        "the other loss": lambda: robust(setting, rho=other),
        "its own at β = 0.05": lambda: robust(setting, rho=RADII[loss], beta=SMALL_BETA),
    }[name]()
    return torch.tensor(found.log_ratio)


def descend_from(name: str, loss: str, oracle: str, seed: int) -> dict:
    """One descent on SAIL's or robust SAIL's loss: a row with the objective at its end and the measures."""
    testbed = problem.make_testbed(seed)
    setting = make_setting(testbed, oracle)
    start = start_point(name, loss, oracle, seed)
    found = METHODS["robust SAIL"].solve(setting, rho=RADII[loss], start=start)
    measured = measure(testbed, oracle, found.log_ratio)
    objective = measured["worst_oracle"] if RADII[loss] else nominal_loss(testbed, oracle, found.log_ratio)
    return {
        "loss": loss, "oracle": oracle, "seed": seed, "start": name, "objective": objective,
        "converged": found.converged, **measured,
    }  # fmt: skip


def nominal_loss(testbed: problem.Testbed, oracle: str, log_ratio) -> float:
    """SAIL's loss (eq. 9) at the oracle's answers of the policy with the log-ratios (X, Y)."""
    ref, table = testbed.ref_log_probs, problem.preferences(testbed, oracle)
    return losses.robust_loss(ref + log_ratio, ref, table, beta=problem.BETA, rho=0.0)


def at_distance(solver: str, options: dict, oracle: str, seed: int, kl: float, betas, distances) -> float:
    """The beta at which a method is `kl` nats from the reference, by root finding between points of its sweep.

    `betas` and `distances` are the sweep's. ValueError if no two neighbors enclose `kl`.
    """
    testbed = problem.make_testbed(seed)
    setting = make_setting(testbed, oracle)
    excess = np.asarray(distances) - kl
    (places,) = np.nonzero(excess[:-1] * excess[1:] <= 0)
    if not len(places):
        raise ValueError(
            f"kl = {kl} is outside of the sweep of {solver}, {min(distances)} to {max(distances)}"
        )

    def miss(log_beta):
        found = METHODS[solver].solve(setting, beta=float(np.exp(log_beta)), **options)
        return measure(testbed, oracle, found.log_ratio)["kl"] - kl

    ends = np.log([betas[places[0]], betas[places[0] + 1]])
    return float(np.exp(brentq(miss, *ends, xtol=1e-4)))
