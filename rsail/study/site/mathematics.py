"""LaTeX to MathML: equations that a browser draws by itself, without scripts and without fonts from elsewhere."""

from __future__ import annotations

import re
from functools import cache
from html import escape

from latex2mathml.converter import convert

from rsail import checks


@cache
def mathml(latex: str, *, block: bool = False) -> str:
    r"""A `<math>` element; its attribute `alttext` keeps the LaTeX.

    Parameters
    ----------
    latex : str
        The equation without its dollars.
    block : bool
        On a line of its own.

    Raises
    ------
    ValueError
        If the equation has a command that the converter does not know.
    """
    source = _portable(latex.strip())
    converted = convert(source, display="block" if block else "inline")
    converted = converted.replace('xmlns="http://www.w3.org/1998/Math/MathML" ', "")
    converted = re.sub(r">\\([{}])<", r">\1<", converted)  # a brace behind \\big keeps its backslash
    checks.require("\\" not in converted, "latex", latex, "made of known commands")
    return converted.replace("<math ", f'<math alttext="{escape(latex.strip(), quote=True)}" ', 1)


def _portable(latex: str) -> str:
    """What MathJax reads, in the words of the converter."""
    latex = re.sub(r"^\$+|\$+$", "", latex)  # IPython's Math wraps its LaTeX once more
    latex = latex.replace(r"\displaystyle", "")
    latex = re.sub(r"\\tag\{([^{}]*)\}", r"\\qquad(\\text{\1})", latex)
    latex = re.sub(r"\\arg(?![A-Za-z])", r"\\operatorname{arg}", latex)
    latex = re.sub(r"\\operatorname\*", r"\\operatorname", latex)
    return latex.strip()
