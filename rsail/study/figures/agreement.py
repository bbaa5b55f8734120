"""Whether a figure that was drawn again is the stored one, up to another processor's rounding errors.

Numbers are printed to 9 digits; what an iteration leaves over (a residual, a coordinate that should be zero)
carries rounding errors in fewer digits than that, and these differ between processors.
"""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image

RELATIVE = 1e-7
ABSOLUTE = 1e-12  # of the largest number under the same top-level key
# Anti-aliasing may differ between builds of the fonts; a line in another color or place may not.
_COLOR_STEP = 48
_SHARE_OF_PIXELS = 1e-3


def numbers_agree(one: str, other: str) -> bool:
    """Two texts of `format_numbers`: same structure and strings; floats within 1e-7 of each other's size,
    or within 1e-12 of the largest number under their top-level key."""
    if one == other:
        return True
    try:
        first, second = json.loads(one), json.loads(other)
    except json.JSONDecodeError:
        return False
    return first.keys() == second.keys() and all(_alike(first[key], second[key]) for key in first)


def pictures_agree(one: bytes, other: bytes) -> bool:
    """Two PNG files: same size, and fewer than one pixel in a thousand of a clearly different color."""
    try:
        first, second = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int) for png in (one, other))
    except OSError:  # not a picture, or half of one
        return False
    if first.shape != second.shape:
        return False
    return bool((np.abs(first - second).max(axis=-1) > _COLOR_STEP).mean() < _SHARE_OF_PIXELS)


def _alike(first, second) -> bool:
    leaves = _leaves(first), _leaves(second)
    if [path for path, _ in leaves[0]] != [path for path, _ in leaves[1]]:
        return False
    pairs = [(a, b) for (_, a), (_, b) in zip(*leaves, strict=True)]
    scale = max((abs(a) for a, _ in pairs if isinstance(a, float)), default=0.0)
    for a, b in pairs:
        if isinstance(a, float) and isinstance(b, float):
            if abs(a - b) > RELATIVE * max(abs(a), abs(b)) + ABSOLUTE * scale:
                return False
        elif type(a) is not type(b) or a != b:
            return False
    return True


def _leaves(value, path: tuple = ()) -> list[tuple[tuple, object]]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in _leaves(item, (*path, index))]
    return [(path, value)]
