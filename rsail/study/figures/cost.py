"""The figure of notebook 10 on cost: a race, phases against their floors, the exact engine. Data in, Figure out."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsail.study.figures import PAGE, rounded

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.45"


def cost(data: dict) -> Figure:
    """Left: time of a step over TRL's. Middle: time of each phase over its floor. Right: the exact penalty.

    `data`: race {label (w,), ratio (w,), low (w,), high (w,)}; phases {phase (p,), times workload -> (p,), the least
    seconds over the floor's}; exact {size (k,), seconds (k,), pairs_size, pairs_seconds}.
    """
    data = rounded(data)
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.9), width_ratios=(1.1, 1.1, 1))
    _race(axes[0], data["race"])
    _phases(axes[1], data["phases"])
    _exact(axes[2], data["exact"])
    for ax, letter in zip(axes, "abc", strict=True):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def _race(ax: Axes, race: dict) -> None:
    places = np.arange(len(race["label"]))[::-1]
    ratio, low, high = (np.asarray(race[key]) for key in ("ratio", "low", "high"))
    ax.axvline(1, color=GREY, lw=0.7, ls="--", zorder=0)
    ax.errorbar(ratio, places, xerr=[ratio - low, high - ratio], fmt="o", color=BLUE, ms=3.5, lw=1, capsize=2)
    ax.set_yticks(places, race["label"])
    ax.set(xlim=(0, 1.1), xlabel="time of a step / TRL's", ylabel="vocabulary, new tokens, threads")


def _phases(ax: Axes, phases: dict) -> None:
    places = np.arange(len(phases["phase"]))
    styles = zip((BLUE, GREEN, VERMILION, GREY), ("o", "s", "^", "D"), strict=True)
    for (name, times), (color, marker) in zip(phases["times"].items(), styles, strict=False):
        ax.plot(places, times, marker, color=color, ms=4, mew=0, label=name)
    ax.axhline(1, color=GREY, lw=0.7, ls="--", zorder=0)
    ax.set_yscale("log")
    top = max(max(times) for times in phases["times"].values())
    ticks = [k for k in (1, 2, 5, 10, 20, 50) if k <= 2 * top]
    ax.set_yticks(ticks, [str(k) for k in ticks])
    ax.minorticks_off()
    ax.set_ylim(0.8, 3.5 * top)
    ax.set_xticks(places, phases["phase"], rotation=35, ha="right")
    ax.set(xlabel="phase", ylabel="time / floor")
    ax.legend(loc="upper center", ncols=2, handletextpad=0.1, columnspacing=0.8)


def _exact(ax: Axes, exact: dict) -> None:
    size, seconds = np.asarray(exact["size"]), np.asarray(exact["seconds"])
    ax.plot(size, seconds, "o-", color=BLUE, ms=3, mew=0, lw=1, label="sorted")
    middle = len(size) // 2
    line = size * np.log(size)
    ax.plot(size, seconds[middle] * line / line[middle], ":", color=GREY, lw=1, label=r"$n\,\log\,n$")
    ax.plot(exact["pairs_size"], exact["pairs_seconds"], "s", color=VERMILION, ms=4, mew=0, label="all pairs")
    ax.set(xscale="log", yscale="log", xlabel="responses $n$", ylabel="time of the penalty (s)")
    ax.minorticks_off()
    ax.legend(loc="lower right", handlelength=1.5)
