"""Does the test suite notice what it must? One command: ``python tests/mutants.py [--only NAME]``.

Each mutant is one small wrong change: a flipped sign, a dropped score term, a tie broken to one side, a changed
digit in a committed output. It is applied to a copy of the project in a temporary folder, and the part of
`make test` that should notice it runs there. A mutant that nothing notices has survived, and the command fails; so
it does when the unmutated part fails, or when a mutant's old text is not found exactly once (a refactoring must not
disable a mutant silently). pytest does not collect this file.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import nbformat
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = 2
TIMEOUT = 600
REPRODUCE = "00_reproduce"
DIGESTS = "tests/test_notebooks.py::test_the_digests_in_notebook_00_are_those_of_the_committed_figures"

NOTEBOOKS = sorted(f"notebooks/{p.name}" for p in ROOT.glob("notebooks/*.ipynb") if p.stem != REPRODUCE)
EXACT = ("tests/exact",)
OBJECTIVES = ("tests/objectives",)
ENVELOPE = ("tests/exact/test_subdifferential.py", "tests/exact/test_moreau.py")
ALGORITHM = ("tests/exact/test_rscgd.py",)
RATES = ("tests/exact/test_rates.py",)


@dataclass(frozen=True)
class Mutant:
    """Replace `old` by `new` in `file`; one of `targets` (tests or notebooks, run in this order) must then fail.

    With `figures`, the notebooks among the targets are run for what they draw: exactly the files of these figures
    must change, and the target behind the notebooks must fail.
    """

    name: str
    file: str
    old: str
    new: str
    targets: tuple[str, ...]
    figures: tuple[str, ...] = ()


SOURCE_MUTANTS = [
    Mutant(
        "exact penalty: sign",
        "rsail/exact/losses.py",
        "return float(np.sum(law * (losses + excess)))",
        "return float(np.sum(law * (losses - excess)))",
        EXACT,
    ),
    Mutant(
        "exact gradient: sign of the penalty's path part",
        "rsail/exact/losses.py",
        "expit(beta * scores) - preferences + np.sign(scores) * radius",
        "expit(beta * scores) - preferences - np.sign(scores) * radius",
        EXACT,
    ),
    Mutant(
        "exact gradient: sign of the penalty in the score part",
        "rsail/exact/losses.py",
        "losses = losses + beta * np.abs(scores) * radius",
        "losses = losses - beta * np.abs(scores) * radius",
        EXACT,
    ),
    Mutant(
        "exact gradient: no score term",
        "rsail/exact/losses.py",
        "law * (slopes + score_weight * losses)",
        "law * (slopes + 0.0 * losses)",
        EXACT,
    ),
    Mutant(
        "exact selector: ties go to one side",
        "rsail/exact/losses.py",
        "return preferences - np.sign(scores) * effective",
        "return preferences - np.where(scores >= 0, 1, -1) * effective",
        EXACT,
    ),
    Mutant(
        "objective penalty: sign",
        "rsail/objectives/losses.py",
        "return loss + radius * beta * pair_score.abs()",
        "return loss - radius * beta * pair_score.abs()",
        OBJECTIVES,
    ),
    Mutant(
        "objective: no score term",
        "rsail/objectives/estimators.py",
        "return pair_loss + weight * score",
        "return pair_loss + 0.0 * score",
        OBJECTIVES,
    ),
    Mutant(
        "objective dpo_pro: chi-square with a factor 1/2",
        "rsail/objectives/losses.py",
        "reach = (radius * preference * (1 - preference)).sqrt()",
        "reach = (2 * radius * preference * (1 - preference)).sqrt()",
        OBJECTIVES,
    ),
    Mutant(
        "objective list loss: the worst ranking is the best one",
        "rsail/objectives/listwise.py",
        "argsort(stable=True, dim=-1)",
        "argsort(stable=True, dim=-1, descending=True)",
        OBJECTIVES,
    ),
    Mutant(
        "objective dr_dpo: fears large losses",
        "rsail/objectives/reweighting.py",
        '* (-1 if name == "dr_dpo" else 1)',
        "* 1",
        OBJECTIVES,
    ),
    Mutant(
        "objective chi2_ball: too few losses cut",
        "rsail/objectives/reweighting.py",
        "(second <= (1 + 2 * radius) * first**2)",
        "(second <= (1 + radius) * first**2)",
        OBJECTIVES,
    ),
    Mutant(
        "objective hypo: baseline over all samples",
        "rsail/objectives/terms.py",
        "/ max(count - 1, 1)",
        "/ count",
        OBJECTIVES,
    ),
    Mutant(
        "objective vpo: optimism is pessimism",
        "rsail/objectives/terms.py",
        "return sign * weight * beta",
        "return -sign * weight * beta",
        OBJECTIVES,
    ),
    Mutant(
        "objective sail: sign of the preference part",
        "rsail/objectives/sail.py",
        "- weight / 2 * correction",
        "+ weight / 2 * correction",
        OBJECTIVES,
    ),
    Mutant(
        "training loop: no score term",
        "rsail/training/loop.py",
        "    if config.score_weight == 0:",
        "    if config.score_weight >= 0:",
        ("tests/training/test_gradient.py", "tests/training/test_options.py"),
    ),
    Mutant(
        "training loop: no penalty",
        "rsail/training/config.py",
        '{"rho": self.rho, "drawn"',
        '{"rho": 0 * self.rho, "drawn"',
        ("tests/training/test_gradient.py", "tests/training/test_options.py"),
    ),
    Mutant(
        "oracle selector: ties go to one side",
        "rsail/oracles/perturbations.py",
        "(upper - np.swapaxes(upper, -1, -2))",
        "np.where(scores >= 0, 1, -1)",
        ("tests/oracles",),
    ),
    Mutant(
        "oracle selector: sign",
        "rsail/oracles/perturbations.py",
        'preferences - _fraction("radius", radius)',
        'preferences + _fraction("radius", radius)',
        ("tests/oracles",),
    ),
    Mutant(
        "prox: ball ignored",
        "rsail/exact/moreau.py",
        "if np.linalg.norm(inside) <= radius:",
        "if True:",
        ENVELOPE,
    ),
    Mutant(
        "prox: sign of the pull",
        "rsail/exact/moreau.py",
        "linear = parts.gradient + (point - theta) / smoothing",
        "linear = parts.gradient - (point - theta) / smoothing",
        ENVELOPE,
    ),
    Mutant(
        "prox: error bound halved",
        "rsail/exact/moreau.py",
        "return self.residual * self.smoothing / (1.0 - self.curvature * self.smoothing)",
        "return 0.5 * self.residual * self.smoothing / (1.0 - self.curvature * self.smoothing)",
        ENVELOPE,
    ),
    Mutant(
        "prox: weak convexity left out of the error bound",
        "rsail/exact/moreau.py",
        "/ (1.0 - self.curvature * self.smoothing)",
        "/ (1.0 + self.curvature * self.smoothing)",
        ENVELOPE,
    ),
    Mutant(
        "envelope gradient: sign",
        "rsail/exact/moreau.py",
        "return (self.center - self.point) / self.smoothing",
        "return (self.point - self.center) / self.smoothing",
        ENVELOPE,
    ),
    Mutant(
        "envelope: half of the quadratic",
        "rsail/exact/moreau.py",
        "float(move @ move) / (2.0 * smoothing)",
        "float(move @ move) / (4.0 * smoothing)",
        ENVELOPE,
    ),
    Mutant(
        "eq. 52: residual left out of the bound",
        "rsail/exact/moreau.py",
        "return float(np.linalg.norm(self.gradient)) + self.residual",
        "return float(np.linalg.norm(self.gradient))",
        ENVELOPE,
    ),
    Mutant(
        "eq. 52: distance left out",
        "rsail/exact/moreau.py",
        "right += np.linalg.norm(found.point - exact.point) / found.smoothing",
        "right += 0.0",
        ENVELOPE,
    ),
    Mutant(
        "eq. 52: residual left out",
        "rsail/exact/moreau.py",
        "right = np.linalg.norm(exact.gradient) + found.residual",
        "right = np.linalg.norm(exact.gradient)",
        ENVELOPE,
    ),
    Mutant(
        "subgradients: no normals of the ball",
        "rsail/exact/subdifferential.py",
        "if distance >= radius * (1 - TIE):",
        "if False:",
        ENVELOPE,
    ),
    Mutant(
        "subgradients: normal of the ball points inwards",
        "rsail/exact/subdifferential.py",
        "np.vstack([normals, offset / distance])",
        "np.vstack([normals, -offset / distance])",
        ENVELOPE,
    ),
    Mutant(
        "subgradients: kinks of tied pairs left out",
        "rsail/exact/subdifferential.py",
        "tied = np.abs(parts.scores) <= TIE * radius * parts.reach",
        "tied = np.abs(parts.scores) < 0",
        ENVELOPE,
    ),
    Mutant(
        "subgradients: kink halved",
        "rsail/exact/subdifferential.py",
        "upper = problem.beta * np.minimum(rho, preferences)",
        "upper = 0.5 * problem.beta * np.minimum(rho, preferences)",
        ENVELOPE,
    ),
    Mutant(
        "subgradients: kink's other side",
        "rsail/exact/subdifferential.py",
        "lower = -problem.beta * np.minimum",
        "lower = 0.0 * np.minimum",
        ENVELOPE,
    ),
    Mutant(
        "subgradients: covariance of the score left out",
        "rsail/exact/subdifferential.py",
        "- 2.0 * np.einsum",
        "- 1.0 * np.einsum",
        ENVELOPE,
    ),
    Mutant(
        "box least squares: one step only",
        "rsail/exact/subdifferential.py",
        "if not gain.size or gain.max() <= tolerance:",
        "if True:",
        ENVELOPE,
    ),
    Mutant(
        "rates: L_env halved",
        "rsail/exact/rates.py",
        "else 1.0 / (smoothing * _room(smoothing, curvature))",
        "else 0.5 / (smoothing * _room(smoothing, curvature))",
        RATES,
    ),
    Mutant(
        "rates: sharp L halved",
        "rsail/exact/rates.py",
        "return 1.0 / smoothing if sharp",
        "return 0.5 / smoothing if sharp",
        RATES,
    ),
    Mutant(
        "rates: Lipschitz constant of the gradient",
        "rsail/exact/rates.py",
        "return max(1.0 / smoothing, curvature / _room(smoothing, curvature))",
        "return 1.0 / smoothing",
        RATES,
    ),
    Mutant(
        "rates: first term of eq. 24 halved",
        "rsail/exact/rates.py",
        "return gap / (step_size * room * steps)",
        "return gap / (2.0 * step_size * room * steps)",
        RATES,
    ),
    Mutant(
        "rates: second term of eq. 24 halved",
        "rsail/exact/rates.py",
        "second_moment / (2.0 * room)",
        "second_moment / (4.0 * room)",
        RATES,
    ),
    Mutant(
        "rates: step size of Corollary 5.3",
        "rsail/exact/rates.py",
        "np.sqrt(2.0 * gap / (length * second_moment * steps))",
        "np.sqrt(1.0 * gap / (length * second_moment * steps))",
        RATES,
    ),
    Mutant(
        "rates: display of C.3 in Corollary 5.3",
        "rsail/exact/rates.py",
        "return float(np.sqrt(2.0 * length",
        "return float(2.0 * np.sqrt(2.0 * length",
        RATES,
    ),
    Mutant(
        "rates: iteration count",
        "rsail/exact/rates.py",
        'checks.positive("accuracy", accuracy)) ** 2',
        'checks.positive("accuracy", accuracy)) ** 1',
        RATES,
    ),
    Mutant(
        "rates: noise of the penalty left out",
        "rsail/exact/rates.py",
        "noise = sail_noise + constants.lam * checks",
        "noise = sail_noise + 0.0 * checks",
        RATES,
    ),
    Mutant(
        "rates: room",
        "rsail/exact/rates.py",
        "return 1.0 - curvature * smoothing",
        "return 1.0 + curvature * smoothing",
        RATES,
    ),
    Mutant(
        "R-SCGD: projection dropped",
        "rsail/exact/rscgd.py",
        "theta = project(moved, problem.theta_ref, theta_radius)",
        "theta = moved",
        ALGORITHM,
    ),
    Mutant(
        "R-SCGD: sign of the penalty",
        "rsail/exact/rscgd.py",
        "moved = theta - step_size * (sail + rho * problem.beta * penalty)",
        "moved = theta - step_size * (sail - rho * problem.beta * penalty)",
        ALGORITHM,
    ),
    Mutant(
        "R-SCGD: score term dropped",
        "rsail/exact/rscgd.py",
        "path.sum(axis=-1) - path.sum(axis=-2) + score",
        "path.sum(axis=-1) - path.sum(axis=-2) + 0.0 * score",
        ALGORITHM,
    ),
    Mutant(
        "R-SCGD: score term of the enumeration dropped",
        "rsail/exact/rscgd.py",
        "(at.losses - loss_baseline)[..., None] * score",
        "0.0 * (at.losses - loss_baseline)[..., None] * score",
        ALGORITHM,
    ),
    Mutant(
        "R-SCGD: penalty's score term halved",
        "rsail/exact/rscgd.py",
        "(np.abs(at.scores) - penalty_baseline)[..., None] * score",
        "0.5 * (np.abs(at.scores) - penalty_baseline)[..., None] * score",
        ALGORITHM,
    ),
    Mutant(
        "R-SCGD: output not uniform",
        "rsail/exact/rscgd.py",
        "chosen = rng.integers(steps, size=(runs, draws))",
        "chosen = rng.integers(steps // 2, steps, size=(runs, draws))",
        ALGORITHM,
    ),
    Mutant(
        "R-SCGD: variance of a batch",
        "rsail/exact/rscgd.py",
        "+ self.total_variance / batch",
        "+ self.total_variance",
        ALGORITHM,
    ),
    Mutant(
        "inexact prox: sign of the pull",
        "rsail/exact/rscgd.py",
        "moved = point - step_size * (pull + (point - theta) / smoothing)",
        "moved = point - step_size * (pull - (point - theta) / smoothing)",
        ALGORITHM,
    ),
    Mutant(
        "inexact prox: iterates not moved onto kinks",
        "rsail/exact/rscgd.py",
        "distance=step_size * largest_pull(problem, point, rho)",
        "distance=0.0 * largest_pull(problem, point, rho)",
        ALGORITHM,
    ),
    Mutant(
        "convergence runs: lambda_env",
        "rsail/study/convergence.py",
        "return 1.0 / (4.0 * self.curvature)",
        "return 1.0 / (3.0 * self.curvature)",
        ("tests/study/test_convergence.py",),
    ),
    Mutant(
        "convergence runs: gap",
        "rsail/study/convergence.py",
        "envelope - problem.robust_loss(best, RHO),",
        "2.0 * (envelope - problem.robust_loss(best, RHO)),",
        ("tests/study/test_convergence.py",),
    ),
    Mutant(
        "plotted constant: range of one figure",
        "notebooks/01_decomposition.ipynb",
        "np.linspace(-1.5, 3.0, 271)",
        "np.linspace(-1.5, 2.9, 271)",
        (*NOTEBOOKS, DIGESTS),
        figures=("one_pair_loss",),
    ),
    Mutant(
        "plotted constant: colors of one module",
        "rsail/study/figures/theory.py",
        "np.linspace(0.0, 0.82, count)",
        "np.linspace(0.0, 0.80, count)",
        ("notebooks/01_decomposition.ipynb", DIGESTS),
        figures=("example_landscape", "one_pair_loss", "soft_threshold"),
    ),
    Mutant(
        "rankings: the worst one is descending",
        "rsail/exact/listwise.py",
        'return np.argsort(scores, axis=-1, kind="stable")',
        'return np.argsort(-scores, axis=-1, kind="stable")',
        ("tests/exact/test_listwise.py",),
    ),
    Mutant(
        "rankings: gradient without its own place",
        "rsail/exact/listwise.py",
        "np.put_along_axis(result, ranking, shares - 1.0, axis=-1)",
        "np.put_along_axis(result, ranking, shares + 1.0, axis=-1)",
        ("tests/exact/test_listwise.py",),
    ),
    Mutant(
        "rankings: mass is taken from the largest losses",
        "rsail/exact/listwise.py",
        'order = np.argsort(losses, kind="stable")',
        'order = np.argsort(-losses, kind="stable")',
        ("tests/exact/test_listwise.py",),
    ),
    Mutant(
        "estimators: wrong share of a zeta",
        "rsail/exact/estimators.py",
        "comb(count - degree, degree - c)",
        "comb(count - degree, c)",
        ("tests/exact/test_estimators.py",),
    ),
    Mutant(
        "estimators: half the per-response baseline",
        "rsail/exact/estimators.py",
        "- 2.0 * crossed",
        "- 1.0 * crossed",
        ("tests/exact/test_estimators.py",),
    ),
    Mutant(
        "estimators: prompts do not share their baselines",
        "rsail/exact/estimators.py",
        "(loss_variance * fisher + np.outer(shared, shared))",
        "(loss_variance * fisher - np.outer(shared, shared))",
        ("tests/exact/test_estimators.py",),
    ),
    Mutant(
        "estimators: factor of the leave-one-out mean",
        "rsail/exact/estimators.py",
        '"leave_one_out": (count - 1) / (count + 1)',
        '"leave_one_out": (count - 1) / count',
        ("tests/exact/test_estimators.py",),
    ),
    Mutant(
        "estimators: score part of the label noise",
        "rsail/exact/estimators.py",
        "(difference + score[..., None] * both)",
        "(difference - score[..., None] * both)",
        ("tests/exact/test_estimators.py",),
    ),
    Mutant(
        "estimators: best number of responses",
        "rsail/exact/estimators.py",
        "np.sqrt(2.0 * max(second - 2.0 * first, 0.0) / spread)",
        "np.sqrt(max(second - 2.0 * first, 0.0) / spread)",
        ("tests/exact/test_estimators.py",),
    ),
    Mutant(
        "descent: sign of a tie's columns",
        "rsail/exact/descent.py",
        "-weights[:, None] * moves[prompt, pair]",
        "weights[:, None] * moves[prompt, pair]",
        ("tests/exact/test_descent.py",),
    ),
    Mutant(
        "descent: a tie's answer beyond its interval",
        "rsail/exact/descent.py",
        "np.maximum(-rho, -chance)",
        "np.maximum(-2 * rho, -chance)",
        ("tests/exact/test_descent.py",),
    ),
    Mutant(
        "landscape: a returning response is judged from the wrong side",
        "rsail/exact/landscape.py",
        "(1.0 - beaten + effective_radius(beaten, 1.0, rho))",
        "(beaten + effective_radius(beaten, 1.0, rho))",
        ("tests/exact/test_landscape.py",),
    ),
    Mutant(
        "landscape: share of identical pairs",
        "rsail/exact/landscape.py",
        "(probs**2).sum(axis=-1)",
        "(probs**3).sum(axis=-1)",
        ("tests/exact/test_landscape.py",),
    ),
    Mutant(
        "family: rDPO moves as cDPO does",
        "rsail/exact/family.py",
        "softplus(-t) - flip / (1 - 2 * flip) * t",
        "softplus(-t) + flip / (1 - 2 * flip) * t",
        ("tests/exact/test_family.py",),
    ),
    Mutant(
        "family: cDPO's fit does not shrink",
        "rsail/exact/family.py",
        "half + (1 - 2 * flip) * (p - half)",
        "half + (1 - flip) * (p - half)",
        ("tests/exact/test_family.py",),
    ),
    Mutant(
        "measured critical radius: another start",
        "rsail/study/critical_radii.py",
        "FLAT = np.array([0.0, -21.0, 0.0])",
        "FLAT = np.array([0.0, 0.0, 0.0])",
        ("tests/study/test_critical_radii.py",),
    ),
    Mutant(
        "plotted constant: levels of the landscape",
        "rsail/study/figures/landscapes.py",
        "LOSS_LEVELS = (-0.01,",
        "LOSS_LEVELS = (-0.02,",
        ("notebooks/02b_landscapes_and_relatives.ipynb", DIGESTS),
        figures=("collapse_plane",),
    ),
]

# Each constant halved, each sign flipped, in the modules of weak convexity.
_CONSTANTS = [
    ("c* halved", "C_STAR = 1.541047961857601", "C_STAR = 0.7705239809288005"),
    ("slope number halved", "SLOPE_STAR = 4.0", "SLOPE_STAR = 2.0"),
    ("score number halved", "SCORE_STAR = 32.0", "SCORE_STAR = 16.0"),
    ("cross number: sign", "np.sqrt(1.0 + C_STAR**2", "np.sqrt(1.0 - C_STAR**2"),
    ("cross number: part halved", "C_STAR**2 / 4.0", "C_STAR**2 / 8.0"),
    ("G_tot^2 halved", "return 4.0 * (self.sail_slope**2", "return 2.0 * (self.sail_slope**2"),
    ("G_tot^2: sign of the penalty", "self.sail_slope**2 + self.lam**2", "self.sail_slope**2 - self.lam**2"),
    ("G_tot^2: sign of the noise", "self.penalty_slope**2 + noise", "self.penalty_slope**2 - noise"),
    ("G_tot^2: sign of the penalty's noise", "(sail_noise**2 + ", "(sail_noise**2 - "),
    ("paper kappa_R: first term halved", "16.0 * B**2 + 4.0", "8.0 * B**2 + 4.0"),
    ("paper kappa_R: second term halved", "16.0 * B**2 + 4.0", "16.0 * B**2 + 2.0"),
    ("paper kappa_R: sign", "16.0 * B**2 + 4.0", "16.0 * B**2 - 4.0"),
    ("paper G_dR: first term halved", "2.0 * B + 8.0", "1.0 * B + 8.0"),
    ("paper G_dR: second term halved", "2.0 * B + 8.0", "2.0 * B + 4.0"),
    ("paper G_dR: sign", "2.0 * B + 8.0", "2.0 * B - 8.0"),
    ("paper G_gradSAIL: first term halved", "2.0 * beta * B + 4.0", "1.0 * beta * B + 4.0"),
    ("paper G_gradSAIL: second term halved", "2.0 * beta * B + 4.0", "2.0 * beta * B + 2.0"),
    ("paper G_gradSAIL: sign", "2.0 * beta * B + 4.0", "2.0 * beta * B - 4.0"),
    ("paper G_gradSAIL: margin halved", "(np.log(2.0) + 2.0 * beta", "(np.log(2.0) + 1.0 * beta"),
    ("paper G_gradSAIL: sign of the margin", "(np.log(2.0) + 2.0", "(np.log(2.0) - 2.0"),
    ("sharp G_dR: second term halved", "B + np.sqrt(2.0)", "B + np.sqrt(0.5)"),
    ("sharp G_dR: sign", "B + np.sqrt(2.0)", "B - np.sqrt(2.0)"),
    ("sharp G_gradSAIL: second term halved", "sail_slope=beta * B + 2.0", "sail_slope=beta * B + 1.0"),
    ("sharp G_gradSAIL: sign", "sail_slope=beta * B + 2.0", "sail_slope=beta * B - 2.0"),
    ("sharp L_SAIL: first term halved", "B**2 / 2.0 + C_STAR * beta", "B**2 / 4.0 + C_STAR * beta"),
    ("sharp L_SAIL: sign of the second term", "B**2 / 2.0 + C_STAR * beta", "B**2 / 2.0 - C_STAR * beta"),
    ("sharp L_SAIL: third term halved", "6.0 * beta", "3.0 * beta"),
    ("sharp L_SAIL: sign of the third term", " + 6.0 * beta", " - 6.0 * beta"),
    ("refined margin halved", "largest_margin = 2.0", "largest_margin = 1.0"),
    ("refined kappa: first term halved", "curvature = C_STAR * belief", "curvature = 0.5 * C_STAR * belief"),
    (
        "refined kappa: second term halved",
        "beta * B**2 + 2.0 * beta * D * B**3",
        "beta * B**2 + beta * D * B**3",
    ),
    ("refined kappa: sign", "beta * B**2 + 2.0 * beta * D * B**3", "beta * B**2 - 2.0 * beta * D * B**3"),
    ("refined slope: first term halved", "slope = belief * beta", "slope = 0.5 * belief * beta"),
    ("refined slope: second term halved", "+ cross * beta", "+ 0.5 * cross * beta"),
    ("refined slope: sign", "+ cross * beta", "- cross * beta"),
    ("refined G_dR: second term halved", "B + SLOPE_STAR", "B + 0.5 * SLOPE_STAR"),
    ("refined G_dR: sign", "B + SLOPE_STAR", "B - SLOPE_STAR"),
    ("refined L_SAIL: first term halved", "B**2 / 2.0 + curvature", "B**2 / 4.0 + curvature"),
    ("refined L_SAIL: sign", "B**2 / 2.0 + curvature", "B**2 / 2.0 - curvature"),
    ("chord: large margins halved", "- np.log(2.0)) / margin", "- np.log(2.0)) / (2 * margin)"),
    ("chord: small margins halved", "np.expm1(margin) / 2.0", "np.expm1(margin) / 4.0"),
    (
        "Theorem 4.8: sign",
        "sail_smoothness + lam * penalty_curvature",
        "sail_smoothness - lam * penalty_curvature",
    ),
    ("robust slope: sign", "sail_slope + lam * penalty_slope", "sail_slope - lam * penalty_slope"),
]
for _terms, _rest in (("sharp", "        penalty_slope=B + np"), ("refined", "        penalty_slope=B + SL")):
    _old = f"penalty_curvature=C_STAR * B**2 + 2.0 * D * B**3,\n{_rest}"
    _CONSTANTS += [
        (f"{_terms} kappa_R: first term halved", _old, _old.replace("C_STAR", "0.5 * C_STAR")),
        (f"{_terms} kappa_R: second term halved", _old, _old.replace("+ 2.0", "+ 1.0")),
        (f"{_terms} kappa_R: sign", _old, _old.replace("+ 2.0", "- 2.0")),
    ]
_HESSIANS = [
    ("path slope of L_SAIL: sign", "belief - preferences)", "belief + preferences)"),
    ("bend of L_SAIL: missing", "beta**2 * belief * expit", "0 * belief * expit"),
    ("bend of the smoothed penalty halved", "epsilon**2 / values**3", "epsilon**2 / (2 * values**3)"),
    ("move: sign", "centered[..., :, None, :] - centered", "centered[..., :, None, :] + centered"),
    ("score: sign", "centered[..., :, None, :] + centered", "centered[..., :, None, :] - centered"),
    ("score part of the gradient: sign", "gradient += ", "gradient -= "),
    ("bend part: sign", "hessian += np.einsum", "hessian -= np.einsum"),
    ("mixed part: one half missing", "mixed + np.swapaxes(mixed, -1, -2)", "mixed"),
    ("mixed part: sign", "hessian += mixed", "hessian -= mixed"),
    ("gradient of the score halved", "- 2.0 * covariance", "- 1.0 * covariance"),
    ("gradient of the score: sign", "- 2.0 * covariance", "+ 2.0 * covariance"),
]
_EXTREMAL = [
    ("dual: atom halved", "left = 4.0 * max", "left = 2.0 * max"),
    ("dual: beyond the gap halved", "return 8.0 * gap", "return 4.0 * gap"),
    ("dual: sign", "length**2 + 4.0 * length * gap", "length**2 - 4.0 * length * gap"),
    ("dual: square halved", "+ 3.0 * gap**2", "+ 1.5 * gap**2"),
    ("dual: logarithm's sign", "+ 2.0 * gap**2 * np.log", "- 2.0 * gap**2 * np.log"),
    ("primal: atom's sign", "(spread + 4.0", "(spread - 4.0"),
    ("primal: halved", "return 4.0 * (spread", "return 2.0 * (spread"),
    ("stationary gap: sign", "np.log((1.0 - mean) / gap) - inside", "np.log((1.0 - mean) / gap) + inside"),
    ("two points too early", "np.sqrt(5.0) - 1.0) / 2.0", "np.sqrt(5.0) - 1.0) / 2.2"),
]
for _file, _entries, _target in (
    ("constants", _CONSTANTS, ("tests/exact/test_constants.py",)),
    ("hessian", _HESSIANS, ("tests/exact/test_hessian.py",)),
    ("extremal", _EXTREMAL, ("tests/exact/test_extremal.py",)),
):
    SOURCE_MUTANTS += [
        Mutant(f"{_file}: {name}", f"rsail/exact/{_file}.py", old, new, _target)
        for name, old, new in _entries
    ]


def digit_mutant(path: Path, seed: int) -> Mutant:
    """One digit, drawn with `seed`, of a compared text output (of a digest, for notebook 00) is another digit."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    places = list(digit_places(notebook, digests_only=path.stem == REPRODUCE))
    if not places:
        raise SystemExit(f"{path.name} has no output with a digit that a test compares; execute it first")
    rng = np.random.default_rng([seed, *path.stem.encode()])
    holder, key, position = places[rng.integers(len(places))]
    old = holder[key]
    digit = str((int(old[position]) + rng.integers(1, 10)) % 10)
    holder[key] = old[:position] + digit + old[position + 1 :]
    targets = (DIGESTS,) if path.stem == REPRODUCE else (f"notebooks/{path.name}",)
    changed = nbformat.writes(notebook)
    return Mutant(f"digit in {path.stem}", f"notebooks/{path.name}", text, changed, targets)


