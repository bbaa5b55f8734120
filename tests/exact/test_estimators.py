"""Covariances by Hoeffding's decomposition against every batch there is, computed here from the definition."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from rsail.exact import FiniteProblem, estimators
from rsail.exact.losses import LOG2

RHO = 0.05


@pytest.fixture
def case():
    rng = np.random.default_rng(5)
    problem = FiniteProblem.from_rewards(
        rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3)), beta=0.8, prompt_probs=[0.4, 0.6]
    )
    theta = rng.normal(size=2)
    return problem, theta, estimators.pair_terms(problem, theta, RHO)


def prompt_gradient(term, responses, baseline):
    """One prompt's estimate, from the definition of its baseline; `baseline` may be a number."""
    pairs = list(combinations(range(len(responses)), 2))
    loss = {pair: term.losses[responses[pair[0]], responses[pair[1]]] for pair in pairs}
    total = 0.0
    for pair in pairs:
        total = total + term.path[responses[pair[0]], responses[pair[1]]]
        for i in pair:
            chosen = {
                "per_response": [value for other, value in loss.items() if i not in other],
                "disjoint": [value for other, value in loss.items() if not set(other) & set(pair)],
                "leave_one_out": [value for other, value in loss.items() if other != pair],
                "plain_mean": list(loss.values()),
            }
            level = np.mean(chosen[baseline]) if isinstance(baseline, str) else baseline
            total = total + (loss[pair] - level) * term.scores[responses[i]]
    return total / len(pairs)


def one_prompt_moments(terms, baseline, count):
    mean, second = 0.0, 0.0
    for term in terms:
        for responses in product(range(len(term.probs)), repeat=count):
            weight = term.weight * np.prod(term.probs[list(responses)])
            gradient = prompt_gradient(term, responses, baseline)
            mean, second = mean + weight * gradient, second + weight * np.outer(gradient, gradient)
    return mean, second - np.outer(mean, mean)


@pytest.mark.parametrize(
    ("baseline", "count"),
    [
        (0.0, 2),
        (LOG2, 3),
        (1.3, 4),
        ("per_response", 3),
        ("per_response", 5),
        ("leave_one_out", 4),
        ("plain_mean", 2),
        ("plain_mean", 4),
    ],
)
def test_mean_and_covariance_of_one_prompt(case, baseline, count):
    _, _, terms = case
    mean, covariance = one_prompt_moments(terms, baseline, count)
    assert_allclose(estimators.batch_covariance(terms, baseline, count, 1), covariance, atol=1e-14)
    assert_allclose(estimators.mean_gradient(terms, baseline, count), mean, atol=1e-14)
    assert_allclose(estimators.batch_covariance(terms, baseline, count, 3), covariance / 3, atol=1e-14)


def test_named_constants_and_the_least_number_of_responses(case):
    terms = case[2]
    for name, value in (("none", 0.0), ("log2", LOG2)):
        for covariance in (estimators.batch_covariance, estimators.independent_pairs_covariance):
            assert np.array_equal(covariance(terms, name, 4, 1), covariance(terms, value, 4, 1))
    assert np.array_equal(
        estimators.mean_gradient(terms, "plain_mean"), estimators.mean_gradient(terms, "plain_mean", 3)
    )


def test_disjoint_pairs_are_the_per_response_baseline(case):
    _, _, terms = case
    for responses in product(range(3), repeat=4):
        one, other = (prompt_gradient(terms[0], responses, kind) for kind in ("disjoint", "per_response"))
        assert_allclose(one, other, atol=1e-14)


@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("baseline", ["leave_one_out", "plain_mean"])
def test_naive_means_shrink_the_score_part_of_every_batch(case, baseline, count):
    _, _, terms = case
    term = terms[1].score_only()
    factor = estimators.shrink_factor(baseline, count)
    for responses in list(product(range(3), repeat=count))[::7]:
        naive, right = (prompt_gradient(term, responses, kind) for kind in (baseline, "per_response"))
        assert_allclose(naive, factor * right, atol=1e-14)


