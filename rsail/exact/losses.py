"""SAIL's loss, the penalty and the robust loss as functions of log-probabilities, exactly.

Nothing here knows how a policy is parametrized: a table of log pi(y|x), shape (X, Y), is all that
the decomposition needs. `FiniteProblem` calls these functions with a log-linear policy, and an
enumerable transformer calls the same ones. Pairs (i, j) run over all Y x Y, i = j included,
because the two responses of eq. 1 are independent. Equation numbers are those of arXiv 2602.20457.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from rsail import checks
from rsail.exact.arguments import policies, preference_table, prompt_weights
from rsail.exact.gini import gini_mean_difference

LOG2 = float(np.log(2.0))


def pair_scores(log_probs, ref_log_probs) -> np.ndarray:
    """h(x, i, j), the difference of the two responses' log-ratios (before beta); shape (X, Y, Y)."""
    log_probs, ref_log_probs = policies(log_probs, ref_log_probs)
    ratios = log_probs - ref_log_probs
    return ratios[:, :, None] - ratios[:, None, :]


def pair_law(log_probs, prompt_probs=None) -> np.ndarray:
    """Eq. 1: d(x, i, j) = mu(x) pi(i|x) pi(j|x), shape (X, Y, Y), sum 1."""
    log_probs, _ = policies(log_probs, log_probs)
    probs = np.exp(log_probs)
    mu = prompt_weights(prompt_probs, len(probs))
    return mu[:, None, None] * probs[:, :, None] * probs[:, None, :]


