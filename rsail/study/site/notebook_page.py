"""One notebook as blocks of HTML, from its committed outputs: nothing is run."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from html import escape

import nbformat
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from rsail.study.site import drawings
from rsail.study.site.mathematics import mathml
from rsail.study.site.text import Renderer, plain, render, scrolling

CAPTION = re.compile(r"\s*\*\*Figure")
_ALT_LENGTH = 280  # characters: a screen reader reads an alternative text in one breath


@dataclass
class Block:
    """A piece of the page: `markdown`, `code`, `latex`, `stream`, or `image` with its figure."""

    kind: str
    content: str
    drawing: drawings.Drawing | None = None
    caption: str = ""  # Markdown
    count: int | None = None


@dataclass
class Pictures:
    """Pictures that are no committed figures: file name on the site, and bytes."""

    prefix: str
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, content: bytes) -> str:
        name = f"{self.prefix}_{len(self.files) + 1}.png"
        self.files[name] = content
        return name


def blocks(notebook: nbformat.NotebookNode) -> list[Block]:
    """The cells and their outputs in reading order, captions moved to their figures."""
    imported, found = drawings.imports(notebook), []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found.append(Block("markdown", cell.source))
        elif cell.cell_type == "code" and cell.source.strip():
            found.append(Block("code", cell.source, count=cell.execution_count))
            saved = drawings.drawings(cell, imported)
            for output in cell.outputs:
                block = _output(output)
                if block and block.kind == "image" and saved:
                    block.drawing = saved.pop(0)
                found += [block] if block else []
    _move_captions(found)
    return found


def _output(output: nbformat.NotebookNode) -> Block | None:
    if output.output_type == "stream":
        return Block("stream", output.text)
    if output.output_type == "error":
        return Block("stream", f"{output.ename}: {output.evalue}")
    data = output.get("data", {})
    for mime, kind in (
        ("image/png", "image"),
        ("text/markdown", "markdown"),
        ("text/latex", "latex"),
        ("text/plain", "stream"),
    ):
        if mime in data:
            return Block(kind, data[mime])
    return None


def _move_captions(found: list[Block]) -> None:
    """Give each picture the next text that begins as a caption, unless another picture comes first."""
    for k, block in enumerate(found):
        if block.kind != "image":
            continue
        for later in found[k + 1 :]:
            if later.kind == "image":
                break
            if later.kind == "markdown" and CAPTION.match(later.content):
                block.caption, _, later.content = later.content.strip().partition("\n\n")
                break


def to_html(found: list[Block], renderer: Renderer, figure, pictures: Pictures) -> str:
    """The blocks as HTML.

    Parameters
    ----------
    figure : callable
        Takes a Drawing; returns the address of its picture and HTML of links, or None if it is not committed.
    """
    parts, text_before = [], ""
    for block in found:
        match block.kind:
            case "markdown":
                html = render(block.content, renderer)
                text_before = plain(html) or text_before
                parts.append(html)
            case "latex":
                parts.append(scrolling(mathml(block.content, block=True)))
            case "stream":
                parts.append(f'<pre class="output" tabindex="0">{escape(block.content.rstrip())}</pre>\n')
            case "code":
                parts.append(_code(block))
            case "image":
                parts.append(_figure(block, renderer, figure, pictures, text_before))
    return "".join(parts)


def _code(block: Block) -> str:
    statements = [
        line for line in block.content.splitlines() if line and not line.startswith((" ", "#", ")"))
    ]
    setup = all(line.startswith(("import ", "from ")) for line in statements)
    html = highlight(block.content, PythonLexer(), HtmlFormatter(wrapcode=True))
    label = f"[{block.count}]" if block.count else "not executed"
    title = "Imports" if setup else "Code"
    return f'<details class="code"{"" if setup else " open"}><summary>{title} {label}</summary>{html}</details>\n'


def _figure(block: Block, renderer: Renderer, figure, pictures: Pictures, text_before: str) -> str:
    committed = figure(block.drawing) if block.drawing else None
    address, links = committed or (pictures.add(base64.b64decode(block.content)), "")
    caption = render(block.caption, renderer) if block.caption else ""
    alternative = shortened(plain(caption)) or shortened(text_before) or "A figure of this notebook"
    anchor = f' id="figure-{escape(block.drawing.name)}"' if committed else ""
    caption = f"<figcaption>{caption}{links}</figcaption>" if caption or links else ""
    picture = f'<img src="{escape(address)}" alt="{escape(alternative)}" loading="lazy">'
    return f'<figure{anchor}><a href="{escape(address)}">{picture}</a>{caption}</figure>\n'


def shortened(text: str) -> str:
    """The whole sentences that fit into an alternative text."""
    if len(text) <= _ALT_LENGTH:
        return text
    head = text[:_ALT_LENGTH]
    end = max(head.rfind(". "), head.rfind("? "), head.rfind(": "))
    return head[: end + 1] if end > 40 else head.rsplit(" ", 1)[0] + " …"
