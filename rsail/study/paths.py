"""Where everything is: the only place that knows the folders of the compendium.

The compendium is a checkout, not an installed wheel: notebooks, figures and committed results lie beside the
package. The package itself (`rsail.exact`, `rsail.objectives`, ...) works anywhere; this module does not.
"""

from __future__ import annotations

from pathlib import Path


def find_root(package: Path) -> Path:
    """The checkout that holds the folder `package`; RuntimeError, with the remedy, if there is none."""
    root = package.resolve().parent
    missing = [name for name in ("pyproject.toml", "notebooks") if not (root / name).exists()]
    if missing:
        raise RuntimeError(
            f"rsail.study needs a checkout of the compendium, but there is no {' and no '.join(missing)} "
            f"beside the package at {package}; clone the repository and use 'pip install --editable .'"
        )
    return root


ROOT = find_root(Path(__file__).parents[1])
NOTEBOOKS_DIR = ROOT / "notebooks"
FIGURES_DIR = ROOT / "figures"
DATA_DIR = ROOT / "data"
RESULTS_DIR = DATA_DIR / "results"
BUILD_DIR = ROOT / "build"
