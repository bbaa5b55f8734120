"""Figures of notebook 09's language model: what was measured over seeds, with 95 % t intervals.

Data in, matplotlib Figure out; an interval is {mean, low, high}. `rsail.study.misspecification.summary` makes the data.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rsail.study.figures import PAGE, rounded

BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, BLACK, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "0.55",
)  # fmt: skip
# Settings that are drawn over training: color, line, label.
CURVES = {
    "nominal": (VERMILION, "--", r"nominal, $\rho$ = 0"),
    "half": (SKY, "-.", r"$\rho$ = 0.05"),
    "robust": (BLUE, "-", r"$\rho$ = 0.15 = bias"),
    "beta": (ORANGE, ":", r"$\beta$ = 0.4, $\rho$ = 0"),
}


def over_optimisation(data: dict) -> Figure:
    """Metrics over training, one row per objective (with and without the score term), one column per metric.

    `data`: steps (T,); rows, name -> columns, label -> {reference: float or None, curves: setting -> mean, low, high
    (T,)}.
    """
    data = rounded(data)
    rows = list(data["rows"].items())
    fig, axes = plt.subplots(
        len(rows), len(rows[0][1]), figsize=(PAGE, 1.75 * len(rows) + 0.4), sharex=True, squeeze=False
    )
    for line, (name, columns) in zip(axes, rows, strict=True):
        for ax, (label, panel) in zip(line, columns.items(), strict=True):
            if panel["reference"] is not None:
                ax.axhline(panel["reference"], color="black", lw=0.8, ls=":")
            for setting, band in panel["curves"].items():
                color, style, text = CURVES[setting]
                ax.fill_between(data["steps"], band["low"], band["high"], color=color, alpha=0.2, lw=0)
                ax.plot(data["steps"], band["mean"], color=color, ls=style, label=text)
            ax.set_title(label, loc="left")
            ax.set_xlim(0, data["steps"][-1])
        line[0].set_ylabel(name)
    for ax in axes[-1]:
        ax.set_xlabel("optimizer step")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


def radius(data: dict) -> Figure:
    """Gold, spurious and KL against rho, under the biased and under the right oracle.

    `data`: bias, critical: float; panels, label -> {reference: float or None, lines: name -> rho (R,), mean, low,
    high (R,)}; a name ends in "biased" or "right".
    """
    data = rounded(data)
    fig, axes = plt.subplots(1, len(data["panels"]), figsize=(PAGE, 2.5))
    styles = {
        "score term, biased": (BLUE, "o-"),
        "online DPO, biased": (SKY, "s--"),
        "score term, right": (BLACK, "^:"),
        "online DPO, right": (GREY, "v:"),
    }
    for ax, (label, panel) in zip(axes, data["panels"].items(), strict=True):
        for name, line in panel["lines"].items():
            color, style = styles[name]
            errors = np.array([line["mean"], line["mean"]]) - np.array([line["low"], line["low"]])
            errors[1] = np.array(line["high"]) - np.array(line["mean"])
            ax.errorbar(line["rho"], line["mean"], errors, fmt=style, color=color, lw=1.1, ms=3, label=name)
        if panel["reference"] is not None:
            ax.axhline(panel["reference"], color="black", lw=0.8, ls=":")
        for x, text in ((data["bias"], "bias"), (data["critical"], r"$\rho_{\mathrm{crit}}$")):
            ax.axvline(x, color="0.8", lw=0.8, zorder=0)
            ax.text(
                x,
                1.0,
                text,
                transform=ax.get_xaxis_transform(),
                fontsize=6.5,
                ha="center",
                va="bottom",
                color="0.4",
            )
        ax.set(xlabel=r"radius $\rho$", ylabel=label)
    axes[-1].set_yscale("symlog", linthresh=0.1)
    axes[-1].set_ylim(bottom=0)
    axes[-1].set_yticks([0, 0.05, 0.1, 0.5, 1, 5], ["0", "0.05", "0.1", "0.5", "1", "5"])
    axes[-1].minorticks_off()
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


def forest(data: dict) -> Figure:
    """Intervals in rows, one panel per measure; the line is zero, or a panel's `line`.

    `data`: rows (m,), groups (m,) names in the order in which colors are given; panels, label -> {mean, low, high:
    (m,), line: float}.
    """
    data = rounded(data)
    names, groups = data["rows"], list(dict.fromkeys(data["groups"]))
    colors = dict(zip(groups, (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, BLACK, GREY), strict=False))
    fig, axes = plt.subplots(
        1,
        len(data["panels"]),
        figsize=(PAGE, 0.19 * len(names) + 0.9),
        sharey=True,
        squeeze=False,
    )
    for ax, (label, panel) in zip(axes[0], data["panels"].items(), strict=True):
        ax.axvline(panel["line"], color=GREY, lw=0.8, zorder=0)
        for row, group in enumerate(data["groups"]):
            color = colors[group]
            ax.plot([panel["low"][row], panel["high"][row]], [row, row], color=color, lw=1.1)
            ax.plot(panel["mean"][row], row, "o", color=color, ms=3.4)
        ax.set_xlabel(label)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(MaxNLocator(5))
    axes[0, 0].set_yticks(range(len(names)), names)
    for label, group in zip(axes[0, 0].get_yticklabels(), data["groups"], strict=True):
        label.set_color(colors[group])
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    if len(groups) > 1:
        handles = [plt.Line2D([], [], color=colors[g], marker="o", ls="", label=g) for g in groups]
        fig.legend(handles=handles, loc="outside upper center", ncols=len(groups))
    return fig
