"""A reward model fitted on comparisons: the misspecified oracle that a practitioner has, alone or as an ensemble.

Bradley-Terry by maximum likelihood with an L2 penalty, linear in hashed counts of words. It is wrong in the ways of
real ones: it has seen a finite number of labels, drawn at random, on responses of the reference alone, and the true
reward is not linear in its features.

Sources: arXiv 2602.20457, eq. 4 (the model); T. Coste et al., arXiv 2310.02743 (ensembles and their aggregates).
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from rsail.checks import finite, nonnegative, one_of, positive, require

if TYPE_CHECKING:  # parts of SciPy that are slow to import: settings are read without them
    from scipy import sparse

WIDTH = 2**16  # columns that words are hashed to; the preference language has some 7000 combinations
AGGREGATES = ("deviation", "variance", "minimum")
_WORD, _SPECIAL = re.compile(r"\w+|[^\w\s]"), re.compile(r"<\w+>")


def features(prompts: Sequence[str], responses: Sequence[str]) -> sparse.csr_matrix:
    """Hashed counts (N, WIDTH) of the words of each response, alone and with the last word of its prompt.

    That word is what a request of the preference language asks for, and what a review goes on from. Counts are over
    the root of the number of words, so that long responses have no larger features. Texts in lower case, punctuation
    marks are words, special tokens of prompts such as <answer> are none.
    """
    from scipy import sparse

    require(
        len(prompts) == len(responses), "responses", len(responses), f"as many as the {len(prompts)} prompts"
    )
    rows, columns, values = [], [], []
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        request = (_WORD.findall(_SPECIAL.sub(" ", prompt.lower())) or [""])[-1]
        words = _WORD.findall(response.lower())
        for word in words:
            columns += [_column(word), _column(f"{request}\t{word}")]
        rows += [row] * (2 * len(words))
        values += [max(1, len(words)) ** -0.5] * (2 * len(words))
    # The constructor adds up what is repeated.
    return sparse.csr_matrix((values, (rows, columns)), shape=(len(prompts), WIDTH))


@lru_cache(maxsize=2**17)
def _column(text: str) -> int:
    return zlib.crc32(text.encode()) % WIDTH


def fit_bradley_terry(differences, labels, *, l2: float, counts=None) -> np.ndarray:
    """The w (D,) of least sum_n c_n [log(1 + e^{d_n w}) - y_n d_n w] + l2 / 2 |w|^2, for differences d (n, D).

    `labels` y (n,) in [0, 1] say that the first of a pair was preferred; `counts` c (n,), 1 by default, how often it
    counts. Strictly convex: the minimizer is unique; columns that are zero in all rows get the weight 0.
    """
    from scipy import sparse
    from scipy.optimize import minimize
    from scipy.special import expit

    differences = sparse.csr_matrix(differences)
    labels, l2 = finite("labels", labels), positive("l2", l2)
    shape = (differences.shape[0],)
    require(labels.shape == shape, "labels.shape", labels.shape, f"{shape}")
    inside = bool(np.all((labels >= 0) & (labels <= 1)))
    require(inside, "labels", labels.tolist(), "numbers in [0, 1]")
    counts = np.ones(shape) if counts is None else finite("counts", counts)
    require(counts.shape == shape, "counts.shape", counts.shape, f"{shape}")
    used = np.unique(differences.indices)
    table = differences[:, used]
    transposed = table.T.tocsr()

    def objective(weights):
        margin = table @ weights
        value = counts @ (np.logaddexp(0, margin) - labels * margin) + l2 / 2 * weights @ weights
        return value, transposed @ (counts * (expit(margin) - labels)) + l2 * weights

    options = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 0.0, "gtol": 1e-5}
    found = minimize(objective, np.zeros(len(used)), jac=True, method="L-BFGS-B", options=options)
    weights = np.zeros(differences.shape[1])
    weights[used] = found.x
    return weights


@dataclass(frozen=True)
class RewardModel:
    """Linear rewards of the members of an ensemble, and how they become one; call it as the reward of a task.

    A Bradley-Terry reward is known up to a constant: each member's mean over the responses of the fit is 0, so that
    the members can be compared.
    """

    weights: np.ndarray  # (members, WIDTH)
    centers: np.ndarray  # (members,)
    aggregate: str = "deviation"
    weight: float = 0.0

    def members(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """The reward of each member, (members, N)."""
        return (features(prompts, responses) @ self.weights.T - self.centers).T

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """Rewards (N,) in log-odds, of the one member or the conservative aggregate of all."""
        return conservative(self.members(prompts, responses), self.aggregate, self.weight)

    def to_bytes(self) -> bytes:
        """The fit as a compressed file of NumPy's."""
        stream = BytesIO()
        np.savez_compressed(stream, weights=self.weights, centers=self.centers)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, aggregate: str, weight: float) -> RewardModel:
        """What `to_bytes` wrote; raises ValueError when it is damaged."""
        try:
            with np.load(BytesIO(content), allow_pickle=False) as tables:
                return cls(tables["weights"], tables["centers"], aggregate, weight)
        except (
            ValueError,
            OSError,
            KeyError,
            EOFError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise ValueError(f"reward model must be as it was saved, it is damaged: {error}") from None

    def digest(self) -> str:
        """SHA-256 of weights and centers."""
        return hashlib.sha256(self.weights.tobytes() + self.centers.tobytes()).hexdigest()


def conservative(scores, aggregate: str, weight: float) -> np.ndarray:
    """One reward (...) of those of K members (K, ...); of one member its own.

    deviation: mean - weight * standard deviation; variance: mean - weight * variance, the UWO of arXiv 2310.02743;
    both divide by K - 1. minimum: the least, its WCO, without a weight.
    """
    from rsail.exact.rejection import uncertainty_weighted_ensemble, worst_case_ensemble

    scores = finite("scores", scores)
    one_of("aggregate", aggregate, AGGREGATES)
    weight = nonnegative("weight", weight)
    if len(scores) == 1 or aggregate == "minimum":
        return worst_case_ensemble(scores)
    if aggregate == "variance":
        return uncertainty_weighted_ensemble(scores, weight=weight, unbiased=True)
    return scores.mean(axis=0) - weight * scores.std(axis=0, ddof=1)


def fit_reward_model(
    prompts: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    labels,
    rng: np.random.Generator,
    *,
    members: int = 1,
    l2: float = 1.0,
    aggregate: str = "deviation",
    weight: float = 0.0,
) -> RewardModel:
    """The reward model of n comparisons: `labels` (n,) is 1 where the first response of a pair was preferred.

    One member is fitted on the comparisons; of several each on a bootstrap resample of them by `rng`: n of n drawn
    with replacement. The prior precision `l2` is that of a weight.
    """
    require(members >= 1, "members", members, "at least 1")
    one, two = features(prompts, first), features(prompts, second)
    size = len(prompts)
    require(size >= 1, "prompts", size, "at least one comparison")
    resamples = [None] if members == 1 else rng.multinomial(size, np.full(size, 1 / size), size=members)
    differences = one - two
    weights = np.stack([fit_bradley_terry(differences, labels, l2=l2, counts=c) for c in resamples])
    centers = (one @ weights.T + two @ weights.T).mean(axis=0) / 2
    return RewardModel(weights, centers, aggregate, weight)
