"""Games with an uncertain payoff: a finite class, its version space, and what pessimism and optimism guarantee.

A class is an array (M, X, Y, Y) of antisymmetric payoffs; data are comparisons, given as index arrays (x, i, j).

Source: C. Ye et al., arXiv 2402.07314 (pessimistic Nash offline, optimistic batches online).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, root

from rsail import checks
from rsail.exact import game
from rsail.exact.arguments import policies, prompt_weights


@dataclass(frozen=True)
class Pessimist:
    """max_p min_k min_q J_k(p, q): no policy guarantees more than `value` + `gap` over the class."""

    log_probs: np.ndarray  # (X, Y)
    weights: np.ndarray  # (M,), the least favorable law over the class
    value: float
    gap: float


@dataclass(frozen=True)
class Optimist:
    """The players of a round of batch online learning, and a bound on what the main one lacks."""

    main: np.ndarray  # (X, Y), maximin under the payoff plus its uncertainty
    second: np.ndarray  # (X, Y), the best reply to it under the payoff minus its uncertainty
    bound: float  # 2 E[uncertainty] under both: J_R(main, dagger) >= -bound for every R within it


def label_likelihood(payoffs, data, labels) -> np.ndarray:
    """Log-likelihoods (M,) of labels (n,) in [0, 1] under sigma(R) at the compared (x, i, j) of `data`."""
    values, labels = _at(payoffs, data), checks.finite("labels", labels)
    checks.require(labels.shape == values.shape[1:], "labels.shape", labels.shape, values.shape[1:])
    return -(np.logaddexp(0.0, -values) @ labels + np.logaddexp(0.0, values) @ (1.0 - labels))


def version_space(payoffs, center, data, *, radius: float) -> np.ndarray:
    """Which payoffs (M,) have sum over the data of (R - center)^2 at most radius^2; center (X, Y, Y)."""
    payoffs = checks.finite("payoffs", payoffs)
    misfit = np.sum(_at(payoffs - checks.finite("center", center), data) ** 2, axis=-1)
    return misfit <= checks.nonnegative("radius", radius) ** 2


def pessimistic_nash(payoffs, ref_log_probs, *, beta: float, prompt_probs=None) -> Pessimist:
    """The policy that guarantees most over the class.

    It serves both players: min_q max_p max_k J_k(p, q) is minus the same problem, the payoffs being
    antisymmetric. By duality it is the best answer to one law over the class, the minimizer of a convex
    function on the simplex, which SciPy's SLSQP finds and a root of "all payoffs in the support are equally
    bad" sharpens. Payoffs (M, X, Y, Y).
    """
    payoffs, (_, ref) = checks.finite("payoffs", payoffs), policies(ref_log_probs, ref_log_probs)
    size, mu = len(payoffs), prompt_weights(prompt_probs, len(ref))
    skew = float(np.abs(payoffs + np.swapaxes(payoffs, -1, -2)).max())
    checks.require(skew <= 1e-9, "payoffs", skew, "antisymmetric (this is the largest entry of R + R^T)")

    def answer(weights):
        log_probs = game.best_against_mixture(payoffs, weights, ref, beta=beta)
        return log_probs, game.mixture_value(log_probs, payoffs, ref, beta=beta, prompt_probs=mu)

    def certified(weights):
        log_probs, values = answer(weights)
        return Pessimist(log_probs, weights, float(values.min()), float(weights @ values - values.min()))

    def dual(weights):
        """Its gradient is the vector of values, by Danskin's theorem."""
        weights = np.maximum(weights, 0.0) / np.maximum(weights, 0.0).sum()
        values = answer(weights)[1]
        return float(weights @ values), values

    found = minimize(
        dual, np.full(size, 1.0 / size), jac=True, method="SLSQP", bounds=[(0.0, 1.0)] * size,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones(size)},
        options={"ftol": 1e-15, "maxiter": 500},
    ).x  # fmt: skip
    best = certified(np.maximum(found, 0.0) / np.maximum(found, 0.0).sum())
    for threshold in (1e-9, 1e-7, 1e-5, 1e-3):
        support = np.flatnonzero(best.weights > threshold)

        def spread(part, support=support):
            weights = np.zeros(size)
            weights[support[1:]], weights[support[0]] = part, 1.0 - part.sum()
            values = answer(np.maximum(weights, 0.0))[1][support]
            return values[1:] - values[0]

        if len(support) > 1:
            part = root(spread, best.weights[support[1:]], tol=1e-14).x
            weights = np.zeros(size)
            weights[support[1:]], weights[support[0]] = part, 1.0 - part.sum()
        else:
            weights = np.eye(size)[support[0]]
        if weights.min() >= 0:
            candidate = certified(weights)
            best = candidate if candidate.gap < best.gap else best
    return best


def uncertainty(payoffs, center, data, *, ridge: float, batch: int = 1) -> np.ndarray:
    """Gamma(x, i, j) = max_R |R - center| / sqrt(ridge + sum over the data (R - center)^2 / batch), (X, Y, Y)."""
    gaps = checks.finite("payoffs", payoffs) - checks.finite("center", center)
    seen = np.sum(_at(gaps, data) ** 2, axis=-1) / checks.positive("batch", batch)
    return np.max(np.abs(gaps) / np.sqrt(checks.positive("ridge", ridge) + seen)[:, None, None, None], axis=0)


def optimistic_round(center, bonus, ref_log_probs, *, beta: float, prompt_probs=None) -> Optimist:
    """Both players of a round; center and bonus (X, Y, Y), the bonus a bound on |R - center| in every entry.

    The main player's value is then at least that of the true Nash policy, 0, and its true guaranteed value at
    least minus `bound`: what it may lack is what the two players are about to learn.
    """
    main = game.equilibrium(np.asarray(center) + bonus, ref_log_probs, beta=beta)[0]
    second = game.best_response(main, np.asarray(center) - bonus, ref_log_probs, beta=beta, player=2)
    mu = prompt_weights(prompt_probs, len(main))
    learned = np.einsum("x,xi,xij,xj->", mu, np.exp(main), bonus, np.exp(second))
    return Optimist(main, second, 2.0 * float(learned))


def _at(payoffs, data) -> np.ndarray:
    """Payoffs (M, X, Y, Y) at the compared (x, i, j), three int arrays (n,): array (M, n)."""
    prompts, first, second = (np.asarray(part, dtype=int) for part in data)
    return checks.finite("payoffs", payoffs)[:, prompts, first, second]
