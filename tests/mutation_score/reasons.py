"""Why the mutants that live do: by module and change, and by what several modules have in common."""

from __future__ import annotations

import re

# A change in any module, by a regular expression on its text `function: old -> new`.
COMMON = (
    (r"strict=True.* -> ", "a guard: both sequences are made from the same one, so their lengths agree"),
    (r"reshape\(-1.* -> .*reshape\(-2", "NumPy takes every negative size for the one it is to find"),
    (r"einsum\('[a-z,>-]+'.* -> .*einsum\('[A-Z,>-]+'", "only the letters of the indices are others"),
    (r"axis=-1.* -> (?!.*axis=).*", "the last axis is this function's default"),
    (r"device=.* -> ", "the tests of values run on the CPU, where this is the default"),
    (r"tolerance(?:XX)?'|TOLERANCE|xatol|XATOL|epsabs|limit=", "the accuracy of a search, beyond what is asked of it"),
    (r"max_steps: int|max_iterations|rounds: int", "a limit on the work that no test reaches"),
    (r"full_matrices=False.* -> .*full_matrices=None", "both are false"),
    (r"\.to\([a-z.]+\).* -> .*\.to\(None\)", "the type is the same already, or is promoted to it by what follows"),
)
BY_MODULE: dict[str, tuple[tuple[str, str, str], ...]] = {}


def reason(module: str, change: str) -> str | None:
    """The reason for a survivor of the record; None if there is none yet."""
    function, _, text = change.partition(": ")
    for name, part, why in BY_MODULE.get(module, ()):
        if name == function and part in text:
            return why
    return next((why for pattern, why in COMMON if re.search(pattern, text)), None)