def test_the_kernel_of_triples_has_the_mean_of_the_pairs(case):
    for term in case[2]:
        law = np.einsum("i,j,k->ijk", term.probs, term.probs, term.probs)
        mean = np.einsum("ijk,ijkd->d", law, estimators.triple_kernel(term))
        pairs = np.einsum("i,j,ijd->d", term.probs, term.probs, estimators.pair_kernel(term, 0.0))
        assert_allclose(mean, pairs, atol=1e-14)


def test_shrink_factors():
    assert [estimators.shrink_factor("leave_one_out", k) for k in (3, 4, 5)] == [2 / 4, 3 / 5, 4 / 6]
    assert [estimators.shrink_factor("plain_mean", k) for k in (2, 4)] == [0.0, 0.5]


@pytest.mark.parametrize(("count", "prompts", "responses"), [(2, 2, 3), (3, 2, 3), (2, 3, 2)])
def test_other_prompts(count, prompts, responses):
    rng = np.random.default_rng(5)
    problem = FiniteProblem.from_rewards(
        rng.normal(size=(2, responses, 2)), rng.normal(size=(2, responses)), beta=0.8, prompt_probs=[0.4, 0.6]
    )
    terms = estimators.pair_terms(problem, rng.normal(size=2), RHO)
    mean, second = 0.0, 0.0
    for chosen in product(terms, repeat=prompts):
        for draws in product(product(range(responses), repeat=count), repeat=prompts):
            batch = list(zip(chosen, draws, strict=True))
            weight = np.prod([t.weight * np.prod(t.probs[list(d)]) for t, d in batch])
            level = [
                np.mean([t.losses[d[i], d[j]] for i, j in combinations(range(count), 2)]) for t, d in batch
            ]
            gradient = 0.0
            for k, (term, draw) in enumerate(batch):
                others = np.mean(level[:k] + level[k + 1 :])
                gradient = gradient + prompt_gradient(term, draw, others) / prompts
            mean, second = mean + weight * gradient, second + weight * np.outer(gradient, gradient)
    assert_allclose(
        estimators.batch_covariance(terms, "other_prompts", count, prompts),
        second - np.outer(mean, mean),
        atol=1e-13,
    )


@pytest.mark.parametrize("baseline", ["none", "log2", "best_constant", "other_prompts", "per_response"])
def test_unbiased_baselines_give_the_gradient(case, baseline):
    problem, theta, terms = case
    assert_allclose(
        estimators.mean_gradient(terms, baseline), problem.robust_subgradient(theta, RHO), atol=1e-14
    )


def test_independent_pairs_within_a_prompt(case):
    _, _, terms = case
    kernels = [estimators.pair_kernel(term, LOG2) for term in terms]
    mean, second = 0.0, 0.0
    for term, kernel in zip(terms, kernels, strict=True):
        for a, b, c, d in product(range(3), repeat=4):
            weight = term.weight * np.prod(term.probs[[a, b, c, d]])
            gradient = (kernel[a, b] + kernel[c, d]) / 2
            mean, second = mean + weight * gradient, second + weight * np.outer(gradient, gradient)
    expected = second - np.outer(mean, mean)
    assert_allclose(estimators.independent_pairs_covariance(terms, "log2", 4, 1), expected, atol=1e-14)
    assert_allclose(estimators.independent_pairs_covariance(terms, "log2", 4, 3), expected / 3, atol=1e-14)
    all_pairs = estimators.batch_covariance(terms, "log2", 4, 1)
    assert np.trace(all_pairs) < np.trace(expected)
    one_pair = [
        f(terms, "log2", 2, 1) for f in (estimators.independent_pairs_covariance, estimators.batch_covariance)
    ]
    assert_allclose(*one_pair, atol=1e-15)


