"""Critical radii: from which radius on the robust learner stays at its reference (additions to the paper)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq, linprog
from scipy.sparse import csr_array, hstack, vstack

from rsail import checks
from rsail.exact.arguments import policies, preference_table, prompt_weights
from rsail.exact.losses import pair_law

# HiGHS takes smaller entries of a matrix for zero, and would call a direction that moves such pairs alone unbounded.
SMALLEST_WEIGHT = 1e-9


def critical_radius(preferences, *, prompt_probs=None) -> float:
    """rho_crit = max |P(1|z) - 1/2|: from here on the reference is a global minimizer, for any policy class.

    Every pair's robust loss is then at least log 2, which is the robust loss of the reference.
    With Bradley-Terry preferences it is sigma(max |r - r'|) - 1/2. Prompts of probability 0 do not count.
    """
    preferences = checks.preferences("preferences", preferences)
    checks.require(preferences.ndim == 3, "preferences.shape", preferences.shape, "(X, Y, Y)")
    asked = prompt_weights(prompt_probs, len(preferences)) > 0
    return float(np.abs(preferences[asked] - 0.5).max())


def local_critical_radius(
    features, preferences, ref_log_probs, *, prompt_probs=None, clipped: bool = False
) -> float:
    """rho_loc: for rho > rho_loc the reference is a local minimizer, and learning started there stays.

    To first order in theta - theta_ref = s v the robust loss (eq. 13) changes by
    s beta (rho E|v1 - v2| - E[(P - 1/2)(v1 - v2)]) with v_y = features[x, y] . v and pairs drawn from
    the reference, so rho_loc = max over v of E[(P - 1/2)(v1 - v2)] / E|v1 - v2|: a linear program.
    The minimum is strict along every direction that moves some v1 - v2. The score term plays no
    part: at the reference all pairs have the same loss, log 2.

    Pairs that the reference draws less than 1e-9 times as often as the likeliest count as never drawn. Without them
    rho_loc can be smaller, if the best direction moves no other pair.

    Parameters
    ----------
    features : array (X, Y, d)
        The one-hot features of all (x, y) give the tabular policy.
    preferences : array (X, Y, Y)
    ref_log_probs : array (X, Y)
    clipped : bool
        False: the penalty of eq. 12, right whenever rho_loc < delta. True: the threshold of the clipped
        robust loss, which is larger when some pair that the best direction treats against its
        preference has P < rho, because the adversary cannot push it below 0.
    """
    features, preferences, weights = _pairs(features, preferences, ref_log_probs, prompt_probs)
    if not len(weights):
        return 0.0
    first = _steepest(features, weights, preferences - 0.5, 0.5 - preferences)
    if first is None:
        return 0.0
    radius = float(weights @ ((preferences - 0.5) * first) / (weights @ np.abs(first)))
    return _raise_to_clipped(radius, first, features, weights, preferences) if clipped else radius


def _pairs(features, preferences, ref_log_probs, prompt_probs):
    """Feature differences (n, d), preferences (n,) and weights (n,) of the unordered pairs that move."""
    ref_log_probs, _ = policies(ref_log_probs, ref_log_probs)
    prompts, responses = ref_log_probs.shape
    features = checks.finite("features", features)
    checks.require(
        features.ndim == 3 and features.shape[:2] == (prompts, responses),
        "features.shape", features.shape, f"(X, Y, d) with (X, Y) = {(prompts, responses)}",
    )  # fmt: skip
    preferences = preference_table(preferences, (prompts, responses))
    first, second = np.triu_indices(responses, k=1)
    law = pair_law(ref_log_probs, prompt_weights(prompt_probs, prompts))[:, first, second].ravel()
    moves = (features[:, first] - features[:, second]).reshape(len(law), features.shape[-1])
    moving = np.any(moves != 0, axis=1)
    kept = moving & (law > SMALLEST_WEIGHT * law[moving].max(initial=0.0))
    weights = law[kept] / law[kept].sum() if kept.any() else law[kept]
    return moves[kept], preferences[:, first, second].ravel()[kept], weights


def _steepest(moves, weights, gain_up, gain_down) -> np.ndarray | None:
    """Differences v1 - v2 (n,) that maximize E[gain_up (v1-v2)_+ + gain_down (v1-v2)_-] at E|v1-v2| <= 1.

    None if no direction has a positive value. Variables: v (free), the positive parts, the negative parts.
    """
    pairs, dimension = moves.shape
    scale = weights.max()
    scaled = weights / scale
    eye = csr_array((np.ones(pairs), (np.arange(pairs), np.arange(pairs))), shape=(pairs, pairs))
    split = hstack([csr_array(moves), -eye, eye], format="csr")
    length = csr_array(np.concatenate([np.zeros(dimension), scaled, scaled])[None])
    result = linprog(
        -np.concatenate([np.zeros(dimension), scaled * gain_up, scaled * gain_down]),
        A_ub=vstack([length], format="csr"),
        b_ub=np.ones(1),
        A_eq=split,
        b_eq=np.zeros(pairs),
        bounds=[(None, None)] * dimension + [(0, None)] * (2 * pairs),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not result.success:
        raise RuntimeError(f"HiGHS found no steepest direction: {result.message}")
    return None if -result.fun <= 1e-11 else moves @ result.x[:dimension]


def _raise_to_clipped(radius, differences, moves, weights, preferences) -> float:
    """The radius at which no direction gains any more from the clipped loss, by Dinkelbach's steps."""

    def gains(rho):
        up = preferences - 0.5 - np.minimum(rho, preferences)
        return up, 0.5 - preferences - np.minimum(rho, 1.0 - preferences)

    def gain(rho, differences):
        up, down = gains(rho)
        return float(weights @ (up * np.maximum(differences, 0.0) + down * np.maximum(-differences, 0.0)))

    for _ in range(100):
        top = 0.5 + 1e-9
        if gain(radius, differences) > 0:
            radius = brentq(gain, radius, top, args=(differences,), xtol=1e-15, rtol=1e-14)
        differences = _steepest(moves, weights, *gains(radius))
        if differences is None or gain(radius, differences) <= 1e-12 * (weights @ np.abs(differences)):
            return float(radius)
    raise RuntimeError("the local critical radius did not settle in 100 steps")
