"""What mutmut would change, without running it: the name and the change of each mutant, and what is only a message."""

from __future__ import annotations

import ast
import difflib
import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

# Positions of the arguments that go into the text of an error message, by the name of the function.
MESSAGE_ARGUMENTS = {
    "require": (1, 2, 3),
    "one_of": (0,),
    "finite": (0,),
    "positive": (0,),
    "nonnegative": (0,),
    "preferences": (0,),
    "distribution": (0,),
    "count": (0,),
    "floating": (0,),
    "alike": (0, 2),
    "probability": (0, 2),
    "_parameter": (0,),
}
MESSAGE_KEYWORDS = {"base_law": ("name", "law")}
CONTEXT = 30  # characters shown on each side of a change


@dataclass(frozen=True)
class Change:
    """A mutant: mutmut's name within the module, and what it changes."""

    name: str
    function: str
    text: str
    message_only: bool
    source: str  # digest of the function without the mutant

    @property
    def stem(self) -> str:
        """mutmut's name of the function, without the mutant's number."""
        return self.name.rpartition("__mutmut_")[0]


def changes(path: Path, root: Path) -> list[Change]:
    """Every mutant that mutmut makes of the module `path`, relative to `root`."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    mutated = mutate_file_contents(str(path), (root / path).read_text(encoding="utf-8"))
    return of_mutated_source(mutated.code)


def of_mutated_source(code: str) -> list[Change]:
    """The mutants in a file that mutmut wrote: it holds each as a function of its own beside the original."""
    functions = {node.name: node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)}
    found = []
    for name, node in functions.items():
        stem, separator, number = name.rpartition("__mutmut_")
        if separator and number.isdigit():
            original = functions[f"{stem}__mutmut_orig"]
            function = stem.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
            same = _without_messages(original) == _without_messages(node)
            digest = hashlib.sha256(ast.dump(original).encode()).hexdigest()[:12]
            found.append(Change(name, function, _difference(original, node), same, digest))
    return found


def sample(found: list[Change], count: int, seed: str) -> list[Change]:
    """`count` of them, drawn by `seed`; all if there are no more."""
    chosen = random.Random(seed).sample(range(len(found)), min(count, len(found)))
    return [found[k] for k in sorted(chosen)]


class _Messages(ast.NodeTransformer):
    """Replaces what goes into the text of an error message."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        owner = getattr(node.func.value, "id", None) if isinstance(node.func, ast.Attribute) else "checks"
        if owner in ("checks", "arguments", "self"):
            for k in MESSAGE_ARGUMENTS.get(called, ()):
                if k < len(node.args):
                    node.args[k] = ast.Constant("message")
            node.keywords = [k for k in node.keywords if k.arg not in MESSAGE_KEYWORDS.get(called, ())]
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.exc, ast.Call):
            node.exc.args = [ast.Constant("message") for _ in node.exc.args]
        return node


def _text(function: ast.FunctionDef) -> list[str]:
    body = ast.unparse(ast.Module([function.args, *function.body], []))
    return body.replace("__mutmut_orig", "").splitlines()


def _without_messages(function: ast.FunctionDef) -> str:
    copy = ast.parse(ast.unparse(function)).body[0]
    copy.name = "function"
    return ast.dump(_Messages().visit(copy))


def _difference(original: ast.FunctionDef, mutant: ast.FunctionDef) -> str:
    """`old -> new`, the first changed line with some context."""
    lines = [line for line in difflib.ndiff(_text(original), _text(mutant)) if line[0] in "+-"]
    old = " ".join(line[2:].strip() for line in lines if line[0] == "-")
    new = " ".join(line[2:].strip() for line in lines if line[0] == "+")
    shortest = min(len(old), len(new))
    head = next((k for k in range(shortest) if old[k] != new[k]), shortest)
    rest = shortest - head
    tail = next((k for k in range(rest) if old[-1 - k] != new[-1 - k]), rest)
    start = max(0, head - CONTEXT)
    shown = [text[start : len(text) - max(0, tail - CONTEXT)] for text in (old, new)]
    return " -> ".join(shown)
