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
KNOBS = {"rho": (BLUE, "o", r"raise $\rho$ ($\beta$ = 0.1)"), "beta": (VERMILION, "s", r"raise $\beta$ ($\rho$ = 0)")}
OBJECTIVES = {"score": ("-", "with score term"), "online": (":", "without (online DPO)")}
AXES = {
    "gold": "gold reward gained,\nprompts with a preference",
    "spurious": "spurious effect,\nprompts without one",
    "kl": "KL to the reference (nats)",
}
PANELS = (("gold", "spurious"), ("kl", "spurious"), ("kl", "gold"))  # x, y


def central(exact: dict, lm: dict | None = None, *, bias: float = 0.15, units: dict | None = None) -> Figure:
    """The central figure: two ways to be careful, raising rho and raising beta, from the same nominal learner.

    Panels: spurious effect against gold reward, and both against the KL to the reference. Without `lm` they stand side
    by side; with it there are two columns, the exact problems and the language model.

    Parameters
    ----------
    exact, lm : dict
        objective -> knob -> {value: (S,), gold, spurious, kl: band of (S,) each}; an objective is "score" or
        "online", a knob "rho" or "beta"; `value` is that of the knob, gold and spurious are differences from the
        reference. `exact_central.figure_data` and `summary.central_data` return this.
    bias : float
        The rho that is marked: how far the oracle is from the truth.
    units : dict, optional
        Column -> {"gold", "spurious"} -> label, instead of `AXES`; columns are "exact" and "language model".
    """
    columns = {"exact": exact} | ({} if lm is None else {"language model": lm})
    columns = rounded(columns)
    if lm is None:
        fig, axes = plt.subplots(1, len(PANELS), figsize=(PAGE, 2.6), squeeze=False)
        axes = axes.T
    else:
        fig, axes = plt.subplots(len(PANELS), 2, figsize=(PAGE, 6.8), squeeze=False)
    for column, (name, data) in zip(axes.T, columns.items(), strict=True):
        labels = AXES | (units or {}).get(name, {})
        for ax, (x, y) in zip(column, PANELS, strict=True):
            _paths(ax, data, x, y, bias)
            ax.set(xlabel=labels[x], ylabel=labels[y])
            if x == "kl":
                # Effects grow with the root of the KL, so that this axis shows them without a bend at zero.
                ax.set_xscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0.0)), np.square))
                ax.set_xlim(0, None)
                top = ax.get_xlim()[1]
                ax.set_xticks([tick for tick in (0, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 80) if tick <= top])
                ax.xaxis.set_major_formatter("{x:g}")
        if lm is not None:
            column[0].set_title(name, loc="center")
    _letters(axes.ravel() if lm is not None else axes[:, 0])
    handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    order = sorted(handles, key=lambda label: [k for k, (*_, knob) in enumerate(KNOBS.values()) if knob in label] or [9])
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
        "gold": "gold reward,\nprompts with a preference",
        "spurious": "spurious effect,\nprompts without",
        "kl_open": "KL (nats),\nprompts without",
    }
    for column, (knob, (color, marker, _)) in zip(axes.T, KNOBS.items(), strict=True):
        path = data[knob]
        for ax, (name, label) in zip(column, names.items(), strict=True):
            ax.fill_between(path["value"], path[name]["low"], path[name]["high"], color=color, alpha=0.2, lw=0)
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


def _errors(band: dict) -> np.ndarray:
    mean = np.array(band["mean"])
    return np.maximum([mean - band["low"], band["high"] - mean], 0.0)


def _letters(axes) -> None:
    for ax, letter in zip(axes, "abcdefgh", strict=False):
        ax.set_title(letter, loc="left", fontweight="bold")
