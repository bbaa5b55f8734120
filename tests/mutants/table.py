"""All mutants, in the order in which they run: notebooks, which take longest, last."""

from __future__ import annotations

from .digits import digit_mutants
from .exact import exact_mutants
from .mutant import Mutant
from .others import OTHERS
from .sites import site_mutants


def all_mutants(seed: int = 0) -> list[Mutant]:
    """`seed` draws the digits."""
    source = [*site_mutants(), *exact_mutants(), *OTHERS]
    return [*sorted(source, key=lambda mutant: bool(mutant.figures)), *digit_mutants(seed)]
