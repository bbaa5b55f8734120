"""LaTeX to MathML: equations that a browser draws by itself, without scripts and without fonts from elsewhere."""

from __future__ import annotations

import re
from functools import cache
from xml.etree.ElementTree import tostring

from latex2mathml import exceptions
from latex2mathml.converter import Converter

from rsail import checks
from rsail.study.site.typesetting import typeset

_ERRORS = tuple(kind for kind in vars(exceptions).values() if isinstance(kind, type))  # they have no base


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
        If the equation has a command that the converter does not know, or is not well formed.
    """
    converter = Converter(display="block" if block else "inline")
    try:
        math = converter.convert_to_element(_portable(latex.strip()))
    except _ERRORS as error:
        raise ValueError(f"latex must be well formed, got {latex!r}: {type(error).__name__}") from error
    del math.attrib["xmlns"]
    typeset(math, latex)
    text = "".join(math.itertext())
    checks.require("\\" not in text and "&" not in text, "latex", latex, "made of known commands")
    math.attrib = {"alttext": latex.strip()} | math.attrib
    return tostring(math, encoding="unicode", short_empty_elements=False)


def _portable(latex: str) -> str:
    """What MathJax reads, in the words of the converter."""
    latex = re.sub(r"^\$+|\$+$", "", latex)  # IPython's Math wraps its LaTeX once more
    latex = latex.replace(r"\displaystyle", "")
    latex = re.sub(r"\\tag\{([^{}]*)\}", r"\\qquad(\\text{\1})", latex)
    latex = re.sub(r"\\arg(?![A-Za-z])", r"\\operatorname{arg}", latex)
    latex = re.sub(r"\\operatorname\*", r"\\operatorname", latex)
    return latex.strip()
