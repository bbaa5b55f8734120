"""Preference oracles: probabilities P[x, i, j] = P(y_i > y_j | x), and ways in which they are wrong.

Every function maps antisymmetric preferences (X, K, K) to antisymmetric preferences in [0, 1]: what is added
to P[i, j] is taken from P[j, i], and clipping to [0, 1] treats both alike. Each one moves a probability by at
most its stated bound, so its result lies in the pointwise uncertainty set of the paper's eq. 2 and 3 around
its input. Labels are drawn elsewhere (`draw_labels`), by a generator of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from rsail.checks import finite, number, require
from rsail.checks import preferences as check_preferences


def _fraction(name: str, value: float) -> float:
    require(0 <= number(value) <= 1, name, value, "a number in [0, 1]")
    return number(value)


def truth(rewards) -> np.ndarray:
    """Bradley-Terry preferences sigmoid(r_i - r_j) of true rewards (X, K): the paper's eq. 4; (X, K, K)."""
    rewards = finite("rewards", rewards)
    require(rewards.ndim == 2, "rewards.shape", rewards.shape, "(X, K): prompts, responses")
    # sigmoid(d) = (1 + tanh(d/2)) / 2, in the form whose rounding is odd in d: P + P^T = 1.
    return 0.5 + 0.5 * np.tanh((rewards[:, :, None] - rewards[:, None, :]) / 2)


def flip(preferences, rate: float) -> np.ndarray:
    """A fraction `rate` of the answers is reversed at random: (1 - rate) P + rate (1 - P).

    Models careless annotators. Deviation rate * |2P - 1|, at most `rate`; above 1/2 preferences turn round.
    """
    preferences = check_preferences("preferences", preferences)
    return preferences + _fraction("rate", rate) * (1 - 2 * preferences)


def bias(preferences, attribute, strength: float) -> np.ndarray:
    """More of a spurious attribute (X, K) is favored: P + strength * sign(a_i - a_j), clipped.

    Models a judge who likes long, padded or flattering answers whatever they say. Deviation at most
    `strength`; exactly that where P and the attribute leave room (strength below Assumption 1's delta,
    a_i != a_j).
    """
    preferences = check_preferences("preferences", preferences)
    attribute = _per_response(attribute, preferences)
    sign = np.sign(attribute[..., :, None] - attribute[..., None, :])
    return np.clip(preferences + _fraction("strength", strength) * sign, 0, 1)


def _per_response(attribute, preferences: np.ndarray) -> np.ndarray:
    attribute = finite("attribute", attribute)
    require(
        attribute.shape == preferences.shape[:-1], "attribute.shape", attribute.shape,
        f"{preferences.shape[:-1]}, one number per response",
    )  # fmt: skip
    return attribute


def annotator_groups(prompts: Sequence[str], count: int) -> np.ndarray:
    """The group of annotators, 0 to `count` - 1, that answers for each prompt: (X,), by the SHA-256 of its text.

    So a prompt has the same annotators in every step, run and evaluation, and they are independent of what it asks.
    """
    require(count >= 2, "count", count, "at least 2")
    digests = (hashlib.sha256(prompt.encode()).digest() for prompt in prompts)
    return np.array([int.from_bytes(digest[:8], "big") % count for digest in digests], dtype=int)


def grouped_bias(preferences, attribute, groups, *, count: int, strength: float) -> np.ndarray:
    """Heterogeneous annotators: group g of `count` has the `bias` strength * g / (count - 1); groups (X,).

    Group 0 tells the truth and the last one favors the attribute (X, K) by all of `strength`: the deviation is a
    fact of the prompt, and one radius for all prompts is too large for most of them.
    """
    preferences = check_preferences("preferences", preferences)
    groups = finite("groups", groups)
    require(preferences.ndim == 3, "preferences.shape", preferences.shape, "(X, K, K)")
    require(groups.shape == preferences.shape[:1], "groups.shape", groups.shape, f"{preferences.shape[:1]}")
    require(count >= 2, "count", count, "at least 2")
    known = np.isin(groups, np.arange(count)).all()
    require(bool(known), "groups", groups.tolist(), f"whole numbers from 0 to {count - 1}")
    attribute = _per_response(attribute, preferences)
    sign = np.sign(attribute[:, :, None] - attribute[:, None, :])
    strengths = _fraction("strength", strength) * groups / (count - 1)
    return np.clip(preferences + strengths[:, None, None] * sign, 0, 1)


