"""Lint of the committed notebooks: executed in order, clean, compared, and in step with the figures.

nbval says whether a fresh run gives the committed outputs; this says whether the committed outputs are worth
comparing. A notebook that was never executed would pass nbval, and so would a picture of something else.
"""

import json
import re
from pathlib import Path

import nbformat
import pytest

from rsail.study.display import markdown_table
from rsail.study.figures import FIGURES, inventory
from rsail.study.notebooks import NOTEBOOKS, REPRODUCE
from rsail.study.paths import FIGURES_DIR, NOTEBOOKS_DIR, ROOT

PATHS = sorted(NOTEBOOKS_DIR.glob("*.ipynb"))
COMPARED_PATHS = [path for path in PATHS if path.stem != REPRODUCE]
MAX_LINES = 25
MAX_BYTES = 1_500_000

ABSOLUTE_PATH = re.compile(r"(?<![\w.<])/(?:home|root|work|tmp|usr|var|opt|mnt|Users)\b|\b[A-Z]:\\(?=[A-Z])")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
PROGRESS = re.compile(r"\r|\bit/s\b|\d+%\|")
REPR = re.compile(r"^<[\w.]+(?: object| size).*>$")
LINK = re.compile(r"\]\(([\w-]+\.ipynb)\)")
NBVAL_COMMENT = re.compile(r"^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE\w+)", re.MULTILINE)
ASSERTS = re.compile(r"^\s*assert\b|\bcheck_below\(|\bassert_\w+\(", re.MULTILINE)
EXEMPT_TAGS = {"nbval-skip", "nbval-ignore-output"}
FORBIDDEN_TAGS = {"nbval-raises-exception", "raises-exception", "injected-parameters"}

each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
each_compared = pytest.mark.parametrize("path", COMPARED_PATHS, ids=lambda path: path.stem)


