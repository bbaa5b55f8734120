"""The family of objectives that SAIL belongs to, exactly: who draws the responses, and who labels them.

SAIL (arXiv 2406.15567) maximizes, over policies,

    J(theta) = E_x E_{(i, j) ~ A} E_{label ~ B}[F],    F = log sigma(beta h(winner, loser)) <= 0,

where the pairs come from a dataset or from the policy itself (A) and the label from the oracle or from the policy's own
belief sigma(beta h) (B). Whatever depends on theta adds a term to the gradient,

    grad J = E[grad F]  +  E[F S] if A is the policy  +  E[F grad F] if B is,

here called path, response and preference term; S is the gradient of the log pair law. The four settings and their
names in SAIL's code are in `SETTINGS`. With the policy's responses and the oracle's labels, -J is L_SAIL of eq. 9 in
arXiv 2602.20457: that is the setting which oracle-robust SAIL makes robust.

Functions of tables (`table_terms`) know nothing of the policy's parametrization; the others take a `FiniteProblem`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_expit

from rsail import checks
from rsail.exact.arguments import preference_table
from rsail.exact.hessian import mean_derivatives
from rsail.exact.losses import pair_law, pair_scores
from rsail.exact.problem import FiniteProblem


class Setting(NamedTuple):
    """Where the responses and the labels come from."""

    responses: str  # "dataset" or "policy"
    labels: str  # "oracle" or "policy"


SETTINGS = {
    "offline": Setting("dataset", "oracle"),  # DPO
    "ddp": Setting("dataset", "policy"),  # SAIL-DP
    "dpp": Setting("policy", "policy"),  # SAIL-PP
    "dpr": Setting("policy", "oracle"),  # SAIL-PR; without its response term: online DPO
}


class Terms(NamedTuple):
    """J in nats, and the terms of its gradient: (d,) each, or (X, Y) as coefficients of grad log pi(y|x)."""

    value: float
    path: np.ndarray
    response: np.ndarray
    preference: np.ndarray

    def gradient(self, response_weight: float = 1.0, preference_weight: float = 1.0) -> np.ndarray:
        """path + weights times the other terms: the gradient of J if both weights are 1, else damped."""
        return self.path + response_weight * self.response + preference_weight * self.preference


def table_terms(
    log_probs, ref_log_probs, preferences, setting: str, *, beta, pair_probs=None, prompt_probs=None
) -> Terms:
    """J and its gradient's terms, as coefficients c (X, Y) in sum c[x, y] grad log pi(y|x).

    Parameters
    ----------
    log_probs, ref_log_probs : arrays (X, Y)
    preferences : array (X, Y, Y)
        The oracle, P[x, i, j] = P(i > j | x); any table that is antisymmetric.
    setting : one of `SETTINGS`
    beta : float > 0
    pair_probs : array (X, Y, Y)
        The dataset's law of (prompt, first, second), which sums to 1; needed where it supplies the responses.
    prompt_probs : array (X,), optional
        mu of the pairs that the policy draws; uniform by default.
    """
    beta = checks.positive("beta", beta)
    margins = beta * pair_scores(log_probs, ref_log_probs)
    preferences = preference_table(preferences, margins.shape[:2])
    checks.one_of("setting", setting, SETTINGS)
    drawn = SETTINGS[setting].responses == "policy"
    law = pair_law(log_probs, prompt_probs) if drawn else dataset_law(pair_probs, margins.shape)
    own_labels = SETTINGS[setting].labels == "policy"
    # The probability that the first is labeled the better one.
    first = expit(margins) if own_labels else preferences
    gain, other_gain = log_expit(margins), log_expit(-margins)  # F under either label
    slope, other_slope = beta * expit(-margins), -beta * expit(margins)  # dF / dh under either label
    means = law * (first * gain + (1.0 - first) * other_gain)
    path = law * (first * slope + (1.0 - first) * other_slope)
    labels = law * (first * gain * slope + (1.0 - first) * other_gain * other_slope)
    zeros = np.zeros(margins.shape[:2])
    return Terms(
        float(means.sum()),
        _difference(path),
        _sum(means) if drawn else zeros,
        _difference(labels) if own_labels else zeros,
    )


def terms(problem: FiniteProblem, theta, setting: str, pair_probs=None) -> Terms:
    """J and its gradient's terms, (d,) each, for a log-linear policy; arguments as in `table_terms`."""
    found = _problem_terms(problem, problem.log_probs(theta), setting, pair_probs)
    return Terms(found.value, *(problem.chain(theta, part) for part in found[1:]))


