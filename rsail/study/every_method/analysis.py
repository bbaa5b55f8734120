"""What notebook 06 asks of the tables: ranks, claims, objectives that fall for ever, and why SAIL keeps bad answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linprog

from rsail.objectives import LOSSES
from rsail.study.every_method import bounds, online, problem
from rsail.study.every_method.experiment import FRONTIER_BETAS, RESULTS, SEEDS, Table
from rsail.study.every_method.methods import METHODS, NEUTRAL
from rsail.study.every_method.setting import Setting, make_setting
from rsail.study.every_method.solver import log_ratios
from rsail.study.results import read_result
from rsail.study.statistics import Interval, paired_difference

TIE = 1e-4  # regrets that differ by less are equal here
GONE = 0.05  # a spurious effect below counts as removed; the notebook shows how far from it methods are


def ranking(table: Table, measure: str = "regret") -> list[str]:
    """The methods that see the oracle only and whose descents converged, best mean first."""
    names = [name for name, method in METHODS.items() if table.bounded(name) and not method.sees_rewards]
    return sorted(names, key=lambda name: table.mean(name, measure))


def place(table: Table, method: str) -> int:
    """1 + the number of methods whose mean regret is lower by more than TIE."""
    own = table.mean(method, "regret")
    return 1 + sum(table.mean(name, "regret") < own - TIE for name in ranking(table))


def winner(table: Table) -> str:
    """The method with the least mean regret; where others are within TIE, how many."""
    first = ranking(table)[0]
    tied = [name for name in ranking(table) if place(table, name) == 1]
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


def at_the_edge(table: Table) -> dict[str, dict]:
    """The methods whose chosen option is the largest or the least on offer, unless that one turns the method off."""
    found = {}
    for name, chosen in table.options.items():
        for option, value in chosen.items():
            values = [options[option] for options in METHODS[name].grid]
            if value in (min(values), max(values)) and value != NEUTRAL.get(option):
                found[name] = chosen
    return found


def turned_off(table: Table) -> list[str]:
    """The methods that did best, on the tuning problems, with the option that turns them off."""
    return [
        name
        for name, chosen in table.options.items()
        if any(NEUTRAL.get(key) == chosen[key] for key in chosen)
    ]


def tuning_regrets(method: str, oracle: str, folder: str | Path = RESULTS) -> list[float]:
    """Mean regret over the tuning problems of every option of a method's grid, in the grid's order."""
    rows = read_result(Path(folder) / f"tuning_{oracle}.json")["history"]
    return [
        float(np.mean([r["regret"] for r in rows if r["method"] == method and r["options"] == options]))
        for options in METHODS[method].grid
    ]


def best_start(starts: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Of each problem the descent that ended lowest: its objective and measures, each (seeds,)."""
    names = [name for name in starts]
    objectives = np.array([starts[name]["objective"] for name in names])
    lowest = objectives.argmin(axis=0)
    keys = [key for key in starts[names[0]] if key != "converged"]
    found = {key: np.array([starts[names[k]][key][seed] for seed, k in enumerate(lowest)]) for key in keys}
    return found | {"start": np.array([names[k] for k in lowest])}


def lower_policies(
    table: Table, sweep: Mapping[str, Mapping[str, np.ndarray]], than: np.ndarray
) -> list[str]:
    """Policies of the table and of a sweep with a lower worst-case loss than `than` (seeds,) on the same problem."""
    found = {}
    for name in METHODS:
        found[name] = (than - table.values(name, "worst_oracle")).max()
    for name, measured in sweep.items():
        gain = (than - measured["worst_oracle"]).max(axis=1)
        found |= {f"{name} at β = {beta:g}": value for beta, value in zip(FRONTIER_BETAS, gain, strict=True)}
    return [f"{name} (by up to {gain:.4f})" for name, gain in found.items() if gain > TIE]


def claims(tables: Mapping[str, Table], equal: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, bool]:
    """The claims of notebook 06 and whether the results support them; comparisons by 95 % t intervals.

    `equal` is what `experiment.load_equal_kl` returns.
    """
    bias, cycle = tables["bias"], tables["cycle"]

    def less(table: Table, first: str, second: str) -> bool:
        return excess(table, second, first).low > 0

    found = {
        "rDPO undoes flips at their rate": bool(tables["flips"].values("rDPO", "regret").max() < 1e-9),
        "tuned for regret, only methods with a dead zone remove the bias": not any(
            METHODS[name].smooth_at_zero for name in removed(bias)
        ),
        "at equal KL, only methods with a dead zone remove the bias": not any(
            METHODS[name].smooth_at_zero and abs(found["spurious"].mean()) < GONE
            for name, found in equal.items()
        ),
        "tuned for regret, robust SAIL removes the bias": "robust SAIL" in removed(bias),
    }
    for ours, other in (("robust SAIL", "SAIL"), ("robust SAIL", "DPO"), ("robust DPO", "DPO")):
        gain = paired_difference(equal[other]["regret"], equal[ours]["regret"])
        found[f"at equal KL, {ours} has less regret than {other}"] = gain.low > 0
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


def runaways(folder: str | Path = RESULTS) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
    """(method, option) -> oracles under which an objective of a tuning problem has no minimum.

    First those under which a descent was stopped at the largest margin, then those under which none was, but an
    objective was shown to be unbounded (module bounds).
    """
    found: dict[tuple[str, str], dict[str, list[bool]]] = {}
    for oracle in problem.ORACLES:
        for row in read_result(Path(folder) / f"tuning_{oracle}.json")["history"]:
            states = found.setdefault((row["method"], str(row["options"])), {}).setdefault(
                oracle, [False, False]
            )
            states[0] |= row["ran_away"]
            states[1] |= not row["bounded"]
    return {
        key: ([o for o in states if states[o][0]], [o for o in states if states[o][1] and not states[o][0]])
        for key, states in found.items()
        if any(map(any, states.values()))
    }


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