def test_the_best_constant_is_best(case):
    _, _, terms = case
    best = np.trace(estimators.batch_covariance(terms, "best_constant", 3, 1))
    grid = [np.trace(estimators.batch_covariance(terms, b, 3, 1)) for b in np.linspace(0.5, 0.9, 401)]
    assert best <= min(grid) + 1e-15 and min(grid) - best < 1e-6


def few_responses_pay():
    """Five prompts whose gradients differ little: more than two responses of each are worth their price."""
    rng = np.random.default_rng(1)
    problem = FiniteProblem.from_rewards(rng.normal(size=(5, 4, 3)), 0.5 * rng.normal(size=(5, 4)), beta=0.1)
    return estimators.pair_terms(problem, 0.2 * rng.normal(size=3), RHO)


def test_the_best_constant_of_small_scores_is_the_same(case):
    _, _, terms = case
    small = [replace(term.score_only(), scores=0.01 * term.scores) for term in terms]
    search = minimize_scalar(lambda b: np.trace(estimators.batch_covariance(small, b, 3, 1)), tol=1e-10)
    assert_allclose(
        np.trace(estimators.batch_covariance(small, "best_constant", 3, 1)), search.fun, rtol=1e-12
    )


def test_the_best_count_is_the_minimum_of_the_cost():
    """K tr Cov = A + B / (K-1) + C K: A, B, C from three counts, a fourth for the form, the minimum from B and C."""
    terms = few_responses_pay()
    counts = np.array([2, 3, 5, 9])
    cost = [k * np.trace(estimators.batch_covariance(terms, "log2", k, 1)) for k in counts]
    columns = np.stack([np.ones(4), 1 / (counts - 1), counts], axis=1)
    a, b, c = np.linalg.solve(columns[:3], cost[:3])
    assert_allclose(cost[3], columns[3] @ [a, b, c], rtol=1e-9)
    assert_allclose(estimators.best_count(terms, "log2"), 1 + np.sqrt(b / c), rtol=1e-7)
    assert estimators.best_count(terms, "log2") > 2.5
    features = np.random.default_rng(1).normal(size=(1, 4, 3))
    one = FiniteProblem.from_rewards(features, [[0.3, 0.0, -0.1, 0.2]], beta=0.1)
    assert estimators.best_count(estimators.pair_terms(one, np.ones(3), RHO), "log2") == np.inf


def test_between_prompts_is_what_many_responses_leave(case):
    _, _, terms = case
    many = estimators.batch_covariance(terms, "log2", 4000, 1)
    assert_allclose(many, estimators.between_prompts(terms), atol=2e-3 * np.trace(many))


@pytest.mark.parametrize("count", [2, 3])
def test_label_noise(case, count):
    """The variance that drawn labels add, from every outcome of the labels of every batch."""
    problem, theta, terms = case
    scores = problem.pair_scores(theta)
    pairs = list(combinations(range(count), 2))
    added = 0.0
    for term, chances, score in zip(terms, problem.preferences, scores, strict=True):
        for responses in product(range(3), repeat=count):
            weight = term.weight * np.prod(term.probs[list(responses)])
            for labels in product((0, 1), repeat=len(pairs)):
                gradient, law = 0.0, weight
                for (i, j), label in zip(pairs, labels, strict=True):
                    a, b = responses[i], responses[j]
                    law *= chances[a, b] if label else 1 - chances[a, b]
                    h, both = score[a, b], term.scores[a] + term.scores[b]
                    change = (
                        label - chances[a, b]
                    )  # loss: l0 - label beta h; path: slope - label beta (s_a - s_b)
                    gradient = gradient - change * problem.beta * (
                        term.scores[a] - term.scores[b] + h * both
                    ) / len(pairs)
                added = added + law * np.outer(gradient, gradient)
    found = estimators.label_noise(terms, problem.preferences, scores, problem.beta, count, 1)
    assert_allclose(found, added, atol=1e-15)
    found = estimators.label_noise(terms, problem.preferences, scores, problem.beta, count, 4)
    assert_allclose(found, added / 4, atol=1e-15)


