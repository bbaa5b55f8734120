"""Figures of notebook 07: gold reward and preferences, spurious attributes, oracles, the reference model.

`mean_by_level`, `oracle_points` and `shares` prepare what is plotted; the figure functions only draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rsail.checks import require
from rsail.study.figures import PAGE

BLUE, VERMILION, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "0.55"
# Sign of the attribute difference a_i - a_j: color, marker, words.
SIGNS = {
    1: (VERMILION, "^", "first response has more filler"),
    0: (GRAY, "o", "equally much"),
    -1: (BLUE, "v", "second response has more"),
}


def mean_by_level(values, levels) -> dict[str, np.ndarray]:
    """Mean of `values` (N,) at each distinct level (N,), the half-width of its 95 % interval, and the count.

    Levels seen fewer than 30 times are left out: a normal interval would not hold for them.
    """
    values, levels = np.asarray(values, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    require(values.shape == levels.shape, "levels.shape", levels.shape, f"that of values, {values.shape}")
    groups = [(level, values[levels == level]) for level in np.unique(levels)]
    groups = [(level, group) for level, group in groups if len(group) >= 30]
    return {
        "level": np.array([level for level, _ in groups]),
        "mean": np.array([group.mean() for _, group in groups]),
        "half_width": np.array([1.96 * group.std(ddof=1) / np.sqrt(len(group)) for _, group in groups]),
        "count": np.array([len(group) for _, group in groups]),
    }


def oracle_points(preferences, truth, attribute) -> dict[str, np.ndarray]:
    """The distinct points (P*, P, sign(a_i - a_j)) over pairs i != j, and how often each was seen."""
    off_diagonal = ~np.eye(truth.shape[-1], dtype=bool)
    sign = np.sign(attribute[:, :, None] - attribute[:, None, :])
    columns = [np.round(table[:, off_diagonal].ravel(), 9) for table in (truth, preferences, sign)]
    points, count = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    return {"truth": points[:, 0], "observed": points[:, 1], "sign": points[:, 2].astype(int), "count": count}


def shares(levels, corpus, model) -> dict[str, np.ndarray]:
    """Shares of values nearest to each of the equally spaced `levels` (L,), in the corpus and for a model."""
    levels = np.asarray(levels, dtype=np.float64)
    half = np.diff(levels)[0] / 2
    edges = np.append(levels - half, levels[-1] + half)
    found = {
        name: np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
        for name, values in {"corpus": corpus, "model": model}.items()
    }
    return {"level": levels, **found}


def gold_and_preferences(data: Mapping) -> Figure:
    """Left: law of the gold reward. Right: histogram of P* over pairs, with the radius and with delta.

    `data`: reward (L,), reward_share (L,), edges (B + 1,), pair_share (B,), rho, delta.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.4), width_ratios=(1, 1.7))
    left.bar(data["reward"], data["reward_share"], width=0.045, color=BLUE)
    left.set(xlabel="gold reward $r^*(x, y)$ (log-odds)", ylabel="share of responses", xlim=(-0.08, 1.58))
    rho, delta, edges = data["rho"], data["delta"], np.asarray(data["edges"])
    right.axvspan(0.5 - rho, 0.5 + rho, color="0.9", lw=0, zorder=0)
    right.stairs(data["pair_share"], edges, fill=True, color=BLUE)
    for bound in (delta, 1 - delta):
        right.axvline(bound, color=VERMILION, ls="--", lw=1)
    top = 1.3 * max(data["pair_share"])
    right.set(xlabel="true preference $P^*(y_1 \\succ y_2 \\mid x)$", ylabel="share of pairs", xlim=(0, 1))
    right.set_ylim(0, top)
    right.text(
        0.5, 0.98 * top, f"within $\\rho = {rho:.2f}$\nof a coin toss", ha="center", va="top", fontsize=7
    )
    marks = ((delta, "$\\delta$ ", "right"), (1 - delta, " $1 - \\delta$", "left"))
    for bound, text, side in marks:
        right.text(bound, 0.98 * top, text, ha=side, va="top", color=VERMILION)
    return fig


_TITLES = {
    "filler": "filler words",
    "flattery": "flattery",
    "length": "words in all",
    "format": 'ends in "!"',
}


def gold_by_attribute(panels: Mapping[str, Mapping], overall: float) -> Figure:
    """Mean gold reward at each level of each attribute with 95 % intervals; the line is the overall mean.

    `panels`: attribute name -> what `mean_by_level` returns.
    """
    widths = [len(panel["level"]) + 2.5 for panel in panels.values()]
    fig, axes = plt.subplots(1, len(panels), figsize=(PAGE, 2.1), sharey=True, width_ratios=widths)
    for ax, (name, panel) in zip(axes, panels.items(), strict=True):
        ax.axhline(overall, color=GRAY, lw=0.8, zorder=0)
        ax.errorbar(panel["level"], panel["mean"], panel["half_width"], fmt="o", color=BLUE, ms=3, lw=1)
        ax.set(xlabel=_TITLES.get(name, name), ylim=(0, 1.5))
        if set(panel["level"]) <= {0.0, 1.0}:
            ax.set(xticks=[0, 1], xticklabels=["no", "yes"], xlim=(-0.6, 1.6))
    axes[0].set_ylabel("mean gold reward")
    return fig


def oracle_panels(panels: Sequence[Mapping], radius: float) -> Figure:
    """Observed against true probability of each oracle; the band holds all oracles within `radius` of the truth.

    Each panel: title and the arrays of `oracle_points`.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(PAGE, 2.1), sharex=True, sharey=True)
    line = np.array([0.0, 1.0])
    for ax, panel in zip(axes, panels, strict=True):
        ax.fill_between(line, line - radius, line + radius, color="0.9", lw=0)
        ax.plot(line, line, color="0.3", lw=0.6)
        for sign in (0, 1, -1):
            chosen = panel["sign"] == sign
            color, marker, _ = SIGNS[sign]
            size = 4 + 2.5 * np.log1p(panel["count"][chosen])
            ax.scatter(
                panel["truth"][chosen],
                panel["observed"][chosen],
                size,
                c=color,
                marker=marker,
                lw=0,
                alpha=0.8,
            )
        ax.set(title=panel["title"], xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set(
            xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], xticklabels=["0", "½", "1"], yticklabels=["0", "½", "1"]
        )
    axes[0].set_ylabel("oracle's $P(y_1 \\succ y_2)$")
    axes[len(axes) // 2].set_xlabel("true preference $P^*(y_1 \\succ y_2)$")
    handles = [
        Line2D([], [], color=color, marker=marker, ls="", label=label)
        for color, marker, label in SIGNS.values()
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=3)
    return fig


def samples_against_corpus(panels: Mapping[str, Mapping]) -> Figure:
    """Shares of texts at each level in the corpus (bars) and among a model's samples (points).

    `panels`: name -> level (L,), corpus (L,), model (L,).
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(PAGE, 2.1))
    for ax, (name, panel) in zip(axes, panels.items(), strict=True):
        level = np.asarray(panel["level"])
        step = np.diff(level).min()
        ax.bar(level, panel["corpus"], width=0.8 * step, color="0.8", label="corpus")
        ax.plot(level, panel["model"], "o", color=BLUE, ms=3.5, label="reference model")
        ax.set_xlabel(_TITLES.get(name, name))
    axes[0].set_ylabel("share of texts")
    axes[0].legend()
    return fig
