"""Eq. 10 as a linear program: the supremum over oracles, with nothing of the theorem in it."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from rsail import checks
from rsail.exact.arguments import preference_table
from rsail.exact.losses import pair_law, pair_losses, pair_scores

# HiGHS compares reduced costs with an absolute tolerance (at least 1e-10), and pairs of unlikely responses
# weigh many orders of magnitude less than the heaviest one. Measured with 340 responses: a largest cost of
# 1 leaves an error of 2e-9, 1e6 leaves none (and solves faster).
LARGEST_COST = 1e6


def robust_loss_linear_program(
    log_probs, ref_log_probs, preferences, *, beta, rho, prompt_probs=None, antisymmetric: bool = True
) -> float:
    """sup over oracles P in U^W(P*, rho) of E[P l1 + (1 - P) l0] (eq. 10), found by HiGHS.

    Arguments as in `rsail.exact.losses.robust_loss`. Built from policy and preferences alone, so it
    is a judge of the closed form; `worst_case_linear_program` returns the oracle as well.
    """
    value, _ = worst_case_linear_program(
        log_probs, ref_log_probs, preferences,
        beta=beta, rho=rho, prompt_probs=prompt_probs, antisymmetric=antisymmetric,
    )  # fmt: skip
    return value


def worst_case_linear_program(
    log_probs, ref_log_probs, preferences, *, beta, rho, prompt_probs=None, antisymmetric: bool = True
) -> tuple[float, np.ndarray]:
    """Value and maximizer of eq. 10 by HiGHS: the worst-case oracle has shape (X, Y, Y).

    One variable P[x, i, j] in [P* - rho, P* + rho] and [0, 1] for each ordered pair, and, for
    `antisymmetric` oracles, one equation P[x, i, j] + P[x, j, i] = 1 for each unordered pair.
    """
    rho = checks.nonnegative("rho", rho)
    scores = pair_scores(log_probs, ref_log_probs)
    preferences = preference_table(preferences, scores.shape[:2])
    law = pair_law(log_probs, prompt_probs)
    preferred, rejected = pair_losses(scores, beta)
    cost = (law * (preferred - rejected)).ravel()
    scale = np.abs(cost).max(initial=0.0) or 1.0
    lower, upper = np.maximum(preferences - rho, 0.0), np.minimum(preferences + rho, 1.0)
    equations = _antisymmetry(scores.shape[0], scores.shape[1]) if antisymmetric else None
    result = linprog(
        -cost / scale * LARGEST_COST,
        A_eq=equations,
        b_eq=None if equations is None else np.ones(equations.shape[0]),
        bounds=np.stack([lower.ravel(), upper.ravel()], axis=1),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not result.success:
        raise RuntimeError(f"HiGHS found no optimum of the oracle's linear program: {result.message}")
    oracle = result.x.reshape(scores.shape)
    return float(np.sum(law * (oracle * preferred + (1.0 - oracle) * rejected))), oracle


def _antisymmetry(prompts: int, responses: int) -> csr_array:
    """Rows of P[x, i, j] + P[x, j, i] = 1 for i <= j (2 P[x, i, i] = 1 on the diagonal)."""
    first, second = np.triu_indices(responses)
    offset = responses**2 * np.arange(prompts)[:, None]
    columns = np.stack([offset + first * responses + second, offset + second * responses + first], axis=-1)
    rows = np.arange(columns.shape[0] * columns.shape[1])
    entries = (np.ones(columns.size), (np.repeat(rows, 2), columns.ravel()))
    return csr_array(entries, shape=(len(rows), prompts * responses**2))
