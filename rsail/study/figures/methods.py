"""Figures of notebook 06: every method on one exactly solvable problem.

Data in, matplotlib Figure out. Notebook 06 says what each one shows.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rsail.study.figures import PAGE, rounded

BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, BLACK, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "0.55",
)  # fmt: skip
FAMILIES = {
    "offline": GREY,
    "reweighted": PINK,
    "term": ORANGE,
    "own pairs": BLUE,
    "rounds": GREEN,
    "reward": SKY,
    "lists": VERMILION,
    "other": BLACK,
}
LINEAR, SMALL = (
    0.003,
    0.01,
)  # an axis of regret is logarithmic beyond LINEAR where DPO's regret is below SMALL
SWEEPS = {
    "DPO": (GREY, "o", "-"),
    "SAIL": (BLACK, "s", "-"),
    "cDPO": (ORANGE, "v", "-."),
    "IPO": (ORANGE, "D", ":"),
    "χPO": (PINK, "P", ":"),
    "DPO-PRO": (GREEN, "^", "--"),
    "TV, hard label": (VERMILION, "X", "--"),
    "robust DPO": (SKY, "o", "-"),
    "robust SAIL": (BLUE, "s", "-"),
}


def regret(data: dict) -> Figure:
    """Regret of every method (rows) under every oracle (columns): means over problems and t intervals, cut at 0.

    `data`: methods (m,), family (m,); oracles, name -> {mean, low, high, bounded: each (m,); reference, dpo: float}.
    """
    data = rounded(data)
    names, rows = data["methods"], np.arange(len(data["methods"]))
    fig, axes = plt.subplots(1, len(data["oracles"]), figsize=(PAGE, 0.145 * len(names) + 0.9), sharey=True)
    for ax, (oracle, found) in zip(axes, data["oracles"].items(), strict=True):
        ax.axvline(found["dpo"], color=GREY, lw=0.8, zorder=0)
        ax.axvline(found["reference"], color=GREY, lw=0.8, ls=":", zorder=0)
        for row in rows:
            color = FAMILIES[data["family"][row]]
            ax.plot([found["low"][row], found["high"][row]], [row, row], color=color, lw=1.0)
            face = color if found["bounded"][row] else "white"
            ax.plot(found["mean"][row], row, "o", ms=3.4, mfc=face, mec=color, mew=0.8)
        ax.set_title(oracle, loc="left")
        top = max(*found["high"], found["reference"])
        if found["dpo"] < SMALL:
            # Linear up to LINEAR, so that zero has a place; then logarithmic, so that small regrets can be told apart.
            ax.set_xscale("symlog", linthresh=LINEAR, linscale=0.5)
            ax.set_xticks([0, 0.003, 0.03, 0.3], ["0", "0.003", "0.03", "0.3"])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlim(-LINEAR / 4, 1.2 * top)
        else:
            ax.set_xlim(-0.05 * top, 1.05 * top)
        ax.tick_params(axis="y", length=0)
        ax.margins(y=0.01)
    axes[0].set_yticks(rows, names)
    for label, family in zip(axes[0].get_yticklabels(), data["family"], strict=True):
        label.set_color(FAMILIES[family])
        label.set_fontsize(6.5)
    axes[0].invert_yaxis()
    fig.supxlabel("regret under the true reward", fontsize=8)
    return fig


def plane(data: dict) -> Figure:
    """What was learned against what should not have been, under the biased oracle, one point per method.

    `data`: points, method -> {spurious, gold, family, kink (bool), bounded (bool)}; shown, names to be written, each
    with an offset [x, y] in points; reference and optimum, [spurious, gold].
    """
    data = rounded(data)
    fig, ax = plt.subplots(figsize=(0.72 * PAGE, 3.6))
    ax.axvline(0, color=GREY, lw=0.7, ls=":", zorder=0)
    for name in ("reference", "optimum"):
        ax.plot(*data[name], "*", ms=9, color="white", mec=BLACK, mew=0.8)
        ax.annotate(name, data[name], (7, -3), textcoords="offset points", fontsize=7)
    for name, point in data["points"].items():
        color = FAMILIES[point["family"]]
        ax.plot(
            point["spurious"], point["gold"], "D" if point["kink"] else "o", ms=4.2, mew=0.8, mec=color,
            mfc=color if point["bounded"] else "white", alpha=0.9,
        )  # fmt: skip
        if name in data["shown"]:
            ax.annotate(
                name, (point["spurious"], point["gold"]), data["shown"][name],
                textcoords="offset points", color=color, fontsize=6.5, arrowprops=_leader(data["shown"][name], color),
            )  # fmt: skip
    ax.set(
        xlabel="spurious effect, prompts without a preference\n(mean attribute minus the reference's)",
        ylabel="true reward, prompts with a preference",
    )
    _family_legend(ax, {point["family"] for point in data["points"].values()})
    return fig


def frontier(data: dict) -> Figure:
    """Sweeps of beta under the biased oracle: reward and spurious effect over the distance to the reference.

    `data`: kl, gold, spurious, each method -> (betas,), means over problems; kl_shared (float).
    """
    data = rounded(data)
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 3.1))
    labels = "true reward, prompts with a preference", "spurious effect, prompts without"
    for ax, measure, label in zip(axes, ("gold", "spurious"), labels, strict=True):
        ax.axvline(data["kl_shared"], color=GREY, lw=0.7, ls=":", zorder=0)
        for name, values in data[measure].items():
            color, marker, style = SWEEPS[name]
            ax.plot(data["kl"][name], values, style, color=color, marker=marker, ms=3.4, mew=0, label=name)
        ax.set(xlabel="KL to the reference (nats)", ylabel=label, xlim=(0, None))
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _letters(axes)
    return fig


def game(data: dict) -> Figure:
    """Left: duality gap over the rounds of online methods. Right: gap against regret, one point per method.

    `data`: rounds (r,), gap, method -> (r,); points, method -> {regret, gap, family}; shown as in `plane`.
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.0))
    for (name, values), (color, marker) in zip(
        data["gap"].items(), ((GREEN, "o"), (VERMILION, "s"), (SKY, "^"), (BLUE, "D")), strict=False
    ):
        left.plot(data["rounds"], values, color=color, marker=marker, ms=3.4, mew=0, label=name)
    left.set(yscale="log", xlabel="round", ylabel="duality gap of the oracle's game")
    left.set_xticks(data["rounds"][4::5])
    left.legend(loc="best")
    for name, point in data["points"].items():
        color = FAMILIES[point["family"]]
        right.plot(point["regret"], point["gap"], "o", ms=3.8, mew=0, color=color)
        if name in data["shown"]:
            right.annotate(
                name, (point["regret"], point["gap"]), data["shown"][name],
                textcoords="offset points", color=color, fontsize=6.5, arrowprops=_leader(data["shown"][name], color),
            )  # fmt: skip
    right.axhline(0, color=GREY, lw=0.7, ls=":", zorder=0)
    right.set(xlabel="regret under the true reward", ylabel="duality gap of the oracle's game")
    _letters((left, right))
    return fig