def objective(problem: FiniteProblem, theta, setting: str, pair_probs=None) -> float:
    """J in nats, at most 0; to be maximized."""
    return _problem_terms(problem, problem.log_probs(theta), setting, pair_probs).value


def gradient(problem: FiniteProblem, theta, setting: str, pair_probs=None) -> np.ndarray:
    """The exact gradient (d,) of J."""
    found = _problem_terms(problem, problem.log_probs(theta), setting, pair_probs)
    return problem.chain(theta, found.gradient())


def hessian(problem: FiniteProblem, theta, setting: str, pair_probs=None) -> np.ndarray:
    """The Hessian (d, d) of J."""
    checks.one_of("setting", setting, SETTINGS)
    scores = problem.pair_scores(theta)
    values, slopes, curvatures = label_mean(scores, problem.preferences, problem.beta, setting)
    if SETTINGS[setting].responses == "policy":
        return mean_derivatives(
            problem.features, theta, problem.prompt_probs, values, slopes, curvatures
        ).hessian
    moves = problem.features[:, :, None] - problem.features[:, None]
    weights = dataset_law(pair_probs, scores.shape) * curvatures
    return np.einsum("xij,xijd,xije->de", weights, moves, moves, optimize=True)


def label_mean(scores, preferences, beta: float, setting: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E[F | pair], and its first and second derivative in the pair score h; each of the scores' shape.

    With the policy's own labels it is minus the binary entropy of the belief sigma(beta h): no label need be drawn.
    """
    margins = beta * np.asarray(scores, dtype=np.float64)
    belief, spread = expit(margins), expit(margins) * expit(-margins)
    if SETTINGS[setting].labels == "policy":
        return (
            belief * log_expit(margins) + expit(-margins) * log_expit(-margins),
            beta * spread * margins,
            beta**2 * spread * (1.0 + margins * (1.0 - 2.0 * belief)),
        )
    return (
        preferences * log_expit(margins) + (1.0 - preferences) * log_expit(-margins),
        beta * (preferences - belief),
        -(beta**2) * spread,
    )


def pair_weight(margin, preference_weight: float) -> np.ndarray:
    """1 + c F, what the preference term multiplies DPO's step on a labeled pair with; margin of the winner, any shape.

    It is negative below `flip_margin`: there the step is taken the other way.
    """
    return 1.0 + preference_weight * log_expit(np.asarray(margin, dtype=np.float64))


def flip_margin(preference_weight: float) -> float:
    """The margin below which `pair_weight` is negative, -log(e^(1/c) - 1), about -1/c."""
    inverse = 1.0 / checks.positive("preference_weight", preference_weight)
    return float(-(inverse + np.log1p(-np.exp(-inverse))))


@dataclass(frozen=True)
class Mixture:
    """Which share of the pairs is treated how, and how much of the extra terms is kept.

    SAIL's code calls the shares r, p, g and the weights rho, pi, gamma; `dpp_weight` multiplies both extra terms. What
    is left of the shares is offline.
    """

    ddp: float = 0.0
    dpp: float = 0.0
    dpr: float = 0.0
    ddp_weight: float = 1.0
    dpp_weight: float = 1.0
    dpr_weight: float = 1.0

    def __post_init__(self):
        for name, value in vars(self).items():
            checks.nonnegative(name, value)
        checks.require(
            self.ddp + self.dpp + self.dpr <= 1 + 1e-12,
            "ddp + dpp + dpr", self.ddp + self.dpp + self.dpr, "at most 1",
        )  # fmt: skip

    def parts(self) -> dict[str, tuple[float, float]]:
        """Setting -> (share, weight of its extra terms), for the settings with a positive share."""
        offline = max(0.0, 1.0 - self.ddp - self.dpp - self.dpr)
        found = {"offline": (offline, 0.0)}
        found |= {
            name: (getattr(self, name), getattr(self, f"{name}_weight")) for name in ("ddp", "dpp", "dpr")
        }
        return {name: part for name, part in found.items() if part[0] > 0}


def mixture_objective(problem: FiniteProblem, theta, mixture: Mixture, pair_probs=None) -> float:
    """The shares' mean of J; its gradient is `mixture_direction` if all weights are 1."""
    return sum(
        share * objective(problem, theta, name, pair_probs) for name, (share, _) in mixture.parts().items()
    )


def mixture_direction(problem: FiniteProblem, theta, mixture: Mixture, pair_probs=None) -> np.ndarray:
    """The mean step (d,) of a mixture with damped terms.

    Damping scales the gradients of ddp and dpp, whose path term is 0; a damped dpr is the gradient of nothing.
    """
    return sum(
        share * terms(problem, theta, name, pair_probs).gradient(weight, weight)
        for name, (share, weight) in mixture.parts().items()
    )


def released_response(
    problem: FiniteProblem, theta, setting: str, pair_probs=None, *, pairs: int = 1, extra_nats: float = 0.0
) -> np.ndarray:
    """For comparison only: the mean response term (d,) of SAIL's released code, in place of E[F S].

    The code (github.com/johnding1996/SAIL, commit c3a4ef3) adds the term by a hook on the gradient of each summed
    log-probability: F / log pi(y) where the score function asks for F, as factor of grad log pi(y). As log pi < 0, a
    drawn pair is pushed the opposite way. The hook acts after the loss was averaged.

    Parameters
    ----------
    pairs : int
        Pairs in a device's batch times steps of gradient accumulation: how much too large the term is beside the rest.
    extra_nats : float >= 0
        Added to every -log pi(y) in the quotient: each response of the table then stands for a class of texts among
        which the policy chooses uniformly, so that long texts need not be enumerated.
    """
    checks.require(int(pairs) == pairs and pairs >= 1, "pairs", pairs, "a whole number >= 1")
    log_probs = problem.log_probs(theta)
    exact = _problem_terms(problem, log_probs, setting, pair_probs).response
    text_log_probs = log_probs - checks.nonnegative("extra_nats", extra_nats)
    largest = float(text_log_probs.max())
    checks.require(largest < 0, "log_probs", largest, "negative, because the code divides by them")
    return problem.chain(theta, pairs * exact / text_log_probs)


def dataset_law(pair_probs, shape: tuple[int, int, int]) -> np.ndarray:
    """The law (X, Y, Y) of a dataset's prompts and pairs, checked."""
    checks.require(pair_probs is not None, "pair_probs", pair_probs, "given: the dataset's law of pairs")
    pair_probs = checks.finite("pair_probs", pair_probs)
    checks.require(pair_probs.shape == shape, "pair_probs.shape", pair_probs.shape, f"(X, Y, Y) = {shape}")
    checks.require(bool(pair_probs.min() >= 0), "pair_probs", float(pair_probs.min()), "probabilities >= 0")
    total = float(pair_probs.sum())
    checks.require(abs(total - 1.0) <= 1e-9, "pair_probs", total, "a distribution (this is its sum)")
    return pair_probs


def _problem_terms(problem: FiniteProblem, log_probs, setting, pair_probs) -> Terms:
    return table_terms(
        log_probs,
        problem.ref_log_probs,
        problem.preferences,
        setting,
        beta=problem.beta,
        pair_probs=pair_probs,
        prompt_probs=problem.prompt_probs,
    )


def _difference(weights: np.ndarray) -> np.ndarray:
    """Coefficients (X, Y) of sum_ij w_ij grad h(i, j)."""
    return weights.sum(axis=-1) - weights.sum(axis=-2)


def _sum(weights: np.ndarray) -> np.ndarray:
    """Coefficients (X, Y) of sum_ij w_ij S(i, j)."""
    return weights.sum(axis=-1) + weights.sum(axis=-2)
