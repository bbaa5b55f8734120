"""The result files that a figure is said to show are those that its notebook's code leads to."""

import ast

import nbformat
import pytest

from rsail.study.figures import FIGURES, RESULT_FILES
from rsail.study.notebooks import NOTEBOOKS
from rsail.study.paths import NOTEBOOKS_DIR, RESULTS_DIR

MODELS_AND_TASKS = ("load_model", "load_task")


# Its data are an entry of a dictionary whose other entries are read: what the code says of a whole is not of a part.
PARTS = {"misspecification_sweeps"}


def names(node, context):
    inner = {
        n.id
        for c in ast.walk(node)
        if isinstance(c, ast.comprehension)
        for n in ast.walk(c.target)
        if isinstance(n, ast.Name)
    }
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)} - inner


def assigned(statement):
    """Names that the statement may change, also where it assigns to a part of them."""
    found = names(statement, ast.Store)
    for node in ast.walk(statement):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found |= names(node.value, ast.Load)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            (".append", ".update", ".setdefault")
        ):
            found |= names(node.func, ast.Load)
    return found


def whole(statement):
    """Names that the statement gives a new value whatever they were."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return {t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)} - {
        n
        for target in targets
        for t in ast.walk(target)
        if isinstance(t, ast.Subscript)
        for n in names(t, ast.Load)
    }


def reads(node):
    """Whether the code reads a result file."""
    called = [ast.unparse(n.func).split(".")[-1] for n in ast.walk(node) if isinstance(n, ast.Call)]
    return any(n == "read_result" or (n.startswith("load") and n not in MODELS_AND_TASKS) for n in called)


def statements(notebook):
    cells = nbformat.read(NOTEBOOKS_DIR / f"{notebook}.ipynb", as_version=4).cells
    return [s for cell in cells if cell.cell_type == "code" for s in ast.parse(cell.source).body]


def shows_results(code, saving):
    """Whether what the statement `saving` saves depends on a result file, followed backwards through the notebook."""
    needed, found = names(code[saving], ast.Load), False
    for statement in reversed(code[:saving]):
        own = assigned(statement)
        if isinstance(statement, ast.FunctionDef):
            own = {statement.name}
        if own & needed:
            found |= reads(statement)
            needed = (needed - (whole(statement) & needed)) | names(statement, ast.Load)
    return found


@pytest.mark.parametrize(
    "notebook", [notebook.name for notebook in NOTEBOOKS if notebook.name in FIGURES.values()]
)
def test_a_figure_has_result_files_if_and_only_if_its_numbers_come_from_some(notebook):
    code, found = statements(notebook), {}
    for k, statement in enumerate(code):
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "save_figure":
                found[node.args[1].value] = shows_results(code, k)
    assert found.keys() == {name for name, place in FIGURES.items() if place == notebook}
    assert {name for name, shown in found.items() if shown} - PARTS == RESULT_FILES.keys() & found.keys()


def test_what_is_declared_exists_and_the_notebook_says_that_it_reads_it():
    assert RESULT_FILES.keys() <= FIGURES.keys()
    for name, paths in RESULT_FILES.items():
        first = nbformat.read(NOTEBOOKS_DIR / f"{FIGURES[name]}.ipynb", as_version=4).cells[0].source
        assert paths and len(set(paths)) == len(paths), name
        for path in paths:
            assert (RESULTS_DIR / path).is_file() == path.endswith(".json"), (name, path)
            assert any((RESULTS_DIR / path).iterdir()) if not path.endswith(".json") else True, (name, path)
            assert f"data/results/{path.split('/')[0]}" in first, (name, path)
