"""Independent routes to the robust loss, and the gap of its certificate: what notebook 02 compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mpmath import mp, mpf

from rsail.exact import (
    FiniteProblem,
    expected_loss,
    pair_law,
    pair_scores,
    penalty,
    robust_loss,
    robust_loss_linear_program,
    worst_case_preferences,
)
from rsail.exact.losses import pair_losses
from rsail.objectives import dpo_loss, robust_sail_loss
from rsail.oracles import OracleConfig, ask

RANDOM_PROBLEMS = 200  # that notebook 02 compares
ROUTES = ("closed form", "endpoint oracle", "linear program")


def random_oracle(rng: np.random.Generator, prompts: int, responses: int, delta: float) -> np.ndarray:
    """An oracle with P in [delta, 1 - delta] and no order behind it, (X, Y, Y); a few comparisons are ties.

    With delta = 0 about a sixth of the comparisons are certain, P = 0 or 1.
    """
    table = np.clip(rng.uniform(-0.1, 1.1, size=(prompts, responses, responses)), delta, 1.0 - delta)
    upper = np.triu(np.where(rng.random(table.shape) < 0.05, 0.5, table), 1)
    return upper + np.tril(1.0 - np.swapaxes(upper, -1, -2), -1) + 0.5 * np.eye(responses)


def random_problem(rng: np.random.Generator, delta: float) -> tuple[FiniteProblem, np.ndarray]:
    """A log-linear problem of up to 3 prompts, 8 responses and 5 features, and a parameter theta.

    In a third of them two responses have the same features, so that h = 0 off the diagonal, too.
    """
    prompts, responses, dimension = rng.integers(1, 4), rng.integers(2, 9), rng.integers(1, 6)
    features = rng.normal(size=(prompts, responses, dimension))
    if rng.random() < 1 / 3:
        features[:, -1] = features[:, 0]
    problem = FiniteProblem(
        features,
        random_oracle(rng, prompts, responses, delta),
        beta=float(rng.uniform(0.05, 2.0)),
        prompt_probs=rng.dirichlet(np.ones(prompts)),
        theta_ref=rng.normal(size=dimension),
    )
    return problem, problem.theta_ref + rng.normal(size=dimension) * rng.uniform(0.1, 3.0)


def problem_routes(problem: FiniteProblem, theta, rho: float) -> dict[str, float]:
    """L^W_rho of a log-linear problem by each of `ROUTES`.

    The endpoint oracle is written down as a table and handed to the plain loss of eq. 9 as if it were P*.
    """
    worst = problem.worst_case_preferences(theta, rho)
    under_worst = FiniteProblem(
        problem.features, worst, problem.beta, problem.prompt_probs, problem.theta_ref
    )
    values = (
        problem.robust_loss(theta, rho),
        under_worst.sail_loss(theta),
        problem.robust_loss_linear_program(theta, rho),
    )
    return dict(zip(ROUTES, values, strict=True))


def compare_problems(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """`count` random problems, alternately with rho < delta (Assumption 1) and without any such bound.

    Returns arrays (count,): the three routes; `sail`, L_SAIL; `rho`; `form`, rho beta R; `assumption`, whether
    Assumption 1 holds.
    """
    rows = []
    for index in range(count):
        holds = index % 2 == 0
        delta = rng.uniform(0.05, 0.45) if holds else 0.0
        rho = rng.uniform(0.02, 0.98) * (delta if holds else 1.0)
        problem, theta = random_problem(rng, delta)
        form = rho * problem.beta * problem.penalty(theta)
        facts = {"sail": problem.sail_loss(theta), "rho": rho, "form": form, "assumption": holds}
        rows.append(problem_routes(problem, theta, rho) | facts)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def tie_breaking_loss(log_probs, ref_log_probs, preferences, *, beta, rho, prompt_probs=None) -> float:
    """The loss under the selector in the proof of Theorem 4.1: the upper end of the interval where l1 >= l0.

    At h = 0 it takes the upper end for both orders of a pair, so it is no oracle; the value does not notice.
    """
    scores = pair_scores(log_probs, ref_log_probs)
    preferred, rejected = pair_losses(scores, beta)
    chosen = paper_selector(preferences, scores, rho)
    law = pair_law(log_probs, prompt_probs)
    return float(np.sum(law * (chosen * preferred + (1.0 - chosen) * rejected)))


def paper_selector(preferences, scores, rho: float) -> np.ndarray:
    """P + rho where l1 >= l0 (h <= 0), P - rho elsewhere; (X, Y, Y). Infeasible at ties, see `tie_breaking_loss`."""
    return preferences + rho * np.where(np.asarray(scores) <= 0, 1.0, -1.0)


def table_routes(log_probs, ref_log_probs, preferences, *, beta: float, rho: float) -> dict[str, float]:
    """L^W_rho of any policy given as a table by each of `ROUTES`, and by the loss that training uses.

    The endpoint route goes through `rsail.objectives.dpo_loss`, which shares no code with `rsail.exact`.
    """
    scores, law = pair_scores(log_probs, ref_log_probs), pair_law(log_probs)
    score = torch.from_numpy(scores)
    worst = torch.from_numpy(worst_case_preferences(preferences, scores, rho))
    trained = robust_sail_loss(score, torch.from_numpy(preferences), beta=beta, rho=rho).numpy()
    tables = (log_probs, ref_log_probs, preferences)
    return {
        "closed form": robust_loss(*tables, beta=beta, rho=rho),
        "endpoint oracle": float(np.sum(law * dpo_loss(score, worst, beta=beta).numpy())),
        "linear program": robust_loss_linear_program(*tables, beta=beta, rho=rho),
        "training loss": float(np.sum(law * trained)),
    }


def high_precision(features, rewards, *, beta, prompt_probs, theta_ref, theta, rho, digits=40) -> dict:
    """L_SAIL, R, L^W_rho and the gradients of the first two, from their definitions in `digits` digits.

    No array code, no closed form for the adversary: each pair's worst case is the larger of the two ends of the
    interval (eq. 2 and 10). Gradients are differences of order 1e-20 in twice the digits. Bradley-Terry, eq. 4.
    """
    with mp.workdps(2 * digits):
        args = [[[list(map(mpf, map(str, psi))) for psi in x] for x in features], rewards, prompt_probs]
        args[1:] = [[list(map(mpf, map(str, r))) for r in rewards], list(map(mpf, map(str, prompt_probs)))]
        ref, point = list(map(mpf, map(str, theta_ref))), list(map(mpf, map(str, theta)))

        def values(parameter):
            return _definitions(*args, ref, parameter, mpf(str(beta)), mpf(str(rho)))

        sail, average_score, robust = values(point)
        gradients = []
        for index in range(len(point)):
            step = [mpf(10) ** (-digits // 2) * (k == index) for k in range(len(point))]
            ends = [values([t + sign * s for t, s in zip(point, step, strict=True)]) for sign in (1, -1)]
            gradients.append([(up - down) / (2 * step[index]) for up, down in zip(*ends, strict=True)])
        names = {"L_SAIL": sail, "R": average_score, "L^W": robust}
        for index, (of_sail, of_penalty, _) in enumerate(gradients):
            names |= {f"grad L_SAIL [{index}]": of_sail, f"grad R [{index}]": of_penalty}
    return names


def _definitions(features, rewards, prompt_probs, theta_ref, theta, beta, rho):
    sail, average_score, robust = mpf(0), mpf(0), mpf(0)
    for x, mu in enumerate(prompt_probs):
        policy, reference = (_softmax(features[x], parameter) for parameter in (theta, theta_ref))
        for i, pi_i in enumerate(policy):
            for j, pi_j in enumerate(policy):
                h = mp.log(pi_i / reference[i]) - mp.log(pi_j / reference[j])
                p = 1 / (1 + mp.exp(rewards[x][j] - rewards[x][i]))
                l1, l0 = mp.log(1 + mp.exp(-beta * h)), mp.log(1 + mp.exp(beta * h))
                ends = [q * l1 + (1 - q) * l0 for q in (p, p - rho, p + rho)]
                weight = mu * pi_i * pi_j
                sail += weight * ends[0]
                average_score += weight * abs(h)
                robust += weight * max(ends[1:])
    return sail, average_score, robust


def _softmax(features, parameter):
    weights = [mp.exp(mp.fsum(t * f for t, f in zip(parameter, psi, strict=True))) for psi in features]
    return [w / mp.fsum(weights) for w in weights]


def certificate(log_probs, ref_log_probs, observed, truth, *, beta: float, rho: float) -> dict[str, float]:
    """How far L^W_rho around the observed oracle lies above L_SAIL under the truth, and its bound 2 rho beta R."""
    robust = robust_loss(log_probs, ref_log_probs, observed, beta=beta, rho=rho)
    true = expected_loss(log_probs, ref_log_probs, truth, beta=beta)
    scale = beta * penalty(log_probs, ref_log_probs)
    return {"gap": robust - true, "bound": 2 * rho * scale, "scale": scale, "true": true, "robust": robust}


def certificates(
    policies: Sequence[tuple[np.ndarray, np.ndarray]],
    oracles: Mapping[str, tuple[OracleConfig, int]],
    rewards,
    attributes: Mapping[str, np.ndarray],
    *,
    beta: float,
    spare_radius: float,
) -> dict[str, dict[str, np.ndarray]]:
    """Each oracle's gaps over all policies (policy, reference), at rho = the deviation that `ask` measures.

    An oracle is its configuration and a sign: +1 shows it the policy's h, -1 shows it -h, so that a worst_case
    oracle agrees with the policy as much as it may. `spare_radius` is the rho around an oracle that is right.
    """
    found = {}
    for name, (config, sign) in oracles.items():
        rows = []
        for policy, reference in policies:
            scores = sign * pair_scores(policy, reference)
            answer = ask(config, rewards, attributes=attributes, pair_scores=scores)
            tables = (policy, reference, answer.preferences, answer.truth)
            row = certificate(*tables, beta=beta, rho=answer.deviation or spare_radius)
            rows.append(row | {"deviation": answer.deviation})
        found[name] = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return found
