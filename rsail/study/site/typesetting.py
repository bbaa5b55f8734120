"""What a converter's MathML lacks for browsers that draw MathML Core: letters, limits, primes, spaces of operators.

MathML Core knows no `mathvariant` but "normal", so letters of other alphabets are Unicode's. Spaces are those of
TeX's table for operators with a name (The TeXbook, chapter 18); before a bracket there is none.
"""

from __future__ import annotations

import html
import unicodedata
from xml.etree.ElementTree import Element

from rsail import checks

_LIMITS = {"max", "min", "sup", "inf", "lim", "arg", "argmax", "argmin"}
_UNDER = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
_SCRIPTED = {*_UNDER, *_UNDER.values()}
_PRIMES = {1: "′", 2: "″", 3: "‴", 4: "⁗"}
_CLOSING, _UNSPACED = ")]}⟩", "|‖/"
_SYMBOLS = {"~": "∼", "*": "∗"}  # what the converter has for \sim, and TeX for an asterisk
_ORDINARY = {"∞": "mi", "⊤": "mi", "…": "mi"}
_TIGHT = "−+±∇∂√¬∑∫"  # operators that a name keeps a space from, as TeX does from a variable
_THIN = "0.1667em"


def typeset(math: Element, latex: str) -> None:
    """Change the element in place; `latex` is for the message.

    Raises
    ------
    ValueError
        If a letter has no form in the alphabet that `latex` asks for.
    """
    for element in math.iter():
        element.text = html.unescape(element.text or "")
        _leaf(element, latex)
    _rows(math)
    for element in math.iter():
        _primes(element)
        _limits(element)
    for element in math.iter():
        if element.tag in ("math", "mrow", "mtd"):
            _spaces(list(element))


def _leaf(element: Element, latex: str) -> None:
    text = element.text = (
        element.text.strip(" ") if element.tag != "mtext" else element.text.replace("~", "\xa0")
    )
    text = element.text = text[1:] if text in (r"\{", r"\}") else text  # behind \big
    variant = element.get("mathvariant", "normal")
    if variant != "normal":
        element.text = "".join(_letter(character, variant, latex) for character in text)
        del element.attrib["mathvariant"]
    elif element.tag in ("mi", "mo") and len(text) == 1:
        category = unicodedata.category(text)
        element.text = text = text if "stretchy" in element.attrib else _SYMBOLS.get(text, text)
        element.tag = _ORDINARY.get(text, "mo" if category[0] in "SP" else element.tag)
        if text in _UNSPACED and "form" not in element.attrib:
            element.attrib |= {"lspace": "0", "rspace": "0"}
    elif element.tag in ("mi", "mo") and text.replace("\u2006", "").isalpha():
        element.tag = "mo"
        element.set("movablelimits", str(text.split("\u2006")[0] in _LIMITS).lower())


def _letter(character: str, variant: str, latex: str) -> str:
    """The character of Unicode's mathematical alphabet, some of which stand outside of its block."""
    kind = unicodedata.name(character).replace("LATIN ", "").replace("GREEK ", "").replace("LETTER ", "")
    style = variant.upper().replace("BOLD-ITALIC", "BOLD ITALIC")
    for name in (f"MATHEMATICAL {style} {kind}", f"{style} {kind}"):
        try:
            return unicodedata.lookup(name)
        except KeyError:
            continue
    checks.require(
        False, "latex", latex, f"made of letters that Unicode has as {variant}, which {character} is not"
    )


def _rows(element: Element) -> None:
    """Words of upright letters are one name."""
    for child in element:
        _rows(child)
    upright = [child.tag == "mi" and child.get("mathvariant") == "normal" for child in element]
    if element.tag == "mrow" and len(upright) > 1 and all(upright):
        word = "".join(child.text for child in element)
        for child in list(element):
            element.remove(child)
        element.tag, element.text = "mi", word


def _count_primes(element: Element) -> int:
    """How many primes the element consists of; 0 if it has anything else."""
    if element.tag == "mrow" and len(element):
        counts = [_count_primes(child) for child in element]
        return sum(counts) if all(counts) else 0
    return next((count for count, prime in _PRIMES.items() if element.text == prime), 0)


def _primes(element: Element) -> None:
    """One character for all primes in a row, as a single superscript."""
    while element.tag == "msup" and len(element) == 2 and element[0].tag in ("msup", "msubsup"):
        inner = element[0]
        count = _count_primes(inner[-1]) + _count_primes(element[1])
        if not (_count_primes(inner[-1]) and _count_primes(element[1])):
            break
        element.tag = inner.tag
        element[:] = [*inner[:-1], _prime(count)]
    if element.tag in ("msup", "msubsup") and (count := _count_primes(element[-1])):
        element[-1] = _prime(count)


def _prime(count: int) -> Element:
    prime = Element("mo")
    prime.text = _PRIMES[count]
    return prime


def _limits(element: Element) -> None:
    """What stands at max, sup, ... stands below in a display."""
    if element.tag in _UNDER and len(element) and element[0].get("movablelimits") == "true":
        element.tag = _UNDER[element.tag]


def _core(element: Element) -> Element:
    while element.tag in _SCRIPTED and len(element):
        element = element[0]
    return element


def _first(element: Element) -> Element:
    while element.tag in {"mrow", *_SCRIPTED} and len(element):
        element = element[0]
    return element


def _last(element: Element) -> Element:
    while element.tag in {"mrow", *_SCRIPTED} and len(element):
        element = element[-1 if element.tag == "mrow" else 0]
    return element


def _spaces(row: list[Element]) -> None:
    """A thin space between a named operator and a variable beside it; none to a bracket that follows."""
    for k, element in enumerate(row):
        core = _core(element)
        if core.tag != "mo" or "movablelimits" not in core.attrib:
            continue
        before = _last(row[k - 1]) if k else None
        after = _first(row[k + 1]) if k + 1 < len(row) else None
        core.set("lspace", _THIN if before is not None and _ends_ordinary(before) else "0")
        core.set("rspace", _THIN if after is not None and _begins_ordinary(after) else "0")
        if core.get("movablelimits") == "false":
            core.attrib.pop("movablelimits")


def _ends_ordinary(element: Element) -> bool:
    if element.tag == "mo":
        return element.text in tuple(_CLOSING)
    return element.tag not in ("mspace", "mtext")


def _begins_ordinary(element: Element) -> bool:
    if element.tag == "mo":
        return element.text in tuple(_TIGHT) or len(element.text) > 1
    return element.tag not in ("mspace", "mtext")
