"""Where learning stops as rho grows, predicted and found, prompt by prompt (Q5).

Two radii are predicted: rho_loc, above which the reference is a local minimizer, and rho_crit = max |P - 1/2|, from
which on it is a global one. Found is the largest radius at which a descent leaves the reference, and the largest at
which a descent from the policy that has collapsed onto the best and the worst response stays away from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rsail.exact import radius
from rsail.study.every_method.problem import BETA
from rsail.study.misspecification.exact_setting import Bench
from rsail.study.misspecification.exact_solver import make_prompts, solve

STEPS = 14  # of the bisection: a width of 2^-15
APART = 1e-3  # a policy with no larger log-ratio is the reference
FAR = -60.0  # log-ratio of the responses that a collapsed policy has given up


@dataclass(frozen=True)
class Radii:
    """Per prompt (N,): predicted with the plain and with the clipped penalty, and found."""

    local: np.ndarray
    local_clipped: np.ndarray
    left_reference: np.ndarray  # found: the largest rho at which learning leaves the reference
    critical: np.ndarray
    stayed_away: (
        np.ndarray
    )  # found: the largest rho at which the collapsed policy still prefers the best response


def radii(bench: Bench, preferences: np.ndarray, prompts: np.ndarray, *, steps: int = STEPS) -> Radii:
    """All of `Radii` for the prompts (n,) of the bench under the oracle `preferences` (N, Y, Y)."""
    ref, table = bench.ref_log_probs[prompts], preferences[prompts]
    features = np.eye(ref.shape[1])[None]
    local, clipped = (
        np.array([
            radius.local_critical_radius(features, p[None], r[None], clipped=clip)
            for p, r in zip(table, ref, strict=True)
        ])
        for clip in (False, True)
    )  # fmt: skip
    critical = np.array([radius.critical_radius(p[None]) for p in table])

    def leaves(rho: np.ndarray) -> np.ndarray:
        return np.abs(solve(make_prompts(ref, table, beta=BETA, rho=rho)).log_ratio).max(axis=1) > APART

    pair = np.array([np.unravel_index(p.argmax(), p.shape) for p in table])  # the surest answer, winner first
    collapsed = np.full(ref.shape, FAR)
    np.put_along_axis(collapsed, pair, 0.0, axis=1)

    def prefers(rho: np.ndarray) -> np.ndarray:
        ends = solve(make_prompts(ref, table, beta=BETA, rho=rho), start=collapsed).log_ratio
        best, worst = np.take_along_axis(ends, pair, axis=1).T
        return best - worst > APART

    return Radii(local, clipped, bisect(leaves, len(ref), steps), critical, bisect(prefers, len(ref), steps))


def bisect(learns: Callable[[np.ndarray], np.ndarray], count: int, steps: int) -> np.ndarray:
    """Radii (count,) in [0, 1/2] at which `learns` (radii -> bool per prompt) turns from true to false."""
    low, high = np.zeros(count), np.full(count, 0.5)
    for _ in range(steps):
        middle = (low + high) / 2.0
        more = learns(middle)
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return (low + high) / 2.0
