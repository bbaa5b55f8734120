"""Figures of notebook 03: weak convexity, the constants, and how much room they leave.

The three sets of constants keep their colors: the paper's, the sharp and the refined ones.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rsail.study.figures import PAGE

GREY = "0.45"
COLORS = {"paper": "C6", "sharp": "C0", "refined": "C1"}
LABELS = {
    "penalty_curvature": r"$\kappa_R$",
    "penalty_slope": r"$G_{\partial R}$",
    "sail_slope": r"$G_{\nabla\mathrm{SAIL}}$",
    "sail_smoothness": r"Lipschitz constant of $\nabla L_{\mathrm{SAIL}}$",
    "curvature": r"$\kappa$",
    "slope": r"slope of $L^W_\rho$",
}
MEANINGS = {
    "penalty_curvature": r"$\kappa_R$, weak convexity of $R$",
    "penalty_slope": r"$G_{\partial R}$, subgradients of $R$",
    "sail_slope": r"$G_{\nabla\mathrm{SAIL}}$, gradient of $L_{\mathrm{SAIL}}$",
    "sail_smoothness": r"Lipschitz constant of $\nabla L_{\mathrm{SAIL}}$",
    "curvature": r"$\kappa$, weak convexity of $L^W_\rho$",
    "slope": r"subgradients of $L^W_\rho$",
}


def smoothed_penalty(data: dict) -> Figure:
    """Example 4.4 with the kink smoothed: the penalty (left) and its second derivative (right), one curve per eps.

    `data`: theta (m,); epsilon (e,), decreasing; penalty and curvature (e, m); exact_theta, exact_penalty,
    exact_curvature (n,), the limit without the kink itself as two branches of n / 2 points; least (2,), theta and
    value of the least curvature; bound and paper_bound, minus kappa_R.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.8))
    colors = plt.get_cmap("viridis")(np.linspace(0.82, 0.25, len(data["epsilon"])))
    for k, (epsilon, color) in enumerate(zip(data["epsilon"], colors, strict=True)):
        left.plot(data["theta"], data["penalty"][k], color=color)
        _label_end(left, data["theta"][-1], data["penalty"][k][-1], rf"$\epsilon={epsilon:g}$", color)
        right.plot(data["theta"], data["curvature"][k], color=color)
    half = len(data["exact_theta"]) // 2
    for branch in (slice(None, half), slice(half, None)):
        x = data["exact_theta"][branch]
        left.plot(x, data["exact_penalty"][branch], color="black", linewidth=1.0)
        right.plot(x, data["exact_curvature"][branch], color="black", linewidth=1.0)
    _label_end(left, data["theta"][-1], data["exact_penalty"][-1], r"$\epsilon=0$", "black")
    span = [data["theta"][0], data["theta"][-1]]
    right.plot(span, [data["bound"]] * 2, "--", color=COLORS["sharp"], linewidth=1.0)
    bound = rf"$-\kappa_R={data['bound']:.3f}$, sharp (the paper's: $-{-data['paper_bound']:.0f}$, far below)"
    right.text(span[0], data["bound"] + 0.05, bound, color=COLORS["sharp"], fontsize=7, va="bottom")
    right.plot(*data["least"], "o", color="black", markersize=4, zorder=5)
    right.annotate(
        rf"${data['least'][1]:.4f}$", data["least"], (10, -5), textcoords="offset points", fontsize=7
    )
    left.set(xlabel=r"parameter $\theta$", ylabel=r"$R_\epsilon(\theta)$ (nats)", ylim=(0, None))
    right.set(xlabel=r"parameter $\theta$", ylabel=r"$R''_\epsilon(\theta)$ (nats)")
    right.set_ylim(data["bound"] - 0.15, 2.6)
    left.set_xlim(span[0] - 0.2, span[1] + 0.9)
    left.spines["bottom"].set_bounds(*span)
    _letters(left, right)
    return fig


