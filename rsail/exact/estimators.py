"""Mean and covariance of the sampled gradient, exactly: which baseline, and how many responses per prompt.

Training estimates the gradient of E[loss] from K responses to each prompt by the mean over all K(K-1)/2 pairs of
path + (loss - b) S, S = s_1 + s_2 and s = grad log pi(y|x) (arXiv 2602.20457, Assumption 6; the choice of b is an
addition). For one prompt that is a U-statistic: of degree 2 with a constant baseline; of degree 3 with the mean over
the pairs that do not contain the response. Hoeffding's decomposition gives its covariance without sampling. Each
prompt of a batch is drawn from mu independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb

import numpy as np
from scipy.special import expit

from rsail import checks
from rsail.exact import losses
from rsail.exact.problem import FiniteProblem

WITHIN = ("per_response", "leave_one_out", "plain_mean")  # baselines from the prompt's own pairs: degree 3
BASELINES = ("none", "log2", "best_constant", "other_prompts", *WITHIN)


@dataclass(frozen=True)
class PairTerms:
    """One prompt's ingredients, over all pairs of n responses, along D directions of the parameter space."""

    probs: np.ndarray  # (n,): pi(y|x)
    losses: np.ndarray  # (n, n): robust loss of the pair (i, j), symmetric
    path: np.ndarray  # (n, n, D): its derivative at fixed pair, symmetric
    scores: np.ndarray  # (n, D): grad log pi(y|x)
    weight: float = 1.0  # mu(x)

    def score_only(self) -> PairTerms:
        """The same without the path part: what the score term alone contributes."""
        return replace(self, path=np.zeros_like(self.path))


def pair_terms(problem: FiniteProblem, theta, rho: float) -> list[PairTerms]:
    """The `PairTerms` of each prompt of `problem` for L^W_rho at `theta`; sign(0) = 0 at ties."""
    log_probs, scores = problem.log_probs(theta), problem.pair_scores(theta)
    preferred, rejected = losses.pair_losses(scores, problem.beta)
    worst = problem.worst_case_preferences(theta, rho)
    loss = worst * preferred + (1.0 - worst) * rejected
    slope = problem.beta * (expit(problem.beta * scores) - worst)
    moves = problem.features[:, :, None] - problem.features[:, None, :]
    means = np.einsum("xy,xyd->xd", np.exp(log_probs), problem.features)
    score = problem.features - means[:, None]
    return [
        PairTerms(np.exp(log_probs[x]), loss[x], slope[x][..., None] * moves[x], score[x], float(mu))
        for x, mu in enumerate(problem.prompt_probs)
    ]


def pair_kernel(terms: PairTerms, baseline: float) -> np.ndarray:
    """path + (loss - baseline)(s_i + s_j), shape (n, n, D): the symmetric kernel of degree 2."""
    both = terms.scores[:, None] + terms.scores[None, :]
    return terms.path + (terms.losses - baseline)[..., None] * both


def triple_kernel(terms: PairTerms, shrink: float = 1.0) -> np.ndarray:
    """The symmetric kernel (n, n, n, D) of the estimator whose baseline is the mean over the pairs without i.

    Mean over the three pairs of path + loss (s_i + s_j), minus 2/3 times the sum of s_i times the loss of the pair
    that i is not in. `shrink` multiplies the score part.
    """
    score_part = pair_kernel(replace(terms, path=np.zeros_like(terms.path)), 0.0)
    alone = terms.scores[:, None, None, :] * terms.losses[None, :, :, None]
    crossed = alone + np.moveaxis(alone, 0, 1) + np.moveaxis(alone, 0, 2)
    return (_over_pairs(terms.path) + shrink * (_over_pairs(score_part) - 2.0 * crossed)) / 3.0


def _over_pairs(kernel: np.ndarray) -> np.ndarray:
    """kernel(i, j) + kernel(i, k) + kernel(j, k), shape (n, n, n, D)."""
    return kernel[:, :, None] + kernel[:, None, :] + kernel[None, :, :]


def shrink_factor(baseline: str, count: int) -> float:
    """What a baseline taken from the prompt's own K pairs does to the score term, in every single batch.

    1 for "per_response" (and for "disjoint", which equals it); (K-1)/(K+1) for the mean over the other pairs;
    1 - 2/K for the mean over all pairs. So the naive means are the unbiased estimator, shrunk.
    """
    checks.one_of("baseline", baseline, WITHIN)
    least = 2 if baseline == "plain_mean" else 3
    checks.require(count >= least, "count", count, f"at least {least} for baseline {baseline!r}")
    return {"per_response": 1.0, "leave_one_out": (count - 1) / (count + 1), "plain_mean": 1 - 2 / count}[
        baseline
    ]


