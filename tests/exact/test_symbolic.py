"""The SymPy expressions: re-derived here, and equal to the numbers that run."""

import numpy as np
import pytest
import sympy as sp
from numpy.testing import assert_allclose
from scipy.special import expit

from rsail.exact import FiniteProblem, losses, one_pair_loss, robust_fit
from rsail.exact import symbolic as s

POINTS = np.random.default_rng(0).uniform(0.05, 0.45, size=(50, 4))


def test_interval_maximum_is_attained_at_an_end():
    a, b = sp.symbols("a b", real=True)
    ends = [s.mixture(s.p + sign * s.rho, a, b) for sign in (-1, 1)]
    assert sp.simplify((sp.Max(*ends) - s.interval_maximum(s.p, a, b)).rewrite(sp.Abs)) == 0


def test_the_two_losses_differ_by_the_margin():
    preferred, rejected = s.pair_losses()
    assert sp.simplify(preferred - rejected + s.beta * s.h) == 0
    assert sp.simplify(s.robust_pair_loss() - s.interval_maximum(s.p, preferred, rejected)) == 0


def test_partition_terms_cancel():
    theta, reference = (sp.Matrix(sp.symbols(f"{name}_1:3", real=True)) for name in ("theta", "phi"))
    psi = [sp.Matrix(sp.symbols(f"psi_{y}_1:3", real=True)) for y in range(3)]
    new, old = s.log_linear(theta, psi), s.log_linear(reference, psi)
    score = new[0] - old[0] - new[1] + old[1]
    assert sp.simplify(score - (theta - reference).dot(psi[0] - psi[1])) == 0


def test_the_example_has_the_exact_value():
    penalty = s.example_penalty()
    gap = penalty.subs(s.theta, 1) - penalty.subs(s.theta, 2) / 2
    assert sp.simplify(gap - s.example_gap()) == 0
    assert abs(s.example_gap().evalf(30) - sp.Float("0.183236695675951", 30)) < 1e-15


def test_the_example_follows_from_the_definitions():
    probs = [s.sigmoid(s.theta), s.sigmoid(-s.theta)]
    ratios = [s.theta, sp.Integer(0)]  # up to a common constant, which cancels in h
    assert sp.simplify(s.penalty(probs, ratios) - s.example_penalty()) == 0
    oracle = s.oracle(2).subs(sp.Symbol("p_12", positive=True), s.p)
    generic = s.sail_loss(probs, ratios, oracle) + s.rho * s.beta * s.penalty(probs, ratios)
    evaluate = sp.lambdify([s.theta, s.p, s.beta, s.rho], generic - s.example_robust_loss())
    assert_allclose([evaluate(*point) for point in POINTS], 0.0, atol=1e-14)


def test_the_sigmoid_is_the_slope_of_softplus():
    assert sp.simplify(sp.diff(s.softplus(s.t), s.t) - s.sigmoid(s.t)) == 0


def test_the_radius_is_clipped_on_the_side_to_which_the_oracle_moves():
    points = [(preference, score, 0.3) for preference in (0.1, 0.5, 0.9) for score in (-2.0, 2.0)]
    found = [float(s.clipped_radius(*point)) for point in points]
    assert found == [0.3, 0.1, 0.3, 0.3, pytest.approx(0.1), 0.3]
    assert_allclose(found, [float(losses.effective_radius(*point)) for point in points], atol=1e-15)


def test_the_papers_selector_moves_down_where_the_score_is_positive():
    assert [s.paper_selector(s.p, score) - s.p for score in (-2, 2)] == [s.rho, -s.rho]


def test_the_critical_radius_of_rewards_equals_the_code():
    gaps = [0.0, 0.3, 2.0]
    for gap in gaps:
        problem = FiniteProblem.from_rewards(np.eye(3)[None], [[gap, 0.2 * gap, 0.0]], beta=1.0)
        assert_allclose(float(s.bradley_terry_critical_radius(gap)), problem.critical_radius(), atol=1e-15)


def test_a_generic_oracle_is_one():
    oracle = s.oracle(3)
    assert oracle + oracle.T == sp.ones(3, 3)
    assert len(oracle.free_symbols) == 3


def test_the_selectors_at_a_tie():
    ours, papers = (f(s.p, 0) + f(1 - s.p, 0) - 1 for f in (s.worst_preference, s.paper_selector))
    assert sp.simplify(ours) == 0
    assert sp.simplify(papers - 2 * s.rho) == 0


def test_pair_expressions_equal_the_code():
    def table(value):
        return np.array([[[0.5, value], [1 - value, 0.5]]])

    def scores(value):
        return np.array([[[0.0, value], [-value, 0.0]]])

    points = [(p, sign * 8 * h, rho) for p, h, rho, _ in POINTS for sign in (-1, 1)]
    symbols = [s.p, s.h, s.rho]
    margin = s.clipped_pair_loss(beta=1)
    assert s.largest_difference(margin, symbols, lambda p, h, rho: one_pair_loss(h, p, rho), points) < 1e-12
    inside = [(p, h, min(p, 1 - p) * 2 * rho) for p, h, rho in points]
    moved = s.largest_difference(
        s.worst_preference(), symbols,
        lambda p, h, rho: losses.worst_case_preferences(table(p), scores(h), rho)[0, 0, 1], inside,
    )  # fmt: skip
    assert moved < 1e-12
    fit = s.largest_difference(s.robust_fit(), [s.p, s.rho], robust_fit, [(p, rho) for p, _, rho in points])
    assert fit < 1e-12


def test_the_clipped_form_is_the_papers_below_delta():
    difference = sp.lambdify([s.p, s.h, s.rho, s.beta], s.clipped_pair_loss() - s.robust_pair_loss())
    for p, h, rho, beta in POINTS:
        assert abs(difference(p, h, 0.99 * min(p, 1 - p), beta)) < 1e-15
        assert difference(p, h, p + rho, beta) < 0


def test_a_generic_problem_equals_the_code():
    theta, reference = (sp.Matrix(sp.symbols(f"{name}_1:3", real=True)) for name in ("theta", "phi"))
    psi = [sp.Matrix(sp.symbols(f"psi_{y}_1:3", real=True)) for y in range(3)]
    new, old = s.log_linear(theta, psi), s.log_linear(reference, psi)
    ratios, probs = [a - b for a, b in zip(new, old, strict=True)], [sp.exp(a) for a in new]
    expression = s.sail_loss(probs, ratios, s.oracle(3)) + s.rho * s.beta * s.penalty(probs, ratios)
    names = sp.symbols("p_12 p_13 p_23", positive=True)
    symbols = [list(theta), list(reference), [entry for vector in psi for entry in vector], names]
    evaluate = sp.lambdify([*symbols, s.beta, s.rho], expression)
    rng = np.random.default_rng(1)
    for _ in range(20):
        values, base, features = rng.normal(size=2), rng.normal(size=2), rng.normal(size=(3, 2))
        rewards, beta = rng.normal(size=3) * 0.5, rng.uniform(0.1, 1.0)
        above = expit([rewards[0] - rewards[1], rewards[0] - rewards[2], rewards[1] - rewards[2]])
        rho = 0.9 * min(above.min(), 1 - above.max())
        problem = FiniteProblem.from_rewards(features[None], rewards[None], beta=beta, theta_ref=base)
        expected = evaluate(values, base, features.ravel(), above, beta, rho)
        assert_allclose(problem.robust_loss(values, rho), expected, rtol=1e-12)
