"""Planning oracles O(r, pi_ref): three ways to the Gibbs policy of a reward, with exact expectations.

Sources: A. Agarwal et al., arXiv 1908.00261 (natural policy gradient); S. Cen et al., arXiv 2007.06558 (its
linear rate with an entropy term); J. Schulman et al., arXiv 1707.06347 (PPO's clipped surrogate); R. Rafailov
et al., arXiv 2305.18290 (DPO).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_softmax

from rsail import checks
from rsail.exact import newton
from rsail.exact.arguments import count, policies, preference_table, prompt_weights, reward_table


@dataclass(frozen=True)
class Plan:
    """A planned policy, the steps it took and what is left of its optimality condition."""

    log_probs: np.ndarray  # (X, Y)
    steps: int
    residual: float


def natural_policy_gradient(
    rewards,
    ref_log_probs,
    *,
    beta: float,
    step_size: float,
    features=None,
    prompt_probs=None,
    tolerance: float = 1e-11,
    max_steps: int = 100_000,
) -> Plan:
    """Ascent on J(pi) = E r - beta KL along the natural gradient, from the reference.

    For a table of logits a step is pi <- pi^{1 - step beta} pi_ref^{step beta} exp(step r), mirror ascent: the
    advantages r - beta log(pi / pi_ref) shrink by 1 - step beta per step, at step = 1 / beta to nothing. With
    `features` the policy is pi_ref exp(<theta, features>) / Z, and theta moves by the least-squares fit of the
    advantages under pi, which ends where grad J = 0.

    Parameters
    ----------
    rewards, ref_log_probs : arrays (X, Y)
    beta : float > 0
    step_size : float in (0, 2 / beta)
    features : array (X, Y, d), optional
    tolerance : float > 0
        Of `residual`: the largest spread of the advantages over a prompt's responses, or |grad J| with features.

    Raises
    ------
    RuntimeError
        If `max_steps` do not suffice.
    """
    rewards, ref, beta = _task(rewards, ref_log_probs, beta)
    step_size = _step_size(step_size, beta)
    mu = prompt_weights(prompt_probs, len(ref))
    if features is not None:
        features = checks.finite("features", features)
        checks.require(
            features.ndim == 3 and features.shape[:2] == ref.shape,
            "features.shape",
            features.shape,
            "(X, Y, d)",
        )
    tilt = np.zeros_like(ref)  # log pi - log pi_ref up to a constant per prompt
    for step in range(count("max_steps", max_steps) + 1):
        log_probs = log_softmax(ref + tilt, axis=-1)
        advantages = rewards - beta * (log_probs - ref)
        if features is None:
            direction, residual = advantages, float(np.ptp(advantages, axis=-1).max())
        else:
            direction, residual = _compatible(advantages, np.exp(log_probs), features, mu)
        if residual <= tolerance:
            return Plan(log_probs, step, residual)
        tilt = tilt + step_size * direction
    raise RuntimeError(f"{max_steps} steps left a residual of {residual:.1e}, above {tolerance:.1e}")


def clipped_surrogate_ascent(
    rewards,
    ref_log_probs,
    *,
    beta: float,
    step_size: float,
    clip: float,
    epochs: int,
    tolerance: float = 1e-11,
    max_steps: int = 100_000,
) -> Plan:
    """PPO with exact expectations: `epochs` ascent steps on the clipped surrogate, then a new old policy.

    The surrogate is E_old min(ratio A, clip(ratio, 1 - clip, 1 + clip) A) with A = r - beta log(old / pi_ref),
    centered per prompt. A step moves the logit of y by step_size A(y) unless the clip holds y: ratio > 1 +
    clip with A > 0, or ratio < 1 - clip with A < 0. Near the optimum nothing is clipped, so that the end is
    the Gibbs policy.

    `step_size` * `epochs` in (0, 2 / beta); shapes, `residual` and errors as in `natural_policy_gradient`.
    """
    rewards, ref, beta = _task(rewards, ref_log_probs, beta)
    epochs, clip = count("epochs", epochs), checks.positive("clip", clip)
    checks.require(clip < 1, "clip", clip, "in (0, 1)")
    step_size = _step_size(step_size * epochs, beta) / epochs
    log_probs = log_softmax(ref, axis=-1)
    for step in range(count("max_steps", max_steps) + 1):
        advantages = rewards - beta * (log_probs - ref)
        residual = float(np.ptp(advantages, axis=-1).max())
        if residual <= tolerance:
            return Plan(log_probs, step, residual)
        advantages = advantages - np.sum(np.exp(log_probs) * advantages, axis=-1, keepdims=True)
        old = log_probs
        for _ in range(epochs):
            ratio = np.exp(log_probs - old)
            held = np.where(advantages > 0, ratio > 1.0 + clip, ratio < 1.0 - clip)
            log_probs = log_softmax(log_probs + step_size * np.where(held, 0.0, advantages), axis=-1)
    raise RuntimeError(f"{max_steps} steps left a residual of {residual:.1e}, above {tolerance:.1e}")


def direct_preference_plan(
    preferences, ref_log_probs, *, beta: float, pair_probs=None, tolerance: float = 1e-11
) -> Plan:
    """The minimizer over all policies of the expected DPO loss with soft labels.

    E_{(i, j) ~ pair_probs}[-P log sigma(beta h) - (1 - P) log sigma(-beta h)], h the difference of log(pi /
    pi_ref). For Bradley-Terry preferences of a reward it is that reward's Gibbs policy, whatever the pairs, as
    long as they connect all responses; for others it depends on the pairs.

    Parameters
    ----------
    preferences : array (X, Y, Y)
        P[x, i, j] = P(i > j | x), strictly between 0 and 1 for pairs that occur.
    ref_log_probs : array (X, Y)
    beta : float > 0
    pair_probs : array (X, Y, Y), optional
        Weights >= 0 of the ordered pairs of a prompt; the reference's pair law by default.
    """
    _, ref = policies(ref_log_probs, ref_log_probs)
    preferences, beta = preference_table(preferences, ref.shape), checks.positive("beta", beta)
    if pair_probs is None:
        pair_probs = np.exp(ref[:, :, None] + ref[:, None, :])
    pair_probs = checks.finite("pair_probs", pair_probs)
    checks.require(
        pair_probs.shape == preferences.shape, "pair_probs.shape", pair_probs.shape, preferences.shape
    )
    checks.require(bool(pair_probs.min() >= 0), "pair_probs", float(pair_probs.min()), "weights >= 0")
    scores, residual = np.zeros_like(ref), 0.0
    for x, (table, law) in enumerate(zip(preferences, pair_probs, strict=True)):
        weights = law + law.T  # a pair and its mirror image carry the same label
        np.fill_diagonal(weights, 0.0)
        connected = connected_components(weights > 0, directed=False)[0] == 1
        checks.require(connected, f"pair_probs[{x}]", law.tolist(), "pairs that connect all responses")
        sure = (weights > 0) & ((table == 0) | (table == 1))
        checks.require(not sure.any(), f"preferences[{x}]", table.tolist(), "in (0, 1) for pairs that occur")
        weights = weights / weights.sum()

        def gradient(score, table=table, weights=weights):
            """In beta log(pi / pi_ref), the implicit reward; a weighted Laplacian is its Jacobian."""
            chance = expit(score[:, None] - score[None, :])
            slope = weights * chance * (1.0 - chance)
            return np.sum(weights * (chance - table), axis=1), np.diag(slope.sum(axis=1)) - slope

        scores[x] = newton.solve(gradient, scores[x], tolerance=tolerance)
        residual = max(residual, float(np.abs(gradient(scores[x])[0]).max()))
    return Plan(log_softmax(ref + scores / beta, axis=-1), 0, residual)


def _compatible(advantages, probs, features, mu) -> tuple[np.ndarray, float]:
    """The natural direction (X, Y) of a log-linear policy, and the length of the plain gradient (d,)."""
    centered = features - np.einsum("xy,xyd->xd", probs, features)[:, None]
    weights = mu[:, None] * probs
    gradient = np.einsum("xy,xy,xyd->d", weights, advantages, centered)
    fisher = np.einsum("xy,xyd,xye->de", weights, centered, centered)
    return features @ np.linalg.lstsq(fisher, gradient, rcond=1e-12)[0], float(np.linalg.norm(gradient))


def _task(rewards, ref_log_probs, beta) -> tuple[np.ndarray, np.ndarray, float]:
    _, ref = policies(ref_log_probs, ref_log_probs)
    return reward_table(rewards, ref.shape), ref, checks.positive("beta", beta)


def _step_size(value, beta: float) -> float:
    value = checks.positive("step_size", value)
    checks.require(value < 2.0 / beta, "step_size", value, f"below 2 / beta = {2.0 / beta:g} (times epochs)")
    return value