def drift(preferences, attribute, strength: float, progress: float) -> np.ndarray:
    """A `bias` that grows with the run: strength * progress, progress in [0, 1] the share of its steps."""
    return bias(preferences, attribute, _fraction("strength", strength) * _fraction("progress", progress))


def cyclic(preferences, attribute, strength: float) -> np.ndarray:
    """A taste without a best response: P + strength * c, clipped; c is rock, paper, scissors of the phases.

    The phase of a response is floor(attribute) mod 3, attribute (X, K); 1 beats 0, 2 beats 1, 0 beats 2, equal phases
    tie. Where P leaves room no reward gives these preferences: among equally good responses of three phases each one
    is preferred to another with 1/2 + strength. Deviation at most `strength`.
    """
    preferences = check_preferences("preferences", preferences)
    phase = np.floor(_per_response(attribute, preferences)) % 3
    ahead = (phase[..., :, None] - phase[..., None, :]) % 3  # 1: i beats j; 2: j beats i
    sign = (ahead == 1).astype(float) - (ahead == 2)
    return np.clip(preferences + _fraction("strength", strength) * sign, 0, 1)


def worst_case(preferences, pair_scores, radius: float) -> np.ndarray:
    """The adversary of eq. 10 for the current policy: P - radius * sign(h), clipped; sign(0) = 0.

    `pair_scores` h (X, K, K) is the antisymmetric difference of log-ratios. The adversary disputes what the
    policy already believes. It maximizes the expected SAIL loss over the uncertainty set of `radius` around
    the input (Lemma A.1, eq. 14); sign(0) = 0 keeps it antisymmetric at ties, where the paper's selector is
    not (an addition).
    """
    preferences = check_preferences("preferences", preferences)
    scores = finite("pair_scores", pair_scores)
    require(
        scores.shape == preferences.shape, "pair_scores.shape", scores.shape,
        f"{preferences.shape}, as preferences",
    )  # fmt: skip
    gap = np.abs(scores + np.swapaxes(scores, -1, -2)).max(initial=0.0)
    require(
        gap <= 1e-6 * max(1.0, np.abs(scores).max(initial=0.0)), "pair_scores + pair_scores^T", float(gap),
        "0 (antisymmetric)",
    )  # fmt: skip
    upper = np.triu(np.sign(scores), 1)  # one sign per pair: rounding cannot give its two ends different ones
    return np.clip(preferences - _fraction("radius", radius) * (upper - np.swapaxes(upper, -1, -2)), 0, 1)


def flatten(preferences, weight: float) -> np.ndarray:
    """Preferences pulled toward a coin toss: (1 - weight) P + weight / 2.

    Models annotators who often cannot tell. Deviation weight * |P - 1/2|, at most weight / 2. The same map as
    `flip` at half the weight, with another story: no one is wrong, everyone is unsure.
    """
    preferences = check_preferences("preferences", preferences)
    return preferences + _fraction("weight", weight) * (0.5 - preferences)


def sup_deviation(preferences, truth) -> float:
    """sup |P - P*| over all pairs i != j: the radius as a measured fact; 0 where there is no pair."""
    preferences = check_preferences("preferences", preferences)
    truth = check_preferences("truth", truth)
    require(truth.shape == preferences.shape, "truth.shape", truth.shape, f"{preferences.shape}")
    off_diagonal = ~np.eye(preferences.shape[-1], dtype=bool)
    return float(np.abs(preferences - truth)[..., off_diagonal].max(initial=0.0))


def draw_labels(preferences, rng: np.random.Generator) -> np.ndarray:
    """One answer per pair: labels (X, K, K) in {0, 1}, label[i, j] = 1 with probability P[i, j].

    Antisymmetric (label[j, i] = 1 - label[i, j]) with 1/2 on the diagonal. A drawn label is no probability
    within rho of the truth: it is an unbiased observation of one.
    """
    preferences = check_preferences("preferences", preferences)
    wins = np.triu(rng.random(preferences.shape) < preferences, 1).astype(np.float64)
    lower = np.tril(np.ones(preferences.shape[-2:]), -1)
    return wins + lower * (1 - np.swapaxes(wins, -1, -2)) + 0.5 * np.eye(preferences.shape[-1])
