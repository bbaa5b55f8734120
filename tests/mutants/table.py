"""All mutants, in the order in which they run: notebooks, which take longest, last."""

from __future__ import annotations

from . import algorithms, family, formulas
from .digits import digit_mutants
from .mutant import Mutant
from .others import OTHERS
from .sites import FOLDER, site_mutants, targets
from .trainer import TRAINER


def all_mutants(seed: int = 0) -> list[Mutant]:
    """`seed` draws the digits."""
    by_hand = [
        Mutant(f"{module}: {name}", f"{FOLDER}/{module}.py", old, new, targets(module))
        for module, changes in (formulas.CHANGES | algorithms.CHANGES | family.CHANGES).items()
        for name, old, new in changes
    ]
    source = [*site_mutants(), *by_hand, *OTHERS, *TRAINER]
    return [*sorted(source, key=lambda mutant: bool(mutant.figures)), *digit_mutants(seed)]
