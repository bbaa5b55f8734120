"""What the numbers of a run depend on besides its configuration: Python and the libraries."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import rsail

LIBRARIES = (
    "accelerate",
    "datasets",
    "matplotlib",
    "numpy",
    "scipy",
    "sympy",
    "tokenizers",
    "torch",
    "transformers",
)


def versions() -> dict:
    """Versions of the package, of Python and of the libraries (None where one is not installed)."""
    return {
        "rsail": rsail.__version__,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
