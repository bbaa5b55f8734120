"""Figures of notebook 02b, second part: speed of the penalty, the family of pair losses, lists, gradient estimators.

Data in, matplotlib Figure out. Notebook 02b says what each one shows.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsail.study.figures import PAGE, rounded

BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "0.45",
)  # fmt: skip
METHODS = {
    "DPO": ("0.45", "-"),
    "cDPO": (SKY, "-"),
    "rDPO": (PINK, "-"),
    "TV, hard label": (GREEN, "--"),
    "oracle-robust": (BLUE, "-"),
    "DPO-PRO": (ORANGE, "--"),
    "ROPO": (VERMILION, "-"),
}
BASELINES = {
    "log2": ("log 2", BLUE, "o", "-"),
    "other_prompts": ("other prompts", ORANGE, "s", "-"),
    "per_response": ("per response (disjoint)", GREEN, "^", "-"),
    "best_constant": ("best constant (not computable)", GREY, None, ":"),
    "independent": ("log 2, independent pairs", BLUE, "o", "--"),
    "drawn": ("log 2, labels drawn", VERMILION, "v", "-"),
}


def gini_speed(data: dict) -> Figure:
    """Seconds of one evaluation of the penalty over the number of responses, log-log.

    `data`: sorted and pairs, each {size, seconds}; speedup (float) at speedup_at (int).
    """
    data = rounded(data)
    fig, ax = plt.subplots(figsize=(0.62 * PAGE, 2.9))
    for key, label, color, marker in (
        ("pairs", "all pairs", VERMILION, "s"),
        ("sorted", "sorted", BLUE, "o"),
    ):
        route = data[key]
        ax.plot(route["size"], route["seconds"], color=color, marker=marker, ms=3.5, mew=0)
        ax.annotate(
            label, (route["size"][-1], route["seconds"][-1]), (6, -3),
            textcoords="offset points", color=color, fontsize=8,
        )  # fmt: skip
    at = data["speedup_at"]
    ends = [data[key]["seconds"][data[key]["size"].index(at)] for key in ("sorted", "pairs")]
    ax.annotate(
        "", (at, ends[1]), (at, ends[0]),
        arrowprops={"arrowstyle": "<->", "color": GREY, "lw": 0.8, "shrinkA": 4, "shrinkB": 4},
    )  # fmt: skip
    ax.annotate(
        f"{data['speedup']:.0f} times", (at, np.sqrt(ends[0] * ends[1])), (5, 0),
        textcoords="offset points", color=GREY, fontsize=7, va="center",
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="responses $n$", ylabel="time of one evaluation (s)")
    ax.set_xlim(right=8 * max(data["sorted"]["size"]))
    ax.minorticks_off()
    return fig


def family(data: dict) -> Figure:
    """Left: weight of a hard label over its margin, method by method. Right: what each reports for a soft label.

    `data`: margin (m,); weight, method -> (m,), minus the slope of the loss; preference (n,); fit, method -> (n,).
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.3))
    left.axhline(0, color=GREY, lw=0.7, zorder=0)
    for name, curve in data["weight"].items():
        color, style = METHODS[name]
        left.plot(data["margin"], curve, style, color=color, label=name)
    left.set(
        xlabel=r"margin $t$ of the preferred response (nats)", ylabel=r"weight $-\mathrm{d}\ell/\mathrm{d}t$"
    )
    left.set_ylim(-0.35, 1.25)
    for x in ([0, 1], [0.5, 0.5]):
        right.plot([0, 1] if x == [0.5, 0.5] else [0.5, 0.5], x, ":", color=GREY, lw=0.8, zorder=0)
    for name, curve in data["fit"].items():
        color, style = METHODS[name]
        right.plot(data["preference"], curve, style, color=color, label=name)
    right.set(xlabel=r"preference $p$ of the oracle", ylabel=r"fitted preference $\sigma(t^*)$")
    right.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.8)
    for ax, letter in ((left, "a"), (right, "b")):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def listwise(data: dict) -> Figure:
    """Left: three robust penalties of one pair over the margin. Right: worst-case loss of a list over the radius.

    `data`: margin (m,); penalty, name -> (m,), in units of rho; preference (float); rho (n,); curves, name -> (n,),
    nats; checked_rho (c,) and checked, name -> (c,), the same by linear program.
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.0))
    for (name, curve), (color, style) in zip(
        data["penalty"].items(), ((BLUE, "-"), (GREEN, "--"), (ORANGE, ":")), strict=True
    ):
        left.plot(data["margin"], curve, style, color=color, label=name)
    left.set(xlabel=r"margin $t$ (nats)", ylabel=r"worst-case excess $/\ \rho$ (nats)")
    left.legend(loc="upper center")
    left.set_ylim(-0.1, 1.45 * np.max(list(data["penalty"].values())))
    for (name, curve), (color, marker) in zip(
        data["curves"].items(), ((GREEN, "s"), (BLUE, "o")), strict=True
    ):
        right.plot(data["rho"], curve, color=color, label=name)
        right.plot(
            data["checked_rho"], data["checked"][name], marker, mfc="white", mec=color, mew=0.9, ms=4.5
        )
    right.set(
        xlabel=r"radius $\rho$ (total variation)", ylabel="worst-case loss of the list (nats)", xlim=(0, 1)
    )
    right.legend(loc="lower right")
    for ax, letter in ((left, "a"), (right, "b")):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def baselines(data: dict) -> Figure:
    """Left: responses needed over K at the learned policy. Right: the same at one K over the distance learned.

    `data`: count (k,); over_count, kind -> (k,) with None where a kind does not exist; best (float), the K of the
    least value for log 2; kl (m,); over_kl, kind -> (m,); kl_learned (float); fixed_count (int).
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.2), width_ratios=(1.1, 1))
    for ax, x, curves in ((left, "count", "over_count"), (right, "kl", "over_kl")):
        for kind, values in data[curves].items():
            label, color, marker, style = BASELINES[kind]
            points = [(a, b) for a, b in zip(data[x], values, strict=True) if b is not None]
            shown = marker if ax is left else None
            ax.plot(*zip(*points, strict=True), style, color=color, marker=shown, ms=3.8, mew=0, label=label)
        ax.set_ylabel("responses needed")
    left.set_yscale("log")
    left.minorticks_off()
    right.set_ylim(bottom=0)
    left.axvline(data["best"], color=GREY, lw=0.7, ls="--", zorder=0)
    left.set_xticks(data["count"])
    left.set(xlabel=r"responses per prompt $K$")
    right.axvline(data["kl_learned"], color=GREY, lw=0.7, ls="--", zorder=0)
    right.set(xlabel="KL to the reference (nats)")
    _plain_ticks(left)
    left.legend(loc="upper right")
    for ax, letter in ((left, "a"), (right, "b")):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def _plain_ticks(ax: Axes) -> None:
    """1, 2, 5, 10, ... on the logarithmic axis, as plain numbers."""
    low, high = ax.get_ylim()
    ticks = [m * 10.0**k for k in range(-3, 6) for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
