"""The API reference: public names of the packages with signature, docstring and source, read without importing them."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from rsail.study.paths import ROOT
from rsail.study.site import docstrings

PACKAGES = (
    "rsail.exact",
    "rsail.objectives",
    "rsail.oracles",
    "rsail.training",
    "rsail.lm",
    "rsail.language",
)
_SHOWN_LINES = 14  # of a constant's value
_BOUNDS = {"gt": "&gt;", "ge": "≥", "lt": "&lt;", "le": "≤", "min_length": "length ≥"}


@dataclass(frozen=True)
class Public:
    """A public name: where it is defined, and its syntax tree."""

    name: str
    module: str
    path: str
    node: ast.stmt
    lines: list[str]


def public_names(package: str) -> list[Public]:
    """What `__all__` of the package names, found where the package takes it from."""
    tree = ast.parse(_file(package).read_text(encoding="utf-8"))
    values = {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    origin = {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    if "_MODULES" in values:  # names imported at their first use
        origin |= {n: f"{package}.{m}" for n, m in ast.literal_eval(values["_MODULES"]).items()}
    return [_find(name, origin[name]) for name in ast.literal_eval(values["__all__"])]


def package_docstring(package: str) -> str:
    """The package's docstring."""
    return ast.get_docstring(ast.parse(_file(package).read_text(encoding="utf-8"))) or ""


def to_html(package: str, address) -> str:
    """The page of a package; `address(path)` gives the address of a source page."""
    names = public_names(package)
    names += groups(names)
    index = "".join(f'<li><a href="#{p.name}"><code>{p.name}</code></a></li>' for p in names)
    parts = [f"<h1><code>{package}</code></h1>", docstrings.to_html(package_docstring(package))]
    parts.append(f'<ul class="names">{index}</ul>')
    parts += [_entry(p, address) for p in names]
    return "\n".join(parts)


def groups(names: list[Public]) -> list[Public]:
    """The classes of settings that are fields of those in `names`, and of these in turn."""
    found = {p.name: p for p in names}
    queue = list(names)
    for p in queue:  # which grows
        for field in fields(p):
            kind = ast.unparse(field.annotation)
            if kind.endswith("Config") and kind not in found:
                found[kind] = _find(kind, p.module)
                queue.append(found[kind])
    return queue[len(names) :]


def fields(p: Public) -> list[ast.AnnAssign]:
    """The fields of a class, without what only its decorator reads."""
    body = p.node.body if isinstance(p.node, ast.ClassDef) else []
    return [n for n in body if isinstance(n, ast.AnnAssign) and "ClassVar" not in ast.unparse(n.annotation)]


def _file(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _find(name: str, module: str) -> Public:
    path = _file(module)
    text = path.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if getattr(node, "name", None) == name or name in map(ast.unparse, targets):
            return Public(name, module, path.relative_to(ROOT).as_posix(), node, text.splitlines())
        if isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names):
            return _find(name, node.module)
    raise ValueError(f"name must be defined in {module}, got {name!r}")


def _entry(p: Public, address) -> str:
    source = f'<a class="source" href="{escape(address(p.path))}#L-{p.node.lineno}">source</a>'
    head = f'<section class="entry"><h2 id="{p.name}"><code>{p.name}</code> {source}</h2>'
    if isinstance(p.node, ast.FunctionDef):
        body = _signature(p.node) + docstrings.to_html(ast.get_docstring(p.node))
    elif isinstance(p.node, ast.ClassDef):
        body = _class(p)
    else:
        body = _constant(p)
    return f'{head}\n<p class="module">in <code>{p.module}</code></p>\n{body}</section>'


