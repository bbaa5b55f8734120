"""Are the gradient estimators of training unbiased? Their mean over exact draws against enumeration.

Tables are log-probabilities (X, Y), prompts first. G = `derivatives` (D, X, Y) are the derivatives of
log pi(y|x) along D directions of the parameter space, so that a gradient with coefficients c (X, Y) has the
components sum over x, y of c[x, y] G[d, x, y].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rsail.checks import one_of, require
from rsail.objectives import BASELINES, baseline, pair_indices, robust_sail_loss, score_surrogate
from rsail.oracles import draw_labels

BATCHES = 20_000  # of sampled responses, per estimator, in notebook 02
LEAVE_ONE_OUT = (
    "leave_one_out"  # the mean over a prompt's other pairs: biased, hence no option of the trainer
)


@dataclass(frozen=True)
class Estimator:
    """How training estimates a gradient from a batch, and the score weight whose gradient it should estimate."""

    label: str
    baseline: str = "log2"  # one of rsail.objectives.BASELINES, or LEAVE_ONE_OUT
    labels: str = "probability"  # probability | drawn
    score_weight: float = 1.0

    def __post_init__(self):
        one_of("baseline", self.baseline, [*BASELINES, LEAVE_ONE_OUT])
        one_of("labels", self.labels, ("probability", "drawn"))


def draw_responses(log_probs, batches: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices (batches, X, count) of responses drawn from the exact law of each prompt."""
    probs = np.exp(log_probs)
    draws = [rng.choice(len(p), size=(batches, count), p=p / p.sum()) for p in probs]
    return np.stack(draws, axis=1)


def estimate_coefficients(estimator: Estimator, indices, tables, *, beta, rho, rng=None) -> np.ndarray:
    """What each drawn response contributes, (batches, X, K): the batch's gradient is the sum of c d log pi.

    The batch mean over prompts and pairs of robust_sail_loss with score_surrogate, differentiated by autograd, as
    in a training step. `tables` are log_probs, ref_log_probs and preferences; `rng` draws labels where asked.
    """
    prompt = np.arange(indices.shape[1])[None, :, None]
    policy, reference = (torch.from_numpy(table[prompt, indices]) for table in tables[:2])
    targets = tables[2][prompt[..., None], indices[..., :, None], indices[..., None, :]]
    if estimator.labels == "drawn":
        targets = draw_labels(targets, rng)
    policy.requires_grad_()
    count = indices.shape[-1]
    first, second = pair_indices(count)
    score = (policy - reference)[..., first] - (policy - reference)[..., second]
    loss = robust_sail_loss(score, torch.from_numpy(targets)[..., first, second], beta=beta, rho=rho)
    surrogate = score_surrogate(
        loss,
        policy[..., first],
        policy[..., second],
        baseline=_baselines(estimator.baseline, loss.detach(), count),
        weight=estimator.score_weight,
    )
    return torch.autograd.grad(surrogate.mean(dim=(-2, -1)).sum(), policy)[0].numpy()


def _baselines(kind: str, losses: torch.Tensor, count: int):
    if kind == LEAVE_ONE_OUT:
        others = (losses.sum(-1, keepdim=True) - losses) / (losses.shape[-1] - 1)
        return others, others
    return torch.vmap(lambda batch: baseline(batch, kind, count))(losses)


def project(coefficients, indices, derivatives) -> np.ndarray:
    """Each batch's gradient along the D directions, (batches, D)."""
    prompts = range(indices.shape[1])
    parts = [
        np.einsum("bk,dbk->bd", coefficients[:, x], derivatives[:, x][:, indices[:, x]]) for x in prompts
    ]
    return np.sum(parts, axis=0)


def mean_coefficients(coefficients, indices, responses: int) -> np.ndarray:
    """The batches' mean gradient as coefficients (X, Y) of the table of all responses."""
    total = np.zeros((indices.shape[1], responses))
    np.add.at(total, (np.arange(indices.shape[1])[None, :, None], indices), coefficients)
    return total / len(indices)


def mean_and_error(estimates) -> tuple[np.ndarray, np.ndarray]:
    """Mean over batches and its standard error, (D,) each."""
    require(len(estimates) >= 2, "estimates.shape", estimates.shape, "(batches, D) with 2 batches or more")
    return estimates.mean(axis=0), estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))


def hotelling(estimates, truth) -> float:
    """Squared distance of the batches' mean from `truth` (D,) in units of its own covariance.

    For an unbiased estimator and many batches it follows a chi-square law with D degrees of freedom.
    """
    difference = estimates.mean(axis=0) - truth
    return float(len(estimates) * difference @ np.linalg.solve(np.cov(estimates.T), difference))


def chain(log_probs: torch.Tensor, coefficients, parameters: Sequence[torch.Tensor]) -> np.ndarray:
    """sum of c[x, y] d log pi(y|x)/d theta as one vector; `log_probs` (X, Y) with its graph, which is kept."""
    weights = torch.from_numpy(np.asarray(coefficients))
    pieces = torch.autograd.grad(log_probs, list(parameters), weights, retain_graph=True)
    return torch.cat([piece.flatten() for piece in pieces]).numpy()


def cosine(a, b) -> float:
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def relative_error(estimate, truth) -> float:
    return float(np.linalg.norm(np.subtract(estimate, truth)) / np.linalg.norm(truth))


def chi_square(indices, log_probs, *, smallest: float = 10.0) -> tuple[float, int]:
    """Pearson's statistic of drawn responses (X, N) against their law, and its degrees of freedom.

    Responses expected fewer than `smallest` times are counted as one.
    """
    statistic, freedom = 0.0, 0
    for drawn, law in zip(indices, np.exp(log_probs), strict=True):
        expected = len(drawn) * law
        seen = np.bincount(drawn, minlength=len(law))
        rare = expected < smallest
        cells = [
            (seen[~rare], expected[~rare]),
            (seen[rare].sum(keepdims=True), expected[rare].sum(keepdims=True)),
        ]
        kept = [(s, e) for s, e in cells if e.size and e.min() > 0]
        statistic += sum(float(np.sum((s - e) ** 2 / e)) for s, e in kept)
        freedom += sum(e.size for _, e in kept) - 1
    return statistic, freedom
