"""Figures of notebook 05: data in, matplotlib Figure out. The notebook says what each one shows."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from rsail.study.figures import PAGE, rounded

BLUE, VERMILION, GREEN, PURPLE, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "0.45"
RESPONSES = {"best": (BLUE, "-"), "middle": (GREEN, "--"), "worst": (VERMILION, ":")}
KL = {"KL(reference, policy)": (BLUE, "-"), "KL(policy, reference)": (VERMILION, "--")}
NOISE = {"no baseline": (VERMILION, "--"), "baseline $J$": (BLUE, "-")}
GAIN_LEVELS = (-0.3, -0.1, -0.03, -0.01, 0.0, 0.01, 0.03, 0.06, 0.1)  # nats
CORNERS = np.array([[0.5, np.sqrt(0.75)], [0.0, 0.0], [1.0, 0.0]])  # best on top, middle left, worst right


def sail_settings(data: dict) -> Figure:
    """J over the simplex of policies on three responses, one panel per setting, with ascent paths.

    `data`: policies (n, 3), best, middle, worst; settings, a list of four {title, gain (n,), J + log 2 in nats; paths
    (p, m, 3); ends (k, 3)}; gibbs (3,), the lower level's solution at the true reward.
    """
    data = rounded(data)
    fig, axes = plt.subplots(2, 2, figsize=(0.8 * PAGE, 4.7))
    mesh = Triangulation(*(np.array(data["policies"]) @ CORNERS).T)
    colors = plt.get_cmap("PuOr")(np.concatenate([np.linspace(0.08, 0.43, 4), np.linspace(0.58, 0.95, 5)]))
    for ax, setting, letter in zip(axes.flat, data["settings"], "abcd", strict=True):
        drawn = ax.tricontourf(mesh, setting["gain"], levels=GAIN_LEVELS, colors=colors, extend="both")
        ax.tricontour(mesh, setting["gain"], levels=[0.0], colors="k", linewidths=0.6)
        ax.plot(*CORNERS[[0, 1, 2, 0]].T, color="black", lw=0.7)
        for path in setting["paths"]:
            points = np.array(path) @ CORNERS
            ax.plot(*points.T, color="black", lw=0.8, zorder=3)
            ax.plot(*points[0], ".", color="black", ms=4, zorder=3)
        for end in setting["ends"]:
            ax.plot(*(np.array(end) @ CORNERS), "o", color=GREEN, mec="white", mew=0.7, ms=6, zorder=5)
        ax.plot(
            *(np.array(data["gibbs"]) @ CORNERS), "*", color="black", mec="white", mew=0.7, ms=10, zorder=6
        )
        _corner_labels(ax)
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.set_title(setting["title"])
    bar = fig.colorbar(drawn, ax=axes, shrink=0.75, aspect=22, ticks=GAIN_LEVELS)
    bar.set_label(r"$J+\log 2$ (nats)")
    bar.ax.set_yticklabels([f"{level:g}".replace("-", "−") for level in GAIN_LEVELS])
    return fig


def _corner_labels(ax: Axes) -> None:
    for (x, y), name, shift, side in zip(
        CORNERS, RESPONSES, ((5, -2), (-3, -4), (3, -4)), ("left", "left", "right"), strict=True
    ):
        ax.annotate(
            name,
            (x, y),
            shift,
            textcoords="offset points",
            fontsize=7,
            ha=side,
            va="top" if y == 0 else "center",
        )
    ax.set_aspect("equal")
    ax.set_axis_off()


def sail_preference_term(data: dict) -> Figure:
    """Left: what labels that the policy draws itself do to a pair. Right: the preference that a mixture settles at.

    `data`: margin (m,); first, second, mean (m,), steps over beta for either label and their mean; weight, c_pref;
    robust (m,), the penalty's step over beta; rho; preference (n,); labels (k,), fits (k, n); robust_fit (n,).
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.0), width_ratios=(1.1, 1))
    left.axhline(0, color=GREY, lw=0.7, zorder=0)
    margin = np.array(data["margin"])
    left.plot(margin, data["first"], color=GREEN, lw=1.0, label="label: first is better")
    left.plot(margin, data["second"], color=PURPLE, lw=1.0, ls="--", label="label: second is better")
    left.plot(margin, data["mean"], color=BLUE, lw=2.0, label="mean over labels")
    robust = np.array(data["robust"])
    for k, side in enumerate((margin < 0, margin > 0)):
        name = rf"robust penalty, $\rho={data['rho']:g}$" if k == 0 else None
        left.plot(margin[side], robust[side], color=VERMILION, ls=":", lw=1.6, label=name)
    left.set(xlabel=r"margin $\beta h$ of the first response (nats)", ylabel=r"step on $h$, over $\beta$")
    left.set(xlim=(margin[0], margin[-1]), ylim=(-0.62, 0.62))
    fig.legend(
        *left.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        columnspacing=1.4,
        handlelength=2.0,
    )
    for x, y in (([0, 1], [0.5, 0.5]), ([0.5, 0.5], [0, 1])):
        right.plot(x, y, ":", color=GREY, lw=0.8, zorder=0)
    shades = plt.get_cmap("Blues")(np.linspace(0.45, 0.95, len(data["fits"])))
    preference = np.array(data["preference"])
    halves = (preference < 0.5, preference > 0.5)
    for label, fit, color in zip(data["labels"], data["fits"], shades, strict=True):
        for k, side in enumerate(halves):
            right.plot(preference[side], np.array(fit)[side], color=color, label=label if k == 0 else None)
    right.plot(
        preference,
        data["robust_fit"],
        color=VERMILION,
        ls=":",
        lw=1.6,
        label=rf"robust, $\rho={data['rho']:g}$",
    )
    right.set(xlabel=r"oracle's preference $P(1|z)$", ylabel=r"fitted preference $\sigma(t)$")
    right.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.6)
    _letters(left, right)
    return fig


