"""Every constant of a formula in `rsail.exact` halved, and every sign flipped, found in the syntax tree.

Left out is what no formula holds: indices, axes, sizes, messages, whole numbers as defaults, zeros, numbers below
1e-4 (tolerances); and the changes that `equivalent` lists with the reason for which no test can notice them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from .equivalent import EQUIVALENT
from .mutant import ROOT, Mutant

FOLDER = "rsail/exact"
SMALLEST = 1e-4
NO_FORMULA = {"__init__": "names only"}
# Arguments that choose a place, a layout or an accuracy.
_SETTINGS = {"axis", "axes", "k", "ndim", "repeat", "rcond", "tol", "tolerance", "xtol", "rtol", "options"}
# Calls that check or count, and steps of loops.
_CALLS = {"require", "range", "arange", "swapaxes", "moveaxis", "reshape"}
# Tests in the order in which they are likely to notice; by default the module's own file.
_TESTS = {
    "arguments": ("problem", "losses", "gini"),
    "gini": ("gini", "losses"),
    "landscape": ("landscape", "descent"),
    "losses": ("losses", "problem", "one_pair", "subdifferential"),
    "newton": ("newton", "planning", "game"),
    "problem": ("problem", "constants", "radius", "hessian"),
    "moreau": ("moreau", "rscgd"),
    "subdifferential": ("subdifferential", "moreau"),
}


def site_mutants() -> list[Mutant]:
    """One mutant per constant and sign that a test must notice."""
    return [mutant for mutant in all_sites() if mutant.name not in EQUIVALENT]


@cache
def all_sites() -> tuple[Mutant, ...]:
    """The same with those that `equivalent` lists."""
    return tuple(
        mutant
        for path in sorted((ROOT / FOLDER).glob("*.py"))
        if path.stem not in NO_FORMULA
        for mutant in of_module(path.stem, path.read_text(encoding="utf-8"))
    )


def targets(module: str) -> tuple[str, ...]:
    """Test files of a module of `rsail.exact`."""
    return tuple(f"tests/exact/test_{name}.py" for name in _TESTS.get(module, (module,)))


def of_module(module: str, source: str) -> list[Mutant]:
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    found, seen = [], {}
    for node, scope, whole in _sites(ast.parse(source), (), None):
        place, old, new = _change(node, source, offset)
        text = re.sub(r"\s+", " ", ast.unparse(whole))
        name = f"{module}.{'.'.join(scope) or 'constants'}: {old} -> {new or 'nothing'} in {_shorten(text)}"
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            name += f" ({seen[name]})"
        start, end = _unique(source, place, place + len(old))
        changed = source[start:place] + new + source[place + len(old) : end]
        found.append(Mutant(name, f"{FOLDER}/{module}.py", source[start:end], changed, targets(module)))
    return found


def _sites(node: ast.AST, scope: tuple[str, ...], whole: ast.AST | None) -> Iterator[tuple]:
    """(node, names of the functions around it, the expression around it) of each constant and sign."""
    if isinstance(node, ast.JoinedStr | ast.Raise) or _is_setting(node):
        return
    if isinstance(node, ast.arguments):  # a default that is no whole number may be a weight
        for default in (*node.defaults, *node.kw_defaults):
            if isinstance(default, ast.Constant) and isinstance(default.value, float):
                yield from _sites(default, scope, None)
        return
    if isinstance(node, ast.Subscript):  # an index is no number of a formula
        yield from _sites(node.value, scope, whole)
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        scope = (*scope, node.name)
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.UnaryOp):
        whole = node
    if isinstance(node, ast.Constant) and type(node.value) in (int, float) and abs(node.value) >= SMALLEST:
        yield node, scope, whole or node
    elif (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)) or _is_sum(node):
        yield node, scope, node
    for child in ast.iter_child_nodes(node):
        yield from _sites(child, scope, whole)


def _is_sum(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub)


def _is_setting(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg in _SETTINGS
    if isinstance(node, ast.Compare):
        return any(isinstance(n, ast.Attribute) and n.attr in ("ndim", "size") for n in ast.walk(node))
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name in _CALLS
    return False


def _change(node: ast.AST, source: str, offset) -> tuple[int, str, str]:
    """Where the old text of a site begins, the old text and the new one."""
    start = offset(node.lineno, node.col_offset)
    if isinstance(node, ast.Constant):
        old = source[start : offset(node.end_lineno, node.end_col_offset)]
        half = node.value / 2
        return start, old, repr(int(half) if isinstance(node.value, int) and half.is_integer() else half)
    if isinstance(node, ast.UnaryOp):
        return start, "-", ""
    left, right = (node.target, node.value) if isinstance(node, ast.AugAssign) else (node.left, node.right)
    start = offset(left.end_lineno, left.end_col_offset)
    gap = source[start : offset(right.lineno, right.col_offset)]
    gap = re.sub(r"#.*", lambda comment: " " * len(comment[0]), gap)
    old = "+" if isinstance(node.op, ast.Add) else "-"
    return start + gap.index(old), old, "-" if old == "+" else "+"


def _unique(source: str, start: int, end: int) -> tuple[int, int]:
    """The line around a place, and as many lines before it as it takes to be found nowhere else."""
    first, last = source.rfind("\n", 0, start) + 1, source.find("\n", end)
    while source.count(source[first:last]) > 1:
        first = source.rfind("\n", 0, first - 1) + 1
    return first, last


def _shorten(text: str, most: int = 70) -> str:
    return text if len(text) <= most else f"{text[: most - 4]} ..."