def load(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def output_texts(cell):
    """Everything a reader sees as text, by output; pictures left out."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        for kind, content in output.get("data", {}).items():
            if not kind.startswith("image/") or kind == "image/svg+xml":
                yield content if isinstance(content, str) else json.dumps(content)


def is_compared(cell):
    """Whether nbval compares something in this cell that a wrong number would change."""
    if tags(cell) & EXEMPT_TAGS:
        return False
    return any(text.strip() and not REPR.match(text.strip()) for text in output_texts(cell))


def is_setup(cell):
    """Whether the cell only imports or is the parameters cell, so that no output is to be expected."""
    lines = [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    imports = all(re.match(r"from |import |use_style\(\)|    \w+,?$|\)$", line) for line in lines)
    return imports or "parameters" in tags(cell)


def test_every_notebook_is_declared_and_every_declared_notebook_exists():
    declared = [REPRODUCE, *(notebook.name for notebook in NOTEBOOKS)]
    assert [path.stem for path in PATHS] == sorted(declared)
    assert declared == sorted(declared)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_the_readme_links_each_notebook_with_its_reading_time(notebook):
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (row,) = (
        line for line in lines if line.startswith("| [") and f"](notebooks/{notebook.name}.ipynb)" in line
    )
    assert row.rstrip("| ").endswith(f"| {notebook.minutes}")


@each
def test_kernel_is_python3_and_the_format_is_valid(path):
    notebook = load(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size < MAX_BYTES


@each
def test_every_code_cell_was_executed_once_and_in_order(path):
    cells = code_cells(load(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.source.strip() for cell in cells)


@each
def test_there_are_no_errors_and_nothing_on_stderr(path):
    for cell in code_cells(load(path)):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", output.text


@each
def test_no_papermill_metadata_is_left(path):
    notebook = load(path)
    for metadata in (notebook.metadata, *(cell.metadata for cell in notebook.cells)):
        assert not metadata.keys() & {"papermill", "execution", "widgets"}
    assert not any(tags(cell) & FORBIDDEN_TAGS for cell in notebook.cells)


@each
def test_outputs_show_no_paths_addresses_or_progress_bars(path):
    for cell in code_cells(load(path)):
        for text in output_texts(cell):
            for pattern in (ABSOLUTE_PATH, ADDRESS, PROGRESS):
                assert not pattern.search(text), (
                    f"{pattern.pattern} in output of cell [{cell.execution_count}]"
                )


@each
def test_the_first_cell_says_what_the_notebook_is(path):
    first = load(path).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    for word in ("question", "assum", "read", "writ", "paper"):
        assert word in first.source.lower(), f"the first cell does not mention {word}..."


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_the_heading_is_the_declared_title(notebook):
    heading = load(NOTEBOOKS_DIR / f"{notebook.name}.ipynb").cells[0].source.splitlines()[0]
    assert notebook.title in heading


@each
def test_there_is_one_parameters_cell_and_its_profile_is_quick(path):
    cells = [cell for cell in code_cells(load(path)) if "parameters" in tags(cell)]
    assert len(cells) == 1
    names = re.findall(r"^(\w+)[^=\n]*=", cells[0].source, re.MULTILINE)
    assert set(names) <= {"profile", "retrain"} and names.count("profile") == 1
    assert re.search(r'^profile(: str)? = "quick"', cells[0].source, re.MULTILINE)


@each
def test_the_profile_is_validated(path):
    assert any("get_profile(profile)" in cell.source for cell in code_cells(load(path)))


@each
def test_code_cells_are_short_and_use_no_tricks(path):
    for cell in code_cells(load(path)):
        lines = cell.source.splitlines()
        assert len(lines) <= MAX_LINES, f"{len(lines)} lines in cell [{cell.execution_count}]"
        assert not lines[-1].rstrip().endswith(";"), "nbval shows what a trailing semicolon hides"
        assert not re.search(r"^\s*[!%]|\bsys\.exit\b", cell.source, re.MULTILINE), cell.source


@each_compared
def test_cells_exempt_from_comparison_are_few_explained_and_carry_no_claim(path):
    cells = load(path).cells
    exempt = [k for k, cell in enumerate(cells) if cell.cell_type == "code" and tags(cell) & EXEMPT_TAGS]
    assert len(exempt) <= 1
    assert not any(NBVAL_COMMENT.search(cell.source) for cell in cells if cell.cell_type == "code")
    for k in exempt:
        assert not ASSERTS.search(cells[k].source), "a cell that asserts a claim must be compared"
        reason = cells[k - 1]
        assert reason.cell_type == "markdown" and re.search("compar", reason.source), "say why it is exempt"


@each_compared
def test_most_cells_print_something_that_nbval_compares(path):
    cells = [cell for cell in code_cells(load(path)) if not is_setup(cell)]
    compared = sum(map(is_compared, cells))
    assert 2 * compared >= len(cells), f"{compared} of {len(cells)} cells have a compared output"


@each_compared
def test_what_is_asserted_is_also_shown(path):
    cells = code_cells(load(path))
    for k, cell in enumerate(cells):
        if ASSERTS.search(cell.source):
            where = f"cell [{cell.execution_count}] asserts, but neither it nor the next shows anything"
            assert any(map(is_compared, cells[k : k + 2])), where


@each
def test_the_last_cell_links_to_the_next_notebook(path):
    names = [REPRODUCE, *(notebook.name for notebook in NOTEBOOKS)]
    cell = load(path).cells[-1]
    shown = output_texts(cell) if cell.cell_type == "code" else []
    links = LINK.findall(cell.source) + [link for text in shown for link in LINK.findall(text)]
    assert links and all((NOTEBOOKS_DIR / link).exists() for link in links)
    following = names[names.index(path.stem) + 1 :]
    assert not following or f"{following[0]}.ipynb" in links


@each
def test_links_in_the_text_lead_somewhere(path):
    for cell in load(path).cells:
        if cell.cell_type == "markdown":
            for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", cell.source):
                assert re.match("https?:", link) or (NOTEBOOKS_DIR / link).exists(), link


def test_notebooks_save_exactly_the_figures_that_are_declared_for_them():
    saved = {
        (name, path.stem)
        for path in COMPARED_PATHS
        for cell in code_cells(load(path))
        for name in re.findall(r"save_figure\(\s*[\w.]+(?:\([^()]*\))?,\s*\"([\w-]+)\"", cell.source)
    }
    assert saved == set(FIGURES.items())


def test_the_figures_folder_holds_the_declared_figures_and_nothing_else():
    found = {path.name for path in FIGURES_DIR.iterdir()}
    assert found == inventory.declared_files() | {inventory.INDEX}
    assert (FIGURES_DIR / inventory.INDEX).read_text() == inventory.index_text()


def test_plotted_numbers_are_json_without_nan():
    for name in FIGURES:
        text = (FIGURES_DIR / f"{name}.json").read_text()
        assert json.loads(text, parse_constant=pytest.fail), name


def test_the_digests_in_notebook_00_are_those_of_the_committed_figures():
    shown = [
        text for cell in code_cells(load(NOTEBOOKS_DIR / f"{REPRODUCE}.ipynb")) for text in output_texts(cell)
    ]
    for name, notebook, *digests in inventory.digest_rows():
        row = markdown_table([(name, notebook, *digests)], ("", "", "", "")).splitlines()[-1]
        assert any(row in text for text in shown), f"notebook 00 does not show {row}"


def test_sanitize_rules_are_well_formed_and_explained():
    lines = Path(ROOT / "tests" / "nbval_sanitize.cfg").read_text().splitlines()
    for k, line in enumerate(lines):
        if line.startswith("regex:"):
            assert lines[k - 1].startswith("#"), f"say why: {line}"
            assert re.match(r"replace: ", lines[k + 1]), "nbval drops a rule without 'replace: '"
