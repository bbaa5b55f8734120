"""Robust pair losses side by side, in SymPy: all of them are sp(-t) plus something (an addition).

t = beta h is the margin of the preferred response, sp(t) = log(1 + e^t), so that DPO's loss of a hard label is sp(-t)
and that of the flipped label sp(t) = sp(-t) + t. Each entry holds the loss as its source defines it, the same in one
line, its slope and its minimizer; notebook 02b derives the second to fourth from the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from rsail.exact.symbolic import sigmoid, softplus, t

flip = sp.Symbol("epsilon", positive=True)  # rate of label flips
rho = sp.Symbol("rho", positive=True)  # radius of a set
p = sp.Symbol("p", positive=True)  # soft label, P(first is better)
tau = sp.Symbol("tau", positive=True)  # IPO's temperature
alpha = sp.Symbol("alpha", positive=True)  # ROPO's weight
half = sp.Rational(1, 2)


@dataclass(frozen=True)
class Relative:
    """One loss: `definition`, `one_line` and `slope` in the margin t; `optimum` is None where there is none."""

    definition: sp.Expr
    one_line: sp.Expr
    slope: sp.Expr
    optimum: sp.Expr | None
    source: str

    def latex(self) -> str:
        """The one-line form, with sp(-t), |t| and [t]_+ spelled as such."""
        shown = {absolute(t): sp.Abs(t), positive_part(t): sp.Symbol("[t]_+")}
        rest = (self.one_line - softplus(-t)).subs(shown)
        if rest.has(sp.log):
            return sp.latex(self.one_line)  # not sp(-t) plus something simple
        return r"\mathrm{sp}(-t)" + ("" if rest == 0 else f"+{sp.latex(rest)}").replace("+-", "-")


def logit(x) -> sp.Expr:
    return sp.log(x / (1 - x))


def step(condition) -> sp.Expr:
    """1 where the condition holds, else 0."""
    return sp.Piecewise((1, condition), (0, True))


def positive_part(x) -> sp.Expr:
    return sp.Piecewise((x, x > 0), (0, True))


def absolute(x) -> sp.Expr:
    """|x| as a piecewise expression, so that it can be taken apart at 0."""
    return sp.Piecewise((x, x > 0), (-x, True))


def soft(preference) -> sp.Expr:
    """DPO's loss of a soft label: p sp(-t) + (1 - p) sp(t)."""
    return preference * softplus(-t) + (1 - preference) * softplus(t)


def soft_threshold(value, radius) -> sp.Expr:
    return sp.sign(value) * sp.Max(sp.Abs(value) - radius, 0)


pro_radius = sp.sqrt(rho * p * (1 - p))  # DPO-PRO: chi-square ball of radius rho around the soft label p
ropo_scale = 4 * alpha / (1 + alpha) ** 2

HARD = {
    "DPO": Relative(softplus(-t), softplus(-t), -sigmoid(-t), None, "arXiv 2305.18290"),
    "cDPO": Relative(
        (1 - flip) * softplus(-t) + flip * softplus(t),
        softplus(-t) + flip * t,
        -(sigmoid(-t) - flip),
        logit(1 - flip),
        "E. Mitchell, note on DPO with noisy preferences, 2023",
    ),
    "rDPO": Relative(
        ((1 - flip) * softplus(-t) - flip * softplus(t)) / (1 - 2 * flip),
        softplus(-t) - flip / (1 - 2 * flip) * t,
        -(sigmoid(-t) + flip / (1 - 2 * flip)),
        None,
        "arXiv 2403.00409",
    ),
    "TV, hard label": Relative(
        (1 - rho) * softplus(-t) + rho * sp.Piecewise((softplus(t), t > 0), (softplus(-t), True)),
        softplus(-t) + rho * positive_part(t),
        -sigmoid(-t) + rho * step(t > 0),
        logit(sp.Max(1 - rho, half)),
        "arXiv 2607.01715 with K = 2",
    ),
    "ROPO": Relative(
        ropo_scale * (softplus(-t) + alpha * sigmoid(-t)),
        ropo_scale * (softplus(-t) + alpha * sigmoid(-t)),
        -ropo_scale * sigmoid(-t) * (1 + alpha * sigmoid(t)),
        None,
        "arXiv 2404.04102",
    ),
    "IPO": Relative(
        (t - 1 / (2 * tau)) ** 2,
        (t - 1 / (2 * tau)) ** 2,
        2 * (t - 1 / (2 * tau)),
        1 / (2 * tau),
        "arXiv 2310.12036; here t is h, without beta",
    ),
}

SOFT = {
    "DPO": Relative(soft(p), softplus(-t) + (1 - p) * t, sigmoid(t) - p, logit(p), "arXiv 2305.18290"),
    "oracle-robust": Relative(
        soft(p) + rho * absolute(t),
        softplus(-t) + (1 - p) * t + rho * absolute(t),
        sigmoid(t) - p + rho * (step(t > 0) - step(t < 0)),
        logit(half + soft_threshold(p - half, rho)),
        "arXiv 2602.20457, eq. 14, for rho < min(p, 1 - p)",
    ),
    "DPO-PRO": Relative(
        soft(p) + pro_radius * absolute(t),
        softplus(-t) + (1 - p) * t + pro_radius * absolute(t),
        sigmoid(t) - p + pro_radius * (step(t > 0) - step(t < 0)),
        logit(half + soft_threshold(p - half, pro_radius)),
        "arXiv 2509.02709, for a radius below min(p, 1 - p)",
    ),
}

# sigma(t) at the minimum of the expected loss when the label is 1 with probability p: what a method reports.
FITS = {
    "DPO": p,
    "cDPO": half + (1 - 2 * flip) * (p - half),
    "rDPO": half + (p - half) / (1 - 2 * flip),
    "TV, hard label": sp.Piecewise(
        (sp.Max(half, (1 - rho) * p), p > half), (sp.Min(half, (1 - rho) * p + rho), True)
    ),
    "oracle-robust": half + soft_threshold(p - half, rho),
    "DPO-PRO": half + soft_threshold(p - half, pro_radius),
    "ROPO": sp.Piecewise(
        (
            (alpha * (2 * p - 1) - 1 + sp.sqrt((alpha * (2 * p - 1) - 1) ** 2 + 4 * alpha * (2 * p - 1) * p))
            / (2 * alpha * (2 * p - 1)),
            sp.Ne(p, half),
        ),
        (half, True),
    ),
}
