"""What notebook 09 shows of the language model's runs: its figures' data, and comparisons over many settings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rsail.language.reward import GOLD_MAX
from rsail.study.biased_oracle import BIAS
from rsail.study.misspecification.analysis import FILLER, GOLD, KL, Runs, less_spurious
from rsail.study.misspecification.models import BASE, RECIPES
from rsail.study.misspecification.plan import (
    BETAS,
    COMPARED,
    FEWER_BETAS,
    FEWER_RHOS,
    ORACLES,
    RHOS,
)
from rsail.study.statistics import Interval, holm, mean_interval, paired_difference, paired_test

CRITICAL = 1 / (1 + np.exp(-GOLD_MAX)) - 0.5  # sigma(largest reward gap) - 1/2
MODEL_NAMES = {"committed": BASE}  # in the table of reference models
BETA_SWEEP = {
    "score": ["score_rho0.00" if beta == 0.1 else f"score_beta{beta:.2f}" for beta in BETAS],
    "online": ["online_rho0.00" if beta == 0.1 else f"online_beta{beta:.2f}" for beta in FEWER_BETAS],
}
RHO_SWEEP = {
    "score": [f"score_rho{rho:.2f}" for rho in RHOS],
    "online": [f"online_rho{rho:.2f}" for rho in FEWER_RHOS],
}
OBJECTIVES = {"score": "with score term", "online": "online DPO"}


def columns(intervals: Iterable[Interval]) -> dict[str, list[float]]:
    """Intervals as {mean, low, high}, each a list."""
    intervals = list(intervals)
    return {end: [getattr(interval, end) for interval in intervals] for end in ("mean", "low", "high")}


def over_optimisation_data(runs: Runs) -> dict:
    """Curves of part central for `figures.misspecification_lm.over_optimisation`."""
    metrics = {
        "oracle's preference": "proxy/preference",
        "gold, requests": GOLD,
        "filler words, open": FILLER,
        "KL (nats)": KL,
    }
    chosen = {"nominal": "rho0.00", "half": "rho0.05", "robust": "rho0.15", "beta": "beta0.40"}
    rows = {}
    for objective, name in OBJECTIVES.items():
        rows[name] = {
            label: {
                "reference": runs.reference(f"{objective}_rho0.00", metric),
                "curves": {
                    key: columns(
                        mean_interval(column) for column in runs.curve(f"{objective}_{setting}", metric)[1].T
                    )
                    for key, setting in chosen.items()
                },
            }
            for label, metric in metrics.items()
        }
    return {"steps": runs.curve("score_rho0.00", KL)[0], "rows": rows}


def radius_data(central: Runs, truth: Runs) -> dict:
    """Gold, spurious and KL against rho for `figures.misspecification_lm.radius`."""
    lines = {
        "score term, biased": (central, "score", RHOS),
        "online DPO, biased": (central, "online", FEWER_RHOS),
        "score term, right": (truth, "score", FEWER_RHOS),
        "online DPO, right": (truth, "online", (0.0, BIAS)),
    }
    measures = {
        "gold reward, requests": GOLD,
        "filler words, open prompts": FILLER,
        "KL to the reference (nats)": KL,
    }
    panels = {}
    for label, metric in measures.items():
        panels[label] = {
            "reference": central.reference("score_rho0.00", metric),
            "lines": {
                name: {"rho": list(rhos)}
                | columns(mean_interval(runs.final(f"{kind}_rho{rho:.2f}", metric)) for rho in rhos)
                for name, (runs, kind, rhos) in lines.items()
            },
        }
    return {"bias": BIAS, "critical": CRITICAL, "panels": panels}


def central_data(runs: Runs) -> dict:
    """Both sweeps of part central, with and without the score term: gold, spurious and KL of each setting."""
    data = {}
    for objective in OBJECTIVES:
        data[objective] = {}
        for name, settings, values in (
            ("beta", BETA_SWEEP[objective], BETAS if objective == "score" else FEWER_BETAS),
            ("rho", RHO_SWEEP[objective], RHOS if objective == "score" else FEWER_RHOS),
        ):
            data[objective][name] = {"value": list(values)} | {
                measure: columns(mean_interval(f(setting)) for setting in settings)
                for measure, f in {
                    "gold": runs.gain,
                    "spurious": runs.spurious,
                    "kl": lambda setting: runs.final(setting, KL),
                }.items()
            }
    return data


def _own_attribute(oracle: str) -> str:
    return f"attribute/{ORACLES[oracle].get('attribute', 'filler')}/open"


def oracle_differences(runs: Runs) -> dict[str, dict[str, Interval]]:
    """Robust (rho 0.15) minus nominal under each other oracle: gold, and how far its own attribute moved.

    The attribute is that of the oracle's mistake (filler where it has none), on open prompts.
    """
    found = {}
    for oracle in ORACLES:
        nominal, robust = f"{oracle}_nominal", f"{oracle}_robust"
        attribute = _own_attribute(oracle)
        away = {
            name: np.abs(runs.final(name, attribute) - runs.reference(name, attribute))
            for name in (nominal, robust)
        }
        found[oracle] = {
            "gold": paired_difference(runs.final(robust, GOLD), runs.final(nominal, GOLD)),
            "spurious": paired_difference(away[robust], away[nominal]),
            "nominal gain": mean_interval(runs.gain(nominal)),
        }
    return found


def deviation(runs: Runs, oracle: str) -> float:
    """The largest deviation from the truth that any evaluation of the oracle's runs measured."""
    return max(
        row["oracle/deviation"]
        for who in ("nominal", "robust")
        for run in runs.of(f"{oracle}_{who}")
        for row in run["history"]["evaluations"]
    )


