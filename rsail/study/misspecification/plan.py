"""The plan of the language model's runs, as data: every setting, every seed, written before the first run.

A part is a set of settings, each run with every seed of `SEEDS`; seeds of `TUNING_SEEDS` chose hyper-parameters and
are in no result. `data/results/misspecification/PLAN.md` says in words what is asked and how it is tested.
"""

from __future__ import annotations

from dataclasses import replace

from rsail.checks import one_of
from rsail.study.biased_oracle import BIAS, MODEL, recorded
from rsail.study.misspecification.models import BASE, RECIPES, recipe
from rsail.study.sweeps import Cell
from rsail.training import OnlineConfig, method_config

STUDY = "misspecification"
SEEDS = range(20, 25)
TUNING_SEEDS = range(120, 122)
STEPS = 200
EVALUATE_EVERY = 20
SELDOM = {"evaluate_every": 100}  # where only the end is compared
RHOS = (0.0, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40)  # the oracle's bias is 0.15; sigma(1.5) - 1/2 is 0.318
BETAS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
# Without the score term, and where the oracle is right: enough of the two axes to compare with.
FEWER_RHOS = (0.0, 0.05, 0.15, 0.30)
FEWER_BETAS = (0.1, 0.2, 0.4, 0.8, 1.6)
FILLER_BIAS = {"kind": "bias", "strength": BIAS, "attribute": "filler"}


def _base(method: str = "sail", **settings) -> OnlineConfig:
    common = {
        "steps": STEPS, "evaluate_every": EVALUATE_EVERY, "evaluation_prompts": 256, "checkpoint_every": STEPS,
    }  # fmt: skip
    return method_config(method, **({"model": str(MODEL), "oracle": FILLER_BIAS} | common | settings))


def _axes(rhos, betas, **settings) -> dict[str, OnlineConfig]:
    """One sweep over rho at beta 0.1, and one over beta at rho 0; they meet in nominal SAIL."""
    rows = {f"rho{rho:.2f}": _base(rho=rho, **settings) for rho in rhos}
    return rows | {f"beta{beta:.2f}": _base(beta=beta, **settings) for beta in betas if beta != 0.1}


def _central() -> dict[str, OnlineConfig]:
    score = {f"score_{name}": config for name, config in _axes(RHOS, BETAS).items()}
    online = _axes(FEWER_RHOS, FEWER_BETAS, score_weight=0.0)
    return score | {f"online_{name}": config for name, config in online.items()}


def _truth() -> dict[str, OnlineConfig]:
    right = {"oracle": {"kind": "truth"}} | SELDOM
    rows = {f"score_rho{rho:.2f}": _base(rho=rho, **right) for rho in FEWER_RHOS}
    return rows | {f"online_rho{rho:.2f}": _base(rho=rho, score_weight=0.0, **right) for rho in (0.0, 0.15)}


_BOTH = {"nominal": {}, "robust": {"rho": BIAS}}


def _sizes() -> dict[str, tuple[str, OnlineConfig]]:
    return {
        f"{model}_{who}": (model, _base(**settings, **SELDOM))
        for model in RECIPES
        if model != BASE
        for who, settings in _BOTH.items()
    }


def _kinks() -> dict[str, OnlineConfig]:
    """A radius at which the reference is the minimum, at two step sizes around central's and as long a way."""
    rows = {"small_steps": (1e-4, 3 * STEPS), "large_steps": (9e-4, round(STEPS / 3))}
    return {
        name: _base(
            rho=RHOS[-1], learning_rate=rate, steps=steps, evaluate_every=steps, checkpoint_every=steps
        )
        for name, (rate, steps) in rows.items()
    }


# Each with its own kind of mistake, of about the size of the central bias. The groups' mean bias is 0.15.
ORACLES = {
    "flips": {"kind": "flip", "strength": 0.2},
    "flattened": {"kind": "flatten", "strength": 0.4},
    "flattery": {"kind": "bias", "strength": BIAS, "attribute": "flattery"},
    "length": {"kind": "bias", "strength": BIAS, "attribute": "length"},
    "adversary": {"kind": "worst_case", "strength": BIAS},
    "groups": {"kind": "groups", "strength": 2 * BIAS},
    "drift": {"kind": "drift", "strength": BIAS},
    "cycle": {"kind": "cyclic", "strength": BIAS, "attribute": "length"},
    "rewards_1024": {"kind": "reward_model", "pairs": 1024},
    "rewards_4096": {"kind": "reward_model", "pairs": 4096},
    "rewards_biased": {"kind": "reward_model", "pairs": 4096, "label_bias": BIAS},
    "ensemble_4096": {"kind": "reward_model", "pairs": 4096, "members": 5, "strength": 1.0},
}


def _oracles() -> dict[str, OnlineConfig]:
    return {
        f"{name}_{who}": _base(oracle=oracle, rho=rho, **SELDOM)
        for name, oracle in ORACLES.items()
        for who, rho in (("nominal", 0.0), ("robust", BIAS))
    }