def _python(code: str) -> str:
    return highlight(code, PythonLexer(), HtmlFormatter(wrapcode=True))


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    whole = f"{node.name}({ast.unparse(node.args)}){returns}"
    if len(whole) > 88:
        a, parts = node.args, []
        regular = [*a.posonlyargs, *a.args]
        defaults = [None] * (len(regular) - len(a.defaults)) + list(a.defaults)
        parts += [_argument(x, d) for x, d in zip(regular, defaults, strict=True)]
        parts += [f"*{_argument(a.vararg, None)}"] if a.vararg else (["*"] if a.kwonlyargs else [])
        parts += [_argument(x, d) for x, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
        parts += [f"**{_argument(a.kwarg, None)}"] if a.kwarg else []
        whole = f"{node.name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returns}"
    return _python(whole)


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return ast.unparse(argument)
    sign = " = " if argument.annotation else "="
    return f"{ast.unparse(argument)}{sign}{ast.unparse(default)}"


def _comment(p: Public, line: int) -> str:
    """The comments above and behind a line (counted from 1)."""
    above, k = [], line - 2
    while k >= 0 and p.lines[k].strip().startswith("#"):
        above.insert(0, p.lines[k].strip().lstrip("# "))
        k -= 1
    _, mark, behind = p.lines[line - 1].partition("  # ")
    return " ".join([*above, behind] if mark else above)


def _class(p: Public) -> str:
    bases = ", ".join(map(ast.unparse, p.node.bases))
    parts = [_python(f"class {p.name}({bases})" if bases else f"class {p.name}")]
    parts.append(docstrings.to_html(ast.get_docstring(p.node)))
    named = _named_in(ast.get_docstring(p.node) or "")
    rows = [_field(p, field) for field in fields(p) if ast.unparse(field.target) not in named]
    if rows:
        parts.append(f'<h4 class="section">Fields</h4><dl>{"".join(rows)}</dl>')
    methods = [n for n in p.node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    for n in methods:
        decorators = "".join(f"@{ast.unparse(d)}\n" for d in n.decorator_list)
        doc = docstrings.to_html(ast.get_docstring(n))
        shown = _signature(n) if not decorators else _python(decorators + f"{n.name}({ast.unparse(n.args)})")
        parts.append(f'<div class="method" id="{p.name}.{n.name}">{shown}{doc}</div>')
    return "\n".join(parts)


def _named_in(docstring: str) -> set[str]:
    """Names that stand at the margin of a docstring's sections, each described there."""
    heads = re.findall(r"^(\w[\w, ]*?) :", docstring, re.MULTILINE)
    return {name.strip() for head in heads for name in head.split(",")}


def _field(p: Public, field: ast.AnnAssign) -> str:
    """A field with its default and bounds, and the text below it or the comment beside it."""
    kind, value, bounds = field.annotation, field.value, []
    if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Annotated":
        kind = kind.slice.elts[0]
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        given = {k.arg: k.value for k in value.keywords}
        bounds = [f"{_BOUNDS[key]} {ast.unparse(bound)}" for key, bound in given.items() if key in _BOUNDS]
        made = ast.Call(given["default_factory"], [], []) if "default_factory" in given else None
        value = value.args[0] if value.args else given.get("default", made)
    shown = f"{ast.unparse(field.target)}: {ast.unparse(kind)}" + (
        f" = {ast.unparse(value)}" if value else ""
    )
    following = p.node.body[p.node.body.index(field) + 1 :][:1]
    text = _comment(p, field.lineno)
    if following and isinstance(following[0], ast.Expr) and isinstance(following[0].value, ast.Constant):
        text = " ".join(str(following[0].value.value).split())
    html = docstrings.inline(text) + (
        f' <span class="together">({", ".join(bounds)})</span>' if bounds else ""
    )
    if ast.unparse(kind).endswith("Config"):
        html += f' Its fields: <a href="#{ast.unparse(kind)}">{ast.unparse(kind)}</a>.'
    return f"<dt><code>{escape(shown)}</code></dt><dd>{html}</dd>"


def _constant(p: Public) -> str:
    lines = p.lines[p.node.lineno - 1 : p.node.end_lineno]
    more = ["    ..."] if len(lines) > _SHOWN_LINES else []
    comment = _comment(p, p.node.lineno)
    return (f"<p>{docstrings.inline(comment)}</p>" if comment else "") + _python(
        "\n".join(lines[:_SHOWN_LINES] + more)
    )