def hoeffding_covariances(kernel: np.ndarray, probs: np.ndarray) -> list[np.ndarray]:
    """zeta_1, ..., zeta_m: covariances (D, D) of E[kernel | c responses], for a symmetric kernel (n, ..., n, D)."""
    levels = [kernel]
    while levels[0].ndim > 1:
        levels.insert(0, np.tensordot(probs, levels[0], axes=(0, 0)))
    mean, result = levels[0], []
    for level in levels[1:]:
        weights = probs
        for _ in range(level.ndim - 2):
            weights = np.multiply.outer(weights, probs)
        centered = (level - mean).reshape(-1, len(mean))
        result.append(centered.T @ (weights.reshape(-1, 1) * centered))
    return result


def u_statistic_covariance(kernel: np.ndarray, probs: np.ndarray, count: int) -> np.ndarray:
    """Covariance (D, D) of the mean of a symmetric kernel over all subsets of `count` independent responses.

    sum over c of C(m, c) C(K-m, m-c) / C(K, m) zeta_c (Hoeffding 1948).
    """
    degree = kernel.ndim - 1
    checks.require(count >= degree, "count", count, f"at least {degree}, the degree of the kernel")
    shares = [comb(degree, c) * comb(count - degree, degree - c) for c in range(1, degree + 1)]
    zetas = hoeffding_covariances(kernel, probs)
    return sum(share * zeta for share, zeta in zip(shares, zetas, strict=True)) / comb(count, degree)


def batch_covariance(
    terms: Sequence[PairTerms], baseline: str | float, count: int, prompts: int
) -> np.ndarray:
    """Covariance (D, D) of the batch's gradient: `prompts` prompts drawn from mu, all pairs of `count` responses each.

    Parameters
    ----------
    baseline : one of `BASELINES`, or a number
        "best_constant" is the constant with the least total variance (a benchmark: it needs the exact law);
        "leave_one_out" and "plain_mean" are biased.
    """
    checks.require(prompts >= 1, "prompts", prompts, ">= 1")
    if baseline == "other_prompts":
        return _other_prompts(terms, count, prompts)
    kernels = [_kernel(term, _constant(terms, baseline, count), count) for term in terms]
    return _one_prompt(terms, kernels, count) / prompts


