"""Whether DPO's loss plus a linear term falls for ever: a law of pairs against a pull.

Pushing down a set S of a prompt's responses by s, in log-ratio, changes DPO's mean loss by s beta sum_{S x S^c} d P
plus a constant, d being the law of pairs, and a linear term by -s pull(S). The slope far out is linear on every
ordering of the responses, and the extreme rays of an ordering are such sets: the objective is bounded below if and
only if no set falls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from rsail.study.every_method.setting import Setting


@cache
def subsets(responses: int) -> np.ndarray:
    """All sets of responses but the empty and the full one, (2^Y - 2, Y) of 0 and 1."""
    return (np.arange(1, 2**responses - 1)[:, None] >> np.arange(responses)) % 2


@cache
def _crossings(responses: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs (sets, M) have only their first, and only their second response in the set."""
    first, second = np.triu_indices(responses, k=1)
    sets = subsets(responses)
    return sets[:, first] * (1.0 - sets[:, second]), sets[:, second] * (1.0 - sets[:, first])


def resistance(setting: Setting, law: torch.Tensor) -> np.ndarray:
    """sum over S x S^c of d P, (sets, X): what pushing down each set costs on the law (X, M), per unit of margin."""
    law, chance = law.numpy(), setting.preference.numpy()
    first_down, second_down = _crossings(setting.shape[1])
    return first_down @ (law * chance).T + second_down @ (law * (1 - chance)).T


def pull(setting: Setting, term: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Slope (X, Y), per prompt, of a term that is linear in the log-ratios (X, Y) and a mean over prompts."""
    log_ratio = torch.zeros_like(setting.ref_log_probs, requires_grad=True)
    (slope,) = torch.autograd.grad(term(log_ratio), log_ratio)
    return len(slope) * slope


def least_slope(setting: Setting, law: torch.Tensor, beta: float, slope: torch.Tensor) -> float:
    """The least slope far out, over prompts and sets, of DPO at `beta` on the law (X, M) plus a term of this slope.

    The objective has no minimum if it is negative, and one if it is positive.
    """
    pulled = subsets(setting.shape[1]) @ slope.numpy().T
    return float((beta * resistance(setting, law) - pulled).min())
