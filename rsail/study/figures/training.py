"""Figures of notebook 08: training under a biased oracle. Curves are (steps (T,), values (seeds, T))."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from rsail.study.figures import PAGE
from rsail.study.statistics import mean_interval

COLORS = {"nominal": "#D55E00", "robust": "#0072B2"}
STYLES = {"nominal": "--", "robust": "-"}
LABELS = {"nominal": r"nominal SAIL, $\rho$ = 0", "robust": r"robust SAIL, $\rho$ = bias"}

Curve = tuple[np.ndarray, np.ndarray]


def _draw_curves(ax, curves: dict[str, Curve], reference: float | None) -> None:
    """Mean and 95 % t interval over seeds, each seed thin behind them."""
    for method, (steps, values) in curves.items():
        color = COLORS[method]
        ax.plot(steps, values.T, color=color, lw=0.4, alpha=0.4, ls=STYLES[method])
        bands = [mean_interval(column) for column in values.T]
        ax.fill_between(steps, [b.low for b in bands], [b.high for b in bands], color=color, alpha=0.2, lw=0)
        ax.plot(steps, [b.mean for b in bands], color=color, ls=STYLES[method], label=LABELS[method])
    if reference is not None:
        ax.axhline(reference, color="black", lw=0.8, ls=":", label="reference policy")
    ax.set_xlabel("optimizer step")
    ax.set_xlim(0, steps[-1])


def headline(panels: dict[str, dict[str, Curve]], references: dict[str, float]) -> Figure:
    """Side by side, what the oracle's bias does where it is all there is, and the true reward where there is one.

    `panels` maps "axis label; title" to the curves of both methods, `references` to the level before training.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(PAGE, 2.6))
    for ax, (name, curves) in zip(axes, panels.items(), strict=True):
        label, title = name.split("; ")
        _draw_curves(ax, curves, references[name])
        ax.set_ylabel(label)
        ax.set_title(title)
        ax.margins(y=0.1)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def diagnostics(panels: dict[str, dict[str, Curve]], references: dict[str, float | None]) -> Figure:
    """Six small multiples of what is to be watched in every run."""
    figure, axes = plt.subplots(2, 3, figsize=(PAGE, 3.9), sharex=True)
    for ax, (label, curves) in zip(axes.flat, panels.items(), strict=True):
        _draw_curves(ax, curves, references[label])
        ax.set_ylabel(label)
        if references[label] == 0:
            # A share or a distance: a curve that stays at zero should look like it.
            ax.set_ylim(-0.02 * max(1.0, ax.get_ylim()[1]), max(1.0, ax.get_ylim()[1]))
    for ax in axes[0]:
        ax.set_xlabel("")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles))
    return figure


def log_probabilities(
    chosen: dict[str, Curve], rejected: dict[str, Curve], length: dict[str, Curve]
) -> Figure:
    """Log-ratios of fixed preferred and rejected responses over training, and the length of fresh ones."""
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.7))
    for method in chosen:
        for curve, shade, what in ((chosen, 1.0, "preferred"), (rejected, 0.5, "rejected")):
            steps, values = curve[method]
            color, bands = COLORS[method], [mean_interval(column) for column in values.T]
            low, high = [band.low for band in bands], [band.high for band in bands]
            axes[0].fill_between(steps, low, high, color=color, alpha=0.2 * shade, lw=0)
            style = {"color": color, "ls": STYLES[method], "alpha": shade, "label": f"{method}, {what}"}
            axes[0].plot(steps, values.mean(0), **style)
    axes[0].axhline(0, color="black", lw=0.8, ls=":")
    axes[0].set_xlabel("optimizer step")
    axes[0].set_xlim(0, steps[-1])
    axes[0].set_ylabel(r"mean log $\pi_\theta/\pi_\mathrm{SFT}$, fixed texts (nats)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    _draw_curves(axes[1], length, None)
    axes[1].set_ylabel("length of fresh samples (tokens)")
    return figure
