"""Figures of notebook 04: data in, matplotlib Figure out. The notebook says what each one shows."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rsail.study.figures import PAGE

GREY = "0.45"
COLORS = {"paper": "C1", "sharp": "C0", "refined": "C2"}
MARKERS = {"paper": "s", "sharp": "o", "refined": "^"}


def moreau_envelope(data: dict) -> Figure:
    """Left a loss with a kink and its envelopes; right its slope, which jumps, and theirs, which do not.

    `data`: theta (m,), with the kink at 0; loss (m,), nats; slope (m,), dist(0, dF); share (s,), kappa smoothing;
    envelope (s, m), nats; gradient (s, m), absolute values.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.8))
    left.plot(data["theta"], data["loss"], color="black", linewidth=1.0, label="$F$")
    theta, slope = np.array(data["theta"]), np.array(data["slope"])
    for side in (theta < 0, theta > 0):
        right.plot(theta[side], slope[side], color="black", linewidth=1.0)
    right.plot(0, slope[theta == 0], "o", color="black", markersize=3.5, clip_on=False, zorder=5)
    for share, envelope, gradient, color in zip(
        data["share"], data["envelope"], data["gradient"], _ramp(len(data["share"])), strict=True
    ):
        label = rf"$F_{{\mathrm{{env}}}}$, $\kappa\lambda_{{\mathrm{{env}}}}={share:g}$"
        left.plot(data["theta"], envelope, color=color, label=label)
        right.plot(data["theta"], gradient, color=color)
    left.set(xlabel=r"parameter $\theta$", ylabel="loss (nats)")
    left.legend(loc="upper center", labelspacing=0.3)
    right.set(xlabel=r"parameter $\theta$", ylabel=r"dist$(0,\partial F)$, $|\nabla F_{\mathrm{env}}|$")
    right.set_ylim(0, None)
    _letters(left, right)
    return fig


