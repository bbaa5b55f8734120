"""The theorem's expressions in SymPy: the one place where they are written down.

Notebook 01 derives each of them from the definitions and shows that the derived expression equals the one
here; `largest_difference` compares the ones here with the numbers that `rsail.exact` computes. Equation
numbers are those of arXiv 2602.20457; what is not in the paper is marked as an addition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

import numpy as np
import sympy as sp

beta, rho = sp.symbols("beta rho", positive=True)
p = sp.Symbol("p", positive=True)  # P(1|z) of one comparison
h, t, theta = sp.symbols("h t theta", real=True)


def sigmoid(x) -> sp.Expr:
    """sigma(x) = 1 / (1 + e^-x)."""
    return 1 / (1 + sp.exp(-x))


def softplus(x) -> sp.Expr:
    """sp(x) = log(1 + e^x), so that -log sigma(x) = sp(-x)."""
    return sp.log(1 + sp.exp(x))


def mixture(preference, preferred, rejected) -> sp.Expr:
    """What a comparison costs under an oracle: P l1 + (1 - P) l0, affine in P."""
    return preference * preferred + (1 - preference) * rejected


def interval_maximum(preference, preferred, rejected, radius=rho) -> sp.Expr:
    """Lemma A.1: the maximum of `mixture` over an interval of half-width `radius` inside [0, 1]."""
    return mixture(preference, preferred, rejected) + radius * sp.Abs(preferred - rejected)


def pair_losses(score=h, beta=beta) -> tuple[sp.Expr, sp.Expr]:
    """l1 = -log sigma(beta h) and l0 = -log sigma(-beta h)."""
    return softplus(-beta * score), softplus(beta * score)


def pair_loss(preference=p, score=h, beta=beta) -> sp.Expr:
    """The integrand of eq. 9."""
    return mixture(preference, *pair_losses(score, beta))


def robust_pair_loss(preference=p, score=h, beta=beta, rho=rho) -> sp.Expr:
    """The integrand of eq. 13: the pair's loss plus rho beta |h|."""
    return pair_loss(preference, score, beta) + rho * beta * sp.Abs(score)


def clipped_radius(preference=p, score=h, rho=rho) -> sp.Expr:
    """Addition: how far the oracle can move against `score` without leaving [0, 1]."""
    return sp.Piecewise((sp.Min(rho, preference), score > 0), (sp.Min(rho, 1 - preference), True))


def clipped_pair_loss(preference=p, score=h, beta=beta, rho=rho) -> sp.Expr:
    """Addition: `robust_pair_loss` for every rho >= 0."""
    return pair_loss(preference, score, beta) + beta * sp.Abs(score) * clipped_radius(preference, score, rho)


def worst_preference(preference=p, score=h, rho=rho) -> sp.Expr:
    """Addition: the antisymmetric selector P - rho sign(h), with sign(0) = 0."""
    return preference - rho * sp.sign(score)


def paper_selector(preference=p, score=h, rho=rho) -> sp.Expr:
    """The selector in the proof of Theorem 4.1: the upper end of the interval where l1 >= l0 (h <= 0)."""
    return sp.Piecewise((preference + rho, score <= 0), (preference - rho, True))


def soft_threshold(value, rho=rho) -> sp.Expr:
    """Addition: S_rho(v) = sign(v) max(|v| - rho, 0)."""
    return sp.sign(value) * sp.Max(sp.Abs(value) - rho, 0)


def robust_fit(preference=p, rho=rho) -> sp.Expr:
    """Addition: sigma(t) at the minimum over t of one pair's robust loss."""
    half = sp.Rational(1, 2)
    return half + soft_threshold(preference - half, rho)


def bradley_terry_critical_radius(gap) -> sp.Expr:
    """Addition: rho_crit = sigma(max |r - r'|) - 1/2 with the preferences of eq. 4."""
    return sigmoid(gap) - sp.Rational(1, 2)


def log_linear(parameter: sp.Matrix, features: Sequence[sp.Matrix]) -> list[sp.Expr]:
    """Assumption 2 for one prompt: log pi(y) = theta . psi(y) - log Z(theta), one entry per response."""
    logits = [parameter.dot(psi) for psi in features]
    return [logit - sp.log(sp.Add(*map(sp.exp, logits))) for logit in logits]


def oracle(size: int) -> sp.Matrix:
    """A generic antisymmetric oracle of one prompt: symbols above the diagonal, 1/2 on it, 1 - p below."""
    above = {
        (i, j): sp.Symbol(f"p_{i + 1}{j + 1}", positive=True) for i in range(size) for j in range(i + 1, size)
    }
    return sp.Matrix(
        size, size, lambda i, j: sp.Rational(1, 2) if i == j else above.get((i, j)) or 1 - above[j, i]
    )


def expectation(probs: Sequence, value: Callable[[int, int], sp.Expr]) -> sp.Expr:
    """E_{z ~ d} (eq. 1, one prompt) of value(i, j): both responses drawn independently from `probs`."""
    pairs = product(range(len(probs)), repeat=2)
    return sp.Add(*[probs[i] * probs[j] * value(i, j) for i, j in pairs])


def sail_loss(probs, ratios, preferences: sp.Matrix, beta=beta) -> sp.Expr:
    """Eq. 9 for one prompt, from pi(y), the log-ratios log pi(y)/pi_SFT(y) and the oracle."""
    return expectation(probs, lambda i, j: pair_loss(preferences[i, j], ratios[i] - ratios[j], beta))


def penalty(probs, ratios) -> sp.Expr:
    """Eq. 12 for one prompt: E|h|."""
    return expectation(probs, lambda i, j: sp.Abs(ratios[i] - ratios[j]))


def example_penalty(theta=theta) -> sp.Expr:
    """Example 4.4 (eq. 15): R(theta) = 2 |theta| sigma(theta) sigma(-theta)."""
    return 2 * sp.Abs(theta) * sigmoid(theta) * sigmoid(-theta)


def example_robust_loss(theta=theta, p=p, beta=beta, rho=rho) -> sp.Expr:
    """L^W_rho of Example 4.4 with P(a > b) = p: pairs of two different responses, and identical pairs."""
    share = 2 * sigmoid(theta) * sigmoid(-theta)
    return share * robust_pair_loss(p, theta, beta, rho) + (1 - share) * sp.log(2)


def example_gap() -> sp.Expr:
    """Example 4.4: R(1) - R(2)/2, positive because R is not convex."""
    e = sp.E
    return 2 * e * (e - 1) * (e**3 - 1) / ((1 + e) ** 2 * (1 + e**2) ** 2)


def largest_difference(
    expression: sp.Expr, symbols: Sequence, function: Callable[..., float], points: Iterable[Sequence]
) -> float:
    """Largest absolute difference of `expression`, lambdified over `symbols`, and `function` on `points`.

    The comparison that ties a derivation to the code that runs: each point is a tuple of arguments for both.
    """
    evaluate = sp.lambdify(list(symbols), expression, "numpy")
    differences = [abs(float(evaluate(*point)) - float(function(*point))) for point in points]
    return float(np.max(differences))