# What a practitioner would try instead, on the policy's own pairs: the method, what it needs beside its published
# settings, the setting that is tuned and the values that are tried.
OWN_PAIRS = {"collection": {"scheme": "on_policy"}}
COMPARED: dict[str, tuple[str, dict, str, tuple]] = {
    "online_dpo": ("online_dpo", {}, "beta", (0.1, 0.2, 0.4)),
    "robust_drawn": ("robust_sail", {"score_weight": 0.0, "labels": "drawn"}, "rho", (0.05, 0.15, 0.3)),
    "cdpo": ("cdpo", OWN_PAIRS, "loss_options.smoothing", (0.05, 0.15, 0.3)),
    "rdpo": ("rdpo", OWN_PAIRS, "loss_options.flip_rate", (0.05, 0.15, 0.3)),
    "ipo": ("ipo", OWN_PAIRS, "beta", (0.05, 0.1, 0.3)),
    "dpo_pro": ("dpo_pro", OWN_PAIRS, "loss_options.radius", (0.05, 0.15, 0.3)),
    "dr_dpo": ("dr_dpo", OWN_PAIRS, "addition.reweighting_strength", (0.3, 1.0, 3.0)),
    "kldpo": ("kldpo", OWN_PAIRS, "addition.reweighting_strength", (0.1, 0.3, 1.0)),
    "chi2_rebel": ("chi2_rebel", {}, "addition.reweighting_strength", (0.01, 0.1, 0.5)),
    "xpo": ("xpo", {}, "addition.term_weight", (1e-5, 1e-3, 1e-2)),
    "sail_ddp": ("sail_ddp", {}, "beta", (0.1, 0.2, 0.4)),
    "sail_dpp": ("sail_dpp", {}, "beta", (0.1, 0.2, 0.4)),
    "sail_dpr": ("sail_dpr", {}, "beta", (0.1, 0.2, 0.4)),
    "rloo": ("rloo", {}, "beta", (0.05, 0.1, 0.3)),
    "grpo": ("grpo", {}, "beta", (0.05, 0.1, 0.3)),
}


def _method(name: str, value: float, **settings) -> OnlineConfig:
    method, own, tuned, _ = COMPARED[name]
    *group, key = tuned.split(".")
    chosen = {group[0]: {**own.get(group[0], {}), key: value}} if group else {key: value}
    return _base(method, **{**own, **chosen, **settings})


def _tuning() -> dict[str, OnlineConfig]:
    short = {"steps": STEPS // 2, "evaluate_every": STEPS // 2, "checkpoint_every": STEPS // 2}
    return {
        f"{name}_{value:g}": _method(name, value, **short)
        for name, (*_, values) in COMPARED.items()
        for value in values
    }


def _methods() -> dict[str, OnlineConfig]:
    return {name: _method(name, value) for name, value in CHOSEN.items()}


# Of each method the value with the most gold on requests in part tuning, mean of its two seeds.
CHOSEN: dict[str, float] = {
    "online_dpo": 0.2,
    "robust_drawn": 0.05,
    "cdpo": 0.3,
    "rdpo": 0.05,
    "ipo": 0.05,
    "dpo_pro": 0.05,
    "dr_dpo": 3.0,
    "kldpo": 0.3,
    "chi2_rebel": 0.1,
    "xpo": 0.001,
    "sail_ddp": 0.2,
    "sail_dpp": 0.4,
    "sail_dpr": 0.2,
    "rloo": 0.1,
    "grpo": 0.1,
}

PARTS = {
    "central": _central, "truth": _truth, "sizes": _sizes, "oracles": _oracles, "tuning": _tuning, "methods": _methods,
    "kinks": _kinks,
}  # fmt: skip


def plan(part: str) -> list[Cell]:
    """Every run of a part, seed by seed: a part that was cut short has whole seeds."""
    one_of("part", part, PARTS)
    settings = PARTS[part]()
    seeds = TUNING_SEEDS if part == "tuning" else SEEDS
    return [_cell(name, setting, seed) for seed in seeds for name, setting in settings.items()]


def _cell(name: str, setting: OnlineConfig | tuple[str, OnlineConfig], seed: int) -> Cell:
    model, config = setting if isinstance(setting, tuple) else (BASE, setting)
    oracle = config.oracle
    if oracle.kind == "reward_model":  # fitted anew for every seed: on other pairs, with other labels
        oracle = replace(oracle, seed=seed)
    values = recorded(replace(config, seed=seed, oracle=oracle))
    if model != BASE:  # its weights differ between processors: a plan can name their recipe, not their hash
        del values["model_sha256"]
        values |= {"model": model, "recipe": recipe(model)}
    return Cell(f"{name}_seed{seed}", values, {"run": seed, "task": config.task.seed})
