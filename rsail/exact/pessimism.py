"""Offline alignment from comparisons with a linear reward: pessimism, point by point and over a version space.

The reward is <theta, phi(x, y)>, a comparison has the move phi(x, y1) - phi(x, y2), and

    Sigma = ridge I + sum move move^T / batch,      Theta = {theta : |theta - estimate|_Sigma <= width}.

Comparisons identify differences only; so what pessimism subtracts has to be measured from a center, a vector
v: a response is charged width |phi - v|_{Sigma^-1}. v = 0 is the plain form; with v = E phi under the reference
nothing depends on where the features have their origin.

Source: W. Xiong et al., arXiv 2312.11456 (GSHF); the closed form of the inner
minimum, the dual and its certificate are additions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import brentq
from scipy.special import expit

from rsail import checks
from rsail.exact import gibbs, newton
from rsail.exact.arguments import policies, prompt_weights
from rsail.exact.bandit import mean_features


@dataclass(frozen=True)
class Pessimist:
    """A maximin policy: `value` is its guaranteed value, and no policy guarantees more than `value` + `gap`."""

    log_probs: np.ndarray  # (X, Y)
    theta: np.ndarray  # (d,), the least favorable parameter: the policy is its Gibbs policy
    value: float  # min over the version space of E_pi r - <theta, center> - beta KL
    gap: float


def design_matrix(moves, *, ridge: float, batch: int = 1) -> np.ndarray:
    """Sigma = ridge I + sum move move^T / batch, (d, d), of moves (n, d), n = 0 included."""
    moves = _moves(moves)
    ridge, batch = checks.positive("ridge", ridge), checks.positive("batch", batch)
    return ridge * np.eye(moves.shape[1]) + moves.T @ moves / batch


def fit_reward(moves, labels, *, ridge: float, batch: int = 1) -> np.ndarray:
    """The regularized maximum-likelihood estimate (d,) of a linear Bradley-Terry reward.

    It minimizes (1/batch) sum [y sp(-<theta, move>) + (1 - y) sp(<theta, move>)] + ridge/2 |theta|^2, where
    labels (n,) may be probabilities. Without a ridge separable data have no minimizer.
    """
    moves, labels = _moves(moves), checks.finite("labels", labels)
    checks.require(labels.shape == (len(moves),), "labels.shape", labels.shape, f"({len(moves)},)")
    checks.require(bool(np.all((labels >= 0) & (labels <= 1))), "labels", labels.tolist(), "in [0, 1]")
    ridge, batch = checks.positive("ridge", ridge), checks.positive("batch", batch)

    def gradient(theta):
        chance = expit(moves @ theta)
        hessian = moves.T @ (moves * (chance * (1.0 - chance))[:, None]) / batch
        return moves.T @ (chance - labels) / batch + ridge * theta, hessian + ridge * np.eye(len(theta))

    return newton.solve(gradient, np.zeros(moves.shape[1]))


def dual_norm(vectors, design) -> np.ndarray | float:
    """|v|_{Sigma^-1} = sqrt(v^T Sigma^-1 v) of vectors (..., d), shape (...)."""
    vectors = checks.finite("vectors", vectors)
    return np.linalg.norm(vectors @ whitening(design), axis=-1)[()]


def pointwise_pessimism(
    features, estimate, design, ref_log_probs, *, beta: float, width: float, center=None
) -> np.ndarray:
    """The Gibbs policy (X, Y) of <estimate, phi> - width |phi - center|_{Sigma^-1}.

    Parameters
    ----------
    features : array (X, Y, d)
    estimate : array (d,)
    design : array (d, d)
        Sigma.
    center : array (d,) or (X, d), optional
        v, which may depend on the prompt; 0 by default.

    Where theta* is in Theta, J(pi) - J(this) <= 2 width E_pi |phi - v|_{Sigma^-1} - beta E_x KL(pi || this)
    for all pi.
    """
    features, estimate = _features(features, estimate)
    width = checks.nonnegative("width", width)
    center = _center(center, features.shape[-1:], (features.shape[0], features.shape[-1]))
    if center.ndim == 2:
        center = center[:, None, :]
    rewards = features @ estimate - width * dual_norm(features - center, design)
    return gibbs.gibbs_policy(rewards, ref_log_probs, beta=beta)


def worst_value(
    log_probs, features, estimate, design, ref_log_probs, *, beta, width, center=None, prompt_probs=None
) -> float:
    """min over Theta of E_pi <theta, phi - center> - beta KL, in closed form.

    It is E_pi <estimate, phi - center> - width |E_pi phi - center|_{Sigma^-1} - beta KL (Cauchy-Schwarz);
    arguments as in `version_space_pessimism`.
    """
    features, estimate = _features(features, estimate)
    mean = mean_features(features, log_probs, prompt_probs) - _center(center, estimate.shape)
    cost = checks.positive("beta", beta) * gibbs.kl(log_probs, ref_log_probs, prompt_probs)
    return float(estimate @ mean - checks.nonnegative("width", width) * dual_norm(mean, design) - cost)


def version_space_pessimism(
    features,
    estimate,
    design,
    ref_log_probs,
    *,
    beta: float,
    width: float,
    center=None,
    prompt_probs=None,
) -> Pessimist:
    """The policy with the largest `worst_value`.

    With center = E phi under some policy pi_safe, the result is never worse than pi_safe wherever theta* is in Theta,
    whatever the data cover. In general J(pi) - J(this) <= 2 width |E_pi phi - center|_{Sigma^-1} for every pi.

    Policies and parameters may be exchanged (the set is convex and compact, J concave in the policy and linear
    in theta), so it is the Gibbs policy of the parameter in Theta that minimizes J*(theta) - <theta, center>,
    a smooth convex function of d variables on an ellipsoid. `gap` of the result is primal minus dual.

    Parameters
    ----------
    features : array (X, Y, d)
    estimate : array (d,)
    design : array (d, d)
    ref_log_probs : array (X, Y)
    beta : float > 0
    width : float >= 0
    center : array (d,), optional
        0 by default.
    prompt_probs : array (X,), optional
    """
    features, estimate = _features(features, estimate)
    _, ref_log_probs = policies(ref_log_probs, ref_log_probs)
    beta, width = checks.positive("beta", beta), checks.nonnegative("width", width)
    mu = prompt_weights(prompt_probs, len(ref_log_probs))
    center = _center(center, estimate.shape)
    to_white = whitening(design)
    white = (features - center) @ to_white

    def rewards(unit):
        return (features - center) @ estimate - width * (white @ unit)

    def dual(unit):
        """J* of the parameter that `unit` stands for, its gradient and Hessian."""
        probs = np.exp(gibbs.gibbs_policy(rewards(unit), ref_log_probs, beta=beta))
        means = np.einsum("xy,xyd->xd", probs, white)
        second = np.einsum("x,xy,xyd,xye->de", mu, probs, white, white)
        spread = second - np.einsum("x,xd,xe->de", mu, means, means)
        optimum = gibbs.optimal_value(rewards(unit), ref_log_probs, beta=beta, prompt_probs=mu)
        return optimum, -width * (mu @ means), width**2 / beta * spread

    unit = _minimize_on_ball(dual, width * np.linalg.norm(white, axis=-1).max(), features.shape[-1])
    log_probs = gibbs.gibbs_policy(rewards(unit), ref_log_probs, beta=beta)
    mean = np.einsum("x,xy,xyd->d", mu, np.exp(log_probs), white)
    return Pessimist(
        log_probs,
        estimate - width * (to_white @ unit),
        worst_value(
            log_probs, features, estimate, design, ref_log_probs,
            beta=beta, width=width, center=center, prompt_probs=mu,
        ),
        float(width * (np.linalg.norm(mean) - unit @ mean)),
    )  # fmt: skip


def _minimize_on_ball(function: newton.Smooth, largest: float, dimension: int) -> np.ndarray:
    """The minimizer (d,) on the unit ball of a convex function whose gradient is nowhere longer than `largest`.

    With a multiplier nu it minimizes function + nu/2 |u|^2; |u| falls as nu grows and is at most 1 at nu = `largest`.
    """
    if largest == 0:
        return np.zeros(dimension)
    latest = {"unit": np.zeros(dimension)}

    def at(multiplier):
        def penalized(unit):
            value, gradient, hessian = function(unit)
            value = value + multiplier / 2.0 * (unit @ unit)
            return value, gradient + multiplier * unit, hessian + multiplier * np.eye(dimension)

        latest["unit"] = newton.minimize(penalized, latest["unit"], tolerance=1e-9 * largest)
        return latest["unit"]

    high = low = largest
    while np.linalg.norm(at(low)) < 1:
        if low < 1e-11 * largest:
            # The constraint does not bind: the gradient itself vanishes.
            return newton.solve(lambda u: function(u)[1:], latest["unit"], tolerance=1e-8 * largest)
        high, low = low, low / 10.0
    if low == high:
        return latest["unit"] / np.linalg.norm(latest["unit"])
    root = brentq(lambda log: np.linalg.norm(at(np.exp(log))) - 1.0, np.log(low), np.log(high), xtol=1e-9)

    def stationarity(point):
        unit, multiplier = point[:-1], point[-1]
        _, gradient, hessian = function(unit)
        border = np.block([[hessian + multiplier * np.eye(dimension), unit[:, None]], [unit, 0.0]])
        return np.append(gradient + multiplier * unit, (unit @ unit - 1.0) / 2.0), border

    start = np.append(at(np.exp(root)), np.exp(root))
    unit = newton.solve(stationarity, start, tolerance=1e-7 * max(largest, 1.0))[:-1]
    return unit / np.linalg.norm(unit)


def _moves(moves) -> np.ndarray:
    moves = checks.finite("moves", moves)
    checks.require(moves.ndim == 2 and moves.shape[1] >= 1, "moves.shape", moves.shape, "(n, d)")
    return moves


def _features(features, estimate) -> tuple[np.ndarray, np.ndarray]:
    features, estimate = checks.finite("features", features), checks.finite("estimate", estimate)
    checks.require(features.ndim == 3, "features.shape", features.shape, "(X, Y, d)")
    expected = features.shape[-1:]
    checks.require(estimate.shape == expected, "estimate.shape", estimate.shape, f"{expected}")
    return features, estimate


def _center(center, *shapes) -> np.ndarray:
    """The vector that pessimism is measured from, of one of the shapes; 0 in the first where none is given."""
    center = np.zeros(shapes[0]) if center is None else checks.finite("center", center)
    checks.require(center.shape in shapes, "center.shape", center.shape, " or ".join(map(str, shapes)))
    return center


def whitening(design) -> np.ndarray:
    """W (d, d) with W W^T = Sigma^-1, so that |v|_{Sigma^-1} = |W^T v|."""
    design = checks.finite("design", design)
    checks.require(
        design.ndim == 2 and design.shape[0] == design.shape[1], "design.shape", design.shape, "(d, d)"
    )
    least = float(np.linalg.eigvalsh(design)[0])
    checks.require(least > 0 and np.allclose(design, design.T), "design", least, "positive definite")
    return solve_triangular(cholesky(design, lower=True), np.eye(len(design)), lower=True).T