def test_best_constant_of_independent_pairs(case):
    _, _, terms = case

    def variance(baseline):
        return np.trace(estimators.independent_pairs_covariance(terms, baseline, 4, 1))

    search = minimize_scalar(variance, bracket=(0.5, 0.9), tol=1e-10)
    assert_allclose(variance("best_constant"), search.fun, rtol=1e-13)


def test_the_best_count_with_the_best_constant_of_one_pair():
    terms = few_responses_pay()
    constant = minimize_scalar(lambda b: np.trace(estimators.batch_covariance(terms, b, 2, 1))).x
    assert_allclose(
        estimators.best_count(terms, "best_constant"), estimators.best_count(terms, constant), rtol=1e-6
    )
    assert estimators.best_count(terms, constant) > 2.5


def test_the_best_count_is_at_least_a_pair():
    """A sum of one function of each response has z = 2 a: more responses of a prompt do not pay, so K is 2, not 1."""
    values = np.array([[0.5], [-0.5]])
    paths = [values[:, None] + values[None, :] + pull for pull in (-3.0, 3.0)]
    terms = [
        estimators.PairTerms(np.array([0.5, 0.5]), np.full((2, 2), LOG2), path, values, 0.5) for path in paths
    ]
    assert estimators.best_count(terms, "log2") == 2.0


def test_a_prompt_alone_has_all_the_weight(case):
    term = case[2][0]
    alone = estimators.PairTerms(term.probs, term.losses, term.path, term.scores)
    pair = estimators.hoeffding_covariances(estimators.pair_kernel(alone, 0.3), term.probs)[1]
    assert_allclose(estimators.batch_covariance([alone], 0.3, 2, 1), pair, atol=1e-15)


def test_hoeffding_of_a_sum_has_no_second_part():
    probs, values = np.array([0.2, 0.3, 0.5]), np.array([[1.0], [-2.0], [0.5]])
    first, second = estimators.hoeffding_covariances(values[:, None] + values[None, :], probs)
    assert_allclose(second, 2 * first, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda terms: estimators.batch_covariance(terms, "nothing", 3, 1), "baseline must be one of"),
        (lambda terms: estimators.batch_covariance(terms, "per_response", 2, 1), "count must be at least 3"),
        (lambda terms: estimators.batch_covariance(terms, "log2", 1, 1), "count must be at least 2"),
        (
            lambda terms: estimators.batch_covariance(terms, "other_prompts", 2, 1),
            "prompts must be at least 2",
        ),
        (lambda terms: estimators.batch_covariance(terms, "log2", 2, 0), "prompts must be >= 1"),
        (lambda terms: estimators.independent_pairs_covariance(terms, "log2", 3, 1), "count must be even"),
        (lambda terms: estimators.independent_pairs_covariance(terms, "per_response", 4, 1), "a constant"),
        (lambda terms: estimators.shrink_factor("plain_mean", 1), "count must be at least 2"),
        (lambda terms: estimators.best_count(terms, "other_prompts"), "one that a single prompt has"),
    ],
)
def test_bad_input_is_named(case, call, message):
    with pytest.raises(ValueError, match=message):
        call(case[2])


def test_where_no_constant_changes_the_variance_the_best_one_is_zero():
    problem = FiniteProblem(np.ones((2, 1, 3)), np.full((2, 1, 1), 0.5), beta=1.0)
    terms = estimators.pair_terms(problem, np.ones(3), RHO)
    assert np.array_equal(estimators.batch_covariance(terms, "best_constant", 2, 1), np.zeros((3, 3)))


def test_the_labels_noise_needs_one_table_for_each_prompt(case):
    problem, theta, terms = case
    with pytest.raises(ValueError):
        estimators.label_noise(terms, problem.preferences[:1], problem.pair_scores(theta), problem.beta, 2, 1)
