"""Methods that collect data in rounds, or whose reference moves.

A round minimizes the objective on its law of pairs to the end, from the last policy on; the number of rounds is part
of the method. Labels are always the oracle's, as probabilities; where responses are ranked first, the ranking is that
of the reward fitted to the offline pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import pad

from rsail.exact import game, rejection
from rsail.objectives import (
    LOSSES,
    REWARD_LOSSES,
    REWEIGHTINGS,
    TERMS,
    rebel_residual,
    w_rebel_loss,
)
from rsail.study.every_method.bounds import least_slope, pull
from rsail.study.every_method.offline import fitted_reward, parameters
from rsail.study.every_method.setting import Setting
from rsail.study.every_method.solver import WIDTHS, Solution, minimize, smooth_kinks

ROUNDS = (
    10  # with a fixed reference, and of REBEL and SPAC, whose steps add up to that of the reference method
)
MOVING_ROUNDS = 3  # SELM's and COPO's, whose reference moves at the full strength of each round
CANDIDATES = 8  # of iterative DPO
PER_ROUND = 64  # responses that COPO counts per prompt and round
FLOOR = 1000.0  # of SPAC's unanchored log-ratio: never reached, so that it shows when there is no minimum


def in_rounds(setting: Setting, step: Callable[[torch.Tensor, int], Solution], rounds: int) -> Solution:
    """`step(log-ratios of the last policy, round)` again and again, from the reference."""
    last = torch.zeros_like(setting.ref_log_probs)
    found, path = [], []
    for count in range(rounds):
        found.append(step(last, count))
        path.append(found[-1].log_ratio)
        last = torch.tensor(path[-1])
        if found[-1].ran_away:
            break
    return Solution(
        path[-1],
        residual=max(solution.residual for solution in found),
        converged=all(solution.converged for solution in found),
        ran_away=found[-1].ran_away,
        bounded=all(solution.bounded for solution in found),
        rounds=len(found),
        path=tuple(path),
    )


def probs_of(setting: Setting, log_ratio: torch.Tensor) -> torch.Tensor:
    return (setting.ref_log_probs + log_ratio).exp()


def selected_law(setting: Setting, laws: list[torch.Tensor], score: torch.Tensor) -> torch.Tensor:
    """The law (X, M) of the pair (best, worst) by `score` of independent draws, one from each of `laws` (X, Y).

    Draws of one response only give no pair: a prompt's law sums to the chance of different ones.
    """
    order = score.argsort(dim=1)
    inside = 1.0
    for law in laws:
        below = pad(law.gather(1, order).cumsum(dim=1), (1, 0))
        inside = inside * (below[:, None, :] - below[:, :, None]).clamp(
            min=0
        )  # all in the places a ... b - 1
    joint = inside[:, :-1, 1:] - inside[:, 1:, 1:] - inside[:, :-1, :-1] + inside[:, 1:, :-1]
    table = torch.zeros_like(joint)
    rows = torch.arange(len(order))[:, None, None]
    table[rows, order[:, :, None], order[:, None, :]] = joint.clamp(min=0)  # worst, best
    i, j = setting.pairs
    return table[:, i, j] + table[:, j, i]


def _dpo(setting: Setting, beta: float | None = None) -> Callable:
    beta = setting.beta if beta is None else beta
    return lambda score, width: LOSSES["dpo"](score, setting.preference, beta=beta)


def online(
    name: str,
    *,
    own_law: Callable | None = None,
    accumulate: bool = False,
    bonus: Callable | None = None,
    kinks: tuple[float, ...] = (),
    rounds: int = ROUNDS,
) -> Callable[..., Solution]:
    """Solver in rounds with the fixed reference: LOSSES[name] over `own_law(setting, probs)`, or the policy's pairs.

    `accumulate`: on the pairs of all rounds so far. `bonus(setting, log-ratios, weight)`, linear in the log-ratios, is
    added to the loss (DPO's); whether each round's objective is bounded below is part of the solution.
    """

    def solve(setting: Setting, *, weight: float = 0.0, **options) -> Solution:
        beta = options.pop("beta", setting.beta)
        seen = torch.zeros_like(setting.preference)

        loss = smooth_kinks(LOSSES[name], setting.preference, beta, kinks, **options)

        def step(last, count):
            probs = probs_of(setting, last)
            law = setting.law(probs) if own_law is None else own_law(setting, probs)
            law = law / law.sum(dim=1, keepdim=True)
            if accumulate:
                seen.add_(law)
                law = seen / (count + 1)
            data = setting.offline(loss, law=law)

            def objective(log_ratio, width):
                extra = bonus(setting, log_ratio, weight) if bonus else 0.0
                return data(log_ratio, width) + extra

            widths = WIDTHS if kinks else (0.0,)
            found = minimize(objective, setting.ref_log_probs, beta, start=last, widths=widths)
            if not weight:
                return found
            slope = pull(setting, lambda log_ratio: bonus(setting, log_ratio, weight))
            return replace(found, bounded=least_slope(setting, law, beta, slope) > 0)

        return in_rounds(setting, step, rounds)

    return solve


def best_of_candidates(setting, probs):
    return selected_law(setting, [probs] * CANDIDATES, fitted_reward(setting))


def against_reference(setting, probs):
    return setting.law(probs, setting.ref_log_probs.exp())


def gibbs_pairs(setting, probs):
    """Pairs of the Gibbs policy of the fitted reward: what statistical rejection sampling draws."""
    target = torch.softmax(setting.ref_log_probs + fitted_reward(setting) / setting.beta, dim=1)
    return setting.law(target)


def xpo_bonus(setting, log_ratio, weight):
    ref = setting.ref_log_probs.exp()
    return (ref * TERMS["xpo"](log_ratio + setting.ref_log_probs, weight=weight)).sum(dim=1).mean()


def vpo_bonus(setting, log_ratio, weight):
    ref = setting.ref_log_probs.exp()
    return (ref * TERMS["vpo"](log_ratio, beta=setting.beta, weight=weight, sign=1)).sum(dim=1).mean()


def solve_selm(setting: Setting, *, weight: float) -> Solution:
    """Own response and a pair of the first reference, best and worst kept; the reference moves every round."""
    score, ref = fitted_reward(setting), setting.ref_log_probs.exp()

    def step(last, count):
        probs = probs_of(setting, last)
        law = selected_law(setting, [probs, ref, ref], score)
        data = setting.offline(_dpo(setting), law=law)

        def bonus(moved):
            return (probs * TERMS["selm"](moved, beta=setting.beta, weight=weight)).sum(dim=1).mean()

        found = minimize(
            lambda log_ratio, width: data(log_ratio - last, width) + bonus(log_ratio - last),
            setting.ref_log_probs,
            setting.beta,
            start=last,
        )
        bounded = not weight or least_slope(setting, law, setting.beta, pull(setting, bonus)) > 0
        return replace(found, bounded=bounded)

    return in_rounds(setting, step, MOVING_ROUNDS)


def solve_copo(setting: Setting, *, weight: float) -> Solution:
    """Own pairs, a moving reference, and COPO's bonus 0.1 / sqrt(visits) with expected visits."""
    visits = torch.zeros_like(setting.ref_log_probs)

    def step(last, count):
        probs = probs_of(setting, last)
        visits.add_(PER_ROUND * probs)
        bonus = 0.1 / visits.clamp(min=1.0).sqrt()
        law = setting.law(probs)
        data = setting.offline(_dpo(setting), law=law / law.sum(dim=1, keepdim=True))

        def objective(log_ratio, width):
            log_prob = log_ratio + setting.ref_log_probs
            # The round's samples come from `last`, where the detached ratio to the round's reference is 1.
            term = TERMS["copo"](log_prob, torch.zeros_like(log_prob), bonus, weight=weight)
            return data(log_ratio - last, width) + (probs * term).sum(dim=1).mean()

        return minimize(objective, setting.ref_log_probs, setting.beta, start=last)

    return in_rounds(setting, step, MOVING_ROUNDS)


def spac(kind: str) -> Callable[..., Solution]:
    """Solver of SPAC in ROUNDS rounds at beta ROUNDS times larger; `kind` is the pessimistic term's form."""

    def solve(setting: Setting, *, weight: float) -> Solution:
        beta, law, chosen = ROUNDS * setting.beta, setting.offline_law, setting.chosen()
        first, second = setting.pairs

        def term(moved, own):
            if kind == "spac_anchored":
                means = ((law_ * moved).sum(dim=1) for law_ in (own, chosen))
                return TERMS[kind](*means, weight=weight).mean()
            if kind == "spac_unanchored":
                return (own * TERMS[kind](moved, weight=weight, floor=FLOOR)).sum(dim=1).mean()
            shape = (*moved.shape, len(first))
            ratios = moved[:, :, None], moved[:, None, first], moved[:, None, second]
            values = TERMS[kind](*(ratio.expand(shape) for ratio in ratios), beta=beta, weight=weight)
            return (own[:, :, None] * law[:, None] * values).sum(dim=(1, 2)).mean()

        def step(last, count):
            own, data = probs_of(setting, last), setting.offline(_dpo(setting, beta))

            def objective(log_ratio, width):
                moved = log_ratio - last
                return data(moved, width) + term(moved, own)

            found = minimize(objective, setting.ref_log_probs, setting.beta, start=last, budget=100)
            if kind == "spac_smoothed" or not weight:  # a sum of log-sigmoids is bounded below
                return found
            slope = pull(setting, lambda moved: term(moved, own))
            return replace(found, bounded=least_slope(setting, law, beta, slope) > 0)

        return in_rounds(setting, step, ROUNDS)

    return solve


def rebel(kind: str, rounds: int = ROUNDS) -> Callable[..., Solution]:
    """Solver of REBEL and its robust forms: ROUNDS regressions on own pairs, with steps that add up to 1 / beta.

    The reward gap of a pair is the log-odds of the oracle's preference: the relative reward of a general preference.
    `kind` is "rebel", "w_rebel" or a reweighting of the squared residuals.
    """

    def solve(setting: Setting, **option) -> Solution:
        beta, gap = ROUNDS * setting.beta, torch.logit(setting.preference)

        def step(last, count):
            law = setting.law(probs_of(setting, last))
            law = (law / law.sum(dim=1, keepdim=True) / len(law)).flatten()

            def squares(log_ratio, width):
                moved = log_ratio - last
                losses = REWARD_LOSSES["rebel"](setting.scores(moved), gap, beta=beta).flatten()
                return law @ losses if kind == "rebel" else REWEIGHTINGS[kind](losses, probs=law, **option)

            def wasserstein(log_ratio, width):
                moved = log_ratio - last
                residuals = rebel_residual(setting.scores(moved), gap, beta=beta).flatten()
                # An atom of size 1 and weight width^2 makes both norms hyperbolas.
                atoms = torch.cat([residuals, torch.ones(1, dtype=torch.float64)])
                probs = torch.cat([(1 - width**2) * law, torch.tensor([width**2], dtype=torch.float64)])
                slope = torch.cat([beta * parameters(moved), torch.tensor([width], dtype=torch.float64)])
                return w_rebel_loss(atoms, slope, probs=probs, **option)

            return minimize(
                wasserstein if kind == "w_rebel" else squares,
                setting.ref_log_probs,
                setting.beta,
                start=last,
                widths=WIDTHS if kind == "w_rebel" else (0.0,),
                # The weights of a ball are held fixed in the graph: given them, prompts do not interact.
                curvature="full" if kind in ("w_rebel", "kl_penalty") else "prompt",
            )

        return in_rounds(setting, step, rounds)

    return solve


def solve_best_of_n(setting: Setting, *, candidates: int) -> Solution:
    """The best of n draws of the reference by the fitted reward: nothing is trained."""
    ref = setting.ref_log_probs.numpy()
    law = rejection.best_of_n_law(np.exp(ref), fitted_reward(setting).numpy(), candidates)
    return Solution(np.log(law) - ref, 0.0, True)


def solve_nash(setting: Setting) -> Solution:
    """The Nash policy of the oracle's game with the log-odds as the payoff, by Newton's method."""
    ref = setting.ref_log_probs.numpy()
    nash = game.nash_policy(game.log_odds_payoff(setting.table), ref, beta=setting.beta)
    return Solution(nash - ref, 0.0, True)
