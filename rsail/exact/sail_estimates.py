"""What one drawn pair contributes to the gradient of SAIL's family, for every pair and label: means and variances.

The estimate of a pair with winner w, loser l and margin m = beta h(w, l) is

    (1 + c_pref F) beta sigma(-m) (u(w) - u(l))  +  c_resp (F - b) (u(w) + u(l)),    F = log sigma(m),

u = grad log pi; SAIL (arXiv 2406.15567) writes the same as a loss. All pairs and both labels are enumerated with their
probabilities, so that the mean can be compared with `sail_family`, and the covariance is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit

from rsail import checks
from rsail.exact.losses import pair_law
from rsail.exact.problem import FiniteProblem
from rsail.exact.sail_family import SETTINGS, dataset_law


@dataclass(frozen=True)
class Estimates:
    """Probabilities (n,) and estimates (n, d) of the n = 2 X Y^2 outcomes: prompt, pair, label."""

    probs: np.ndarray
    values: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.probs @ self.values

    @property
    def covariance(self) -> np.ndarray:
        """Of one pair's estimate, (d, d); divide by the batch size for independent pairs."""
        centered = self.values - self.mean
        return centered.T @ (self.probs[:, None] * centered)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Estimates (count, d) from `count` independent pairs."""
        return self.values[rng.choice(len(self.probs), size=count, p=self.probs / self.probs.sum())]


def estimates(
    problem: FiniteProblem,
    theta,
    setting: str,
    pair_probs=None,
    *,
    response_weight: float = 1.0,
    preference_weight: float = 1.0,
    baseline: float = 0.0,
) -> Estimates:
    """Every outcome of one drawn pair and label, in the direction of ascent on J.

    Parameters
    ----------
    setting : one of `SETTINGS`
        The response term is there only if the policy draws the responses, the preference term only if it labels them.
    response_weight, preference_weight : float
        c_resp and c_pref; 1 is unbiased for the gradient of J.
    baseline : float
        b, in nats: J itself is a good one (F <= 0). It must not depend on the pair.
    """
    checks.one_of("setting", setting, SETTINGS)
    baseline = float(checks.finite("baseline", baseline))
    log_probs = problem.log_probs(theta)
    margins = problem.beta * problem.pair_scores(theta)
    drawn, own_labels = (source == "policy" for source in SETTINGS[setting])
    law = pair_law(log_probs, problem.prompt_probs) if drawn else dataset_law(pair_probs, margins.shape)
    first = expit(margins) if own_labels else problem.preferences
    means = np.einsum("xy,xyd->xd", np.exp(log_probs), problem.features)
    scores = problem.features - means[:, None]
    moves = scores[:, :, None] - scores[:, None, :]
    both = scores[:, :, None] + scores[:, None, :]
    outcomes = []
    for sign, chance in ((1.0, first), (-1.0, 1.0 - first)):  # the first wins, the second wins
        gain = log_expit(sign * margins)
        step = problem.beta * expit(-sign * margins) * (1.0 + preference_weight * own_labels * gain)
        push = drawn * response_weight * (gain - baseline)
        value = (sign * step)[..., None] * moves + push[..., None] * both
        outcomes.append((np.ravel(law * chance), value.reshape(-1, value.shape[-1])))
    return Estimates(*(np.concatenate(parts) for parts in zip(*outcomes, strict=True)))
