"""The runs behind notebook 04: Algorithm 1 with Corollary 5.3's step size, for three sets of constants.

    python -m rsail.study.convergence [--output FOLDER]

writes one result file per problem and set of constants (about ten minutes on one free core). Every number of the claim,
the bound included, is computed from the problem here; the files hold them with the measured ones. Every run of the
study, whatever its problem, constants and horizon, has a seed of its own, which the files hold, too.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy import stats

from rsail.checks import one_of
from rsail.exact import FiniteProblem, rates
from rsail.exact.moreau import solve_prox
from rsail.exact.rscgd import moments, rscgd
from rsail.study.paths import RESULTS_DIR
from rsail.study.results import ResultError, read_result, write_result

NAME = "convergence"
RESULTS = RESULTS_DIR / NAME
BETA, RHO, BATCH = 0.1, 0.1, 16
HORIZONS = (1_000, 10_000, 100_000, 1_000_000)
RUNS, DRAWS = 24, 16
# D of each problem, and how far from theta_ref, against the minimizer's direction, the runs start.
PROBLEMS = {"narrow": (0.25, 0.25), "unit": (1.0, 0.0)}
# Which constants: the paper's, `sharp_constants` in the paper's theorem, and `refined_constants` in the sharper one.
KINDS = ("paper", "sharp", "refined")


def study_problem() -> FiniteProblem:
    """Two prompts, three responses each with features on the unit circle, so that B = 1 in both sets of constants."""
    angle = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
    triangle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return FiniteProblem.from_rewards(
        [triangle, -triangle], [[1.0, 0.0, -1.1], [-0.3, 1.0, -0.7]], beta=BETA, prompt_probs=[0.6, 0.4]
    )


def disk(radius: float, points_across: int = 41) -> np.ndarray:
    """A grid (n, 2) of the disk: its square grid points, and as many points on its edge as fit the spacing."""
    axis = np.linspace(-radius, radius, points_across)
    inside = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    inside = inside[np.linalg.norm(inside, axis=1) <= radius]
    angle = 2 * np.pi * np.arange(4 * points_across) / (4 * points_across)
    return np.concatenate([inside, radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)])


def minimizer(problem: FiniteProblem, theta_radius: float) -> np.ndarray:
    """Where F is smallest: the best point of a grid of the disk, then proximal steps until they stand still."""
    points = disk(theta_radius) + problem.theta_ref
    point = points[np.argmin([problem.robust_loss(theta, RHO) for theta in points])]
    curvature = problem.constants(theta_radius, RHO).curvature
    for _ in range(10_000):
        following = solve_prox(
            problem, point, RHO, 0.9 / curvature, theta_radius=theta_radius, curvature=curvature
        ).point
        if np.linalg.norm(following - point) < 1e-13:
            return following
        point = following
    raise RuntimeError("proximal steps do not come to rest")


def largest_noise(problem: FiniteProblem, theta_radius: float) -> tuple[float, float]:
    """sigma_SAIL and sigma_R of Assumption 6: the largest standard deviations on a grid of the disk."""
    found = [moments(problem, theta + problem.theta_ref, RHO) for theta in disk(theta_radius)]
    return tuple(
        np.sqrt(max(getattr(m, name) for m in found)) for name in ("sail_variance", "penalty_variance")
    )


@cache
def facts(name: str) -> tuple[np.ndarray, tuple[float, float]]:
    """Minimizer and largest noise of one of PROBLEMS, which all sets of constants share."""
    problem, (theta_radius, _) = study_problem(), PROBLEMS[name]
    return minimizer(problem, theta_radius), largest_noise(problem, theta_radius)


@dataclass(frozen=True)
class Setting:
    """What Theorem 5.2 says about one problem, radius and set of constants."""

    problem: FiniteProblem
    theta_radius: float
    curvature: float
    second_moment: float
    sharp: bool  # 1 / smoothing in the place of L_env
    start: np.ndarray
    gap: float

    @property
    def smoothing(self) -> float:
        """lambda_env = 1 / (4 kappa), which minimizes Corollary 5.3's bound at a given gap."""
        return 1.0 / (4.0 * self.curvature)

    @property
    def theory(self) -> dict:
        return {
            "smoothing": self.smoothing,
            "curvature": self.curvature,
            "second_moment": self.second_moment,
            "sharp": self.sharp,
        }

    def squared_gradient(self, theta) -> float:
        """||grad F_env(theta)||^2, exactly."""
        found = solve_prox(
            self.problem, theta, RHO, self.smoothing, theta_radius=self.theta_radius, curvature=self.curvature
        )
        return float(found.gradient @ found.gradient)

    def step_size(self, steps: int) -> float:
        """Corollary 5.3's for a horizon of `steps`."""
        return rates.corollary_step_size(self.gap, steps, **self.theory)