def oracles_data(runs: Runs) -> dict:
    """`figures.misspecification_lm.forest` of `oracle_differences`."""
    found = oracle_differences(runs)
    panels = {
        "gold, robust − nominal": "gold",
        "|attribute shift|, robust − nominal": "spurious",
    }
    learned = [ORACLES[name]["kind"] == "reward_model" for name in found]
    return {
        "rows": list(found),
        "groups": ["fitted reward model" if is_learned else "stated mistake" for is_learned in learned],
        "panels": {
            label: {"line": 0.0} | columns(row[key] for row in found.values())
            for label, key in panels.items()
        },
    }


def methods_compared(central: Runs, methods: Runs) -> dict[str, tuple[Runs, str]]:
    """Every method of Q9: where its runs are. Robust SAIL and robust online DPO come first."""
    ours = {
        "robust SAIL": (central, "score_rho0.15"),
        "robust online DPO": (central, "online_rho0.15"),
        "SAIL": (central, "score_rho0.00"),
        "SAIL, beta 0.4": (central, "score_beta0.40"),
        "online DPO, probabilities": (central, "online_rho0.00"),
        "online DPO, beta 0.4": (central, "online_beta0.40"),
    }
    return ours | {name: (methods, name) for name in COMPARED}


def method_differences(central: Runs, methods: Runs, ours: str) -> dict[str, dict]:
    """Each method minus `ours`: gold and |spurious|, and p-values adjusted by Holm over methods and measures."""
    table = methods_compared(central, methods)
    own_runs, own = table[ours]
    rows, p_values = {}, []
    for name, (runs, setting) in table.items():
        if name == ours:
            continue
        gold = runs.final(setting, GOLD), own_runs.final(own, GOLD)
        spurious = np.abs(runs.spurious(setting)), np.abs(own_runs.spurious(own))
        rows[name] = {
            "gold": paired_difference(*gold),
            "spurious": paired_difference(*spurious),
            "kl": mean_interval(runs.final(setting, KL)),
        }
        p_values += [paired_test(*gold), paired_test(*spurious)]
    adjusted = holm(p_values)
    for index, row in enumerate(rows.values()):
        row["p_gold"], row["p_spurious"] = float(adjusted[2 * index]), float(adjusted[2 * index + 1])
    return rows


def methods_data(central: Runs, methods: Runs) -> dict:
    """`figures.misspecification_lm.forest` of gold, spurious and KL of every method."""
    table = methods_compared(central, methods)
    measures = {
        "gold, requests": lambda runs, setting: runs.final(setting, GOLD),
        "filler beyond the reference, open": lambda runs, setting: runs.spurious(setting),
        "KL (nats)": lambda runs, setting: runs.final(setting, KL),
    }
    first = next(iter(table.values()))
    return {
        "rows": list(table),
        "groups": ["robust" if "robust" in name else "others" for name in table],
        "panels": {
            label: {"line": float(f(*first).mean())}
            | columns(mean_interval(f(runs, setting)) for runs, setting in table.values())
            for label, f in measures.items()
        },
    }


def models_compared(central: Runs, sizes: Runs) -> dict[str, dict[str, tuple[Runs, str]]]:
    """Where the nominal and the robust runs of each reference model are."""
    base = {"nominal": (central, "score_rho0.00"), "robust": (central, "score_rho0.15")}
    found = {
        name: {who: (sizes, f"{name}_{who}") for who in ("nominal", "robust")} for name in ("small", "large")
    }
    return {"small": found["small"], "committed": base, "large": found["large"]}


def model_differences(central: Runs, sizes: Runs) -> dict[str, dict[str, Interval]]:
    """What rho = 0.15 removes and costs on each reference model, robust against nominal, paired by seed."""
    rows = {}
    for name, where in models_compared(central, sizes).items():
        (runs, nominal), (_, robust) = where["nominal"], where["robust"]
        rows[name] = {
            "removed": less_spurious(runs.spurious(robust), runs.spurious(nominal)),
            "nominal spurious": mean_interval(runs.spurious(nominal)),
            "gold": paired_difference(runs.final(robust, GOLD), runs.final(nominal, GOLD)),
            "gain": mean_interval(runs.gain(robust)),
        }
    return rows


def models_data(central: Runs, sizes: Runs) -> dict:
    """`figures.misspecification_lm.forest` of `model_differences`."""
    rows = model_differences(central, sizes)
    labels = {
        "filler removed, open": "removed",
        "gold, robust − nominal": "gold",
        "gold beyond the reference, robust": "gain",
    }
    assert rows.keys() - {"committed"} <= RECIPES.keys()
    return {
        "rows": list(rows),
        "groups": ["size"] * len(rows),
        "panels": {
            label: {"line": 0.0} | columns(row[key] for row in rows.values()) for label, key in labels.items()
        },
    }
