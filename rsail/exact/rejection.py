"""What a policy becomes by drawing several responses and choosing with a reward: exact laws on finite sets.

Laws are arrays (..., Y) over the responses of a prompt; the scores that choose have the same shape. Among
draws with the same score each is as likely to be chosen, so that a choice within a tie keeps the base law.

Sources: N. Stiennon et al., arXiv 2009.01325 (best of n, its KL); A. Beirami et al., arXiv 2401.01879 (that it
is a bound); T. Liu et al., arXiv 2309.06657 (RSO); W. Xiong et al., arXiv 2312.11456 (multi-step RSO); H. Dong
et al., arXiv 2405.07863 (best against worst); T. Coste et al., arXiv 2310.02743 (estimator, ensembles).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from rsail import checks
from rsail.exact.arguments import count, distribution


@dataclass(frozen=True)
class Rejection:
    """One pass of rejection sampling over laws (..., Y)."""

    acceptance: np.ndarray  # (..., Y), the chance that a drawn response is kept
    rate: np.ndarray  # (...), the share of draws that is kept
    probs: np.ndarray  # (..., Y), the law of what is kept


def best_of_n_law(probs, scores, n: int) -> np.ndarray:
    """The law (..., Y) of the response with the largest score among n independent draws.

    p(y) / p(tie of y) * [F(s)^n - F(s-)^n], F the distribution function of the score. Worst of n: negate the
    scores.
    """
    probs, scores = _laws(probs, scores)
    n = count("n", n)
    below, tie = _masses(probs, scores)
    share = np.divide(probs, tie, out=np.zeros_like(probs), where=tie > 0)
    return share * ((below + tie) ** n - below**n)


def best_of_n_kl_bound(n: int) -> float:
    """log n - (n - 1) / n: KL(best of n || base) is at most this, and tends to it as all responses become rare."""
    n = count("n", n)
    return float(np.log(n) - (n - 1) / n)


def best_worst_pair_law(probs, scores, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The law of (best, worst) of n draws, given that their scores differ, and the chance of that.

    Returns
    -------
    law : array (..., Y, Y)
        law[..., i, j] = P(best is i, worst is j | scores differ).
    kept : array (...)
        P(scores differ): the share of prompts that give a pair.

    Raises
    ------
    ValueError
        If all responses of positive probability have one score, or n < 2.
    """
    probs, scores = _laws(probs, scores)
    n = count("n", n, least=2)
    below, tie = _masses(probs, scores)
    share = np.divide(probs, tie, out=np.zeros_like(probs), where=tie > 0)
    top, bottom = (below + tie)[..., :, None], below[..., None, :]
    without_top, without_bottom = below[..., :, None], (below + tie)[..., None, :]
    # All n draws lie between the two scores, both included; take away what misses one end or the other.
    chance = (
        _power(top - bottom, n)
        - _power(without_top - bottom, n)
        - _power(top - without_bottom, n)
        + _power(without_top - without_bottom, n)
    )
    better = scores[..., :, None] > scores[..., None, :]
    joint = np.where(better, share[..., :, None] * share[..., None, :] * np.maximum(chance, 0.0), 0.0)
    kept = joint.sum(axis=(-2, -1))
    checks.require(bool(np.all(kept > 0)), "scores", scores.tolist(), "different for some responses drawn")
    return joint / kept[..., None, None], kept


def best_of_n_estimate(proxy, gold, n: int) -> float:
    """Unbiased estimate of the gold score of best-of-n by proxy, from N >= n scored draws (N,).

    sum_i C(i - 1, n - 1) / C(N, n) gold_(i), the draws sorted by proxy ascending: the mean over all subsets of
    n draws. Within a tie of the proxy the gold scores are averaged.
    """
    proxy, gold = checks.finite("proxy", proxy), checks.finite("gold", gold)
    checks.require(proxy.ndim == 1, "proxy.shape", proxy.shape, "(N,)")
    checks.require(gold.shape == proxy.shape, "gold.shape", gold.shape, f"{proxy.shape}")
    n, size = count("n", n), len(proxy)
    checks.require(n <= size, "n", n, f"at most the number of draws, {size}")
    place = np.arange(n, size + 1.0)
    # C(i - 1, n - 1) / C(N, n) by log-gamma: the coefficients themselves overflow.
    logs = gammaln(place) - gammaln(place - n + 1) - gammaln(n)
    logs -= gammaln(size + 1) - gammaln(n + 1) - gammaln(size - n + 1)
    weights = np.concatenate([np.zeros(n - 1), np.exp(logs)])
    order = np.argsort(proxy, kind="stable")
    group = np.unique(proxy, return_inverse=True)[1]
    means = np.bincount(group, weights=gold) / np.bincount(group)
    return float(weights @ means[group][order])


