"""The family of robust pair losses: one-line forms, slopes and minima, as numbers at random points."""

import numpy as np
import pytest
import sympy as sp
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.special import expit

from rsail.exact import one_pair_loss, robust_fit
from rsail.exact.family import FITS, HARD, SOFT, alpha, flip, p, pro_radius, rho, t, tau

POINT = {flip: 0.1, rho: 0.1, alpha: 6.0, tau: 0.4}
MARGINS = np.random.default_rng(0).uniform(-5, 5, size=60)
ENTRIES = [
    (f"{kind} {name}", r) for kind, group in (("hard", HARD), ("soft", SOFT)) for name, r in group.items()
]
each = pytest.mark.parametrize("r", [r for _, r in ENTRIES], ids=[name for name, _ in ENTRIES])


def number(expression, margins=MARGINS, chance=0.7):
    return sp.lambdify([t, p], expression.subs(POINT), "numpy")(margins, chance) * np.ones_like(margins)


@each
def test_one_line_is_the_definition(r):
    assert_allclose(number(r.one_line), number(r.definition), atol=1e-12)


@each
def test_slope_is_the_derivative(r):
    step = 1e-6
    differences = (number(r.one_line, MARGINS + step) - number(r.one_line, MARGINS - step)) / (2 * step)
    assert_allclose(number(r.slope), differences, atol=1e-8)


@each
def test_the_minimum_is_where_a_search_finds_it(r):
    def loss(margin):
        return float(number(r.one_line, np.array([margin]))[0])

    found = minimize_scalar(loss, bounds=(-12, 12), options={"xatol": 1e-10}).x
    if r.optimum is None:
        assert found > 11.9
    else:
        assert_allclose(found, float(r.optimum.subs(POINT).subs(p, 0.7)), atol=1e-5)


def test_published_values_of_pair_losses():
    at_1 = {"DPO": 0.313262, "cDPO": 0.413262, "rDPO": 0.188262, "TV, hard label": 0.413262, "ROPO": 0.943793}
    below = {
        "DPO": 1.313262,
        "cDPO": 1.213262,
        "rDPO": 1.438262,
        "TV, hard label": 1.313262,
        "ROPO": 2.791647,
    }
    for name in at_1:
        found = number(HARD[name].definition, np.array([1.0, -1.0]))
        assert_allclose(found, [at_1[name], below[name]], atol=5e-7)


def test_oracle_robust_is_the_pair_loss_of_the_exact_engine():
    assert_allclose(number(SOFT["oracle-robust"].definition), one_pair_loss(MARGINS, 0.7, 0.1), atol=1e-12)


def test_the_radius_of_dpo_pro_is_the_end_of_the_chi_square_ball():
    """chi^2(q, p) = (q - p)^2 / p + (q - p)^2 / (1 - p) is rho at q = p + radius."""
    divergence = pro_radius**2 / p + pro_radius**2 / (1 - p)
    assert sp.simplify(divergence - rho) == 0


@pytest.mark.parametrize("name", FITS)
def test_fits_minimize_the_expected_loss(name):
    for chance in (0.15, 0.3, 0.45, 0.55, 0.62, 0.8, 0.88):
        if name in SOFT:
            loss = SOFT[name].one_line.subs(POINT).subs(p, chance)
        else:
            straight = HARD[name].one_line.subs(POINT)
            loss = chance * straight + (1 - chance) * straight.subs(t, -t)
        numeric = sp.lambdify(t, loss, "numpy")
        found = minimize_scalar(lambda x: float(numeric(x)), bounds=(-12, 12), options={"xatol": 1e-10}).x  # noqa: B023
        assert_allclose(expit(found), float(FITS[name].subs(POINT).subs(p, chance)), atol=2e-5)


def test_the_oracle_robust_fit_is_the_soft_threshold():
    chances = np.linspace(0.01, 0.99, 50)
    found = [float(FITS["oracle-robust"].subs(POINT).subs(p, q)) for q in chances]
    assert_allclose(found, robust_fit(chances, 0.1), atol=1e-12)


def test_the_ropo_weight_is_at_most_one_and_does_not_vanish():
    grid = np.linspace(-30, 30, 6001)
    weight = -number(HARD["ROPO"].slope, grid)
    assert_allclose(weight.max(), 1.0, atol=1e-5)
    assert_allclose(weight[0], 24 / 49, atol=1e-9)  # 4 alpha / (1 + alpha)^2 at alpha = 6


def test_latex_spells_the_simple_parts():
    assert HARD["DPO"].latex() == r"\mathrm{sp}(-t)"
    assert HARD["cDPO"].latex() == r"\mathrm{sp}(-t)+\epsilon t"
    assert (
        "[t]_{+}" in HARD["TV, hard label"].latex() and r"\left|{t}\right|" in SOFT["oracle-robust"].latex()
    )
