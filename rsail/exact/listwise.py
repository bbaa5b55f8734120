"""Rankings of K responses: Plackett-Luce and its worst case over total-variation balls (an addition).

The pairwise objective of arXiv 2602.20457 compares two responses; arXiv 2607.01715 ranks K of them and lets the
law of the ranking move in total variation. Scores are s_i = beta log(pi(i|x) / pi_SFT(i|x)), so that for K = 2 the
margin is s_1 - s_2. A ranking lists responses from best to worst.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import block_array, csr_array, eye_array

from rsail import checks
from rsail.exact.arguments import distribution

LARGEST = 7  # responses of an enumeration of all rankings: 5040 of them


def plackett_luce_loss(scores, ranking) -> np.ndarray | float:
    """-log of the Plackett-Luce probability of a ranking: sum over places k of logsumexp_{j >= k} s_(j) - s_(k).

    Parameters
    ----------
    scores : array (K,) or (..., K)
    ranking : int array of the same shape
        Indices of the responses, best first; for K = 2 the loss is log(1 + exp(-margin)).

    Returns
    -------
    float for one list, else an array of shape (...). Costs O(K).
    """
    scores, ranking = _lists(scores, ranking)
    ordered = np.take_along_axis(scores, ranking, axis=-1)
    result = np.sum(_suffix_logsumexp(ordered) - ordered, axis=-1)
    return float(result) if scores.ndim == 1 else result


def plackett_luce_gradient(scores, ranking) -> np.ndarray:
    """Derivative of `plackett_luce_loss` in the scores, of their shape; sums to 0, O(K).

    For the response on place r it is -1 plus its softmax shares among the places k, k+1, ..., for each k <= r.
    """
    scores, ranking = _lists(scores, ranking)
    ordered = np.take_along_axis(scores, ranking, axis=-1)
    shares = np.exp(ordered + np.logaddexp.accumulate(-_suffix_logsumexp(ordered), axis=-1))
    result = np.empty_like(scores)
    np.put_along_axis(result, ranking, shares - 1.0, axis=-1)
    return result


def worst_ranking(scores) -> np.ndarray:
    """The ranking with the largest Plackett-Luce loss: ascending scores, the worst response first; O(K log K).

    The scores themselves sum to the same in any order, and ascending order leaves the largest scores in every
    suffix. Ties may be broken either way (here by index).
    """
    scores = checks.finite("scores", scores)
    checks.require(scores.ndim >= 1 and scores.shape[-1] >= 1, "scores.shape", scores.shape, "(..., K)")
    return np.argsort(scores, axis=-1, kind="stable")


def robust_listwise_loss(scores, ranking, rho: float) -> np.ndarray | float:
    """sup of E_q[loss] over laws q of the ranking within total variation rho of the observed one.

    It is (1 - rho) loss(observed) + rho loss(worst): at least 1 - rho of the mass must stay, and the rest goes where
    the loss is largest. Shapes as in `plackett_luce_loss`; rho in [0, 1].
    """
    rho = _share(rho)
    return (1.0 - rho) * plackett_luce_loss(scores, ranking) + rho * plackett_luce_loss(
        scores, worst_ranking(scores)
    )


def robust_listwise_gradient(scores, ranking, rho: float) -> np.ndarray:
    """A subgradient of `robust_listwise_loss` in the scores; its gradient wherever the scores differ."""
    rho = _share(rho)
    return (1.0 - rho) * plackett_luce_gradient(scores, ranking) + rho * plackett_luce_gradient(
        scores, worst_ranking(scores)
    )


def total_variation_worst_case(losses, probs, rho: float) -> tuple[float, np.ndarray]:
    """max of q . losses over laws q with total variation to `probs` at most rho, and a maximizer; O(n log n).

    Mass rho is taken from the smallest losses, in order, and given to one largest loss. `losses`, `probs` (n,).
    """
    losses = checks.finite("losses", losses)
    probs = distribution("probs", probs)
    checks.require(losses.ndim == 1, "losses.shape", losses.shape, "(n,)")
    checks.require(probs.shape == losses.shape, "probs.shape", probs.shape, f"{losses.shape}")
    order = np.argsort(losses, kind="stable")
    before = np.cumsum(probs[order]) - probs[order]
    taken = np.clip(_share(rho) - before, 0.0, probs[order])
    worst = probs.copy()
    worst[order] -= taken
    worst[order[-1]] += taken.sum()
    return float(worst @ losses), worst


def all_rankings(count: int) -> np.ndarray:
    """Every ranking of `count` responses, (count!, count), in lexicographic order; count at most 7."""
    checks.require(1 <= count <= LARGEST, "count", count, f"in 1 ... {LARGEST}")
    return np.array(list(permutations(range(count))))


def ranking_law(scores) -> np.ndarray:
    """Plackett-Luce probabilities of `all_rankings`, shape (K!,); for K = 2 (P, 1 - P) of eq. 4."""
    scores = checks.finite("scores", scores)
    rankings = all_rankings(len(scores))
    return np.exp(-plackett_luce_loss(np.broadcast_to(scores, rankings.shape), rankings))


def total_variation_linear_program(losses, probs, rho: float) -> float:
    """The maximum of `total_variation_worst_case` by HiGHS, from the definition: sum |q - probs| <= 2 rho."""
    losses, probs = checks.finite("losses", losses), distribution("probs", probs)
    size, eye = len(losses), eye_array(len(losses))
    ones = csr_array(np.ones((1, size)))
    result = linprog(  # variables: the law q, then bounds t >= |q - probs|
        -np.concatenate([losses, np.zeros(size)]),
        A_ub=block_array([[eye, -eye], [-eye, -eye], [None, ones]], format="csr"),
        b_ub=np.concatenate([probs, -probs, [2.0 * _share(rho)]]),
        A_eq=block_array([[ones, csr_array((1, size))]], format="csr"),
        b_eq=np.ones(1),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not result.success:
        raise RuntimeError(f"HiGHS found no worst law of the ranking: {result.message}")
    return float(-result.fun)


def _lists(scores, ranking) -> tuple[np.ndarray, np.ndarray]:
    scores, ranking = checks.finite("scores", scores), np.asarray(ranking)
    checks.require(scores.ndim >= 1 and scores.shape[-1] >= 1, "scores.shape", scores.shape, "(..., K)")
    checks.require(ranking.shape == scores.shape, "ranking.shape", ranking.shape, f"{scores.shape}")
    complete = np.sort(ranking, axis=-1) == np.arange(scores.shape[-1])
    checks.require(
        bool(complete.all()), "ranking", ranking.tolist(), "permutations of 0 ... K - 1, best first"
    )
    return scores, ranking


def _suffix_logsumexp(ordered: np.ndarray) -> np.ndarray:
    """logsumexp over the places k, k+1, ..., K of each list."""
    return np.logaddexp.accumulate(ordered[..., ::-1], axis=-1)[..., ::-1]


def _share(rho: float) -> float:
    rho = checks.nonnegative("rho", rho)
    checks.require(rho <= 1, "rho", rho, "in [0, 1]")
    return rho