def rejection_sampling(probs, rewards, *, beta: float, bound=None) -> Rejection:
    """RSO: keep a draw y with probability min(1, exp((r(y) - bound) / beta)).

    With the largest reward as the bound (the default) what is kept has the Gibbs law p exp(r / beta) / Z, and
    the rate is Z exp(-bound / beta). A lower bound, such as the largest reward in a sample, keeps more and
    tilts less: rewards above it count as the bound.

    Parameters
    ----------
    probs, rewards : arrays (..., Y)
    beta : float > 0
    bound : array (...), optional
    """
    probs, rewards = _laws(probs, rewards, name="rewards")
    beta = checks.positive("beta", beta)
    drawn = np.where(probs > 0, rewards, -np.inf)
    bound = drawn.max(axis=-1) if bound is None else checks.finite("bound", bound)
    acceptance = np.exp(np.minimum((rewards - bound[..., None]) / beta, 0.0))
    kept = probs * acceptance
    rate = kept.sum(axis=-1)
    return Rejection(acceptance, rate, kept / rate[..., None])


def multi_step_rejection(probs, rewards, betas) -> list[Rejection]:
    """Hops pi_0 -> pi_0 e^{r / beta_1} -> pi_0 e^{r / beta_2} -> ...: one `Rejection` per hop.

    A hop only reweights by exp((1 / beta_{i+1} - 1 / beta_i) r), so each rate can be high; their product is
    the rate of going to the last beta at once. betas (N,) falling, positive.
    """
    betas = checks.finite("betas", betas)
    checks.require(
        betas.ndim == 1 and len(betas) >= 1 and betas[-1] > 0 and bool(np.all(np.diff(betas) < 0)),
        "betas", betas.tolist(), "positive and falling",
    )  # fmt: skip
    hops, inverse = [], np.append(0.0, 1.0 / betas)
    for step in np.diff(inverse):
        hops.append(rejection_sampling(probs, rewards, beta=1.0 / step))
        probs = hops[-1].probs
    return hops


def worst_case_ensemble(scores) -> np.ndarray:
    """WCO: min_k r_k, shape (...), of scores (K, ...) of K reward models."""
    return checks.finite("scores", scores).min(axis=0)


def uncertainty_weighted_ensemble(scores, *, weight: float, unbiased: bool) -> np.ndarray:
    """UWO: mean_k r_k - weight var_k r_k, shape (...), of scores (K, ...).

    The paper's code divides the variance by K for best-of-n (`unbiased` False) and by K - 1 for PPO.
    """
    scores = checks.finite("scores", scores)
    checks.require(len(scores) > unbiased, "scores.shape", scores.shape, f"(K, ...) with K > {int(unbiased)}")
    spread = scores.var(axis=0, ddof=int(unbiased))
    return scores.mean(axis=0) - checks.nonnegative("weight", weight) * spread


def _laws(probs, scores, name: str = "scores") -> tuple[np.ndarray, np.ndarray]:
    probs, scores = distribution("probs", probs), checks.finite(name, scores)
    checks.require(scores.shape == probs.shape, f"{name}.shape", scores.shape, f"{probs.shape}")
    return probs, scores


def _masses(probs: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(score below s_y) and P(score equal to s_y), both (..., Y)."""
    lower = scores[..., None, :] < scores[..., :, None]
    equal = scores[..., None, :] == scores[..., :, None]
    return np.einsum("...ij,...j->...i", lower, probs), np.einsum("...ij,...j->...i", equal, probs)


def _power(mass: np.ndarray, n: int) -> np.ndarray:
    return np.maximum(mass, 0.0) ** n
