"""Robust training against others at the KL of the robust run: how far the answer depends on how that KL is reached."""

from __future__ import annotations

import numpy as np

from rsail.study.biased_oracle import BIAS
from rsail.study.misspecification.analysis import (
    INTERPOLATIONS,
    KL,
    Runs,
    along_betas,
    along_training,
    before_first_evaluation,
    held_out,
    less_spurious,
)
from rsail.study.misspecification.summary import BETA_SWEEP, OBJECTIVES, methods_compared
from rsail.study.statistics import Interval, mean_interval, paired_difference


def interpolations(runs: Runs, objective: str, rho: float = BIAS) -> dict[str, dict]:
    """What each interpolation over beta says of robust training at equal KL, and its errors at held-out beta.

    `gold` and `removed` are Intervals, robust against the larger beta; `errors` is beta -> Interval of the filler
    words found without it minus its own; `error` is the mean absolute error over those beta and the seeds; `nearest`
    is the one of them that ends nearest to the KL of robust training.
    """
    sweep, robust = BETA_SWEEP[objective], f"{objective}_rho{rho:.2f}"
    target, beta = runs.final(robust, KL), {name: runs.of(name)[0]["config"]["beta"] for name in sweep}
    rows = {}
    for name in INTERPOLATIONS:
        found = along_betas(runs, sweep, target, name)
        errors = held_out(runs, sweep, name)
        away = {setting: np.abs(np.log(runs.final(setting, KL) / target)).mean() for setting in errors}
        rows[name] = {
            "gold": paired_difference(runs.gain(robust), found.gold),
            "removed": less_spurious(runs.spurious(robust), found.spurious),
            "errors": {beta[setting]: mean_interval(values) for setting, values in errors.items()},
            "error": float(np.mean([np.abs(values) for values in errors.values()])),
            "nearest": beta[min(away, key=away.get)],
        }
    return rows


def stopped_early(central: Runs, methods: Runs, ours: str) -> dict[str, dict]:
    """Each method stopped early at the KL of `ours`, seed by seed: gold of ours minus its, its |spurious| minus ours.

    `outside` counts seeds whose run never reaches that KL: its last policy is compared then. `before` counts those
    whose run has it before its first evaluation.
    """
    table = methods_compared(central, methods)
    own_runs, own = table[ours]
    target, rows = own_runs.final(own, KL), {}
    for name, (runs, setting) in table.items():
        if "robust" in name:
            continue
        found = along_training(runs, setting, target)
        rows[name] = {
            "gold": paired_difference(own_runs.gain(own), found.gold),
            "removed": less_spurious(own_runs.spurious(own), found.spurious),
            "outside": found.extrapolated,
            "before": before_first_evaluation(runs, setting, target),
        }
    return rows


def trained_to_the_end(central: Runs, ours: str) -> dict[str, tuple[Interval, Interval, int]]:
    """SAIL and online DPO trained to the end with the beta that ends at the KL of `ours`: as `stopped_early`.

    Gold of ours minus theirs, their |spurious| minus ours, and seeds outside the sweep over beta.
    """
    _, own = methods_compared(central, central)[ours]
    found = {o: along_betas(central, sweep, central.final(own, KL)) for o, sweep in BETA_SWEEP.items()}
    return {
        OBJECTIVES[o]: (
            paired_difference(central.gain(own), other.gold),
            less_spurious(central.spurious(own), other.spurious),
            other.extrapolated,
        )
        for o, other in found.items()
    }
