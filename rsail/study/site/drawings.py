"""Which function draws a figure, found in the notebook's own code."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import nbformat

from rsail.study.paths import ROOT


@dataclass(frozen=True)
class Drawing:
    """A figure that a code cell saves: its name, and file and line of the function that draws it (None: unknown)."""

    name: str
    file: str | None = None
    line: int | None = None
    function: str | None = None


def definition(module: str, name: str) -> tuple[str, int] | None:
    """File (from the root of the checkout) and line where a module defines a function or class, or None."""
    base = ROOT.joinpath(*module.split("."))
    path = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
    if not path.exists():
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return path.relative_to(ROOT).as_posix(), node.lineno
    return None


def imports(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """What each imported name of the notebook stands for, with dots."""
    names = {}
    for tree in map(_tree, notebook.cells):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            elif isinstance(node, ast.Import):
                names |= {a.asname: a.name for a in node.names if a.asname}
    return names


def drawings(cell: nbformat.NotebookNode, imported: dict[str, str]) -> list[Drawing]:
    """The figures that a code cell saves, in order."""
    assigned, found = {}, []
    for node in _tree(cell).body:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Assign) and isinstance(inner.value, ast.Call):
                assigned |= {ast.unparse(target): inner.value for target in inner.targets}
            if not isinstance(inner, ast.Call) or ast.unparse(inner.func).split(".")[-1] != "save_figure":
                continue
            figure, name = inner.args[0], inner.args[1]
            call = assigned.get(ast.unparse(figure), figure)
            if isinstance(name, ast.Constant):
                found.append(_drawing(name.value, call, imported))
    return found


def _drawing(name: str, call: ast.AST, imported: dict[str, str]) -> Drawing:
    if not isinstance(call, ast.Call):
        return Drawing(name)
    head, *rest = ast.unparse(call.func).split(".")
    full = ".".join([imported.get(head, head), *rest])
    place = definition(*full.rsplit(".", 1)) if "." in full else None
    return Drawing(name, *place, full) if place else Drawing(name)


def _tree(cell: nbformat.NotebookNode) -> ast.Module:
    try:
        return ast.parse(cell.source if cell.cell_type == "code" else "")
    except SyntaxError:  # a magic: no cell of the compendium has one
        return ast.parse("")