def pair_losses(scores, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """l1 = -log sigma(beta h) and l0 = -log sigma(-beta h) at given pair scores h, any shape."""
    margins = checks.positive("beta", beta) * np.asarray(scores, dtype=np.float64)
    return np.logaddexp(0.0, -margins), np.logaddexp(0.0, margins)


def effective_radius(preferences, scores, rho: float) -> np.ndarray:
    """How far the adversary can move P(1|z) before it leaves [0, 1]; rho itself in the paper's case.

    It moves down where h > 0 and up where h < 0, hence min(rho, P) or min(rho, 1 - P). Assumption 1
    (rho < delta) makes both minima rho; without it this is the clipped radius (an addition).
    """
    rho = checks.nonnegative("rho", rho)
    return np.minimum(rho, np.where(scores > 0, preferences, 1.0 - preferences))


def expected_loss(log_probs, ref_log_probs, preferences, *, beta: float, prompt_probs=None) -> float:
    """Eq. 9: L_SAIL = E_{z ~ d}[P(1|z) l1 + (1 - P(1|z)) l0] by enumeration of all pairs.

    Parameters
    ----------
    log_probs, ref_log_probs : arrays (X, Y)
        log pi(y|x) of the policy (normalized) and of the frozen reference.
    preferences : array (X, Y, Y)
        P[x, i, j] = P(i > j | x), antisymmetric.
    beta : float > 0
    prompt_probs : array (X,), optional
        mu; uniform by default.
    """
    losses, law, _, _ = _enumerate(log_probs, ref_log_probs, preferences, beta, prompt_probs)
    return float(np.sum(law * losses))


def penalty(log_probs, ref_log_probs, *, prompt_probs=None) -> float:
    """Eq. 12: R = E_{z ~ d}|h(z)|, as Gini's mean difference of the log-ratios of each prompt."""
    log_probs, ref_log_probs = policies(log_probs, ref_log_probs)
    mu = prompt_weights(prompt_probs, len(log_probs))
    return float(mu @ gini_mean_difference(log_probs - ref_log_probs, np.exp(log_probs)))


def robust_loss(log_probs, ref_log_probs, preferences, *, beta, rho, prompt_probs=None) -> float:
    """Eq. 13: L_SAIL + rho beta E|h|, with the clipped radius where rho would leave [0, 1].

    Arguments as in `expected_loss`; rho >= 0 is the radius of the oracle set (eq. 2, 3).
    """
    losses, law, scores, preferences = _enumerate(log_probs, ref_log_probs, preferences, beta, prompt_probs)
    excess = beta * np.abs(scores) * effective_radius(preferences, scores, rho)
    return float(np.sum(law * (losses + excess)))


def worst_case_preferences(preferences, pair_scores, rho: float) -> np.ndarray:
    """The oracle that attains eq. 10: P - rho sign(h), clipped to [0, 1]; shape (X, Y, Y).

    sign(0) = 0, so the result is antisymmetric, at ties and on the diagonal too: it is itself an
    oracle. (A selector that picks an end of the interval at h = 0 is not.)
    """
    preferences = checks.preferences("preferences", preferences)
    scores = checks.finite("pair_scores", pair_scores)
    checks.require(
        scores.shape == preferences.shape, "pair_scores.shape", scores.shape, f"{preferences.shape}"
    )
    skew = np.abs(scores + np.swapaxes(scores, -1, -2)).max() if scores.size else 0.0
    checks.require(
        bool(skew <= 1e-9 * max(1.0, np.abs(scores).max(initial=0.0))),
        "pair_scores", float(skew), "antisymmetric, h[i, j] = -h[j, i] (this is the largest sum of the two)",
    )  # fmt: skip
    return preferences - np.sign(scores) * effective_radius(preferences, scores, rho)


def endpoint_loss(log_probs, ref_log_probs, preferences, *, beta, rho, prompt_probs=None) -> float:
    """Eq. 10 evaluated at its maximizer: L_SAIL with the worst-case oracle in place of P."""
    scores = pair_scores(log_probs, ref_log_probs)
    preferences = preference_table(preferences, scores.shape[:2])
    worst = worst_case_preferences(preferences, scores, rho)
    return expected_loss(log_probs, ref_log_probs, worst, beta=beta, prompt_probs=prompt_probs)


def log_prob_gradient(
    log_probs, ref_log_probs, preferences, *, beta, rho, score_weight: float = 1.0, prompt_probs=None
) -> np.ndarray:
    """Coefficients c (X, Y) of the exact gradient: sum over x, y of c[x, y] d log pi(y|x) / d theta.

    They hold under any parametrization of a normalized policy. The path part is the derivative of
    each pair's loss; the score part, loss times S = grad log d, is there because the pairs are drawn
    from the policy itself. `score_weight` multiplies the score part: 1 is the gradient of the robust
    loss, 0 treats the pairs as data. At ties h = 0 it is the subgradient with sign(0) = 0.
    """
    losses, law, scores, preferences = _enumerate(log_probs, ref_log_probs, preferences, beta, prompt_probs)
    radius = effective_radius(preferences, scores, rho)
    losses = losses + beta * np.abs(scores) * radius
    slopes = beta * (expit(beta * scores) - preferences + np.sign(scores) * radius)
    return _coefficients(losses - LOG2, slopes, law, score_weight)


def penalty_log_prob_gradient(log_probs, ref_log_probs, *, score_weight=1.0, prompt_probs=None) -> np.ndarray:
    """Coefficients c (X, Y) of the subgradient E[sign(h) grad h + |h| S] of the penalty R."""
    scores = pair_scores(log_probs, ref_log_probs)
    return _coefficients(np.abs(scores), np.sign(scores), pair_law(log_probs, prompt_probs), score_weight)


def _enumerate(log_probs, ref_log_probs, preferences, beta, prompt_probs):
    """Pair losses, pair law, pair scores and checked preferences, each (X, Y, Y)."""
    scores = pair_scores(log_probs, ref_log_probs)
    preferences = preference_table(preferences, scores.shape[:2])
    preferred, rejected = pair_losses(scores, beta)
    losses = preferences * preferred + (1.0 - preferences) * rejected
    return losses, pair_law(log_probs, prompt_probs), scores, preferences


def _coefficients(losses, slopes, law, score_weight) -> np.ndarray:
    """Path and score part per response; the swap (i, j) -> (j, i) leaves a pair's loss as it is.

    So response y collects the same amount as first and as second of a pair, hence the factor 2.
    A constant may be subtracted from the losses, because E S = 0.
    """
    score_weight = float(checks.finite("score_weight", score_weight))
    return 2.0 * np.sum(law * (slopes + score_weight * losses), axis=-1)
