"""Docstrings in numpy's style as HTML."""

from __future__ import annotations

import inspect
import re
from html import escape


def to_html(docstring: str | None) -> str:
    """Paragraphs, sections (Parameters, Returns, Raises, ...), lists of names and indented blocks."""
    if not docstring:
        return ""
    parts, lines = [], inspect.cleandoc(docstring).splitlines()
    heads = [k for k in range(len(lines) - 1) if lines[k].strip() and re.fullmatch(r"-{3,}", lines[k + 1])]
    ends = [*heads, len(lines)]
    parts.append(_paragraphs(lines[: ends[0]]))
    for head, end in zip(heads, ends[1:], strict=True):
        parts.append(f'<h4 class="section">{escape(lines[head])}</h4>{_section(lines[head + 2 : end])}')
    return "\n".join(part for part in parts if part)


def inline(text: str) -> str:
    """Text with `code` and ``code``."""
    return re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", escape(text, quote=False), flags=re.DOTALL)


def _paragraphs(lines: list[str]) -> str:
    found = []
    for group in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if group.strip() and all(line.startswith("    ") for line in group.splitlines()):
            found.append(f'<pre class="output">{escape(inspect.cleandoc(group))}</pre>')
        elif group.strip():
            found.append(f"<p>{inline(group)}</p>")
    return "\n".join(found)


def _section(lines: list[str]) -> str:
    """Names at the margin, each with what is indented below it; plain paragraphs where nothing is indented."""
    if not any(line.startswith("    ") for line in lines):
        return _paragraphs(lines)
    items: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.strip() and not line.startswith(" "):
            items.append((line, []))
        elif items:
            items[-1][1].append(line[4:])
    rows = [f"<dt><code>{escape(name)}</code></dt><dd>{_paragraphs(text)}</dd>" for name, text in items]
    return f"<dl>{''.join(rows)}</dl>"