def digit_places(notebook, *, digests_only: bool):
    """(mapping, key, position) of every digit in the text outputs that nbval, or the digest test, compares."""
    pattern = r"(?<=[0-9a-f]{%d})\d(?=[0-9a-f]{%d})"
    inside = "|".join(pattern % (k, 11 - k) for k in range(12)) if digests_only else r"\d"
    for cell in notebook.cells:
        if cell.cell_type != "code" or {"nbval-skip", "nbval-ignore-output"} & set(
            cell.metadata.get("tags", [])
        ):
            continue
        for output in cell.outputs:
            holder = output if output.output_type == "stream" else output.get("data", {})
            for key in ("text", "text/plain", "text/latex", "text/markdown", "text/html"):
                # A repr such as <Figure size 640x480> is compared, too, but says nothing about a result.
                if isinstance(holder.get(key), str) and not holder[key].startswith("<"):
                    yield from ((holder, key, match.start()) for match in re.finditer(inside, holder[key]))


def select(only: list[str], seed: int) -> list[Mutant]:
    """The mutants of the source and one digit per notebook, those whose name contains an entry of `only`."""

    def wanted(name: str) -> bool:
        return not only or any(part in name for part in only)

    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    digits = [digit_mutant(path, seed) for path in notebooks if wanted(f"digit in {path.stem}")]
    return [mutant for mutant in SOURCE_MUTANTS if wanted(mutant.name)] + digits


