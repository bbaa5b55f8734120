"""Checks of the arrays that the exact engine works on; every message names the argument."""

from __future__ import annotations

import numpy as np

from rsail import checks


def distribution(name: str, probs, *, tolerance: float = 1e-9) -> np.ndarray:
    """`probs` in float64, checked to be nonnegative and to sum to 1 over the last axis."""
    probs = checks.finite(name, probs)
    checks.require(probs.ndim >= 1 and probs.size > 0, f"{name}.shape", probs.shape, "(..., n) with n >= 1")
    checks.require(bool(probs.min() >= 0), name, float(probs.min()), "probabilities >= 0")
    total = probs.sum(axis=-1)
    worst = np.abs(total - 1).max()
    checks.require(
        bool(worst <= tolerance),
        name,
        float(np.ravel(total)[np.abs(total - 1).argmax()]),
        "a distribution (entries that sum to 1; this is their sum)",
    )
    return probs


def prompt_weights(prompt_probs, prompts: int) -> np.ndarray:
    """The law mu of the prompts, shape (X,); uniform where none is given."""
    if prompt_probs is None:
        return np.full(prompts, 1.0 / prompts)
    weights = distribution("prompt_probs", prompt_probs)
    checks.require(weights.shape == (prompts,), "prompt_probs.shape", weights.shape, f"({prompts},)")
    return weights


def policies(log_probs, ref_log_probs) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of policy and reference, both (X, Y); the policy's must be normalized.

    The tolerance of 1e-4 on the normalization lets single precision pass and a forgotten
    log-softmax, or a response left out, fail.
    """
    log_probs = checks.finite("log_probs", log_probs)
    ref_log_probs = checks.finite("ref_log_probs", ref_log_probs)
    checks.require(
        log_probs.ndim == 2 and log_probs.size > 0,
        "log_probs.shape",
        log_probs.shape,
        "(X, Y), prompts first",
    )
    checks.require(
        ref_log_probs.shape == log_probs.shape,
        "ref_log_probs.shape",
        ref_log_probs.shape,
        f"{log_probs.shape}",
    )
    distribution("exp(log_probs)", np.exp(np.minimum(log_probs, 700.0)), tolerance=1e-4)
    return log_probs, ref_log_probs


def preference_table(preferences, shape: tuple[int, int]) -> np.ndarray:
    """P[x, i, j] = P(i > j | x) as float64 of shape (X, Y, Y), antisymmetric with diagonal 1/2."""
    preferences = checks.preferences("preferences", preferences)
    expected = (shape[0], shape[1], shape[1])
    checks.require(
        preferences.shape == expected, "preferences.shape", preferences.shape, f"(X, Y, Y) = {expected}"
    )
    return preferences


def reward_table(rewards, shape: tuple[int, int]) -> np.ndarray:
    """r(x, y) as finite float64 of shape (X, Y)."""
    rewards = checks.finite("rewards", rewards)
    checks.require(rewards.shape == tuple(shape), "rewards.shape", rewards.shape, f"(X, Y) = {tuple(shape)}")
    return rewards


def count(name: str, value, *, least: int = 1) -> int:
    """`value` as an int; raises unless it is an integer of at least `least`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    checks.require(whole and value >= least, name, value, f"an integer >= {least}")
    return int(value)
