"""Figures of notebook 02: routes to the robust loss, the enumerable transformer, gradients, the certificate.

Data in, matplotlib Figure out. Notebook 02 says what each one shows.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsail.study.figures import PAGE, rounded

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.45"
ROUTE_MARKERS = (("endpoint oracle", "o", 6.5, GREEN), ("linear program", "x", 4.5, VERMILION))


def finite_problems(data: dict) -> Figure:
    """Left: share of rho beta R that the worst case reaches, over rho. Right: two routes against the closed form.

    `data`: rho, share (n,); assumption (n,) bool; closed, endpoint, program (n,), each L^W - L_SAIL in nats.
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.9))
    holds = np.asarray(data["assumption"], dtype=bool)
    rho, share = np.asarray(data["rho"]), np.asarray(data["share"])
    left.axhline(1, color=GREY, lw=0.7, zorder=0)
    left.plot(rho[~holds], share[~holds], "v", color=VERMILION, ms=3.6, mew=0, alpha=0.8, label="without it")
    left.plot(
        rho[holds], share[holds], "o",
        color=BLUE, ms=3.6, mew=0, alpha=0.8, clip_on=False, label=r"Assumption 1 holds, $\rho<\delta$",
    )  # fmt: skip
    left.set(
        xlabel=r"radius $\rho$ (probability)",
        ylabel=r"worst-case excess $/\ \rho\beta R$",
        xlim=(0, 1),
        ylim=(-0.03, 1.05),
    )
    left.legend(loc="lower left", handletextpad=0.2, reverse=True)
    closed = np.asarray(data["closed"])
    low, high = 0.5 * closed.min(), 2 * closed.max()
    right.plot([low, high], [low, high], color=GREY, lw=0.7, zorder=0)
    right.plot(closed, data["endpoint"], "o", mfc="none", mec=GREEN, mew=0.6, ms=5, label="endpoint oracle")
    right.plot(closed, data["program"], "x", color=VERMILION, mew=0.7, ms=2.8, label="linear program")
    right.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    right.set(
        xlabel="closed form, clipped: worst-case excess (nats)", ylabel="the same by two other routes (nats)"
    )
    right.minorticks_off()
    right.legend(loc="upper left", handletextpad=0.2)
    for ax, letter in ((left, "a"), (right, "b")):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def enumerable_transformer(data: dict) -> Figure:
    """Left: probability of every response under reference and policy. Right: worst-case excess over the radius.

    `data`: prompts (X,) texts; reference, policy (X, Y) probabilities; rho (m,) and excess (m,), the closed form
    in units of beta R; checked_rho (k,) and checked, route -> (k,) in the same units; delta.
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.1), width_ratios=(1, 1.15))
    markers = zip(("o", "s", "^"), (BLUE, "#CC79A7", "#E69F00"), strict=True)
    for prompt, reference, policy, (marker, color) in zip(
        data["prompts"], data["reference"], data["policy"], markers, strict=True
    ):
        left.plot(reference, policy, marker, color=color, ms=2.6, mew=0, alpha=0.75, label=f"“{prompt}”")
    low = 0.5 * min(np.min(data["reference"]), np.min(data["policy"]))
    left.plot([low, 1], [low, 1], color=GREY, lw=0.7, zorder=0)
    left.set(
        xscale="log", yscale="log", xlim=(low, 0.5), ylim=(low, 0.5),
        xlabel=r"reference $\pi_{\mathrm{SFT}}(y|x)$", ylabel=r"policy $\pi_\theta(y|x)$",
    )  # fmt: skip
    left.minorticks_off()  # each minor tick of a logarithmic axis costs time at every drawing
    left.legend(loc="upper left", title="prompt", handletextpad=0.1, markerscale=1.6)
    _excess_over_radius(right, data)
    for ax, letter in ((left, "a"), (right, "b")):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def _excess_over_radius(ax: Axes, data: dict) -> None:
    rho = np.asarray(data["rho"])
    ax.axvspan(0, data["delta"], color="0.93", lw=0, zorder=0)
    ax.plot([0, rho[-1]], [0, rho[-1]], "--", color=GREY, lw=0.9, label="eq. 13 as printed")
    ax.plot(rho, data["excess"], color=BLUE, label="closed form, clipped")
    for route, marker, size, color in ROUTE_MARKERS:
        ax.plot(
            data["checked_rho"], data["checked"][route], marker,
            mfc="none", color=color, ms=size, mew=1.1, label=route,
        )  # fmt: skip
    ax.text(data["delta"] / 2, 0.02 * rho[-1], r"$\rho<\delta$", ha="center", color=GREY, fontsize=7)
    ax.set(
        xlabel=r"radius $\rho$ (probability)",
        ylabel=r"$(L^W_\rho-L_{\mathrm{SAIL}})\,/\,\beta R$ (probability)",
        xlim=(0, rho[-1] * 1.02), ylim=(0, rho[-1] * 1.02),
    )  # fmt: skip
    ax.legend(loc="upper left")


def gradient_estimators(data: dict) -> Figure:
    """Left: estimated against enumerated derivatives. Right: z-scores of every estimator.

    `data`: exact (D,); with_score and without_score, each {mean (D,), half_width (D,)}; z, estimator -> (D,);
    biased, names of the estimators that are.
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.3), width_ratios=(1, 1.35))
    exact = np.asarray(data["exact"])
    span = 1.35 * np.abs(exact).max()
    left.plot([-span, span], [-span, span], color=GREY, lw=0.7, zorder=0)
    for key, color, marker, label in (
        ("without_score", VERMILION, "v", "without score term"),
        ("with_score", BLUE, "o", "with score term"),
    ):
        left.errorbar(
            exact, data[key]["mean"], data[key]["half_width"],
            fmt=marker, color=color, ms=3.2, mew=0, lw=0.9, label=label,
        )  # fmt: skip
    left.set(
        xlabel="exact derivative, by enumeration (nats)", ylabel="Monte-Carlo mean (nats)",
        xlim=(-span, span), ylim=(-span, span),
    )  # fmt: skip
    left.locator_params(nbins=7)
    left.legend(loc="upper left", reverse=True, handletextpad=0.4)
    _z_scores(right, data)
    for ax, letter in ((left, "a"), (right, "b")):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def _z_scores(ax: Axes, data: dict) -> None:
    names = list(data["z"])
    ax.axvspan(-3, 3, color="0.93", lw=0, zorder=0)
    for row, name in enumerate(names):
        z = np.sort(data["z"][name])
        # Spread the points of a row in a fixed pattern, so that they do not hide each other.
        offset = 0.24 * np.cos(2.4 * np.arange(len(z)))
        color, marker = (VERMILION, "v") if name in data["biased"] else (BLUE, "o")
        ax.plot(z, row + offset, marker, color=color, ms=3.2, mew=0, alpha=0.8)
    ax.axvline(0, color=GREY, lw=0.7, zorder=0)
    ax.set_xscale("symlog", linthresh=4, linscale=1.6)
    ticks = [-100, -10, -3, 0, 3, 10, 100]
    ax.set_xticks(ticks, [str(tick).replace("-", "−") for tick in ticks])
    ax.minorticks_off()
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="(Monte-Carlo mean − exact) / standard error", ylim=(len(names) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def certificate(data: dict) -> Figure:
    """Left: gap of the certificate against its bound. Right: the gap over the radius, in units of the deviation.

    `data`: points, oracle -> {bound (n,), gap (n,)}, nats; ratio (m,), rho over deviation; curves,
    oracle -> (m,), gap over beta R times the deviation.
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.2))
    styles = dict(
        zip(
            data["points"],
            zip("osD^vP", (BLUE, "#E69F00", GREEN, "#56B4E9", VERMILION, "#CC79A7"), strict=True),
            strict=False,
        )
    )
    top = 1.08 * max(np.max(points["bound"]) for points in data["points"].values())
    left.fill_between([0, top], [0, 0], [0, top], color="0.93", lw=0, zorder=0)
    left.plot([0, top], [0, top], color=GREY, lw=0.7, zorder=0)
    left.axhline(0, color=GREY, lw=0.7, zorder=0)
    for name, points in data["points"].items():
        marker, color = styles[name]
        left.plot(
            points["bound"], points["gap"], marker, color=color, ms=3.4, mew=0, alpha=0.8, label=name,
            clip_on=False,
        )  # fmt: skip
    left.set(
        xlabel=r"bound $2\rho\beta R$ (nats)", ylabel=r"$L^W_\rho(P_{\mathrm{obs}})-L_{\mathrm{SAIL}}(P^*)$ (nats)",
        xlim=(0, top), ylim=(-0.06 * top, top),
    )  # fmt: skip
    left.legend(loc="upper left", handletextpad=0.1, title="oracle", markerscale=1.3)
    _gap_over_radius(right, data, styles)
    for ax, letter in ((left, "a"), (right, "b")):
        ax.set_title(letter, loc="left", fontweight="bold")
    return fig


def _gap_over_radius(ax: Axes, data: dict, styles: dict) -> None:
    ratio = np.asarray(data["ratio"])
    ax.axvspan(1, ratio[-1], color="0.93", lw=0, zorder=0)
    ax.plot([0, ratio[-1]], [0, 0], color=GREY, lw=0.7, zorder=0)
    for name, curve in data["curves"].items():
        color = styles[name][1]
        ax.plot(ratio, curve, color=color)
        ax.annotate(
            name,
            (ratio[-1], curve[-1]),
            (4, 0),
            textcoords="offset points",
            color=color,
            fontsize=7,
            va="center",
        )
    low, high = ax.get_ylim()
    foot = low + 0.02 * (high - low)
    for x, side, text in (
        (1.03, "left", "truth inside:\ncertified"),
        (0.97, "right", "truth may lie outside:\nno guarantee"),
    ):
        ax.text(x, foot, text, color=GREY, fontsize=7, va="bottom", ha=side)
    ax.set(
        xlabel=r"radius over deviation, $\rho\,/\,\sup|P_{\mathrm{obs}}-P^*|$",
        ylabel=r"gap $/\ (\beta R\,\sup|P_{\mathrm{obs}}-P^*|)$",
        xlim=(0, ratio[-1] * 1.25), ylim=(low, high), xticks=[0, 0.5, 1, 1.5],
    )  # fmt: skip
    ax.spines["bottom"].set_bounds(0, ratio[-1])
