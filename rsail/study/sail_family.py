"""What notebook 05 computes about SAIL's family beside `rsail.exact`: problems, ascent paths, stationary points."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import root
from scipy.special import expit, log_expit, log_softmax, softmax

from rsail.exact import FiniteProblem
from rsail.exact.reference_kl import identifiable_basis
from rsail.exact.sail_family import released_response, table_terms, terms

REWARDS = (1.0, 0.0, -1.0)


def four_responses() -> tuple[FiniteProblem, np.ndarray, np.ndarray]:
    """The problem of the table of section 3: softmax over four responses, a parameter, and a dataset's pairs."""
    problem = FiniteProblem.from_rewards(
        np.eye(4)[None], [[1.0, 0.0, -0.5, 0.3]], beta=0.5, theta_ref=[0.0, 0.1, -0.1, 0.2]
    )
    pairs = np.zeros((1, 4, 4))
    pairs[0, 0, 2], pairs[0, 3, 1], pairs[0, 1, 0] = 0.5, 0.3, 0.2
    return problem, np.array([0.3, -0.2, 0.5, 0.0]), pairs


def three_responses(beta: float = 0.5) -> tuple[FiniteProblem, np.ndarray]:
    """Softmax over three responses with rewards (1, 0, -1), uniform reference, and a dataset of all three pairs."""
    problem = FiniteProblem.from_rewards(np.eye(3)[None], [REWARDS], beta=beta)
    return problem, (np.triu(np.ones((3, 3)), 1) / 3.0)[None]


def best_policy(problem: FiniteProblem, rewards) -> np.ndarray:
    """The parameter (d,) of the lower level's solution at tabular `rewards` (Y,): one prompt, one-hot features."""
    return problem.theta_ref + np.asarray(rewards, dtype=np.float64) / problem.beta


def simplex_points(steps: int, smallest: float = 0.003) -> np.ndarray:
    """Policies (n, 3) on a triangular grid of the simplex, none of whose probabilities is below about `smallest`."""
    grid = np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
    grid = np.maximum(grid, smallest)
    return grid / grid.sum(axis=-1, keepdims=True)


def ascent(
    problem: FiniteProblem, setting: str, pair_probs, start, time: float, points: int = 60
) -> np.ndarray:
    """Policies (points, Y) along d theta / dt = grad J, theta softmax logits of one prompt, from `start` (Y,).

    The points are equally far apart on the path, so that a drawn line has no gaps.
    """
    reference, settings = problem.ref_log_probs, {"beta": problem.beta, "pair_probs": pair_probs}

    def climb(_, logits):
        log_probs = log_softmax(logits)
        found = table_terms(log_probs[None], reference, problem.preferences, setting, **settings).gradient()[
            0
        ]
        return found - np.exp(log_probs) * found.sum()

    times = np.concatenate([[0.0], np.geomspace(1e-2, time, 400)])
    run = solve_ivp(climb, (0.0, time), np.log(start), "LSODA", times, rtol=1e-9, atol=1e-11)
    probs = softmax(run.y, axis=0).T
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(probs, axis=0), axis=1))])
    at = np.linspace(0.0, length[-1], points)
    return np.stack([np.interp(at, length, column) for column in probs.T], axis=1)


def stationary_points(problem: FiniteProblem, start, response_weights) -> np.ndarray:
    """Where the damped step of setting "dpr", path + weight times response term, vanishes; (n, d), one per weight.

    Each is sought from the one before, the first from `start` (d,).

    Raises
    ------
    RuntimeError
        If no such point was found to 1e-10.
    """
    basis = identifiable_basis(problem.features)
    points = [np.asarray(start, dtype=np.float64)]
    for weight in response_weights:

        def step(move, at=points[-1], weight=weight):
            return basis.T @ terms(problem, at + basis @ move, "dpr").gradient(weight)

        found = root(step, np.zeros(basis.shape[1]), tol=1e-13)
        residual = float(np.linalg.norm(step(found.x)))
        if not residual <= 1e-10:
            raise RuntimeError(
                f"no stationary point for weight {weight:g}: the step has length {residual:.1e}"
            )
        points.append(points[-1] + basis @ found.x)
    return np.array(points[1:])


def stationary_policies(step, policy_of, starts, smallest: float = 1e-3) -> tuple[np.ndarray, float]:
    """The policies (n, Y), sorted, at which `step` vanishes, and the largest remaining |step|.

    Parameters
    ----------
    step, policy_of : functions of an array (k,)
        A vector field (k,), and the policy (Y,) that the array stands for.
    starts : array (m, k)
        A root is sought from each. Points at which some response has a probability below `smallest` are left out: all
        gradients vanish in the limit of collapse.
    """
    found, largest = [], 0.0
    for start in starts:
        end = root(step, start, tol=1e-14).x
        policy, size = policy_of(end), float(np.linalg.norm(step(end)))
        if size > 1e-10 or policy.min() < smallest:
            continue
        largest = max(largest, size)
        if all(np.abs(policy - other).max() > 1e-6 for other in found):
            found.append(policy)
    return np.array(sorted(found, key=tuple)), largest


def fitted_preference(preference, ratio: float) -> np.ndarray:
    """sigma(t) where one pair's mixture of offline and "ddp" settles from t = 0; shape of `preference`.

    It climbs P log sigma(t) + (1 - P) log sigma(-t) - ratio H(sigma(t)), H the binary entropy and `ratio` the share of
    ddp times its weight over the offline share, to the first zero of the slope on the side on which it starts.
    """
    preference = np.asarray(preference, dtype=np.float64)
    sure = np.maximum(preference, 1.0 - preference)  # the other half follows by symmetry

    def slope(margin, sure):
        return sure - expit(margin) + ratio * expit(margin) * expit(-margin) * margin

    margins = np.linspace(0.0, 30.0, 601)
    down = slope(margins[1:], sure[..., None]) <= 0
    first = np.where(down.any(axis=-1), down.argmax(axis=-1), len(margins) - 2)
    low, high = margins[first], margins[first + 1]
    for _ in range(60):
        middle = (low + high) / 2.0
        climbs = slope(middle, sure) > 0
        low, high = np.where(climbs, middle, low), np.where(climbs, high, middle)
    return np.where(preference >= 0.5, expit(low), expit(-low))


def drawn_steps(margin, preference_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Steps / beta on the pair score for either label that the policy draws itself, at the first one's margin (m,)."""
    margin = np.asarray(margin, dtype=np.float64)
    first = expit(-margin) * (1.0 + preference_weight * log_expit(margin))
    second = -expit(margin) * (1.0 + preference_weight * log_expit(-margin))
    return first, second


def released_against_exact(problem: FiniteProblem, theta, extra_nats) -> tuple[np.ndarray, np.ndarray]:
    """Cosine of released and exact response term of setting "dpr", and the ratio of their lengths; (n,) each."""
    exact = terms(problem, theta, "dpr").response
    released = np.array([released_response(problem, theta, "dpr", extra_nats=nats) for nats in extra_nats])
    sizes = np.linalg.norm(released, axis=1), np.linalg.norm(exact)
    return released @ exact / (sizes[0] * sizes[1]), sizes[0] / sizes[1]


def random_softmax(rng: np.random.Generator, responses: int = 6) -> tuple[FiniteProblem, np.ndarray]:
    """A softmax policy over `responses` at a random distance from a random reference, Bradley-Terry oracle."""
    problem = FiniteProblem.from_rewards(
        np.eye(responses)[None],
        rng.normal(size=(1, responses)),
        beta=0.5,
        theta_ref=rng.normal(size=responses),
    )
    return problem, problem.theta_ref + rng.normal(size=responses)
