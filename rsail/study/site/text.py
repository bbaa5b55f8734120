"""Markdown to HTML: equations as MathML, links within the site, headings with GitHub's anchors."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from rsail.study.site.mathematics import mathml

_LONG = 24  # characters: a longer equation in a line may be wider than a phone
_PHRASE, _PROSE = 40, 100  # characters in a table's cell from which on it has a least width
_NUMBER = r"[-−+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?"
_TOGETHER = re.compile(rf"(?:{_NUMBER} )?\[{_NUMBER}, {_NUMBER}\]|\b\w = {_NUMBER}|\b\d+e-\d+")
_NAME = re.compile(r"[^\s<>&]{16,}")
_LEFT_ALONE = re.compile(r"(<math.*?</math>|<[^>]+>)", re.DOTALL)


def plain(html: str) -> str:
    """What a reader sees of some HTML, as one line of text."""
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def cell(html: str) -> str:
    """A cell's HTML: intervals stay on one line, long names may break behind their separators."""
    parts = _LEFT_ALONE.split(html)
    for k in range(0, len(parts), 2):
        text = _NAME.sub(lambda name: re.sub(r"(::|[_/.=])(?=\w)", r"\1<wbr>", name.group()), parts[k])
        parts[k] = _TOGETHER.sub(r'<span class="together">\g<0></span>', text)
    return "".join(parts)


def scrolling(html: str) -> str:
    """Something wide in a frame that scrolls by itself, reachable by keyboard."""
    return f'<div class="wide" tabindex="0">{html}</div>\n'


class Renderer(IPythonRenderer):
    """One page: `link` turns a target as written into an address; `headings` fills up as text is rendered."""

    def __init__(self, link: Callable[[str], str]):
        super().__init__(escape=False)
        self.to_address = link
        self.headings: list[tuple[int, str, str]] = []  # level, anchor, HTML
        self._used: dict[str, int] = {}

    def anchor(self, title: str) -> str:
        """GitHub's anchor of a heading, numbered where a page has it twice."""
        base = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") or "section"
        count = self._used.get(base, 0)
        self._used[base] = count + 1
        return f"{base}-{count}" if count else base

    def heading(self, text: str, level: int, **attributes) -> str:
        anchor = self.anchor(plain(text))
        self.headings.append((level, anchor, text))
        return (
            f'<h{level} id="{escape(anchor)}">{text}'
            f'<a class="anchor" href="#{escape(anchor)}" aria-label="Link to this section">¶</a></h{level}>\n'
        )

    def inline_math(self, body: str) -> str:
        html = mathml(body)
        return f'<span class="long">{html}</span>' if len(plain(html)) > _LONG else html

    def block_math(self, body: str) -> str:
        return scrolling(mathml(body, block=True))

    def latex_environment(self, name: str, body: str) -> str:
        return scrolling(mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True))

    def table(self, text: str) -> str:
        return scrolling(f"<table>\n{text}</table>").replace('class="wide"', 'class="wide tabular"')

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        tag, prose = ("th" if head else "td"), plain(re.sub(r"<code>.*?</code>", "", text))
        whole = len(plain(text))
        kind = "prose" if len(prose) >= _PROSE else "identifiers" if whole >= len(prose) + _PROSE else ""
        kind = kind or ("phrase" if whole >= _PHRASE else "")
        style = f' style="text-align:{align}"' if align else ""
        named = f' class="{kind}"' if kind and not head else ""
        return f"  <{tag}{named}{style}>{cell(text)}</{tag}>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, self.to_address(url), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        address = self.to_address(url)
        return f'<a href="{escape(address)}"><img src="{escape(address)}" alt="{escape(plain(text))}"></a>'


def render(markdown: str, renderer: Renderer) -> str:
    """The Markdown as HTML."""
    return MarkdownWithMath(renderer=renderer).render(markdown)
