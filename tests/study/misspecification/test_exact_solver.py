"""The batched solver against the exact package, closed forms, and finite differences."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, logit

from rsail.exact import FiniteProblem
from rsail.exact.descent import least_subgradient
from rsail.study.misspecification import exact_solver
from rsail.study.misspecification.exact_fixed_law import solve_fixed_law
from rsail.study.misspecification.exact_setting import make_bench
from rsail.study.misspecification.exact_solver import make_prompts, solve

BETA = 0.1


@pytest.fixture(scope="module")
def bench():
    return make_bench((100,))


def one_prompt(bench, preferences, row):
    features = np.eye(bench.rewards.shape[1])[None]
    return FiniteProblem(features, preferences[row][None], BETA, theta_ref=bench.ref_log_probs[row])


@pytest.mark.parametrize("rho", [0.0, 0.1, 0.6])
def test_losses_and_gradients_are_those_of_the_exact_package(bench, rho):
    prompts = make_prompts(bench.ref_log_probs, bench.biased, beta=BETA, rho=rho)
    ratio = np.random.default_rng(0).normal(size=bench.rewards.shape)
    losses = exact_solver.robust_losses(prompts, ratio)
    gradients = exact_solver.margin_gradient(
        prompts, *exact_solver.loss_and_slopes(prompts, BETA * ratio, 0.0), 1.0
    )
    for row in (0, 5):
        problem, theta = one_prompt(bench, bench.biased, row), bench.ref_log_probs[row] + ratio[row]
        assert losses[row] == pytest.approx(problem.robust_loss(theta, rho), abs=1e-13)
        assert np.allclose(gradients[row], problem.robust_subgradient(theta, rho) / BETA, atol=1e-12)


def test_the_smoothed_gradient_and_hessian_are_derivatives(bench):
    prompts = make_prompts(bench.ref_log_probs[:2], bench.biased[:2], beta=BETA, rho=0.1)
    margins = 0.2 * np.random.default_rng(1).normal(size=(2, 12))
    gradient, hessian = exact_solver.hessians(prompts, margins, 1e-2)
    for k in range(12):
        step = 1e-6 * np.eye(12)[k]
        ends = [exact_solver.loss_and_slopes(prompts, margins + sign * step, 1e-2)[0] for sign in (1, -1)]
        assert np.allclose((ends[0] - ends[1]) / 2e-6, gradient[:, k], atol=1e-8)
        slopes = [exact_solver.hessians(prompts, margins + sign * step, 1e-2)[0] for sign in (1, -1)]
        assert np.allclose((slopes[0] - slopes[1]) / 2e-6, hessian[:, :, k], atol=1e-6)


@pytest.mark.parametrize("rho", [0.0, 0.1, 0.15])
def test_ends_are_certified_by_the_exact_package_too(bench, rho):
    ends = solve(make_prompts(bench.ref_log_probs, bench.biased, beta=BETA, rho=rho))
    assert ends.converged.all()
    for row in (0, 1, 6):
        theta = bench.ref_log_probs[row] + ends.log_ratio[row]
        least, _, _ = least_subgradient(one_prompt(bench, bench.biased, row), theta, rho)
        # The smallest subgradient is no longer than the one that the solver shows, 1 / beta for its units.
        assert np.linalg.norm(least) <= BETA * ends.residual[row] + 1e-9
        assert ends.loss[row] <= np.log(2) + 1e-9  # that of the reference


def test_two_responses_are_the_soft_threshold_without_the_score_term():
    for p, rho in ((0.8, 0.0), (0.8, 0.1), (0.55, 0.1), (0.3, 0.15)):
        table = np.array([[[0.5, p], [1 - p, 0.5]]])
        prompts = make_prompts(np.log([[0.3, 0.7]]), table, beta=BETA, rho=rho)
        ratio = solve_fixed_law(prompts).log_ratio[0]
        soft = np.sign(p - 0.5) * max(abs(p - 0.5) - rho, 0.0)
        assert expit(BETA * (ratio[0] - ratio[1])) - 0.5 == pytest.approx(soft, abs=1e-6)


def test_the_truth_without_the_score_term_is_the_gibbs_policy_from_near_it_too(bench):
    prompts = make_prompts(bench.ref_log_probs, bench.truth, beta=BETA, rho=0.0)
    ends = solve_fixed_law(prompts)
    gibbs = log_softmax(bench.ref_log_probs + bench.rewards / BETA, axis=1)
    assert np.allclose(bench.ref_log_probs + ends.log_ratio, gibbs, atol=1e-6)
    away = ends.log_ratio + 0.3 * np.random.default_rng(0).normal(size=gibbs.shape)
    again = solve_fixed_law(prompts, away)
    assert np.allclose(bench.ref_log_probs + again.log_ratio, gibbs, atol=1e-6) and ends.converged.all()


def test_from_the_critical_radius_on_the_reference_is_where_learning_stays(bench):
    table = bench.biased[4:]  # no preference: every pair is at 1/2 + 0.15 or 1/2 - 0.15
    for method in (solve, solve_fixed_law):
        below = method(make_prompts(bench.ref_log_probs[4:], table, beta=BETA, rho=0.149)).log_ratio
        at = method(make_prompts(bench.ref_log_probs[4:], table, beta=BETA, rho=0.15)).log_ratio
        assert np.abs(at).max() < 1e-3 < 5e-3 < np.abs(below).max(axis=1).min()


def test_an_own_start_is_used_and_settings_may_differ_between_prompts(bench):
    p = expit(1.0)
    table = np.array([[[0.5, p], [1 - p, 0.5]]] * 2)
    prompts = make_prompts(np.log(np.full((2, 2), 0.5)), table, beta=[0.1, 0.2], rho=[0.0, 0.1])
    ratio = solve_fixed_law(prompts, start=np.array([[3.0, 0.0], [0.0, 3.0]])).log_ratio
    margins = np.array([0.1, 0.2]) * (ratio[:, 0] - ratio[:, 1])
    assert np.allclose(margins, [1.0, logit(p - 0.1)], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"beta": 0.0}, "beta"),
        ({"rho": -0.1}, "rho"),
        ({"ref_log_probs": np.zeros((1, 3))}, "preferences.shape"),
        ({"preferences": np.full((1, 2, 2), 0.7)}, "preferences"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, name):
    good = {
        "ref_log_probs": np.zeros((1, 2)),
        "preferences": np.full((1, 2, 2), 0.5),
        "beta": 0.1,
        "rho": 0.0,
    }
    with pytest.raises(ValueError, match=name):
        make_prompts(**(good | arguments))