def extremal_law(data: dict) -> Figure:
    """The variational problem of c*: its value for each mean (left), the best law and a few-point copy (right).

    `data`: mean (m,); short_proof, exact, two_points (m,); best (2,), mean and value; two_points_from; law_x,
    law_cdf (n,); points, probs (p,).
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.8))
    left.plot(data["mean"], data["short_proof"], "--", color=GREY, linewidth=1.0)
    left.plot(data["mean"], data["two_points"], ":", color="C1")
    left.plot(data["mean"], data["exact"], color="C0")
    left.axvline(data["two_points_from"], color=GREY, linewidth=0.5, ymax=0.9)
    left.plot(*data["best"], "o", color="C0", markeredgecolor="white", markeredgewidth=0.8, markersize=6)
    left.annotate(
        rf"$c^*={data['best'][1]:.6f}$", data["best"], (-22, -34), textcoords="offset points", fontsize=7,
        color="C0", ha="center", arrowprops={"arrowstyle": "-", "color": "C0", "linewidth": 0.5, "shrinkB": 4},
    )  # fmt: skip
    left.text(0.03, 1.6, "short proof", color=GREY, fontsize=7)
    left.text(0.07, 1.0, "best law", color="C0", fontsize=7, va="top")
    left.text(0.17, 0.5, "two points", color="C1", fontsize=7)
    left.text(
        data["two_points_from"] + 0.015, 0.08, "two points\nare best", color=GREY, fontsize=7, va="bottom"
    )
    left.set(xlabel=r"mean $m$ of the projection", ylabel=r"largest $2\,\mathrm{E}\,|a_1^2-a_2^2|$")
    left.set(xlim=(0, 1), ylim=(0, 2.1))
    right.plot(data["law_x"], data["law_cdf"], color="C0", label="best law")
    steps = np.concatenate([[0.0], np.cumsum(data["probs"])])
    edges = np.concatenate([[-1.06], data["points"], [1.06]])
    right.stairs(
        steps, edges, baseline=None, color="C1", linewidth=1.0, label=f"{len(data['points'])} responses"
    )
    right.set(xlabel=r"projection $u\cdot\psi$ (in units of $B$)", ylabel="cumulative probability")
    right.set(xlim=(-1.06, 1.06), ylim=(-0.02, 1.03), xticks=[-1, -0.5, 0, 0.5, 1])
    right.legend(loc="upper left")
    inset = right.inset_axes((0.22, 0.38, 0.52, 0.36))
    inset.plot(data["law_x"], data["law_cdf"], color="C0", linewidth=1.0)
    inset.stairs(steps, edges, baseline=None, color="C1", linewidth=0.9)
    inset.set(xlim=(0.885, 1.004), ylim=(0.19, 0.36), xticks=[0.9, 0.95, 1.0], yticks=[0.2, 0.3])
    inset.tick_params(labelsize=6, length=2)
    right.indicate_inset_zoom(inset, edgecolor=GREY, linewidth=0.5)
    _letters(left, right)
    return fig


def constants_measured(data: dict) -> Figure:
    """How much of each bound is used: random problems as bars, the most that a search found as dots.

    `data`: quantities (q,); kinds (k,); quantiles: kind -> (q, 5), at 1, 25, 50, 75, 99 %; largest_random and
    largest_optimized: kind -> (q,); a null leaves a row out.
    """
    fig, ax = plt.subplots(figsize=(PAGE, 3.4))
    names, kinds = data["quantities"], data["kinds"]
    for row, _ in enumerate(names):
        for k, kind in enumerate(kinds):
            if data["quantiles"][kind][row] is None:
                continue
            y, color = -row + 0.24 * (1 - k), COLORS[kind]
            low, first, middle, third, _ = data["quantiles"][kind][row]
            largest = data["largest_random"][kind][row]
            ax.plot([low, largest], [y, y], color=color, linewidth=0.7, alpha=0.8)
            ax.plot([first, third], [y, y], color=color, linewidth=4.0, alpha=0.45, solid_capstyle="butt")
            ax.plot([middle, middle], [y - 0.08, y + 0.08], color=color, linewidth=1.2)
            ax.plot(largest, y, "|", color=color, markersize=6)
            ax.plot(data["largest_optimized"][kind][row], y, "o", color=color, markersize=4)
    ax.axvline(1.0, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.set(xlim=(data["from"], 1.25), xlabel="measured / bound")
    ax.set_yticks([-row for row in range(len(names))], [MEANINGS[name] for name in names])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    handles = [Line2D([], [], color=COLORS[kind], linewidth=4, alpha=0.6, label=kind) for kind in kinds]
    handles.append(Line2D([], [], color=GREY, marker="o", linestyle="none", label="largest found by search"))
    fig.legend(handles=handles, loc="outside upper center", ncols=4)
    return fig


def constants_room(data: dict) -> Figure:
    """The most that a search found, as a share of each bound, over the size of the parameter set.

    `data`: theta_radius (m,); quantities (q,); kinds (k,); share: kind -> (q, m).
    """
    fig, axes = plt.subplots(1, 4, figsize=(PAGE, 2.3), sharey=True)
    for k, (ax, name) in enumerate(zip(axes, data["quantities"], strict=True)):
        for kind in data["kinds"]:
            style = {"linestyle": (0, (3, 1.5))} if kind == "refined" else {}
            ax.plot(
                data["theta_radius"], data["share"][kind][k], "o", color=COLORS[kind], markersize=2.5, label=kind,
                **(style or {"linestyle": "-"}),
            )  # fmt: skip
        ax.axhline(1.0, color="black", linewidth=0.8)
        ax.set_xscale("log")
        ax.set(title=LABELS[name], xlabel=r"$D B$", ylim=(0, 1.05), xticks=[0.01, 1, 100])
        ax.minorticks_off()
    axes[0].set_ylabel("largest found / bound")
    axes[0].legend(loc="upper left", bbox_to_anchor=(0.0, 0.62), handlelength=1.8)
    return fig


def _letters(*axes: Axes) -> None:
    for ax, letter in zip(axes, "abcdef", strict=False):
        ax.set_title(letter, loc="left", fontweight="bold")


def _label_end(ax: Axes, x: float, y: float, text: str, color) -> None:
    ax.annotate(text, (x, y), (4, 0), textcoords="offset points", color=color, fontsize=7, va="center")