def rscgd_path(data: dict) -> Figure:
    """The robust loss in a disk with its kinks, proximal points, and paths of Algorithm 1; right, a close-up.

    `data`: x, y (m,); loss (m, m), null well outside the disk; radius; kinks (k,), angles of lines; levels (l,);
    start, minimizer (2,); path (t, runs, 2); arrows_from, arrows_to (a, 2), parameters and their proximal points;
    close_up, half the width of the right panel.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.2), width_ratios=(1.2, 1))
    loss = np.array([[np.nan if v is None else v for v in row] for row in data["loss"]], dtype=float)
    path, minimizer, radius = np.array(data["path"]), np.array(data["minimizer"]), data["radius"]
    shown = left.contourf(data["x"], data["y"], loss, levels=data["levels"], cmap="cividis", extend="both")
    bar = fig.colorbar(shown, ax=left, shrink=0.85, label=r"$L^W_\rho$ (nats)", ticks=data["levels"][::4])
    bar.ax.set_yticklabels([f"{level:.2f}" for level in data["levels"][::4]])
    bar.outline.set_visible(False)
    edge = left.add_patch(plt.Circle((0, 0), radius, fill=False, color="black", linewidth=0.8))
    shown.set_clip_path(edge)
    for ax, color in ((left, "white"), (right, GREY)):
        for angle in data["kinks"]:
            along = radius * np.array([np.cos(angle), np.sin(angle)])
            ax.plot(*np.stack([-along, along]).T, color=color, linewidth=0.8, linestyle="--", zorder=1)
        for run in range(path.shape[1]):
            ax.plot(*path[:, run].T, color="C1", linewidth=0.6, alpha=0.7, zorder=2)
        ax.plot(*minimizer, "*", color="black", markeredgecolor="white", markersize=10, zorder=4)
        ax.set(xlabel=r"$\theta_1$", ylabel=r"$\theta_2$")
        ax.set_aspect("equal")
    left.plot(*data["start"], "o", color="C1", markeredgecolor="white", markersize=5, zorder=4)
    left.set(xlim=(-1.05 * radius, 1.05 * radius), ylim=(-1.05 * radius, 1.05 * radius))
    for start, end in zip(data["arrows_from"], data["arrows_to"], strict=True):
        style = {
            "arrowstyle": "-|>",
            "color": "C0",
            "linewidth": 1.0,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 7,
        }
        right.annotate("", end, start, arrowprops=style, zorder=3)
        right.plot(*start, "o", color="C0", markersize=2.5, zorder=3)
    width = data["close_up"]
    right.set(xlim=(minimizer[0] - width, minimizer[0] + width))
    right.set(ylim=(minimizer[1] - width, minimizer[1] + width))
    _letters(left, right)
    return fig


def convergence_rate(data: dict) -> Figure:
    """Bound of Corollary 5.3 (lines) and measured mean (points with 95 % intervals) over T; one panel per problem.

    `data`: problems, a list of dicts with theta_radius and, per set of constants in COLORS, steps, bound, mean and
    half_width (h,); slope_at, the height of the line of slope -1/2.
    """
    fig, axes = plt.subplots(1, len(data["problems"]), figsize=(PAGE, 3.1), sharey=True, squeeze=False)
    for ax, problem in zip(axes[0], data["problems"], strict=True):
        for kind, color in COLORS.items():
            row = problem[kind]
            ax.plot(row["steps"], row["bound"], color=color, linewidth=1.1)
            ax.errorbar(
                row["steps"], row["mean"], row["half_width"], color=color, fmt=MARKERS[kind] + "--",
                linewidth=0.8, markersize=4, markeredgecolor="white", markeredgewidth=0.5,
            )  # fmt: skip
        ax.set_title(rf"$D={problem['theta_radius']:g}$")
        ax.set(xscale="log", yscale="log", xlabel="steps $T$")
    axes[0, 0].set_ylabel(r"$\mathbb{E}\,\|\nabla F_{\mathrm{env}}(\theta_{\mathrm{out}})\|^2$")
    _slope(axes[0, 0], data["problems"][0]["sharp"]["steps"], data["slope_at"])
    lines = [Line2D([], [], color=COLORS[kind], marker=MARKERS[kind], linewidth=1.1) for kind in COLORS]
    lines += [
        Line2D([], [], color=GREY, linewidth=1.1),
        Line2D([], [], color=GREY, linestyle="--", marker="o"),
    ]
    fig.legend(
        lines,
        [*COLORS, "bound", "measured"],
        loc="outside lower center",
        ncols=5,
        columnspacing=1.6,
        handlelength=3,
    )
    _letters(*axes[0])
    return fig


def iteration_counts(data: dict) -> Figure:
    """By how much sharper constants shorten Corollary 5.3's iteration count, over the sampling noise.

    `data`: noise (n,), sigma^2 / batch; factor, dict of kind to (n,); marked_noise (k,); marked, dict of kind to (k,);
    labels, dict of kind to str.
    """
    fig, ax = plt.subplots(figsize=(0.62 * PAGE, 2.8))
    for kind, factor in data["factor"].items():
        ax.plot(data["noise"], factor, color=COLORS[kind], label=data["labels"][kind])
        ax.plot(data["marked_noise"], data["marked"][kind], MARKERS[kind], color=COLORS[kind], markersize=5)
    ax.set(xscale="log", yscale="log", xlabel=r"sampling noise $\sigma^2$ / batch size")
    ax.set_ylabel("paper's steps / these steps")
    ax.legend(loc="lower left")
    ax.grid(which="major")
    return fig


def prox_certificate(data: dict) -> Figure:
    """Distance to the proximal point (left) and residual (right) over inner steps, before and after snapping.

    `data`: steps (n,); distance, snapped_distance, residual, snapped_residual (n,), positive; accuracy, the stopping
    level.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7))
    for ax, name in ((left, "distance"), (right, "residual")):
        ax.plot(data["steps"], data[name], "s-", color="C1", markersize=3, label="iterate")
        ax.plot(
            data["steps"], data[f"snapped_{name}"], "o-", color="C0", markersize=3, label="snapped onto kinks"
        )
        ax.set(yscale="log", xlabel="inner steps of eq. 50")
    left.set_ylabel(r"$\|\bar\theta-\hat\theta\|$")
    right.set_ylabel("residual (eq. 51)")
    right.axhline(data["accuracy"], color=GREY, linewidth=0.7, linestyle=":")
    right.annotate(
        "stop",
        (data["steps"][0], data["accuracy"]),
        (2, 2),
        textcoords="offset points",
        color=GREY,
        fontsize=7,
    )
    left.legend(loc="best")
    _letters(left, right)
    return fig


def _slope(ax: Axes, steps, level: float) -> None:
    """A short line of slope -1/2, the rate of Corollary 5.3."""
    x = np.array([steps[1], steps[2]], dtype=float)
    y = level * (x / x[0]) ** -0.5
    ax.plot(x, y, color=GREY, linewidth=0.8)
    ax.annotate(r"$T^{-1/2}$", (x[1], y[1]), (3, -3), textcoords="offset points", color=GREY, fontsize=7)


def _letters(*axes: Axes) -> None:
    for ax, letter in zip(axes, "abcd", strict=False):
        ax.set_title(letter, loc="left", fontweight="bold")


def _ramp(count: int) -> np.ndarray:
    return plt.get_cmap("viridis")(np.linspace(0.15, 0.8, count))
