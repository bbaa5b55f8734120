"""Problems that come as close as possible to a constant: known extremal ones, and a search by gradient ascent.

A slope or a curvature in a direction u depends on a feature only through its projections on u and on
theta - theta_ref, so a search over the unit disk and all policies loses nothing. A third feature, as small as one
likes, makes a policy of any shape log-linear.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import softplus

from rsail.checks import one_of
from rsail.exact.extremal import extremal_law
from rsail.study.problem_batch import ProblemBatch

SEARCHED = ("penalty_curvature", "penalty_slope", "sail_slope", "sail_smoothness", "curvature")
RHO = 0.1  # radius of the problems that are searched
_SMALL = 1e-5  # size of the feature that carries the policy's shape


def search(
    quantity: str,
    *,
    prompts: int,
    theta_radius: float,
    beta: float,
    starts: int,
    steps: int,
    seed: int,
    responses: int = 5,
    rate: float = 0.03,
) -> ProblemBatch:
    """`starts` problems with features in the unit disk, each optimized for a large `quantity`.

    Adam on features, policy, prompt law, oracle and theta - theta_ref (of norm at most `theta_radius`); sign(h) is
    smoothed and sharpened on the way. `quantity` is one of `SEARCHED`, a field of `Constants`.
    """  # fmt: skip
    one_of("quantity", quantity, SEARCHED)
    unknowns = _random_start(np.random.default_rng(seed), starts, prompts, responses)
    optimizer = torch.optim.Adam(unknowns.values(), lr=rate)
    for step in range(steps):
        left = 1.0 - step / steps
        for group in optimizer.param_groups:
            group["lr"] = rate * left + 1e-4
        optimizer.zero_grad()
        pieces = _pieces(unknowns, theta_radius, beta)
        (-_objective(quantity, *pieces, beta, smoothing=(0.3 * left + 1e-3) * theta_radius)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        disk, move, logits, mu, preferences = _problem(unknowns, theta_radius)
    return from_policy(
        *(value.detach().numpy() for value in (disk, move, logits, preferences, mu)), beta=beta, rho=RHO
    )


def from_policy(disk, move, logits, preferences, mu, *, beta: float, rho: float) -> ProblemBatch:
    """Log-linear problems whose policy at theta is softmax(logits), whatever features and parameter are.

    Parameters
    ----------
    disk : array (N, X, Y, k)
        Features; one more, of size `_SMALL`, is added.
    move : array (N, k)
        theta - theta_ref.
    logits : array (N, X, Y)
    preferences : array (N, X, Y, Y)
    mu : array (N, X)
    """
    shape = logits - np.einsum("nxyk,nk->nxy", disk, move)
    shape = shape - (shape.max(axis=-1, keepdims=True) + shape.min(axis=-1, keepdims=True)) / 2.0
    largest = np.maximum(np.abs(shape).max(axis=(-2, -1), keepdims=True), 1.0)
    features = np.concatenate([disk, (_SMALL / largest * shape)[..., None]], axis=-1)
    theta_ref = np.concatenate([np.zeros_like(move), largest[:, :, 0] / _SMALL], axis=-1)
    theta = theta_ref + np.concatenate([move, np.zeros_like(move[:, :1])], axis=-1)
    count = np.ones(len(theta))
    return ProblemBatch(features, preferences, mu, theta, theta_ref, beta * count, rho * count)


# Five responses placed by search: projections and probabilities.
FIVE_POINTS = (
    np.array([-1.0, 0.9095, 0.9357, 0.9662, 1.0]),
    np.array([0.2120, 0.0349, 0.0342, 0.0348, 0.6841]),
)


def curvature_problem(points, probs, theta_radius: float) -> ProblemBatch:
    """A problem of one prompt whose R has curvature -2 E|a1^2 - a2^2| along its first feature, up to O(D).

    The second feature, times theta - theta_ref, orders the responses by decreasing a^2, which gives every pair of
    eq. 39's cross term the sign that hurts. The law of the projections is `points` with `probs`.
    """
    square = (points - probs @ points) ** 2
    disk = np.stack([points, -1e-5 * square], axis=-1)[None, None]
    neutral = np.full((1, 1, len(points), len(points)), 0.5)
    move, logits = np.array([[0.0, theta_radius]]), np.log(probs)[None, None]
    return from_policy(disk, move, logits, neutral, np.ones((1, 1)), beta=1.0, rho=0.1)


def extremal_points(atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """`extremal_law` with its density cut into `atoms` equal slices: projections and probabilities."""
    law = extremal_law()
    length = 1.0 - law["mean"]
    edges = np.linspace(law["left"] + law["right"], 1.0, atoms + 1)
    middle = (edges[:-1] + edges[1:]) / 2.0
    distance = law["gap"] / (2.0 * middle - 1.0)  # P(|a| > y) = (1 + gap / y) / 2
    points = np.concatenate([[-1.0], np.sort(law["mean"] + np.minimum(distance, length)), [1.0]])
    probs = np.concatenate([[law["left"]], np.full(atoms, np.diff(edges)[0]), [law["right"]]])
    return points, probs / probs.sum()


def two_point_problem(share: float, theta_radius: float, beta: float, preference: float) -> ProblemBatch:
    """One parameter, features -1 and 1 (B = 1), probability `share` for the first, P(first > second)."""
    logits = np.log([[[share, 1.0 - share]]])
    features = np.array([[[[-1.0], [1.0]]]])
    theta = np.array([[(logits[0, 0, 1] - logits[0, 0, 0]) / 2.0]])
    oracle = np.array([[[[0.5, preference], [1.0 - preference, 0.5]]]])
    one = np.ones(1)
    return ProblemBatch(features, oracle, np.ones((1, 1)), theta, theta - theta_radius, beta * one, 0.1 * one)


def _random_start(rng, starts, prompts, responses) -> dict[str, torch.Tensor]:
    shapes = {
        "features": (1.2, (starts, prompts, responses, 2)),
        "move": (3.0, (starts, 2)),
        "logits": (1.0, (starts, prompts, responses)),
        "prompts": (1.0, (starts, prompts)),
        "rewards": (2.0, (starts, prompts, responses, responses)),
    }
    return {
        name: torch.from_numpy(scale * rng.normal(size=shape)).requires_grad_()
        for name, (scale, shape) in shapes.items()
    }


def _problem(unknowns, theta_radius):
    disk, move = (_into_ball(unknowns[name]) for name in ("features", "move"))
    skew = unknowns["rewards"] - unknowns["rewards"].transpose(-1, -2)
    mu = torch.softmax(unknowns["prompts"], -1)
    return disk, theta_radius * move, unknowns["logits"], mu, torch.sigmoid(skew)


def _into_ball(vectors):
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1.0)


def _pieces(unknowns, theta_radius, beta):
    """Pair law, pair scores, preferences, and du, Su, 2 Var for the direction u of the first feature."""
    disk, move, logits, mu, preferences = _problem(unknowns, theta_radius)
    policy = torch.softmax(logits, -1)
    law = mu[..., None, None] * policy[..., :, None] * policy[..., None, :]
    along, values = disk[..., 0], (disk * move[:, None, None, :]).sum(-1)
    centered = along - (policy * along).sum(-1, keepdim=True)
    spread = 2.0 * (policy * centered**2).sum(-1)[..., None, None]
    scores = values[..., :, None] - values[..., None, :]
    first, second = centered[..., :, None], centered[..., None, :]
    return law, scores, preferences, first - second, first + second, spread


def _objective(quantity, law, scores, preferences, moves, score, spread, beta, *, smoothing):
    """u . gradient, or u . Hessian u with the sign that makes it large: eq. 38, 39 written again, for torch."""

    def mean(value):
        return (law * value).sum((-1, -2, -3))

    if quantity.startswith("penalty"):
        side = torch.tanh(scores / smoothing)
        value, slope = scores * side, side
        if quantity == "penalty_slope":
            return mean(slope * moves + value * score)
        return -mean(2.0 * slope * moves * score + value * (score**2 - spread))
    margin, belief = beta * scores, torch.sigmoid(beta * scores)
    loss = softplus(-margin) + (1.0 - preferences) * margin - np.log(2.0)
    slope = beta * (belief - preferences)
    if quantity == "sail_slope":
        return mean(slope * moves + loss * score)
    bend = beta**2 * belief * (1.0 - belief)
    curvature = mean(bend * moves**2 + 2.0 * slope * moves * score + loss * (score**2 - spread))
    return curvature if quantity == "sail_smoothness" else -curvature
