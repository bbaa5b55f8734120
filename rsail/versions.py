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


def differences(found: dict, wanted: dict, now: str = "asked for") -> list[str]:
    """``name (FOUND there, WANTED now)`` of every entry in which two nested dicts differ, sorted by name."""
    return sorted(_differences(found, wanted, "", now))


def _differences(found: dict, wanted: dict, prefix: str, now: str) -> list[str]:
    names = []
    for key in found.keys() | wanted.keys():
        left, right = found.get(key), wanted.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            names += _differences(left, right, f"{prefix}{key}.", now)
        elif left != right:
            names.append(f"{prefix}{key} ({left!r} there, {right!r} {now})")
    return names