class Copy:
    """A copy of the project in which a mutant can live; its own rsail is the one that is imported."""

    def __init__(self, root: Path):
        self.root = root
        self.files = project_files()
        for name in self.files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
        # A byte-code file is trusted if size and second of its source fit: so none may be written. OMP: two copies
        # run at a time.
        self.environment = {
            "OMP_NUM_THREADS": "1",
            **os.environ,
            "PYTHONPATH": str(root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        found = self.python("-c", "import rsail; print(rsail.__file__)").stdout.strip()
        if found != str(root / "rsail" / "__init__.py"):
            raise SystemExit(f"the copy's tests would import rsail from {found}")

    def python(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT
        )

    def passes(self, target: str, *, to_the_end: bool = False) -> bool:
        """Whether pytest, or nbval for a notebook, passes; SystemExit if it could not run the target at all."""
        options = [*([] if to_the_end else ["-x"]), "-q", "-p", "no:cacheprovider", "--strict-markers"]
        if target.endswith(".ipynb"):
            options += ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "120"]
            options += ["--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
        done = self.python("-m", "pytest", *options, target)
        if done.returncode not in (0, 1):
            raise SystemExit(f"pytest could not run {target}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        self.report = done.stdout
        return done.returncode == 0

    def apply(self, mutant: Mutant) -> None:
        (self.root / mutant.file).write_text(mutated(mutant), encoding="utf-8")

    def changed_figures(self) -> set[str]:
        """Names of the figures of which a file differs from the original's."""
        paths = list((ROOT / "figures").glob("*.*")) + list((self.root / "figures").glob("*.*"))
        pairs = {
            path.name: (ROOT / "figures" / path.name, self.root / "figures" / path.name) for path in paths
        }
        return {Path(name).stem for name, (one, other) in pairs.items() if not same(one, other)}

    def restore(self) -> None:
        """Make every file the original again: the mutated one, and what a notebook wrote."""
        for name in self.files:
            if not same(ROOT / name, self.root / name):
                shutil.copyfile(ROOT / name, self.root / name)


def same(one: Path, other: Path) -> bool:
    """Whether both files exist and have the same bytes."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def project_files() -> list[str]:
    """Tracked and new files, as git sees them; outside git, everything but environments and builds."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        names = done.stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        skipped = {".venv", "build", ".git", "__pycache__", ".pytest_cache", ".hypothesis"}
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        names = [str(path) for path in paths if not skipped & set(path.parts)]
    return sorted({name for name in names if (ROOT / name).is_file()})


def mutated(mutant: Mutant) -> str:
    """The file's text with the mutant in it; SystemExit unless the old text is there exactly once."""
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    if (count := text.count(mutant.old)) != 1 or mutant.old == mutant.new:
        raise SystemExit(
            f"mutant {mutant.name!r} is out of date: its old text is {count} times in {mutant.file}, expected once"
        )
    return text.replace(mutant.old, mutant.new)


def survives(copy: Copy, mutant: Mutant) -> bool:
    """Whether all targets pass with the mutant in place."""
    copy.apply(mutant)
    try:
        if mutant.figures:
            *notebooks, check = mutant.targets
            for notebook in notebooks:
                copy.passes(notebook, to_the_end=True)
            return copy.changed_figures() != set(mutant.figures) or copy.passes(check)
        return all(copy.passes(target) for target in mutant.targets)
    finally:
        copy.restore()


def run_all(task, items: list, copies: SimpleQueue) -> list:
    """``task(copy, item)`` for each item, as many at a time as there are copies; prints each as it ends."""

    def one(item):
        copy, start = copies.get(), time.perf_counter()
        try:
            result = task(copy, item)
        finally:
            copies.put(copy)
        name = item.name if isinstance(item, Mutant) else f"unmutated: {item}"
        verdict = {True: "passes", False: "fails"}[result]
        print(f"{verdict:8}{time.perf_counter() - start:7.1f} s  {name}", flush=True)
        return result

    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(one, items))


def main(arguments: list[str] | None = None) -> int:
    """Run the mutants; 1 if one survives or an unmutated target fails."""
    parser = argparse.ArgumentParser(description="Check that the tests notice what they must.")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a mutant's name, or a part of it"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the digits (default 0)")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    options = parser.parse_args(arguments)
    mutants = select(options.only, options.seed)
    if not mutants:
        parser.error(f"no mutant's name contains {' or '.join(options.only)}")
    for mutant in mutants:
        mutated(mutant)
    if options.list:
        print("\n".join(mutant.name for mutant in mutants))
        return 0

    with tempfile.TemporaryDirectory(prefix="rsail-mutants-") as folder:
        copies = SimpleQueue()
        for k in range(PROCESSES):
            copies.put(Copy(Path(folder).resolve() / str(k)))
        targets = sorted({target for mutant in mutants for target in mutant.targets})
        sound = run_all(baseline, targets, copies)
        broken = [target for target, passes in zip(targets, sound, strict=True) if not passes]
        if broken:
            print(f"\nThe unmutated project fails: {', '.join(broken)}")
            return 1
        alive = run_all(survives, mutants, copies)
    print_table(mutants, alive)
    return int(any(alive))


def baseline(copy: Copy, target: str) -> bool:
    """Whether a target passes without any mutant; prints the end of its report if not."""
    try:
        passes = copy.passes(target)
    finally:
        copy.restore()
    if not passes:
        print(copy.report[-3000:])
    return passes


def print_table(mutants: list[Mutant], alive: list[bool]) -> None:
    width = max(len(mutant.name) for mutant in mutants)
    print(f"\n{'mutant':{width}}  {'verdict':8}  file")
    for mutant, survived in zip(mutants, alive, strict=True):
        print(f"{mutant.name:{width}}  {'SURVIVED' if survived else 'noticed':8}  {mutant.file}")
    print(f"\n{len(mutants) - sum(alive)} of {len(mutants)} mutants were noticed.")


if __name__ == "__main__":
    sys.exit(main())
