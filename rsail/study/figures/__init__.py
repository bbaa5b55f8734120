"""One style and one way to save for every figure; this folder's modules draw them.

A figure function takes data and returns a matplotlib Figure: it reads nothing and computes nothing. The
notebook that `FIGURES` names calls it and then `save_figure`, which writes the picture (PNG, PDF) and the
plotted numbers (JSON) into `figures/`, the same bytes for the same figure. A run that must not touch the
committed figures sets the environment variable RSAIL_FIGURES to another folder, or passes `folder`.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from rsail.checks import one_of
from rsail.files import write_atomically
from rsail.study.figures.agreement import numbers_agree, pictures_agree
from rsail.study.paths import FIGURES_DIR

# Every committed figure and the notebook that draws it. A figure that is not here cannot be saved, and
# notebook 00 checks that each one here was drawn again.
FIGURES: dict[str, str] = {
    # 01_decomposition (rsail.study.figures.theory)
    "one_pair_loss": "01_decomposition",
    "soft_threshold": "01_decomposition",
    "example_landscape": "01_decomposition",
    # 02_numerical_check (rsail.study.figures.numerics)
    "finite_problems": "02_numerical_check",
    "enumerable_transformer": "02_numerical_check",
    "gradient_estimators": "02_numerical_check",
    "certificate": "02_numerical_check",
    # 02b_landscapes_and_relatives (rsail.study.figures.landscapes, rsail.study.figures.relatives)
    "collapse_line": "02b_landscapes_and_relatives",
    "collapse_plane": "02b_landscapes_and_relatives",
    "critical_radii": "02b_landscapes_and_relatives",
    "gini_speed": "02b_landscapes_and_relatives",
    "family": "02b_landscapes_and_relatives",
    "listwise": "02b_landscapes_and_relatives",
    "baselines": "02b_landscapes_and_relatives",
    # 03_weak_convexity (rsail.study.figures.convexity)
    "smoothed_penalty": "03_weak_convexity",
    "extremal_law": "03_weak_convexity",
    "constants_measured": "03_weak_convexity",
    "constants_room": "03_weak_convexity",
    # 04_convergence (rsail.study.figures.convergence)
    "moreau_envelope": "04_convergence",
    "rscgd_path": "04_convergence",
    "convergence_rate": "04_convergence",
    "iteration_counts": "04_convergence",
    "prox_certificate": "04_convergence",
    # 05_sail_family (rsail.study.figures.sail)
    "sail_settings": "05_sail_family",
    "sail_preference_term": "05_sail_family",
    "sail_response_term": "05_sail_family",
    "sail_released": "05_sail_family",
    "sail_reference_kl": "05_sail_family",
    # 06_every_method (rsail.study.figures.methods)
    "every_method_regret": "06_every_method",
    "every_method_plane": "06_every_method",
    "every_method_frontier": "06_every_method",
    "every_method_game": "06_every_method",
    "every_method_collection": "06_every_method",
    # 07_preference_language (rsail.study.figures.language)
    "gold_and_preferences": "07_preference_language",
    "gold_by_attribute": "07_preference_language",
    "oracles": "07_preference_language",
    # 08_training (rsail.study.figures.training)
    "training_headline": "08_training",
    "training_diagnostics": "08_training",
    "training_log_probabilities": "08_training",
    # 09_misspecification (rsail.study.figures.misspecification_exact)
    "misspecification_central": "09_misspecification",
    "misspecification_sweeps": "09_misspecification",
    "misspecification_training": "09_misspecification",
    "misspecification_radii": "09_misspecification",
    "misspecification_oracles": "09_misspecification",
    "misspecification_certificate": "09_misspecification",
    "misspecification_choice": "09_misspecification",
    # 09b_language_model (rsail.study.figures.misspecification_lm)
    "misspecification_lm_training": "09b_language_model",
    "misspecification_lm_radius": "09b_language_model",
    "misspecification_lm_oracles": "09b_language_model",
    "misspecification_lm_methods": "09b_language_model",
    "misspecification_lm_models": "09b_language_model",
    # 10_real_text_and_scale (rsail.study.figures.imdb, rsail.study.figures.cost)
    "real_text": "10_real_text_and_scale",
    "cost": "10_real_text_and_scale",
}

# What a figure shows of `data/results`: files or folders there. A figure that is not here computes all it shows.
RESULT_FILES: dict[str, tuple[str, ...]] = {
    "gini_speed": ("gini_speed/cpu.json",),
    "constants_measured": ("constants/check.json",),
    "constants_room": ("constants/check.json",),
    "convergence_rate": ("convergence",),
    "every_method_regret": tuple(
        f"every_method/{oracle}.json" for oracle in ("truth", "bias", "flips", "groups", "cycle")
    ),
    "every_method_plane": ("every_method/bias.json",),
    "every_method_frontier": ("every_method/frontier.json",),
    "every_method_game": ("every_method/cycle.json",),
    "every_method_collection": ("every_method/collection.json",),
    "training_headline": ("biased_oracle",),
    "training_diagnostics": ("biased_oracle",),
    "training_log_probabilities": ("biased_oracle",),
    "misspecification_central": ("misspecification_shared", "misspecification/central"),
    "misspecification_oracles": ("misspecification_exact",),
    "misspecification_certificate": ("misspecification_exact",),
    "misspecification_choice": ("misspecification_exact",),
    "misspecification_lm_training": ("misspecification/central",),
    "misspecification_lm_radius": ("misspecification/central", "misspecification/truth"),
    "misspecification_lm_oracles": ("misspecification/oracles",),
    "misspecification_lm_methods": ("misspecification/central", "misspecification/methods"),
    "misspecification_lm_models": ("misspecification/central", "misspecification/sizes"),
    "real_text": ("imdb",),
    "cost": ("cost/race.json", "cost/phases.json", "cost/exact.json"),
}

SUFFIXES = (".json", ".pdf", ".png")
COLUMN, PAGE = 3.4, 7.0  # widths in inches: one text column, two text columns
SIGNIFICANT_DIGITS = 9

_DPI = 200
_NO_DATES = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
_SAME_BYTES = {"pdf.compression": 0, "pdf.fonttype": 3, "savefig.bbox": "standard"}


def use_style() -> None:
    """Switch matplotlib to the style of the compendium (rsail.mplstyle)."""
    plt.style.use(Path(__file__).with_name("rsail.mplstyle"))


def save_figure(fig: Figure, name: str, data: dict, *, folder: str | Path | None = None) -> None:
    """Write `name`.png, `name`.pdf and `name`.json (the plotted numbers), each atomically.

    Where the folder already holds the same numbers up to rounding errors (`agreement`) and the same picture,
    its files keep their content, so that a run on another processor leaves no differences behind.

    Parameters
    ----------
    name : str
        A key of `FIGURES`.
    data : dict
        What is plotted: numbers, strings, arrays, nested as needed. Floats keep 9 significant digits.
    folder : path, optional
        Where to write; by default the folder in the environment variable RSAIL_FIGURES, or else `figures/`.

    Raises
    ------
    ValueError
        If `name` is not declared in `FIGURES`, or `data` holds a NaN, an infinity or an object.
    """
    one_of("name", name, FIGURES)
    numbers = format_numbers(data)
    folder = Path(folder or os.environ.get("RSAIL_FIGURES") or FIGURES_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"png": render(fig, "png"), "pdf": render(fig, "pdf"), "json": numbers.encode()}
    stored = {suffix: folder / f"{name}.{suffix}" for suffix in files}
    if all(path.exists() for path in stored.values()):
        content = {suffix: path.read_bytes() for suffix, path in stored.items()}
        only_rounding = content["json"] != files["json"] and _agree(content, files)
        files = content if only_rounding else files
    for suffix, path in stored.items():
        write_atomically(path, files[suffix])


def _agree(stored: dict[str, bytes], drawn: dict[str, bytes]) -> bool:
    return numbers_agree(stored["json"].decode(), drawn["json"].decode()) and pictures_agree(
        stored["png"], drawn["png"]
    )


def render(fig: Figure, suffix: str) -> bytes:
    """`fig` as "png" (200 dots per inch) or "pdf", without dates and software versions."""
    buffer = io.BytesIO()
    extra = {"pil_kwargs": {"optimize": True}} if suffix == "png" else {}
    with plt.rc_context(_SAME_BYTES):
        _settle(fig)
        fig.savefig(buffer, format=suffix, dpi=_DPI, metadata=_NO_DATES[suffix], **extra)
    return buffer.getvalue()


def _settle(fig: Figure) -> None:
    # The layout engine starts from where the last drawing left the axes, so that a figure which was shown
    # before it is saved would differ in a few pixels. So: back to the grid, then draw until the axes stand
    # still; two passes were seen to be enough, four are cheap.
    dpi = fig.dpi
    fig.set_dpi(_DPI)
    for ax in fig.axes:
        place = ax.get_subplotspec()
        if place is not None and ax.get_in_layout() and fig.get_layout_engine() is not None:
            ax._set_position(place.get_position(ax.figure))
    for _ in range(4):
        fig.draw_without_rendering()
    fig.set_dpi(dpi)


def format_numbers(data: dict) -> str:
    """`data` as JSON: keys sorted, one line per top-level key, floats to 9 significant digits.

    Raises
    ------
    ValueError
        If a value is NaN, infinite, or not a number, string, sequence, array or dict; the message says where.
    """
    plain = _plain(data, "data")
    lines = [f"{json.dumps(key)}: {json.dumps(plain[key], sort_keys=True)}" for key in sorted(plain)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def rounded(data: dict) -> dict:
    """`data` as `save_figure` stores it: lists, and floats to 9 significant digits; the order is kept.

    A figure drawn from this has the same bytes on another processor, whose rounding errors differ.
    """
    return _plain(data, "data")


def _plain(value, where: str):
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError(f"{where} must be finite to be plotted and stored, got {value}")
        # Adding zero turns -0.0 into 0.0: its sign is noise that would change the file.
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") + 0.0
    raise ValueError(f"{where} must be a number, string, array, list or dict, got {type(value).__name__}")
