"""What is measured of a policy, exactly: regret, distance, worst case, spurious effect, duality gap."""

from __future__ import annotations

import numpy as np

from rsail.exact import game, gibbs, losses
from rsail.study.every_method.problem import BETA, BIAS, Testbed, group_rewards, preferences

MEASURES = {
    "regret": "J* - J under the true reward, J = E r - β KL, β = 0.1 for every method",
    "gold": "mean true reward, prompts with a preference",
    "spurious": "mean attribute minus the reference's, prompts without a preference",
    "kl": "KL to the reference, nats",
    "kl_open": "the same, prompts without a preference",
    "worst_oracle": "robust loss at the radius 0.15 around the oracle",
    "worst_truth": "robust loss at the radius 0.15 around the truth",
    "gap": "duality gap of the oracle's KL-regularized game",
    "group_regret": "largest regret of the two groups of annotators, each under its own reward",
}


def measure(testbed: Testbed, oracle: str, log_ratio) -> dict[str, float]:
    """All of MEASURES of the policy with the log-ratios (X, Y)."""
    ref, table, truth = testbed.ref_log_probs, preferences(testbed, oracle), preferences(testbed, "truth")
    log_probs = ref + log_ratio
    probs, reference, rest = np.exp(log_probs), np.exp(ref), testbed.open_prompts
    distance = np.sum(probs * log_ratio, axis=1)
    attribute = np.sum((probs - reference) * testbed.attribute, axis=1)
    worst = {"beta": BETA, "rho": BIAS}
    return {
        "regret": gibbs.regret(log_probs, testbed.rewards, ref, beta=BETA),
        "gold": float(np.sum(probs * testbed.rewards, axis=1)[~rest].mean()),
        "spurious": float(attribute[rest].mean()),
        "kl": float(distance.mean()),
        "kl_open": float(distance[rest].mean()),
        "worst_oracle": losses.robust_loss(log_probs, ref, table, **worst),
        "worst_truth": losses.robust_loss(log_probs, ref, truth, **worst),
        "gap": game.duality_gap(log_probs, log_probs, game.log_odds_payoff(table), ref, beta=BETA),
        "group_regret": max(
            gibbs.regret(log_probs, rewards, ref, beta=BETA) for rewards in group_rewards(testbed)
        ),
    }
