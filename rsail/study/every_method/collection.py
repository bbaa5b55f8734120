"""How data are collected, on linear bandits and on the problem of notebook 06: what the exact testbed says, live."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from rsail.exact import game, gibbs, pessimism, rejection
from rsail.exact.bandit import LinearBandit, mean_features, random_bandit
from rsail.exact.exploration import SCHEMES, explore
from rsail.study.every_method.offline import fitted_reward
from rsail.study.every_method.problem import BETA, Testbed
from rsail.study.every_method.setting import make_setting
from rsail.study.statistics import mean_interval

RIDGE = 0.1
POLICIES = "greedy", "pessimist", "pessimist, sqrt(d)"


def bandit(seed: int) -> LinearBandit:
    """4 prompts, 10 responses, 6 features, a reward of norm 3."""
    return random_bandit(np.random.default_rng([7, seed]), 4, 10, 6, norm=3.0, beta=BETA)


def pessimism_trials(seeds: Sequence[int], comparisons: int = 20) -> dict[str, np.ndarray]:
    """J minus the reference's, (n,) each, of the fitted reward's Gibbs policy and of version-space pessimism.

    The comparisons come from a policy that hardly covers the responses. The version space of "pessimist" is the
    smallest that holds the true parameter, which a learner does not know; that of "pessimist, sqrt(d)" has a width of
    the theory's form, c sqrt(d) with c = 1 (arXiv 2312.11456). Its center is the reference's mean features.
    """
    found: dict[str, list[float]] = {name: [] for name in POLICIES}
    for seed in seeds:
        problem, rng = bandit(seed), np.random.default_rng([8, seed])
        behavior = log_softmax(3.0 * rng.normal(size=problem.ref_log_probs.shape), axis=1)
        moves, labels = problem.draw(behavior, behavior, comparisons, rng)
        estimate = pessimism.fit_reward(moves, labels, ridge=RIDGE)
        design = pessimism.design_matrix(moves, ridge=RIDGE)
        error = estimate - problem.theta
        settings = {"beta": problem.beta, "prompt_probs": problem.prompt_probs}
        greedy = gibbs.gibbs_policy(problem.features @ estimate, problem.ref_log_probs, beta=problem.beta)
        center = mean_features(problem.features, problem.ref_log_probs, problem.prompt_probs)
        given = problem.features, estimate, design, problem.ref_log_probs
        careful = [
            pessimism.version_space_pessimism(*given, width=float(width), center=center, **settings).log_probs
            for width in (np.sqrt(error @ design @ error), np.sqrt(len(estimate)))
        ]
        for name, policy in zip(POLICIES, (greedy, *careful), strict=True):
            found[name].append(problem.value(policy) - problem.value(problem.ref_log_probs))
    return {name: np.array(values) for name, values in found.items()}


def exploration_runs(seeds: Sequence[int], *, rounds: int = 10, batch: int = 10) -> dict[str, np.ndarray]:
    """Regret of the main policy, scheme -> (seeds, rounds), for each way to choose the second arm."""
    return {
        scheme: np.array(
            [
                explore(
                    bandit(seed), scheme, rounds=rounds, batch=batch, width=1.0, ridge=RIDGE,
                    rng=np.random.default_rng([9, seed]),
                ).regret
                for seed in seeds
            ]
        )
        for scheme in SCHEMES
    }  # fmt: skip


def intervals(values: np.ndarray) -> dict[str, list[float]]:
    """Mean and t interval over the first axis of (seeds, t)."""
    found = [mean_interval(column) for column in values.T]
    return {key: [getattr(interval, key) for interval in found] for key in ("mean", "low", "high")}


def rejection_rates(testbed: Testbed, oracle: str, hops: Sequence[int]) -> tuple[list[float], float, float]:
    """Mean share of draws kept per hop for each number of hops; in one step; and the largest of two differences.

    From the reference to the Gibbs policy of the fitted reward, by hops of equal size in 1 / beta. The differences are
    between the laws at the end, and between the product of a prompt's rates over all hops and the rate of one step.
    """
    rewards, ref = fitted_reward(make_setting(testbed, oracle)).numpy(), np.exp(testbed.ref_log_probs)
    target = np.exp(gibbs.gibbs_policy(rewards, testbed.ref_log_probs, beta=BETA))
    once = rejection.rejection_sampling(ref, rewards, beta=BETA).rate
    rates, far = [], 0.0
    for count in hops:
        betas = BETA * count / np.arange(1, count + 1)
        chain = rejection.multi_step_rejection(ref, rewards, betas)
        rates.append(float(np.mean([hop.rate for hop in chain])))
        product = np.prod([hop.rate for hop in chain], axis=0)
        far = max(far, float(np.abs(chain[-1].probs - target).max()), float(np.abs(product - once).max()))
    return rates, float(once.mean()), far


def gaps(
    testbed: Testbed, oracle: str, log_ratios: Sequence[np.ndarray], *, payoff: str = "log odds"
) -> list:
    """Duality gap of each policy in the oracle's game."""
    table = make_setting(testbed, oracle).table
    matrix = {"log odds": game.log_odds_payoff, "win rate": game.win_rate_payoff}[payoff](table)
    policies = [testbed.ref_log_probs + ratio for ratio in log_ratios]
    return [game.duality_gap(p, p, matrix, testbed.ref_log_probs, beta=BETA) for p in policies]