def collection(data: dict) -> Figure:
    """Left: value over the reference's, greedy against pessimistic. Middle: regret over rounds. Right: acceptance.

    `data`: greedy (n,), pessimist, name of a width -> (n,); rounds (t,), regret, scheme -> {mean, low, high: (t,)};
    hops (h,), rate_hops (h,), rate_once (float).
    """
    data = rounded(data)
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 2.7))
    left.axhline(0, color=GREY, lw=0.8, zorder=0)
    left.axvline(0, color=GREY, lw=0.8, ls=":", zorder=0)
    for (name, values), color in zip(data["pessimist"].items(), (BLUE, ORANGE), strict=False):
        left.plot(data["greedy"], values, "o", ms=2.8, mew=0, color=color, alpha=0.7, label=name)
    left.legend(loc="best", title="width", title_fontsize=7)
    left.set(xlabel="$J-J_{\\mathrm{ref}}$, fitted reward", ylabel="$J-J_{\\mathrm{ref}}$, pessimistic")
    for (name, found), color in zip(data["regret"].items(), (BLUE, GREY, GREEN, VERMILION), strict=False):
        middle.fill_between(data["rounds"], found["low"], found["high"], color=color, alpha=0.15, lw=0)
        middle.plot(data["rounds"], found["mean"], color=color, label=name.replace("_", " "))
    middle.set(yscale="log", xlabel="round", ylabel="regret of the main policy")
    middle.legend(loc="best", title="second arm", title_fontsize=7)
    right.plot(data["hops"], data["rate_hops"], color=BLUE, marker="o", ms=3.6, mew=0, label="each hop, mean")
    right.axhline(data["rate_once"], color=VERMILION, lw=1.2, ls="--", label="one step")
    right.set(xlabel="hops", ylabel="share of draws that is kept", ylim=(0, 1))
    right.legend(loc="lower right")
    _letters((left, middle, right))
    return fig


def _leader(offset, color) -> dict | None:
    """A thin line from a label to its point where the label, an offset in points, is up and to the right of it."""
    if min(offset) < 8:
        return None
    return {"arrowstyle": "-", "lw": 0.5, "color": color, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0)}


def _family_legend(ax: Axes, families) -> None:
    for name, color in FAMILIES.items():
        if name in families:
            ax.plot([], [], "o", ms=4, mew=0, color=color, label=name)
    ax.plot([], [], "D", ms=4, mfc="white", mec=BLACK, label="kink at h = 0")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _letters(axes) -> None:
    for ax, letter in zip(axes, "abc", strict=False):
        ax.set_title(letter, loc="left", fontweight="bold")
