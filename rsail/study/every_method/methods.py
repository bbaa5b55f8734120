"""Every method of notebook 06: its solver, the options that are tried on the tuning problem, and its source.

An option grid is in the units of the loss function it goes to; where a source states a value for language models, it
need not suit this problem, so that every method gets a grid around values that matter here. A grid holds the value at
which the method is its plain relative (DPO, SAIL, REBEL), where there is one, so that no method has to be robust.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rsail.study.every_method import offline, online
from rsail.study.every_method.solver import Solution

FAMILIES = {
    "offline": "a pair loss on fixed pairs of the reference",
    "reweighted": "the same pairs, reweighted by their losses",
    "term": "DPO plus a term of other samples",
    "own pairs": "on the policy's own pairs, with the gradient of their law (eq. 1)",
    "rounds": "on pairs collected in rounds, the law held fixed in each",
    "reward": "regression to relative rewards in rounds",
    "lists": "lists of three responses",
    "other": "no loss of pairs is minimized",
}


# The option values that turn a method off, into its plain relative or the reference; ROPO's alpha and a temperature
# only as good as that.
NEUTRAL = {
    "smoothing": 0.0, "flip_rate": 0.0, "radius": 0.0, "rho": 0.0, "weight": 0.0, "scale": 0.0, "share": 0.0,
    "candidates": 1, "temperature": 1e4, "alpha": 0.01,
}  # fmt: skip


@dataclass(frozen=True)
class Method:
    """How a method is solved, and what is tried."""

    solve: Callable[..., Solution]
    family: str
    source: str
    grid: tuple[dict, ...] = field(default=({},))
    smooth_at_zero: bool = True  # False: the loss has a kink where policy and reference agree about a pair
    sees_rewards: bool = False  # the true ones, which no oracle shows


def one(name: str, *values) -> tuple[dict, ...]:
    return tuple({name: value} for value in values)


HOT = NEUTRAL[
    "temperature"
]  # a temperature at which a reweighting moves beta by one part in ten thousand: as good as infinite
BETAS = one("beta", 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
RADII = one("rho", 0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
WEIGHTS = one("weight", 0.0, 0.01, 0.03, 0.1, 0.3)
BONUSES = one("weight", 0.0, 1e-3, 3e-3, 1e-2, 3e-2)  # to be multiplied by beta
SMALL_WEIGHTS = one("weight", 0.0, 1e-4, 3e-4, 1e-3, 3e-3)
SHARES = one("share", 0.0, 0.1, 0.2, 0.3, 0.4, 0.6)
ROBUST = offline.pair_loss("robust_sail", kinks=(0.0,), on_policy=True)
HINGES = (-1.0, 1.0)

METHODS: dict[str, Method] = {
    "DPO": Method(offline.solve_dpo, "offline", "2305.18290; also OSP on fixed pairs, 2405.14103"),
    "DPO, β tuned": Method(offline.pair_loss("dpo"), "offline", "2305.18290", BETAS),
    "cDPO": Method(
        offline.pair_loss("cdpo"),
        "offline",
        "E. Mitchell, 2023",
        one("smoothing", 0.0, 0.05, 0.1, 0.2, 0.3, 0.4),
    ),
    "rDPO": Method(offline.pair_loss("rdpo"), "offline", "2403.00409", one("flip_rate", 0.0, 0.05, 0.1, 0.2)),
    "IPO": Method(
        offline.pair_loss("ipo"), "offline", "2310.12036", one("beta", 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
    ),
    "SLiC": Method(
        offline.pair_loss("slic", kinks=HINGES),
        "offline",
        "2305.10425",
        one("beta", 0.05, 0.1, 0.2, 0.4, 0.8),
    ),
    "ROPO": Method(
        offline.pair_loss("ropo"), "offline", "2404.04102", one("alpha", 0.01, 0.3, 1.0, 3.0, 6.0, 14.0)
    ),
    "TV, hard label": Method(
        offline.pair_loss("tv_robust", kinks=(0.0,)),
        "offline",
        "2607.01715 with K = 2",
        one("radius", 0.0, 0.05, 0.1, 0.2, 0.3),
        False,
    ),
    "DPO-PRO": Method(
        offline.pair_loss("dpo_pro", kinks=(0.0,)),
        "offline",
        "2509.02709",
        one("radius", 0.0, 0.01, 0.04, 0.09, 0.16),
        False,
    ),
    "robust DPO": Method(
        offline.pair_loss("robust_sail", kinks=(0.0,)),
        "offline",
        "eq. 14 of 2602.20457 on fixed pairs",
        RADII,
        False,
    ),
    "χPO": Method(
        offline.solve_chi_po, "offline", "2407.13399", one("beta", 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
    ),
    "Dr. DPO": Method(
        offline.reweighted("dr_dpo"),
        "reweighted",
        "2407.07880",
        one("temperature", 1.0, 3.0, 10.0, 30.0, HOT),
    ),
    "KLDPO": Method(
        offline.reweighted("kl_penalty"),
        "reweighted",
        "2502.01930",
        one("temperature", 0.1, 0.3, 1.0, 3.0, 10.0, HOT),
    ),
    "WDPO": Method(
        offline.solve_wdpo, "reweighted", "2502.01930", one("radius", 0.0, 0.003, 0.01, 0.03, 0.05)
    ),
    "group-robust DPO": Method(offline.solve_group_robust, "reweighted", "2405.20304"),
    "VPO, offline": Method(offline.with_term(offline.vpo_offline), "term", "2405.19320", WEIGHTS),
    "HyPO": Method(
        offline.with_term(offline.hypo), "term", "2406.01462", one("weight", 0.0, 0.003, 0.01, 0.03, 0.1)
    ),
    "pessimistic DPO": Method(
        offline.solve_pessimistic, "term", "2312.11456", one("scale", 0.0, 0.1, 0.3, 1.0)
    ),
    "AIHF": Method(offline.with_term(offline.aihf), "term", "2406.06874", WEIGHTS, sees_rewards=True),
    "DDP": Method(offline.sail_mixture("ddp"), "term", "2406.15567", SHARES),
    "DPP": Method(offline.sail_mixture("dpp"), "own pairs", "2406.15567", SHARES),
    "DPR": Method(offline.sail_mixture("dpr"), "own pairs", "2406.15567", SHARES),
    "SAIL": Method(offline.pair_loss("dpo", on_policy=True), "own pairs", "2406.15567, eq. 9 of 2602.20457"),
    "SAIL, β tuned": Method(
        offline.pair_loss("dpo", on_policy=True), "own pairs", "eq. 9 of 2602.20457", BETAS
    ),
    "SAIL-RevKL": Method(offline.solve_sail_revkl, "own pairs", "2606.31524", WEIGHTS),
    "robust SAIL": Method(ROBUST, "own pairs", "eq. 13 of 2602.20457", RADII, False),
    "online DPO": Method(online.online("dpo"), "rounds", "2402.04792; also OSP on own pairs, 2405.14103"),
    "robust online DPO": Method(
        online.online("robust_sail", kinks=(0.0,)), "rounds", "eq. 14 of 2602.20457", RADII, False
    ),
    "online IPO": Method(
        online.online("ipo"), "rounds", "2402.07314", one("beta", 0.0125, 0.025, 0.05, 0.1, 0.2)
    ),
    "iterative DPO": Method(
        online.online("dpo", own_law=online.best_of_candidates, accumulate=True),
        "rounds",
        "2312.11456, 2405.07863",
    ),
    "RSO": Method(online.online("dpo", own_law=online.gibbs_pairs), "rounds", "2309.06657"),
    "VPO, online": Method(
        online.online("dpo", accumulate=True, bonus=online.vpo_bonus), "rounds", "2405.19320", BONUSES
    ),
    "XPO": Method(
        online.online("dpo", own_law=online.against_reference, accumulate=True, bonus=online.xpo_bonus),
        "rounds",
        "2405.21046",
        SMALL_WEIGHTS,
    ),
    "SELM": Method(online.solve_selm, "rounds", "2405.19332", BONUSES),
    "COPO": Method(
        online.solve_copo, "rounds", "2501.12735", one("weight", 0.0, 1e-4, 1e-3, 3e-3, 0.01, 0.03)
    ),
    "SPAC, anchored": Method(online.spac("spac_anchored"), "rounds", "2406.04274, reconstructed", WEIGHTS),
    "SPAC, smoothed": Method(
        online.spac("spac_smoothed"),
        "rounds",
        "2406.04274, reconstructed",
        (*WEIGHTS, *one("weight", 1.0, 3.0)),
    ),
    "SPAC, unanchored": Method(online.spac("spac_unanchored"), "rounds", "2406.04274, second-hand", WEIGHTS),
    "REBEL": Method(online.rebel("rebel"), "reward", "2404.16767"),
    "W-REBEL": Method(online.rebel("w_rebel"), "reward", "2509.19104", one("radius", 0.0, 0.03, 0.1, 0.3)),
    "KL-REBEL": Method(
        online.rebel("kl_penalty"),
        "reward",
        "2509.19104",
        one("temperature", 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, HOT),
    ),
    "χ²-REBEL": Method(
        online.rebel("chi2_ball"), "reward", "2509.19104", one("radius", 0.0, 0.01, 0.05, 0.1, 0.2)
    ),
    "robust lists": Method(
        offline.solve_plackett_luce,
        "lists",
        "2607.01715 with K = 3",
        one("rho", 0.0, 0.1, 0.2, 0.3, 0.4),
        False,
    ),
    "best of n": Method(online.solve_best_of_n, "other", "2009.01325", one("candidates", 1, 2, 4, 8, 16)),
    "Nash": Method(online.solve_nash, "other", "2402.07314"),
}

LEFT_OUT = {
    "FPO (2411.07618)": "its features are a language model's activations",
    "Linear Alignment (2401.11458)": "a decoding rule that needs a second prompt, not a way to learn",
}
