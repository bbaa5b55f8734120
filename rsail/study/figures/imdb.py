"""The figure of notebook 10 on real text: what a biased oracle does to a policy, and what KL it costs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsail.study.figures import PAGE, rounded
from rsail.study.statistics import mean_interval

# Color, marker, line and name of each method; those with a line are drawn over the steps, too.
STYLES = {
    "nominal": ("#D55E00", "o", "--", r"SAIL, $\rho$ = 0"),
    "rho_half": ("#56B4E9", "v", None, r"$\rho$ = bias / 2"),
    "robust": ("#0072B2", "s", "-", r"$\rho$ = bias"),
    "rho_double": ("#009E73", "^", "-.", r"$\rho$ = 2 bias"),
    "beta_0.3": ("#E69F00", "D", ":", r"$\beta$ = 0.3"),
    "beta_1": ("#CC79A7", "P", None, r"$\beta$ = 1"),
    "online": ("0.55", "o", None, "online DPO"),
    "online_robust": ("#000000", "s", None, r"online DPO, $\rho$ = bias"),
}
AXES = {
    "length": "words, open prompts",
    "gold": "gold reward,\nsentiment prompts",
}


def real_text(data: dict) -> Figure:
    """Above: words on open prompts and gold reward on sentiment prompts over the steps. Below: both over the KL.

    `data`: steps (T,); before {length, gold: float}; paths {length, gold: method -> (seeds, T)}; final, method ->
    {kl, length, gold: (seeds,)}; family, the methods that the dotted line joins, after the reference.
    """
    data = rounded(data)
    fig, axes = plt.subplots(2, 2, figsize=(PAGE, 4.6), sharey="row")
    for row, (metric, label) in zip(axes, AXES.items(), strict=True):
        _over_steps(row[0], data, metric)
        _over_kl(row[1], data, metric)
        row[0].set_ylabel(label)
    for ax in axes[0]:
        ax.set_xlabel("")
    axes[1, 0].set_xlabel("optimizer step")
    axes[1, 1].set_xlabel("KL to the reference (nats per response)")
    for ax, letter in zip(axes.T.flat, "acbd", strict=True):
        ax.set_title(letter, loc="left", fontweight="bold")
    handles = dict(zip(*reversed(axes[0, 1].get_legend_handles_labels()), strict=True))
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    return fig


def _over_steps(ax: Axes, data: dict, metric: str) -> None:
    """Means and 95 % t intervals over seeds."""
    for method, values in data["paths"][metric].items():
        color, _, line, _ = STYLES[method]
        bands = [mean_interval(column) for column in np.transpose(values)]
        ax.fill_between(
            data["steps"], [b.low for b in bands], [b.high for b in bands], color=color, alpha=0.2, lw=0
        )
        ax.plot(data["steps"], [b.mean for b in bands], color=color, ls=line)
    ax.axhline(data["before"][metric], color="0.3", lw=0.7, ls=":", zorder=0)
    ax.set_xlim(0, data["steps"][-1])


def _over_kl(ax: Axes, data: dict, metric: str) -> None:
    """Every run small, their mean large; the reference is the cross at KL 0."""
    means = {
        method: (np.mean(found["kl"]), np.mean(found[metric])) for method, found in data["final"].items()
    }
    line = [(0.0, data["before"][metric]), *(means[method] for method in data["family"])]
    ax.plot(*np.transpose(line), color="0.55", lw=0.9, ls=":", zorder=0)
    ax.plot(0, data["before"][metric], "x", color="black", ms=5, label="reference")
    for method, found in data["final"].items():
        color, marker, _, label = STYLES[method]
        ax.plot(found["kl"], found[metric], marker, color=color, ms=2.2, mew=0, alpha=0.6)
        ax.plot(*means[method], marker, color=color, ms=5.5, mec="white", mew=0.5, label=label)