def sail_response_term(data: dict) -> Figure:
    """Stationary policies over the response term's weight (left), and the noise of one pair's estimate (right).

    `data`: weight (w,); policy (w, 3), best, middle, worst; marked, the weight in SAIL's task file; noise, key of
    NOISE -> (w,), root of the trace of the covariance.
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7))
    for (name, (color, style)), probs in zip(RESPONSES.items(), np.array(data["policy"]).T, strict=True):
        left.plot(data["weight"], probs, style, color=color)
        shift = {"best": 6, "middle": 5, "worst": -9}[name]
        left.annotate(
            name, (data["weight"][-1], probs[-1]), (0, shift), textcoords="offset points", color=color,
            fontsize=7, ha="right",
        )  # fmt: skip
    left.set(xlabel="weight of the response term", ylabel="probability where the step vanishes", ylim=(0, 1))
    for label, (color, style) in NOISE.items():
        right.plot(data["weight"], data["noise"][label], style, color=color, label=label)
    right.set(xlabel="weight of the response term", ylabel="noise of one pair's estimate")
    right.set_ylim(bottom=0)
    right.legend(loc="upper center")
    for ax in (left, right):
        ax.axvline(data["marked"], color=GREY, lw=0.7, ls="--", zorder=0)
        ax.set_xlim(0, 1)
    _letters(left, right)
    return fig


def sail_released(data: dict) -> Figure:
    """Released against exact response term over the length of texts: cosine (left), ratio of lengths (right).

    `data`: nats (n,), what all texts share of -log pi; cosine, ratio, each {low, middle, high} of (n,), quantiles over
    problems; quantiles (2,).
    """
    data = rounded(data)
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6))
    for ax, key in zip(axes, ("cosine", "ratio"), strict=True):
        band = data[key]
        ax.fill_between(data["nats"], band["low"], band["high"], color=BLUE, alpha=0.2, lw=0)
        ax.plot(data["nats"], band["middle"], color=BLUE)
        ax.set(xscale="log", xlabel=r"length of the texts, shared part of $-\log\pi$ (nats)")
    axes[0].axhline(0, color=GREY, lw=0.7, zorder=0)
    axes[0].set(ylabel="cosine with the exact term", ylim=(-1.05, 1.05))
    axes[1].plot(data["nats"], 1.0 / np.array(data["nats"]), ":", color=GREY, lw=1.2)
    at = len(data["nats"]) // 2
    axes[1].annotate(
        "1 / length", (data["nats"][at], 1.0 / data["nats"][at]), (-4, -4), textcoords="offset points",
        fontsize=7, color=GREY, ha="right", va="top",
    )  # fmt: skip
    axes[1].set(yscale="log", ylabel="norm, relative to the exact term")
    _letters(*axes)
    return fig


def sail_reference_kl(data: dict) -> Figure:
    """Left: least eigenvalue of either KL's Hessian along a line. Right: largest one of the penalized objective's.

    `data`: distance (m,); kl, key of KL -> (m,); coefficient (c,); objective (c, m); nats per squared unit of theta.
    """
    data = rounded(data)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7))
    for label, (color, style) in KL.items():
        left.plot(data["distance"], data["kl"][label], style, color=color, label=label)
    left.set(ylabel="least eigenvalue, Hessian of the KL")
    left.legend(loc="upper right")
    colors = plt.get_cmap("viridis")(np.linspace(0.0, 0.82, len(data["coefficient"])))
    for coefficient, curve, color in zip(data["coefficient"], data["objective"], colors, strict=True):
        right.plot(data["distance"], curve, color=color, label=f"{coefficient:g}")
    right.set(ylabel=r"largest eigenvalue, Hessian of $J-c\,$KL")
    right.legend(loc="lower right", title="coefficient $c$", ncols=2)
    for ax in (left, right):
        ax.axhline(0, color=GREY, lw=0.7, zorder=0)
        ax.set(xlabel=r"distance from $\theta_{\mathrm{ref}}$ along the rewards")
    _letters(left, right)
    return fig


def _letters(*axes: Axes) -> None:
    for ax, letter in zip(axes, "abcd", strict=False):
        ax.set_title(letter, loc="left", fontweight="bold")
