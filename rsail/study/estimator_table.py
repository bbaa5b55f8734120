"""Exact variances of the gradient estimators on a small problem, and the same by brute force (notebook 02b)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import sympy as sp

from rsail.exact import FiniteProblem, estimators
from rsail.exact.descent import descend
from rsail.study import gradient_check


def example(beta: float, rho: float) -> tuple[FiniteProblem, np.ndarray]:
    """Six prompts with five responses, four shared features, rewards in [-1, 1]; and the parameter learned from it."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 5, 4))
    rewards = np.tanh(0.5 * features @ rng.normal(size=4) + 0.5 * rng.normal(size=(6, 5)))
    problem = FiniteProblem.from_rewards(features, rewards, beta=beta)
    return problem, descend(problem, problem.theta_ref, rho).theta


def batches(problem: FiniteProblem, theta, count: int, prompts: int) -> Iterator[tuple]:
    """Every batch: the prompts (prompts,), all response indices (n, prompts, count) and their probabilities (n,)."""
    probs = np.exp(problem.log_probs(theta))
    size = probs.shape[1]
    indices = np.array(list(product(range(size), repeat=prompts * count))).reshape(-1, prompts, count)
    for chosen in product(range(len(probs)), repeat=prompts):
        law = np.prod(problem.prompt_probs[list(chosen)]) * np.ones(len(indices))
        for place, prompt in enumerate(chosen):
            law = law * np.prod(probs[prompt][indices[:, place]], axis=1)
        yield list(chosen), indices, law


def moments_by_enumeration(
    problem: FiniteProblem,
    theta,
    rho: float,
    estimator: gradient_check.Estimator,
    *,
    count: int,
    prompts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of a batch's gradient, from what the trainer's code gives for every batch."""
    tables = problem.log_probs(theta), problem.ref_log_probs, problem.preferences
    scores = np.stack([term.scores.T for term in estimators.pair_terms(problem, theta, rho)], axis=1)
    mean, second = 0.0, 0.0
    for chosen, indices, law in batches(problem, theta, count, prompts):
        asked = tuple(table[chosen] for table in tables)
        c = gradient_check.estimate_coefficients(estimator, indices, asked, beta=problem.beta, rho=rho)
        gradients = gradient_check.project(c, indices, scores[:, chosen])
        mean, second = mean + law @ gradients, second + (gradients.T * law) @ gradients
    return mean, second - np.outer(mean, mean)


def responses_needed(covariance: np.ndarray, responses: int, unit: float) -> float:
    """Responses after which the standard error of the gradient is `unit`: responses tr Cov / unit^2."""
    return float(responses * np.trace(covariance) / unit**2)


def needed(
    terms: Sequence[estimators.PairTerms],
    baselines: Sequence[str],
    counts: Sequence[int],
    *,
    budget: int,
    unit: float,
) -> dict[str, list[float | None]]:
    """`responses_needed` of each baseline over K; None where the baseline does not exist. budget / K prompts."""
    result = {}
    for baseline in baselines:
        result[baseline] = [
            responses_needed(
                estimators.batch_covariance(terms, baseline, count, budget // count),
                budget // count * count,
                unit,
            )
            if count >= (3 if baseline in estimators.WITHIN else 2)
            else None
            for count in counts
        ]
    return result


def variants(
    problem: FiniteProblem, theta, rho: float, counts: Sequence[int], *, unit: float
) -> dict[str, list]:
    """`needed` over K with the baseline log 2 for "independent" pairs (even K) and with "drawn" labels."""
    terms = estimators.pair_terms(problem, theta, rho)
    independent, drawn = [], []
    for count in counts:
        odd = count % 2 == 1
        covariance = None if odd else estimators.independent_pairs_covariance(terms, "log2", count, 1)
        independent.append(None if odd else responses_needed(covariance, count, unit))
        noise = estimators.label_noise(
            terms, problem.preferences, problem.pair_scores(theta), problem.beta, count, 1
        )
        drawn.append(
            responses_needed(estimators.batch_covariance(terms, "log2", count, 1) + noise, count, unit)
        )
    return {"independent": independent, "drawn": drawn}


def score_parts(count: int) -> dict[str, sp.Expr]:
    """The score term of one prompt for four baselines from its own pairs, in symbols l_ij and s_i.

    The baseline is the mean loss of all pairs; of the pairs other than (i, j); of the pairs without i, for the score of
    i; of the pairs that share no response with (i, j), which takes four responses.
    """
    scores = sp.symbols(f"s_1:{count + 1}")
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    loss = {pair: sp.Symbol(f"l_{pair[0] + 1}{pair[1] + 1}") for pair in pairs}
    chosen = {
        "all pairs": lambda other, pair, i: True,
        "other pairs": lambda other, pair, i: other != pair,
        "pairs without i": lambda other, pair, i: i not in other,
        "disjoint pairs": lambda other, pair, i: not set(other) & set(pair),
    }

    def part(keep) -> sp.Expr:
        terms = []
        for pair in pairs:
            for i in pair:
                taken = [value for other, value in loss.items() if keep(other, pair, i)]
                terms.append((loss[pair] - sp.Add(*taken) / len(taken)) * scores[i])
        return sp.expand(sp.Add(*terms) / len(pairs))

    return {name: part(keep) for name, keep in chosen.items() if count > 3 or name != "disjoint pairs"}