def measure(settings: list[Setting], steps: int, seeds: np.ndarray) -> np.ndarray:
    """Algorithm 1 with Corollary 5.3's step size, for settings that share problem, radius and start.

    Per setting and seed (settings, runs) the mean of ||grad F_env||^2 over `DRAWS` outputs of the run. All runs step
    together, which takes half the time.
    """
    seeds = np.asarray(seeds)
    shared = settings[0]
    done = rscgd(
        shared.problem,
        RHO,
        theta_radius=shared.theta_radius,
        step_size=np.repeat([setting.step_size(steps) for setting in settings], seeds.shape[1]),
        steps=steps,
        batch=BATCH,
        seeds=seeds.ravel(),
        start=shared.start,
        draws=DRAWS,
    )
    outputs = done.outputs.reshape(*seeds.shape, DRAWS, -1)
    return np.array(
        [
            [np.mean([setting.squared_gradient(theta) for theta in run]) for run in runs]
            for setting, runs in zip(settings, outputs, strict=True)
        ]
    )


def seeds_of(name: str, kind: str, steps: int, horizons=HORIZONS) -> np.ndarray:
    """The seeds (RUNS,) of one of PROBLEMS, one of KINDS and a horizon: whole numbers from 0, each used once."""
    place = (list(PROBLEMS).index(name), KINDS.index(kind), list(horizons).index(steps))
    first = RUNS * np.ravel_multi_index(place, (len(PROBLEMS), len(KINDS), len(horizons)))
    return first + np.arange(RUNS)


def make_setting(name: str, kind: str) -> Setting:
    """A setting of the study: one of PROBLEMS under one of KINDS of constants."""
    one_of("name", name, PROBLEMS)
    one_of("kind", kind, KINDS)
    problem, (theta_radius, distance) = study_problem(), PROBLEMS[name]
    constants = problem.constants(theta_radius, RHO, kind)
    best, (sail_noise, penalty_noise) = facts(name)
    away = problem.theta_ref - best
    start = problem.theta_ref + distance * away / np.linalg.norm(away)
    smoothing = 1.0 / (4.0 * constants.curvature)
    second_moment = constants.total_second_moment
    if kind == "refined":
        second_moment = partial(rates.sharp_second_moment, constants)
    envelope = solve_prox(
        problem, start, RHO, smoothing, theta_radius=theta_radius, curvature=constants.curvature
    ).value
    return Setting(
        problem,
        theta_radius,
        constants.curvature,
        float(second_moment(sail_noise, penalty_noise, BATCH)),
        kind == "refined",
        start,
        envelope - problem.robust_loss(best, RHO),
    )


def run_study(folder: Path) -> None:
    """Make every result file that `folder` does not hold yet."""
    for name in PROBLEMS:
        if not all((folder / f"{name}_{kind}.json").exists() for kind in KINDS):
            run_problem(folder, name)


