"""Figures of the theory: data in, matplotlib Figure out. Notebook 01 says what each one shows.

An ordered parameter (the radius rho) is drawn from dark to light in one map, viridis, whose order does not
depend on color vision.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsail.study.figures import PAGE

GREY = "0.45"


def one_pair_loss(data: dict) -> Figure:
    """The robust loss of one comparison over its margin, one curve per radius, its minimum marked.

    `data`: preference (float); rho (r,); margin (m,); loss (r, m), nats; minimum_margin and minimum_loss (r,);
    clipped_at (2,) and clipped_label (str), the point where curves coincide because the oracle is certain.
    """
    fig, ax = plt.subplots(figsize=(0.72 * PAGE, 3.0))
    colors = _ramp(len(data["rho"]))
    _log2_line(ax, data["margin"])
    for k, (rho, color) in enumerate(zip(data["rho"], colors, strict=True)):
        ax.plot(data["margin"], data["loss"][k], color=color)
        _label_end(ax, data["margin"][-1], data["loss"][k][-1], rf"$\rho={rho:g}$", color)
    for x, y, color in zip(data["minimum_margin"], data["minimum_loss"], colors, strict=True):
        ax.plot(x, y, "o", color=color, markeredgecolor="white", markeredgewidth=0.8, markersize=6, zorder=5)
    ax.annotate(
        data["clipped_label"], data["clipped_at"], (18, 6), textcoords="offset points", fontsize=7, color=GREY,
        arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkB": 2},
    )  # fmt: skip
    ax.set(xlabel=r"margin $t=\beta h$ (nats)", ylabel="robust loss of the pair (nats)")
    ax.set_xlim(data["margin"][0], data["margin"][-1] + 0.5)
    ax.spines["bottom"].set_bounds(data["margin"][0], data["margin"][-1])
    return fig


def soft_threshold(data: dict) -> Figure:
    """The preference that the robust fit reports against the oracle's, one curve per radius.

    `data`: rho (r,); preference (m,); fit (r, m); checked_preference (c,) and checked_fit (r, c), minima found
    numerically.
    """
    fig, ax = plt.subplots(figsize=(0.56 * PAGE, 3.4))
    ax.plot([0, 1], [0.5, 0.5], ":", color=GREY, linewidth=0.8, zorder=0)
    ax.plot([0.5, 0.5], [0, 1], ":", color=GREY, linewidth=0.8, zorder=0)
    for k, (rho, color) in enumerate(zip(data["rho"], _ramp(len(data["rho"])), strict=True)):
        ax.plot(data["preference"], data["fit"][k], color=color, zorder=3 - 0.1 * k)
        ax.plot(
            data["checked_preference"], data["checked_fit"][k], "o", markersize=3.2,
            markerfacecolor="white", markeredgecolor=color, markeredgewidth=0.8, zorder=4,
        )  # fmt: skip
        _label_end(ax, 1.0, data["fit"][k][-1], rf"$\rho={rho:g}$", color)
    ax.set(xlabel=r"oracle's preference $P(1|z)$", ylabel=r"fitted preference $\sigma(t^*)$")
    ax.set(xlim=(0, 1.17), ylim=(0, 1.02), xticks=np.linspace(0, 1, 5), yticks=np.linspace(0, 1, 5))
    ax.spines["bottom"].set_bounds(0, 1)
    ax.spines["left"].set_bounds(0, 1)
    ax.set_aspect("equal")
    return fig


def example_landscape(data: dict) -> Figure:
    """Example 4.4: left the penalty with the chord that it rises above, right the robust loss.

    `data`: theta (m,); penalty (m,); chord_theta, chord_penalty (3,): 0, the midpoint, the end of the chord,
    with the penalty at each; preference, beta (floats); rho (r,); loss (r, m), nats; minimum_theta and
    minimum_loss (r,).
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.9), width_ratios=(1, 1.25))
    _penalty_with_chord(left, data)
    colors = _ramp(len(data["rho"]))
    _log2_line(right, data["theta"])
    for curve, rho, color in zip(data["loss"], data["rho"], colors, strict=True):
        right.plot(data["theta"], curve, color=color, label=rf"$\rho={rho:g}$")
    for x, y, color in zip(data["minimum_theta"], data["minimum_loss"], colors, strict=True):
        right.plot(
            x, y, "o", color=color, markeredgecolor="white", markeredgewidth=0.8, markersize=6, zorder=5
        )
    right.set(xlabel=r"parameter $\theta$", ylabel=r"$L^W_\rho(\theta)$ (nats)")
    right.legend(loc="upper right", handlelength=1.4, labelspacing=0.3, reverse=True)
    for ax, letter in ((left, "a"), (right, "b")):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def _penalty_with_chord(ax: Axes, data: dict) -> None:
    x, y = data["chord_theta"], data["chord_penalty"]
    ax.plot(data["theta"], data["penalty"], color="C0")
    ax.plot([x[0], x[2]], [y[0], y[2]], "--", color="C1", linewidth=1.0)
    ax.plot([x[0], x[2]], [y[0], y[2]], "o", color="C0", markersize=4, clip_on=False, zorder=3)
    ax.annotate(
        "",
        (x[1], y[1]),
        (x[1], y[2] / 2),
        arrowprops={"arrowstyle": "<->", "color": "C1", "shrinkA": 0, "shrinkB": 0},
    )
    gap = rf"$R(1)-\frac{{1}}{{2}}R(2)={y[1] - y[2] / 2:.3f}$"
    ax.text(x[2] + 0.5, y[1] + 0.045, gap, color="C1", fontsize=8, va="center")
    ax.set(xlabel=r"parameter $\theta$", ylabel=r"penalty $R(\theta)$ (nats)")
    ax.set_ylim(0, 1.15 * float(np.max(data["penalty"])))


def _log2_line(ax: Axes, span) -> None:
    level = float(np.log(2))
    ax.plot([span[0], span[-1]], [level, level], ":", color=GREY, linewidth=0.8, zorder=0)
    ax.annotate(
        r"$\log 2$",
        (span[0], level),
        (5, 1.5),
        textcoords="offset points",
        color=GREY,
        fontsize=7,
        va="bottom",
    )


def _label_end(ax: Axes, x: float, y: float, text: str, color) -> None:
    ax.annotate(text, (x, y), (4, 0), textcoords="offset points", color=color, fontsize=7, va="center")


def _ramp(count: int) -> np.ndarray:
    """`count` colors from dark to light; the lightest part of the map is left out: too faint on white."""
    return plt.get_cmap("viridis")(np.linspace(0.0, 0.82, count))
