"""Figures of notebook 09's exact half: what a wrong oracle does on problems that are solved to convergence.

Data in, matplotlib Figure out. A band is {mean, low, high}: means over problems and 95 % t intervals.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsail.study.figures import PAGE, rounded

BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, BLACK, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "0.55",
)  # fmt: skip
KNOBS = {
    "rho": (BLUE, "o", r"raise $\rho$ ($\beta$ = 0.1)"),
    "beta": (VERMILION, "s", r"raise $\beta$ ($\rho$ = 0)"),
}
OBJECTIVES = {"score": ("-", "with score term"), "online": (":", "without (online DPO)")}
AXES = {
    "gold": "gold reward gained,\nprompts with a preference",
    "spurious": "spurious effect,\nprompts without one",
    "kl": "KL to the reference (nats)",
}
LINES = (
    (BLACK, "-"), (ORANGE, "-."), (GREEN, "--"), (VERMILION, "-"), (BLUE, "--"), (PINK, ":"), (SKY, "-."),
)  # fmt: skip
ORACLES = {
    "truth": (BLACK, "-"),
    "flips": (ORANGE, "-."),
    "flatten": (GREEN, "--"),
    "bias": (VERMILION, "-"),
    "groups": (BLUE, "--"),
    "cycle": (PINK, ":"),
    "worst case": (SKY, "-."),
}
PANELS = (("gold", "spurious"), ("kl", "spurious"), ("kl", "gold"))  # x, y


def central(columns: dict, *, bias: float = 0.15, units: dict | None = None) -> Figure:
    """The central figure: two ways to be careful, raising rho and raising beta, from the same nominal learner.

    Panels: spurious effect against gold reward, and both against the KL to the reference. One testbed alone stands in
    a row; several stand side by side, one per column.

    Parameters
    ----------
    columns : dict
        Name of a testbed -> objective -> knob -> {value: (S,), gold, spurious, kl: band of (S,) each}; an objective is
        "score" or "online", a knob "rho" or "beta"; `value` is that of the knob, gold and spurious are differences
        from the reference. `exact_central.figure_data` and `summary.central_data` make one testbed's.
    bias : float
        The rho that is marked: how far the oracle is from the truth.
    units : dict, optional
        Name -> {"gold", "spurious", "kl"} -> label, instead of `AXES`.
    """
    columns = rounded(columns)
    alone = len(columns) == 1
    if alone:
        fig, axes = plt.subplots(1, len(PANELS), figsize=(PAGE, 2.6), squeeze=False)
        axes = axes.T
    else:
        fig, axes = plt.subplots(len(PANELS), len(columns), figsize=(PAGE, 6.4), squeeze=False)
    for column, (name, data) in zip(axes.T, columns.items(), strict=True):
        labels = AXES | (units or {}).get(name, {})
        for ax, (x, y) in zip(column, PANELS, strict=True):
            _paths(ax, data, x, y, bias)
            ax.set(xlabel=labels[x].replace("\n", " " if alone else "\n"), ylabel=labels[y])
            if x == "kl":
                # Effects grow with the root of the KL, so that this axis shows them without a bend at zero.
                ax.set_xscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0.0)), np.square))
                ax.set_xlim(0, None)
                top = ax.get_xlim()[1]
                ax.set_xticks([tick for tick in (0, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 80) if tick <= top])
                ax.xaxis.set_major_formatter("{x:g}")
        if not alone:
            column[0].set_title(name, loc="center")
    _letters(axes[:, 0] if alone else axes.ravel())
    handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    knobs = [words for *_, words in KNOBS.values()]
    order = sorted(handles, key=lambda label: [label.startswith(words) for words in knobs], reverse=True)
    fig.legend([handles[label] for label in order], order, loc="outside lower center", ncols=3)
    return fig


def _paths(ax: Axes, data: dict, x: str, y: str, bias: float) -> None:
    ax.axhline(0, color=GREY, lw=0.6, ls=":", zorder=0)
    for objective, (style, words) in OBJECTIVES.items():
        for knob, (color, marker, label) in KNOBS.items():
            if knob not in data.get(objective, {}):
                continue
            path = data[objective][knob]
            face = color if objective == "score" else "white"
            errors = [_errors(path[name]) for name in (x, y)]
            ax.errorbar(
                path[x]["mean"], path[y]["mean"], xerr=errors[0], yerr=errors[1], fmt="none", ecolor=color,
                elinewidth=0.6, alpha=0.45, zorder=1,
            )  # fmt: skip
            ax.plot(
                path[x]["mean"], path[y]["mean"], ls=style, color=color, marker=marker, ms=2.8, mfc=face, mew=0.7,
                lw=1.1, label=f"{label}, {words}", zorder=2,
            )  # fmt: skip
            if knob == "rho" and bias in path["value"]:
                k = path["value"].index(bias)
                ax.plot(
                    path[x]["mean"][k], path[y]["mean"][k], "*", ms=9, mfc=face, mec=color, mew=0.8, zorder=4,
                    label=r"$\rho$ = bias" if objective == "score" else None,
                )  # fmt: skip
    start = data["score"]["rho"]
    ax.plot(start[x]["mean"][0], start[y]["mean"][0], "D", ms=5, color=BLACK, zorder=3, label="nominal SAIL")


def sweeps(data: dict) -> Figure:
    """Gold, spurious effect and KL on prompts without a preference, over rho and over beta: one objective's `central`.

    `data`: knob -> {value, gold, spurious, kl_open}; bias: float.
    """
    data = rounded(data)
    fig, axes = plt.subplots(3, 2, figsize=(PAGE, 5.4), sharey="row", sharex="col")
    names = {
        "gold": "gold reward gained,\nprompts with a preference",
        "spurious": "spurious effect,\nprompts without",
        "kl_open": "KL (nats),\nprompts without",
    }
    for column, (knob, (color, marker, _)) in zip(axes.T, KNOBS.items(), strict=True):
        path = data[knob]
        for ax, (name, label) in zip(column, names.items(), strict=True):
            ax.fill_between(
                path["value"], path[name]["low"], path[name]["high"], color=color, alpha=0.2, lw=0
            )
            ax.plot(path["value"], path[name]["mean"], color=color, marker=marker, ms=2.8)
            ax.axhline(0, color=GREY, lw=0.6, ls=":", zorder=0)
            if knob == "rho":
                ax.axvline(data["bias"], color=GREY, lw=0.8, ls="--", zorder=0)
                ax.set_ylabel(label)
            else:
                ax.set_xscale("log")
    axes[-1, 0].set_xlabel(r"radius $\rho$ at $\beta$ = 0.1 (dashed: the bias)")
    axes[-1, 1].set_xlabel(r"$\beta$ at $\rho$ = 0")
    _letters(axes.ravel())
    return fig


def training(data: dict) -> Figure:
    """Proxy, gold and spurious effect along the gradient flow, and gold against the root of the KL.

    `data`: time (T,); curves, rho -> {proxy, win, gold, spurious, kl: band of (T,)}.
    """
    data = rounded(data)
    fig, axes = plt.subplots(1, 4, figsize=(PAGE, 2.3))
    panels = {
        "proxy": "oracle's win rate over\nthe reference",
        "win": "true win rate",
        "spurious": "spurious effect",
    }
    for (rho, curve), (color, style) in zip(data["curves"].items(), LINES, strict=False):
        for ax, name in zip(axes, panels, strict=False):
            ax.fill_between(
                data["time"], curve[name]["low"], curve[name]["high"], color=color, alpha=0.15, lw=0
            )
            ax.plot(data["time"], curve[name]["mean"], color=color, ls=style, label=rf"$\rho$ = {rho}")
        root = np.sqrt(np.maximum(curve["kl"]["mean"], 0.0))
        axes[3].plot(root, curve["gold"]["mean"], color=color, ls=style)
        axes[3].plot(root[-1], curve["gold"]["mean"][-1], "o", ms=3.5, color=color)
    for ax, (_, label) in zip(axes, panels.items(), strict=False):
        ax.set(xscale="log", xlabel="training time", ylabel=label)
    axes[3].set(xlabel=r"$\sqrt{\mathrm{KL}}$ (root nats)", ylabel="gold reward")
    _letters(axes)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return fig


def radii(data: dict) -> Figure:
    """Predicted against found radii, one point per prompt: `data`: oracle -> {local, left, critical, stayed: (n,)}."""
    data = rounded(data)
    fig, axes = plt.subplots(1, len(data), figsize=(1.75 * len(data) + 1.6, 2.4), sharey=True, squeeze=False)
    for ax, (oracle, found) in zip(axes[0], data.items(), strict=True):
        ax.plot(
            found["local"], found["left"], "o", ms=3.6, color=BLUE, mew=0, label="learning from the reference"
        )
        ax.plot(
            found["critical"], found["stayed"], "s", ms=3.2, mfc="none", mec=VERMILION, label="global minimum"
        )
        low, high = min(found["local"]), max(found["critical"])
        ax.plot([low, high], [low, high], color=GREY, lw=0.7, zorder=0)
        ax.set_title(oracle, loc="left")
        ax.set_xlabel(r"predicted $\rho$")
    axes[0, 0].set_ylabel(r"largest $\rho$ at which it learns")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def oracles(data: dict) -> Figure:
    """Regret, gold and spurious effect over rho, one line per oracle.

    `data`: rhos (S,); names, oracle -> {regret, gold, spurious: band of (S,); deviation: float}.
    """
    data = rounded(data)
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.9))
    labels = {
        "regret": "regret under the true reward",
        "gold": "gold reward,\nprompts with a preference",
        "spurious": "spurious effect,\nprompts without one",
    }
    for oracle, found in data["names"].items():
        color, style = ORACLES[oracle]
        for ax, name in zip(axes, labels, strict=True):
            band = found[name]
            ax.fill_between(data["rhos"], band["low"], band["high"], color=color, alpha=0.12, lw=0)
            ax.plot(data["rhos"], band["mean"], color=color, ls=style, label=oracle)
            if found["deviation"]:
                height = np.interp(found["deviation"], data["rhos"], band["mean"])
                ax.plot(found["deviation"], height, "o", ms=3.6, color=color)
    for ax, label in zip(axes, labels.values(), strict=True):
        ax.set(xlabel=r"radius $\rho$", ylabel=label)
    _letters(axes)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    return fig


def certificate(data: dict) -> Figure:
    """L^W_rho(P_obs) - L_SAIL(P*) over rho / deviation, one line per problem, and the bound on it where it holds.

    `data`: oracle -> {ratio, gap: (problems, S) each, bound: (S,) or empty; first: (problems, S)}.
    """
    data = rounded(data)
    fig, axes = plt.subplots(1, len(data), figsize=(PAGE, 2.2), sharex=True)
    for ax, (oracle, found) in zip(axes, data.items(), strict=True):
        for k, (ratio, first, gap) in enumerate(
            zip(found["ratio"], found["first"], found["gap"], strict=True)
        ):
            for values, color, words in (
                (first, VERMILION, r"policy of $\rho$ = 0"),
                (gap, BLUE, "policy learned"),
            ):
                label = None if k else words
                ax.plot(ratio, 1e3 * np.array(values), color=color, lw=0.5, alpha=0.6, label=label)
        ax.axhline(0, color=BLACK, lw=0.6)
        ax.axvline(1, color=GREY, lw=0.8, ls="--")
        ax.set_title(oracle, loc="left")
        ax.set(xlim=(0, 2), xlabel=r"$\rho$ / deviation")
        inside = np.array(found["ratio"]) <= 2
        shown = np.concatenate([np.array(found[name])[inside] for name in ("gap", "first")]) * 1e3
        ax.set_ylim(1.1 * min(shown.min(), 0) - 0.5, 1.1 * shown.max() + 0.5)
    axes[0].set_ylabel("certificate's gap (1e-3 nats)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def choice(data: dict) -> Figure:
    """What a choice of rho costs: left, multiples of the true deviation; right, rules given n comparisons.

    `data`: wrong, oracle -> {factor (F,), band of (F,)}; rules, rule -> {cost: band of (oracles,)}; oracles (o,).
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.3), width_ratios=(1, 1.35))
    for oracle, found in data["wrong"].items():
        color, style = ORACLES[oracle]
        places = np.arange(len(found["factor"]))
        left.errorbar(
            places, found["mean"], _errors(found), color=color, ls=style, marker="o", ms=3, elinewidth=0.7, label=oracle
        )  # fmt: skip
        left.set_xticks(places, [f"{factor:g}" for factor in found["factor"]])
    left.set(xlabel=r"$\rho$ / true deviation", ylabel="regret beyond the best radius of the grid")
    rows = np.arange(len(data["rules"]))
    count = len(data["oracles"])
    for k, oracle in enumerate(data["oracles"]):
        color, _ = ORACLES[oracle]
        costs = [found["cost"] for found in data["rules"].values()]
        mean, low, high = (np.array([cost[key][k] for cost in costs]) for key in ("mean", "low", "high"))
        shift = 0.7 * (k - (count - 1) / 2) / count
        right.errorbar(
            mean, rows + shift, xerr=[np.maximum(mean - low, 0), np.maximum(high - mean, 0)], fmt="o", ms=2.8,
            color=color, elinewidth=0.7, label=oracle,
        )  # fmt: skip
    right.set_yticks(rows, list(data["rules"]))
    right.invert_yaxis()
    right.axvline(0, color=GREY, lw=0.6, ls=":")
    right.set_xlabel("regret beyond the best radius of the grid")
    _letters((left, right))
    handles = dict(
        pair for ax in (right, left) for pair in zip(*reversed(ax.get_legend_handles_labels()), strict=True)
    )
    named = [oracle for oracle in ORACLES if oracle in handles]
    fig.legend([handles[oracle] for oracle in named], named, loc="outside lower center", ncols=7)
    return fig


def _errors(band: dict) -> np.ndarray:
    mean = np.array(band["mean"])
    return np.maximum([mean - band["low"], band["high"] - mean], 0.0)


def _letters(axes) -> None:
    for ax, letter in zip(axes, "abcdefghi", strict=False):
        ax.set_title(letter, loc="left", fontweight="bold")
