"""How wrong is my oracle? Choosing rho from what a user has: repeated labels, gold labels, or a second reward model.

The radius of eq. 2 and 3 (arXiv 2602.20457) is a supremum over pairs, sup |P_obs - P*|, of which no finite sample says
anything without an assumption. Each function states its own, returns a point estimate and an upper confidence bound,
and says what it cannot see. All of this is an addition to the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from rsail.checks import finite, number, require


@dataclass(frozen=True)
class RadiusEstimate:
    """An estimate of the radius, and what it does not exceed with the confidence that was asked for."""

    radius: float
    upper: float


def flip_rate(agreement: float, *, honest: float = 1.0) -> float:
    """The rate eps at which two annotators who agree with probability `agreement` reverse their answers.

    Each reverses an honest answer with probability eps, independently of the other, so that they agree with
    probability a = 1 - 2 eps (1 - eps) where honest answers always agree, and 2a - 1 = (1 - 2 eps)^2 (2 honest - 1) in
    general. Agreement above `honest` gives 0, and agreement by chance or less gives 1/2: then nothing is known.

    Parameters
    ----------
    agreement : float in [0, 1]
    honest : float in (1/2, 1]
        How often two answers agree that nobody reversed: E[P*^2 + (1 - P*)^2], below 1 where a question is open. The
        default takes every disagreement for a reversal.
    """
    require(0 <= number(agreement) <= 1, "agreement", agreement, "a number in [0, 1]")
    require(0.5 < number(honest) <= 1, "honest", honest, "a number in (1/2, 1]")
    kept = np.clip((2.0 * number(agreement) - 1.0) / (2.0 * number(honest) - 1.0), 0.0, 1.0)
    return float((1.0 - np.sqrt(kept)) / 2.0)


def radius_from_agreement(
    agreed: int, pairs: int, *, honest: float = 1.0, level: float = 0.95
) -> RadiusEstimate:
    """The radius of random reversals, from `agreed` of `pairs` comparisons that two annotators answered alike.

    Reversals at rate eps move P* by eps |2 P* - 1| <= eps, which is the radius returned; its upper end belongs to the
    one-sided Clopper-Pearson bound on the agreement. It cannot see what both annotators get wrong in the same way: a
    shared bias *raises* agreement. And it takes open questions for mistakes unless `honest` says how open they are.

    Parameters
    ----------
    agreed, pairs : int
        0 <= agreed <= pairs, pairs >= 1.
    honest : float in (1/2, 1]
        As in `flip_rate`.
    level : float in (0, 1)
        Confidence of the upper end.
    """
    whole = all(
        number(value) == int(number(value)) for value in (agreed, pairs) if np.isfinite(number(value))
    )
    require(whole and number(pairs) >= 1, "pairs", pairs, "a whole number >= 1")
    require(whole and 0 <= number(agreed) <= pairs, "agreed", agreed, f"a whole number in [0, {pairs}]")
    _level(level)
    low = float(stats.beta.ppf(1.0 - level, agreed, pairs - agreed + 1)) if agreed else 0.0
    return RadiusEstimate(flip_rate(agreed / pairs, honest=honest), flip_rate(low, honest=honest))


def radius_from_labels(
    preferences, labels, *, groups=None, bins: int = 10, coverage: float = 1.0, level: float = 0.95
) -> RadiusEstimate:
    """The radius from n comparisons with gold labels: how far the oracle is from calibrated, bin by bin.

    Within each group, comparisons are sorted by the oracle's probability into bins of equal size. A bin's deviation is
    |mean label - mean probability|. The estimate is the largest over bins, or the one that a share `coverage` of the
    comparisons does not exceed, after the variance of the labels was taken from its square; the upper end adds
    Hoeffding's half-width sqrt(log(2 m / (1 - level)) / (2 n_b)) to each of the m bins, n_b labels each.

    It sees *mean* deviations within a bin, which are no larger than the supremum: mistakes of both signs cancel. Groups
    that the mistake depends on (the sign of a suspected attribute's difference, the annotator, the topic) undo that.

    Parameters
    ----------
    preferences : array (n,)
        The oracle's P(first > second), in [0, 1].
    labels : array (n,)
        Gold answers, 1 where the first is better, 0 where the second is.
    groups : array (n,), optional
        Labels of any kind; one group by default.
    bins : int >= 1
        Bins of each group; a group with fewer comparisons has fewer.
    coverage : float in (0, 1]
        Share of the comparisons that the radius is to hold for.
    level : float in (0, 1)
        Joint confidence of the upper end.
    """
    preferences, labels = _probabilities("preferences", preferences), _probabilities("labels", labels)
    require(labels.shape == preferences.shape, "labels.shape", labels.shape, f"{preferences.shape}")
    require(bool(np.isin(labels, (0.0, 1.0)).all()), "labels", labels.tolist()[:5], "numbers 0 or 1")
    groups = np.zeros(len(labels)) if groups is None else np.asarray(groups)
    require(groups.shape == labels.shape, "groups.shape", groups.shape, f"{labels.shape}")
    require(number(bins) >= 1 and number(bins) == int(bins), "bins", bins, "a whole number >= 1")
    _coverage(coverage)
    _level(level)
    cells = []
    for group in np.unique(groups):
        inside = np.flatnonzero(groups == group)
        order = inside[np.argsort(preferences[inside], kind="stable")]
        cells += [cell for cell in np.array_split(order, int(bins)) if len(cell)]
    sizes = np.array([len(cell) for cell in cells])
    away = np.array([labels[cell].mean() - preferences[cell].mean() for cell in cells])
    rates = np.array([labels[cell].mean() for cell in cells])
    noise = rates * (1.0 - rates) / np.maximum(sizes - 1, 1)
    half = np.sqrt(np.log(2.0 * len(cells) / (1.0 - level)) / (2.0 * sizes))
    clean = np.sqrt(np.maximum(away**2 - noise, 0.0))
    upper = np.minimum(np.abs(away) + half, 1.0)
    return RadiusEstimate(_weighted(clean, sizes, coverage), _weighted(upper, sizes, coverage))


def radius_from_reward_model(
    preferences, second_preferences, *, error: float = 0.0, coverage: float = 0.9
) -> RadiusEstimate:
    """The radius from a second, independent model of the truth: a quantile of |P_obs - P_second|.

    By the triangle inequality |P_obs - P*| is within `error` = sup |P_second - P*| of it, which the upper end adds. It
    sees what the two do not share; trained on the oracle's own answers the second model shows nothing.

    Parameters
    ----------
    preferences, second_preferences : arrays (n,)
        P(first > second) of the oracle and of the second model on the same comparisons.
    error : float in [0, 1]
        How wrong the second model may be.
    coverage : float in (0, 1]
        Share of the comparisons that the radius is to hold for; 1 is the largest disagreement.
    """
    first = _probabilities("preferences", preferences)
    second = _probabilities("second_preferences", second_preferences)
    require(second.shape == first.shape, "second_preferences.shape", second.shape, f"{first.shape}")
    require(0 <= number(error) <= 1, "error", error, "a number in [0, 1]")
    _coverage(coverage)
    apart = _weighted(np.abs(first - second), np.ones(len(first)), coverage)
    return RadiusEstimate(apart, min(apart + number(error), 1.0))


def _weighted(values, weights, coverage: float) -> float:
    """The smallest value that a share `coverage` of the weight does not exceed."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= coverage * weights.sum() * (1.0 - 1e-12)
    return float(values[order][reached.argmax()])


def _probabilities(name: str, values) -> np.ndarray:
    values = finite(name, values)
    require(values.ndim == 1 and values.size > 0, f"{name}.shape", values.shape, "(n,) with n >= 1")
    require(bool(((values >= 0) & (values <= 1)).all()), name, values.tolist()[:5], "numbers in [0, 1]")
    return values


def _level(level: float) -> None:
    require(0 < number(level) < 1, "level", level, "a number in (0, 1)")


def _coverage(coverage: float) -> None:
    require(0 < number(coverage) <= 1, "coverage", coverage, "a number in (0, 1]")
