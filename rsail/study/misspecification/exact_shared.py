"""Why a language model gains less from rho: one parameter for the spurious attribute on all prompts (Q4).

The problems of the central figure, but the policy's margins are s(x, y) = c_x r*(x, y) + w a(y): every prompt with a
preference has a weight c_x of its own for what is truly wanted, and one weight w moves the attribute on all prompts, as
a network does that has learned to write longer. The bias pushes w on every prompt. The kinks at h = 0 that hold it
at zero are those of prompts without a preference: where there is one, the sign of h follows r*, and the penalty says
nothing about the attribute.

    python -m rsail.study.misspecification.exact_shared [--jobs N]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from rsail.study.every_method.problem import BETA, PROMPTS
from rsail.study.misspecification.exact_central import Path as Sweep
from rsail.study.misspecification.exact_setting import (
    BETAS,
    MEASURES,
    RHOS,
    SEEDS,
    Bench,
    make_bench,
    measure,
)
from rsail.study.misspecification.exact_solver import (
    WIDTHS,
    Prompts,
    loss_and_slopes,
    make_prompts,
    margin_gradient,
)
from rsail.study.paths import RESULTS_DIR
from rsail.study.sweeps import Cell, Outcome, read_sweep, sweep_command

STUDY = "misspecification_shared"
RESULTS = RESULTS_DIR / STUDY
GRADIENT = 1e-8  # length of the smoothed gradient at which a descent ends


def features(rewards: np.ndarray, attribute: np.ndarray) -> np.ndarray:
    """Features (X, Y, C + 1) of one problem: r* of each of the C prompts with a preference, and the attribute."""
    closed = np.flatnonzero(np.ptp(rewards, axis=1) > 0)
    table = np.zeros((*rewards.shape, len(closed) + 1))
    for column, prompt in enumerate(closed):
        table[prompt, :, column] = rewards[prompt]
    table[..., -1] = attribute
    return table


def descend(prompts: Prompts, table: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of least robust loss, score term included, from `weights`, and the length of the last gradient.

    Kinks are hyperbolas whose width is lowered step by step, as in `exact_solver.solve`.
    """
    for width in WIDTHS[:-1]:

        def objective(point, width=width):
            loss, pieces = loss_and_slopes(prompts, table @ point, width)
            gradient = margin_gradient(prompts, loss, pieces)
            return loss.mean(), np.einsum("xy,xyk->k", gradient, table) / len(loss)

        found = minimize(
            objective, weights, jac=True, method="BFGS", options={"gtol": GRADIENT, "maxiter": 300}
        )
        weights = found.x
    return weights, float(np.linalg.norm(found.jac))


def learn(bench: Bench, *, beta: float, rho: float) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Measures, weights w / beta of the attribute and last gradients, (problems,) each, from the reference."""
    log_ratio, shared, lengths = [], [], []
    for problem in range(bench.problems):
        rows = slice(problem * PROMPTS, (problem + 1) * PROMPTS)
        prompts = make_prompts(bench.ref_log_probs[rows], bench.biased[rows], beta=beta, rho=rho)
        table = features(bench.rewards[rows], bench.attribute[rows])
        weights, length = descend(prompts, table, np.zeros(table.shape[-1]))
        log_ratio.append(prompts.log_probs(table @ weights) - prompts.ref_log_probs)
        shared.append(weights[-1] / beta)
        lengths.append(length)
    return measure(bench, np.concatenate(log_ratio)), np.array(shared), np.array(lengths)


def plan() -> list[Cell]:
    """One cell per setting of the two sweeps of the central figure."""
    seeds = {"first problem": SEEDS[0], "last problem": SEEDS[-1]}
    settings = {f"rho{rho:.3f}": (BETA, rho) for rho in RHOS}
    settings |= {f"beta{beta:.3f}": (beta, 0.0) for beta in BETAS}
    common = {"seeds": list(SEEDS)}
    return [Cell(name, {"beta": beta, "rho": rho} | common, seeds) for name, (beta, rho) in settings.items()]


def run_cell(cell: Cell) -> Outcome:
    """All problems at one setting: measures per problem as metrics."""
    found, shared, lengths = learn(
        make_bench(cell.config["seeds"]), beta=cell.config["beta"], rho=cell.config["rho"]
    )
    return found | {"shared_weight": shared, "gradient": lengths}, []


def load(folder: str | Path = RESULTS) -> dict[str, Sweep]:
    """The two sweeps, "rho" and "beta", from the result files alone."""
    cells = plan()
    results = read_sweep(STUDY, cells, folder)
    paths = {}
    for knob in ("rho", "beta"):
        chosen = [cell for cell in cells if cell.name.startswith(knob)]
        rows = [results[cell.name]["metrics"] for cell in chosen]
        paths[knob] = Sweep(
            np.array([cell.config["beta"] for cell in chosen]),
            np.array([cell.config["rho"] for cell in chosen]),
            {name: np.array([row[name] for row in rows]) for name in MEASURES},
            np.empty(0),
            np.empty(0),
            np.array([row["gradient"] for row in rows]),
        )
    return paths


def main(arguments: list[str] | None = None) -> int:
    return sweep_command(
        arguments,
        prog="rsail.study.misspecification.exact_shared",
        description=__doc__,
        study=STUDY,
        cells=plan(),
        run=run_cell,
        folder=RESULTS,
    )


if __name__ == "__main__":
    sys.exit(main())
