"""What notebooks print: rounded so that another CPU prints the same, and never an object's repr.

nbval compares these texts, Markdown and LaTeX with a fresh run, so each helper is deterministic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral, Real

import numpy as np
from IPython.display import Markdown, Math, display


def text_of(value, digits: int = 3) -> str:
    """`value` as text: floats with `digits` decimals, integers whole, arrays and lists in brackets."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str) or value is None or isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        # Adding zero after rounding turns "-0.000" into "0.000".
        return f"{round(float(value), digits) + 0.0:.{digits}f}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(text_of(item, digits) for item in value) + "]"
    raise TypeError(f"value must be a number, string, array or list of these, got {type(value).__name__}")


def show(label: str, value, digits: int = 3) -> None:
    """Print "label: value", floats with `digits` decimals."""
    print(f"{label}: {text_of(value, digits)}")


def check_below(label: str, value: float, tolerance: float) -> None:
    """Assert |value| <= tolerance and print just that: the digits of a rounding error are not stable."""
    value = abs(float(value))
    assert value <= tolerance, f"{label}: {value:.3g} is above the tolerance {tolerance:.0e}"
    print(f"{label}: at most {tolerance:.0e}")


def say(sentence: str) -> None:
    """Show a sentence of Markdown whose numbers were computed."""
    display(Markdown(sentence))


def equation(lhs, rhs=None, *, relation: str = "=") -> None:
    r"""Display ``lhs = rhs`` in LaTeX; each side is a SymPy object or a string that is LaTeX already."""
    import sympy  # here, because it takes a second and most notebooks need no equation from it

    sides = [side for side in (lhs, rhs) if side is not None]
    latex = [side if isinstance(side, str) else sympy.latex(side) for side in sides]
    display(Math(f" {relation} ".join(latex)))


def markdown_table(rows: Iterable[Sequence], headers: Sequence[str], digits: int = 3) -> str:
    """A Markdown table as text: numbers rounded and set right, the rest left.

    Raises
    ------
    ValueError
        If a row does not have one entry per header.
    """
    rows = [list(row) for row in rows]
    for index, row in enumerate(rows):
        if len(row) != len(headers):
            raise ValueError(
                f"rows[{index}] must have {len(headers)} entries, one per header, got {len(row)}"
            )
    numeric = [
        bool(rows) and all(isinstance(row[k], Real) and not isinstance(row[k], bool) for row in rows)
        for k in range(len(headers))
    ]
    rule = ["---:" if right else "---" for right in numeric]
    body = [[text_of(value, digits).replace("|", r"\|") for value in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(headers), rule, *body])


def table(rows: Iterable[Sequence], headers: Sequence[str], digits: int = 3) -> None:
    """Display rows as a Markdown table, floats with `digits` decimals."""
    display(Markdown(markdown_table(rows, headers, digits)))
