"""Figures of notebook 02b, first part: landscapes of the robust loss, and what learning across the critical radii does.

Data in, matplotlib Figure out. Notebook 02b says what each one shows.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsail.study.figures import PAGE, rounded

BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "0.45"
LOSS_LEVELS = (-0.01, -0.003, -0.001, 0.0, 0.001, 0.003, 0.01, 0.03)  # nats
ENDS = {"best": (4.4, -3.2), "worst": (-4.4, -3.2), "middle": (0.0, 3.9), "best\nand\nworst": (0.0, -5.6)}
STARTS = {
    "the reference": {"color": BLUE, "marker": "o", "ms": 3.2, "mew": 0},
    "the nominal optimum": {
        "color": GREEN, "marker": "o", "ms": 5.5, "mfc": "none", "mew": 0.8, "ls": "none",
    },
    "a collapsed policy": {"color": VERMILION, "marker": "v", "ms": 3.6, "mew": 0},
}  # fmt: skip


def collapse_line(data: dict) -> Figure:
    """Above, the robust loss of two responses over the parameter; below, the monitors of collapse.

    `data`: theta (m,); rho (r,); excess (r, m), L^W - log 2 in nats; minimum, ridge, each {rho, theta, excess} of
    lists; identical, entropy (m,), a probability and nats.
    """
    data = rounded(data)
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(0.72 * PAGE, 4.0), sharex=True, height_ratios=(1.6, 1))
    colors = plt.get_cmap("viridis")(np.linspace(0.0, 0.82, len(data["rho"])))
    top.axhline(0, color=GREY, lw=0.7, zorder=0)
    for rho, curve, color in zip(data["rho"], data["excess"], colors, strict=True):
        top.plot(data["theta"], curve, color=color, label=rf"$\rho={rho:g}$")
    by_radius = dict(zip(data["rho"], colors, strict=True))
    for key, marker in (("minimum", "o"), ("ridge", "^")):
        points = data[key]
        for rho, x, y in zip(points["rho"], points["theta"], points["excess"], strict=True):
            top.plot(x, y, marker, color=by_radius[rho], mec="white", mew=0.8, ms=6, zorder=5)
    top.set(ylabel=r"$L^W_\rho-\log 2$ (nats)")
    top.legend(loc="upper right", handlelength=1.4, labelspacing=0.3, reverse=True)
    bottom.plot(data["theta"], data["identical"], color=VERMILION)
    bottom.plot(data["theta"], data["entropy"], color=BLUE)
    for key, text, color in (
        ("identical", "identical pairs (share)", VERMILION),
        ("entropy", "entropy (nats)", BLUE),
    ):
        bottom.annotate(
            text,
            (data["theta"][-1], data[key][-1]),
            (-2, -11 if key == "identical" else 5),
            textcoords="offset points",
            color=color,
            fontsize=7,
            ha="right",
        )
    bottom.set(
        xlabel=r"parameter $\theta$ (log-ratio of the two responses)", ylabel="monitor", ylim=(-0.02, 1.05)
    )
    for ax, letter in ((top, "a"), (bottom, "b")):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def collapse_plane(data: dict) -> Figure:
    """The robust loss of three responses over the plane of policies for four radii, and the two monitors.

    `data`: x (m,), y (n,); rho (4,); excess (4, n, m), nats; identical, entropy (n, m); paths (4, lists of [x, y]);
    minimum (4, [x, y] or None); names (4,).
    """
    data = rounded(data)
    # Fixed margins: the layout engine would take longer than everything else in the notebook's cell.
    margins = {"left": 0.07, "right": 0.85, "bottom": 0.1, "top": 0.95, "wspace": 0.1, "hspace": 0.17}
    fig, axes = plt.subplots(
        2, 3, figsize=(PAGE, 4.6), sharex=True, sharey=True, layout="none", gridspec_kw=margins
    )
    colors = plt.get_cmap("PuOr")(np.concatenate([np.linspace(0.95, 0.58, 4), np.linspace(0.43, 0.08, 5)]))
    levels = np.array(LOSS_LEVELS)
    panels = (axes[0, 0], axes[0, 1], axes[0, 2], axes[1, 0])
    for k, ax in enumerate(panels):
        drawn = ax.contourf(
            data["x"], data["y"], data["excess"][k], levels=levels, colors=colors, extend="both"
        )
        ax.contour(data["x"], data["y"], data["excess"][k], levels=[0.0], colors="k", linewidths=0.6)
        for path in data["paths"][k]:
            _path(ax, np.array(path))
        ax.plot(0, 0, "P", color="white", mec="k", mew=0.8, ms=6.5, zorder=6)
        if data["minimum"][k] is not None:
            ax.plot(*data["minimum"][k], "o", color=GREEN, mec="white", mew=0.8, ms=6.5, zorder=7)
        ax.set_title(data["names"][k], fontsize=8)
    for ax, key, name, shades in (
        (axes[1, 1], "identical", "share of identical pairs", "Blues"),
        (axes[1, 2], "entropy", "entropy (nats)", "Greens"),
    ):
        ax.contourf(data["x"], data["y"], data[key], levels=8, cmap=shades, alpha=0.75)
        lines = ax.contour(data["x"], data["y"], data[key], levels=8, colors="k", linewidths=0.4)
        ax.clabel(lines, fontsize=6, fmt="%.2g", levels=lines.levels[1::2])
        ax.plot(0, 0, "P", color="white", mec="k", mew=0.8, ms=6.5, zorder=6)
        ax.set_title(name, fontsize=8)
    label = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
    for text, (x, y) in ENDS.items():
        for ax in axes[1, 1:]:
            ax.text(x, y, text, fontsize=7, ha="center", va="center", style="italic", bbox=label, zorder=8)
    for ax, letter in zip(axes.flat, "abcdef", strict=True):
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.set(
            xlim=(data["x"][0], data["x"][-1]), ylim=(data["y"][0], data["y"][-1]), xticks=[-4, -2, 0, 2, 4]
        )
    for ax in axes[1]:
        ax.set_xlabel(r"best against worst, $h_{13}$ (nats)")
    for ax in axes[:, 0]:
        ax.set_ylabel(r"middle against both (nats)")
    bar = fig.colorbar(drawn, cax=fig.add_axes((0.87, 0.15, 0.018, 0.74)), ticks=levels)
    bar.set_label(r"$L^W_\rho-\log 2$ (nats)")
    bar.ax.set_yticklabels([f"{level:g}".replace("-", "−") for level in levels])
    return fig


def _path(ax: Axes, path: np.ndarray) -> None:
    """A descent, with a dot where it starts."""
    ax.plot(*path.T, color="k", lw=0.7, zorder=4)
    ax.plot(*path[0], ".", color="k", ms=4, zorder=4)


def _broken(x: list, y: list) -> tuple[np.ndarray, np.ndarray]:
    """The points, with a gap in the line where y jumps: two valleys, not one curve."""
    jumps = np.flatnonzero(np.abs(np.diff(y)) > 0.15) + 1
    return np.insert(np.array(x), jumps, np.nan), np.insert(np.array(y), jumps, np.nan)


def critical_radii(data: dict) -> Figure:
    """Gain and distance at convergence over the radius, one column per problem, one curve per start.

    `data`: problems, a list of {title, local, critical, starts}; starts, name -> {rho, gain, kl}; gain is
    log 2 - L^W at convergence in millinats.
    """
    data = rounded(data)
    count = len(data["problems"])
    fig, axes = plt.subplots(2, count, figsize=(PAGE, 4.2), sharex="col", squeeze=False)
    for k, problem in enumerate(data["problems"]):
        top, bottom = axes[:, k]
        for name, style in STARTS.items():
            run = problem["starts"][name]
            top.plot(run["rho"], run["gain"], **style, label=name)
            bottom.plot(*_broken(run["rho"], run["kl"]), **style)
        for key, text in (("local", r"$\rho_{\mathrm{loc}}$"), ("critical", r"$\rho_{\mathrm{crit}}$")):
            for ax in (top, bottom):
                ax.axvline(problem[key], color=GREY, lw=0.8, ls="--", zorder=0)
            bottom.annotate(
                text, (problem[key], 1), (3, -2), xycoords=("data", "axes fraction"),
                textcoords="offset points", va="top", fontsize=8, color=GREY,
            )  # fmt: skip
        top.set_title(problem["title"].replace("-", "−"), fontsize=8)
        top.set_ylim(bottom=-0.04 * top.get_ylim()[1])
        bottom.set(xlabel=r"radius $\rho$ (probability)", ylim=(-0.03, 0.75))
        bottom.set_xlim(left=-0.02 * problem["critical"])
    axes[0, 0].set_ylabel(r"gain $\log 2-L^W_\rho$ ($10^{-3}$ nats)")
    axes[1, 0].set_ylabel("KL to the reference (nats)")
    legend = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 1.0}
    axes[0, 1].legend(loc="upper right", title="descent from", borderaxespad=0.0, **legend)
    for ax, letter in zip(axes.flat, "abcd", strict=False):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig
