"""The trainer's estimators over every batch, and the exact covariances beside them."""

import numpy as np
import pytest
import sympy as sp
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem, estimators
from rsail.study import estimator_table
from rsail.study.gradient_check import Estimator


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    problem = FiniteProblem.from_rewards(rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3)), beta=0.6)
    return problem, rng.normal(size=2)


@pytest.mark.parametrize(
    ("kind", "count", "prompts"),
    [
        ("log2", 3, 1),
        ("log2", 2, 2),
        ("other_prompts", 3, 2),
        ("per_response", 4, 1),
        ("disjoint", 4, 1),
        ("leave_one_out", 3, 1),
    ],
)
def test_what_the_trainer_computes_has_the_exact_mean_and_covariance(case, kind, count, prompts):
    problem, theta = case
    mean, covariance = estimator_table.moments_by_enumeration(
        problem, theta, 0.05, Estimator(kind, kind), count=count, prompts=prompts
    )
    terms = estimators.pair_terms(problem, theta, 0.05)
    name = "per_response" if kind == "disjoint" else kind
    assert_allclose(covariance, estimators.batch_covariance(terms, name, count, prompts), atol=1e-13)
    assert_allclose(mean, estimators.mean_gradient(terms, name, count), atol=1e-13)


def test_batches_are_all_batches(case):
    found = list(estimator_table.batches(*case, 2, 2))
    assert len(found) == 4 and all(len(indices) == 81 for _, indices, _ in found)
    assert_allclose(sum(law.sum() for _, _, law in found), 1.0, atol=1e-12)


def test_the_example_learns_and_satisfies_assumption_1():
    problem, theta = estimator_table.example(beta=0.1, rho=0.1)
    assert problem.preferences.min() > 0.1
    assert problem.robust_loss(theta, 0.1) < np.log(2) - 1e-3


def test_responses_needed_is_where_the_standard_error_is_the_unit():
    covariance = np.diag([0.3, 0.1])  # of 10 responses
    count = estimator_table.responses_needed(covariance, 10, 0.5)
    assert_allclose(np.sqrt(np.trace(covariance) * 10 / count), 0.5)


def test_tables_say_where_a_baseline_does_not_exist():
    problem, theta = estimator_table.example(beta=0.1, rho=0.1)
    terms = estimators.pair_terms(problem, theta, 0.1)
    found = estimator_table.needed(terms, ["log2", "per_response"], [2, 4], budget=8, unit=1.0)
    assert found["per_response"][0] is None and found["per_response"][1] > found["log2"][1]
    extra = estimator_table.variants(problem, theta, 0.1, [2, 3, 4], unit=1.0)
    assert extra["independent"][1] is None
    assert_allclose(extra["independent"][0], found["log2"][0])
    assert extra["independent"][2] > found["log2"][1]
    assert all(drawn > 0 for drawn in extra["drawn"]) and extra["drawn"][0] > found["log2"][0]


@pytest.mark.parametrize("count", [3, 4])
def test_score_parts_are_one_vector_times_a_factor(count):
    parts = estimator_table.score_parts(count)
    right = parts["pairs without i"]
    assert right != 0
    assert sp.expand(parts["other pairs"] - sp.Rational(count - 1, count + 1) * right) == 0
    assert sp.expand(parts["all pairs"] - (1 - sp.Rational(2, count)) * right) == 0
