"""What notebook 06 asks of the tables: ranks, claims, objectives that fall for ever, and why SAIL keeps bad answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linprog

from rsail.objectives import LOSSES
from rsail.study.every_method import bounds, online, problem
from rsail.study.every_method.experiment import RESULTS, SEEDS, Table
from rsail.study.every_method.methods import METHODS
from rsail.study.every_method.setting import Setting, make_setting
from rsail.study.every_method.solver import log_ratios
from rsail.study.results import read_result
from rsail.study.statistics import Interval, paired_difference

TIE = 1e-4  # regrets that differ by less are equal here
GONE = 0.05  # a spurious effect below counts as removed; DPO's is eight times as large


def ranking(table: Table, measure: str = "regret") -> list[str]:
    """The methods whose descents converged, best mean first."""
    names = [name for name in METHODS if table.bounded(name)]
    return sorted(names, key=lambda name: table.mean(name, measure))


def place(table: Table, method: str) -> int:
    """1 + the number of methods whose mean regret is lower by more than TIE."""
    own = table.mean(method, "regret")
    return 1 + sum(table.mean(name, "regret") < own - TIE for name in ranking(table))


def winner(table: Table) -> str:
    """The method with the least mean regret; where others are within TIE, how many."""
    first = ranking(table)[0]
    tied = [name for name in METHODS if place(table, name) == 1 and table.bounded(name)]
    return first if len(tied) == 1 else f"{tied[0]} and {len(tied) - 1} more"


def excess(table: Table, first: str, second: str, measure: str = "regret") -> Interval:
    """`measure` of the first method minus that of the second, paired by problem."""
    return paired_difference(table.values(first, measure), table.values(second, measure))


def text(interval: Interval, digits: int = 3) -> str:
    """An interval with enough digits for differences of regret."""
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def removed(table: Table) -> list[str]:
    """The methods that leave next to nothing of the oracle's mistake."""
    return [name for name in METHODS if abs(table.mean(name, "spurious")) < GONE]


def claims(tables: Mapping[str, Table]) -> dict[str, bool]:
    """The claims of notebook 06 and whether the results support them; comparisons by 95 % t intervals."""
    bias, cycle = tables["bias"], tables["cycle"]

    def less(table: Table, first: str, second: str) -> bool:
        return excess(table, second, first).low > 0

    found = {
        "rDPO undoes flips at their rate": bool(tables["flips"].values("rDPO", "regret").max() < 1e-9),
        "only methods with a dead zone remove the bias": not any(
            METHODS[name].smooth_at_zero for name in removed(bias)
        ),
        "robust SAIL removes the bias": "robust SAIL" in removed(bias),
    }
    rivals = {
        "robust SAIL": ("SAIL", "DPO", "cDPO", "DPO, β tuned", "robust DPO", "DPO-PRO"),
        "robust DPO": ("DPO", "DPO, β tuned", "DPO-PRO"),
        "robust online DPO": ("online DPO",),
    }
    for ours, others in rivals.items():
        for other in others:
            found[f"under the bias {ours} has less regret than {other}"] = less(bias, ours, other)
    found["when the oracle is right robust SAIL has less regret than DPO"] = less(
        tables["truth"], "robust SAIL", "DPO"
    )
    found["under the cycle the Nash policy has less regret than DPO"] = less(cycle, "Nash", "DPO")
    return found


def runaways(folder: str | Path = RESULTS) -> dict[tuple[str, str], list[str]]:
    """(method, option) -> oracles under which a descent on a tuning problem was stopped at the largest margin."""
    found: dict[tuple[str, str], list[str]] = {}
    for oracle in problem.ORACLES:
        for row in read_result(Path(folder) / f"tuning_{oracle}.json")["history"]:
            oracles = found.setdefault((row["method"], str(row["options"])), [])
            if row["ran_away"] and oracle not in oracles:
                oracles.append(oracle)
    return {key: oracles for key, oracles in found.items() if oracles}


def worst_response_share(method: str, options: dict, oracle: str = "truth") -> np.ndarray:
    """Probability of the truly worst response, mean over the prompts with a preference, for each of SEEDS."""
    shares = []
    for seed in SEEDS:
        testbed = problem.make_testbed(seed)
        log_ratio = METHODS[method].solve(make_setting(testbed, oracle), **options).log_ratio
        worst = np.arange(problem.PROMPTS), testbed.rewards.argmin(axis=1)
        probs = np.exp(testbed.ref_log_probs + log_ratio)[worst]
        shares.append(probs[~testbed.open_prompts].mean())
    return np.array(shares)


def group_losses(testbed: problem.Testbed, log_ratio) -> np.ndarray:
    """DPO's mean loss of each group of annotators, (G,), at the policy with the log-ratios (X, Y)."""
    setting = make_setting(testbed, "groups")
    scores = setting.scores(torch.tensor(log_ratio))
    losses = [LOSSES["dpo"](scores, answers, beta=setting.beta) for answers in setting.group_preference]
    return np.array([float((setting.offline_law * loss).sum(dim=1).mean()) for loss in losses])


def minimax_rewards(log_odds: np.ndarray) -> np.ndarray:
    """Rewards (X, Y) whose differences miss the log-odds (X, Y, Y) least in the worst pair, by linear programs."""
    prompts, responses, _ = log_odds.shape
    first, second = np.triu_indices(responses, 1)
    gaps = np.eye(responses)[first] - np.eye(responses)[second]
    slack = -np.ones((len(first), 1))
    rewards = []
    for x in range(prompts):
        target = log_odds[x, first, second]
        found = linprog(
            np.append(np.zeros(responses), 1.0),
            A_ub=np.block([[gaps, slack], [-gaps, slack]]),
            b_ub=np.concatenate([target, -target]),
            bounds=[(None, None)] * responses + [(0, None)],
        )
        rewards.append(found.x[:responses] - found.x[:responses].mean())
    return np.array(rewards)


def optimism_bound(setting: Setting) -> tuple[float, np.ndarray]:
    """The weight below which DPO plus weight E_ref[log pi] is bounded below on offline pairs, and who falls first.

    It is the least ratio of resistance and pull over prompts and sets (module bounds). The second result, (X, Y), is 1
    on the set that attains it.
    """
    sets = bounds.subsets(setting.shape[1])
    resistance = bounds.resistance(setting, setting.offline_law)
    ratio = setting.beta * resistance / (sets @ setting.ref_log_probs.exp().numpy().T)
    at, prompt = np.unravel_index(ratio.argmin(), ratio.shape)
    pushed = np.zeros(setting.shape)
    pushed[prompt] = sets[at]
    return float(ratio.min()), pushed


def slope_far_out(setting: Setting, weight: float, pushed: np.ndarray) -> float:
    """How XPO's objective changes as the log-probabilities of a set fall from -10^4 to -2 10^4."""
    values = []
    for distance in (1e4, 2e4):
        log_ratio = log_ratios(-distance * torch.tensor(pushed), setting.ref_log_probs)
        losses = LOSSES["dpo"](setting.scores(log_ratio), setting.preference, beta=setting.beta)
        mean = (setting.offline_law * losses).sum(dim=1).mean()
        values.append(float(mean + online.xpo_bonus(setting, log_ratio, weight)))
    return values[1] - values[0]