def run_problem(folder: Path, name: str, horizons=HORIZONS) -> None:
    """Measure one problem at every horizon under all sets of constants; write one result file per set.

    `wall_time` in each is that of all of them, because their runs step together.
    """
    started = time.perf_counter()
    settings = [make_setting(name, kind) for kind in KINDS]
    histories = [[] for _ in KINDS]
    for steps in horizons:
        seeds = np.array([seeds_of(name, kind, steps, horizons) for kind in KINDS])
        measured = measure(settings, steps, seeds)
        for setting, history, own, values in zip(settings, histories, seeds, measured, strict=True):
            history.append(
                {
                    "steps": steps,
                    "step_size": setting.step_size(steps),
                    "bound": rates.corollary_bound(setting.gap, steps, **setting.theory),
                    "seeds": own,
                    "values": values,
                }
            )
    for kind, setting, history in zip(KINDS, settings, histories, strict=True):
        config = {
            "problem": name, "constants": kind, "beta": BETA, "rho": RHO, "batch": BATCH,
            "theta_radius": setting.theta_radius,
            "runs": RUNS, "draws": DRAWS, "horizons": list(horizons), "start": setting.start,
        }  # fmt: skip
        write_result(
            folder / f"{name}_{kind}.json",
            study=NAME,
            config=config,
            metrics=setting.theory
            | {"gap": setting.gap, "start_value": setting.squared_gradient(setting.start)},
            history=history,
            seeds=[seed for row in history for seed in row["seeds"]],
            wall_time=time.perf_counter() - started,
        )


@dataclass(frozen=True)
class Rate:
    """Measured against guaranteed, for one setting and set of constants."""

    steps: np.ndarray  # (h,)
    bound: np.ndarray  # (h,)
    values: np.ndarray  # (h, runs), mean of ||grad F_env||^2 over the outputs of a run
    start_value: float  # ||grad F_env(theta_0)||^2

    @property
    def mean(self) -> np.ndarray:
        return self.values.mean(axis=1)

    @property
    def half_width(self) -> np.ndarray:
        """Half of the 95 % t interval of the mean over runs, (h,)."""
        runs = self.values.shape[1]
        return stats.t.ppf(0.975, runs - 1) * self.values.std(axis=1, ddof=1) / np.sqrt(runs)

    def exponent(self, first: int = 0) -> tuple[float, float, float]:
        """Slope of log mean over log T from horizon `first` on, by least squares, with a 95 % bootstrap interval.

        The interval says how well the slope is known from these runs, not whether a power law fits.
        """
        log_steps = np.log(self.steps[first:])
        picks = np.random.default_rng(0).integers(
            self.values.shape[1], size=(2000, len(log_steps), self.values.shape[1])
        )
        resampled = np.take_along_axis(self.values[None, first:], picks, axis=2).mean(axis=2)
        slope = float(np.polyfit(log_steps, np.log(self.mean[first:]), 1)[0])
        slopes = np.polyfit(log_steps, np.log(resampled).T, 1)[0]
        return slope, *(float(q) for q in np.quantile(slopes, (0.025, 0.975)))


def load_rates(folder: str | Path = RESULTS) -> dict[tuple[str, str], Rate]:
    """Every (problem, kind) of the study, from its result files; `ResultError` if one is missing or cut short."""
    found = {}
    for name in PROBLEMS:
        for kind in KINDS:
            result = read_result(Path(folder) / f"{name}_{kind}.json")
            rows = result["history"]
            if [row["steps"] for row in rows] != list(HORIZONS):
                raise ResultError(f"{name}_{kind}.json must hold the horizons {HORIZONS}")
            columns = {key: np.array([row[key] for row in rows]) for key in ("steps", "bound", "values")}
            found[name, kind] = Rate(**columns, start_value=result["metrics"]["start_value"])
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Run Algorithm 1 for notebook 04.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result files")
    run_study(parser.parse_args(arguments).output)


if __name__ == "__main__":
    main()