def independent_pairs_covariance(
    terms: Sequence[PairTerms], baseline: str | float, count: int, prompts: int
) -> np.ndarray:
    """The same from only count/2 pairs per prompt that share no response: what all pairs are compared with."""
    checks.require(count >= 2 and count % 2 == 0, "count", count, "even, at least 2")
    constant = _constant(terms, baseline, 2)
    checks.require(
        not isinstance(constant, str), "baseline", baseline, "a constant: a pair alone has no other"
    )
    kernels = [pair_kernel(term, constant) for term in terms]
    spread = _one_prompt(terms, kernels, 2) - _within(terms, kernels, 2)
    return (spread + _within(terms, kernels, 2) / (count // 2)) / prompts


def mean_gradient(terms: Sequence[PairTerms], baseline: str | float = "none", count: int = 3) -> np.ndarray:
    """Expectation (D,) of the estimator: the gradient itself for the unbiased baselines."""
    if baseline == "other_prompts":
        baseline = "none"
    kernels = [_kernel(term, _constant(terms, baseline, count), count) for term in terms]
    return sum(term.weight * _mean(kernel, term.probs) for term, kernel in zip(terms, kernels, strict=True))


def between_prompts(terms: Sequence[PairTerms]) -> np.ndarray:
    """Covariance (D, D) of a prompt's exact gradient over prompts: what no number of responses removes."""
    means = np.array([_mean(pair_kernel(term, 0.0), term.probs) for term in terms])
    weights = np.array([term.weight for term in terms])
    centered = means - weights @ means
    return centered.T @ (weights[:, None] * centered)


def best_count(terms: Sequence[PairTerms], baseline: str | float) -> float:
    """The (real) number K of responses per prompt with the least variance per response, for a constant baseline.

    At N responses in all, N tr Cov = 4 a + 2 (z - 2 a) / (K - 1) + K t, with a and z the traces of zeta_1 and zeta_2
    and t that of `between_prompts`; hence K = 1 + sqrt(2 (z - 2 a) / t), and at least 2.
    """
    constant = _constant(terms, baseline, 2)
    zetas = [hoeffding_covariances(pair_kernel(term, constant), term.probs) for term in terms]
    first, second = (
        sum(t.weight * np.trace(z[c]) for t, z in zip(terms, zetas, strict=True)) for c in (0, 1)
    )
    spread = float(np.trace(between_prompts(terms)))
    if spread == 0:
        return np.inf
    return max(2.0, 1.0 + float(np.sqrt(2.0 * max(second - 2.0 * first, 0.0) / spread)))


def label_noise(
    terms: Sequence[PairTerms], preferences, scores, beta: float, count: int, prompts: int
) -> np.ndarray:
    """What drawing each pair's label from its preference adds to the covariance (D, D), with a constant baseline.

    A label moves a pair's contribution by beta (s_i - s_j + h (s_i + s_j)); labels of different pairs are
    independent. `preferences`, `scores` (X, n, n): P and the pair scores h.
    """
    total = 0.0
    for term, chance, score in zip(terms, preferences, scores, strict=True):
        difference = term.scores[:, None] - term.scores[None, :]
        both = term.scores[:, None] + term.scores[None, :]
        moved = (beta * (difference + score[..., None] * both)).reshape(-1, term.scores.shape[1])
        law = (term.probs[:, None] * term.probs[None, :] * chance * (1.0 - chance)).reshape(-1, 1)
        total = total + term.weight * moved.T @ (law * moved)
    return total / (comb(count, 2) * prompts)


def _constant(terms: Sequence[PairTerms], baseline: str | float, count: int) -> str | float:
    """A constant baseline as a number; the name of one that is taken from the prompt's own pairs as it is."""
    if not isinstance(baseline, str):
        return float(checks.finite("baseline", baseline))
    checks.one_of("baseline", baseline, BASELINES)
    checks.require(baseline != "other_prompts", "baseline", baseline, "one that a single prompt has")
    if baseline == "best_constant":
        return _best(terms, count)
    return {"none": 0.0, "log2": losses.LOG2}.get(baseline, baseline)


def _best(terms: Sequence[PairTerms], count: int) -> float:
    """The trace of the covariance is quadratic in the constant: its minimum from three values; 0 if it is constant."""
    at = [np.trace(batch_covariance(terms, b, count, 1)) for b in (0.0, 1.0, 2.0)]
    bend = at[0] - 2.0 * at[1] + at[2]
    return float((1.5 * at[0] - 2.0 * at[1] + 0.5 * at[2]) / bend) if bend > 0.0 else 0.0


def _kernel(terms: PairTerms, baseline: str | float, count: int) -> np.ndarray:
    if not isinstance(baseline, str):
        return pair_kernel(terms, baseline)
    shrink = shrink_factor(baseline, count)
    return (
        terms.path if count == 2 else triple_kernel(terms, shrink)
    )  # the plain mean of one pair is its own loss


def _mean(kernel: np.ndarray, probs: np.ndarray) -> np.ndarray:
    while kernel.ndim > 1:
        kernel = np.tensordot(probs, kernel, axes=(0, 0))
    return kernel


def _within(terms: Sequence[PairTerms], kernels: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Covariance of one prompt's estimate around its own mean, averaged over prompts."""
    return sum(
        term.weight * u_statistic_covariance(kernel, term.probs, count)
        for term, kernel in zip(terms, kernels, strict=True)
    )


def _one_prompt(terms: Sequence[PairTerms], kernels: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Covariance of one prompt's estimate, the prompt drawn from mu: within prompts plus between them."""
    weights = np.array([term.weight for term in terms])
    means = np.array([_mean(kernel, term.probs) for term, kernel in zip(terms, kernels, strict=True)])
    centered = means - weights @ means
    return _within(terms, kernels, count) + centered.T @ (weights[:, None] * centered)


def _other_prompts(terms: Sequence[PairTerms], count: int, prompts: int) -> np.ndarray:
    """With b the mean loss of the other prompts' pairs, independent of this prompt's responses.

    With L a prompt's mean pair loss and T = (2/K) sum s_i: Cov at b = E L, plus Var(L)/(X-1) E T T', plus what two
    prompts that serve as each other's baseline share, E[L T] E[L T]'/(X-1); all over X prompts.
    """
    checks.require(prompts >= 2, "prompts", prompts, "at least 2 for baseline 'other_prompts'")
    weights = np.array([term.weight for term in terms])
    loss_means = np.array([_mean(term.losses[..., None], term.probs)[0] for term in terms])
    level = weights @ loss_means
    loss_variance = weights @ (loss_means - level) ** 2 + sum(
        term.weight * u_statistic_covariance(term.losses[..., None], term.probs, count)[0, 0]
        for term in terms
    )
    fisher = sum(
        term.weight * 4.0 / count * term.scores.T @ (term.probs[:, None] * term.scores) for term in terms
    )
    shared = 2.0 / count * mean_gradient([term.score_only() for term in terms])
    constant = _one_prompt(terms, [pair_kernel(term, level) for term in terms], count)
    return (constant + (loss_variance * fisher + np.outer(shared, shared)) / (prompts - 1)) / prompts
