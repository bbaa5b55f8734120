"""Running notebooks: a failure is named, nothing half-done replaces a notebook, a bad profile stops early."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from rsail.study import notebooks
from rsail.study.notebooks import NotebookError, Outcome, require_success, run_notebooks
from rsail.study.paths import NOTEBOOKS_DIR, ROOT

PARAMETERS = 'profile = "quick"'
SAVE = (
    "import matplotlib.pyplot as plt\n"
    "from rsail.study.figures import save_figure\n"
    'save_figure(plt.figure(), "picture", {"x": [1.0]})'
)


def make_notebook(path, *sources):
    cells = [new_markdown_cell("# Tiny"), new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BUILD_DIR", tmp_path / "build")
    monkeypatch.setattr(notebooks, "NOTEBOOKS_DIR", tmp_path)
    return tmp_path


def texts(path):
    cells = nbformat.read(path, as_version=4).cells
    return [output.get("text", "") for cell in cells for output in cell.get("outputs", [])]


def test_a_failing_notebook_is_named_with_its_cell_and_error_and_the_next_one_still_runs(folder):
    make_notebook(folder / "bad.ipynb", "print(profile)", "1 / 0")
    make_notebook(folder / "good.ipynb", "import os; print(profile, os.path.exists('bad.ipynb'))")
    outcomes = run_notebooks(["bad", "good"], "full", folder=folder, output=folder / "build")
    assert [outcome.status for outcome in outcomes] == ["failed", "ok"]
    assert all(outcome.seconds > 0 for outcome in outcomes)
    assert texts(folder / "build" / "good.ipynb") == ["full True\n"]
    with pytest.raises(NotebookError, match=r"^1 notebook\(s\) failed: bad, cell \[4\]: ZeroDivisionError"):
        require_success(outcomes)


def test_what_a_kernel_says_beside_its_notebook_is_kept_in_a_file(folder, monkeypatch, capfd):
    make_notebook(folder / "loud.ipynb")

    def execute(source, output, parameters):
        os.write(2, b"kernel: bye")
        return Outcome(source.stem, 1.0)

    monkeypatch.setattr(notebooks, "execute", execute)
    run_notebooks(["loud"], folder=folder, output=folder / "build", jobs=1)
    os.write(2, b"later")
    assert capfd.readouterr().err == "later"
    assert (folder / "build" / "loud.log").read_text() == "kernel: bye"


def test_a_dead_kernel_counts_as_a_failure(folder):
    make_notebook(folder / "dead.ipynb", "import os; os._exit(3)")
    (outcome,) = run_notebooks(["dead"], folder=folder, output=folder / "build")
    assert "kernel died" in outcome.error


def test_success_raises_nothing_and_a_missing_notebook_is_named(folder):
    require_success([Outcome("a", 1.0)])
    with pytest.raises(NotebookError, match="there is no notebook none"):
        run_notebooks(["none"], folder=folder, output=folder / "build")


def test_in_place_execution_fills_in_outputs_and_is_the_same_twice(folder):
    path = make_notebook(folder / "good.ipynb", "print(profile)")
    assert notebooks.execute_in_place(path).error is None
    first = path.read_bytes()
    assert notebooks.execute_in_place(path).error is None
    assert path.read_bytes() == first and b"papermill" not in first
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2] and texts(path) == ["quick\n"]


def test_a_notebook_that_fails_in_place_is_left_as_it_was(folder, monkeypatch, capsys):
    path = make_notebook(folder / "bad.ipynb", "1 / 0")
    before = path.read_bytes()
    monkeypatch.setattr(notebooks, "NOTEBOOKS", (notebooks.Notebook("bad", "Bad", 1),))
    assert notebooks.main(["bad"]) == 1
    assert path.read_bytes() == before and "ZeroDivisionError" in capsys.readouterr().err


def test_an_unknown_name_on_the_command_line_is_an_error():
    with pytest.raises(ValueError, match="NAME must be one of 00_reproduce"):
        notebooks.main(["nothing"])


@pytest.fixture
def small_checkout(tmp_path):
    """A copy of the package with one tiny notebook, one tiny figure, and the real notebook 00."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "rsail", root / "rsail", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("notebooks", "figures", "data/results"):
        (root / name).mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    (root / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    shutil.copy(NOTEBOOKS_DIR / "00_reproduce.ipynb", root / "notebooks")
    with open(root / "rsail" / "study" / "figures" / "__init__.py", "a") as stream:
        stream.write('\nFIGURES.clear()\nFIGURES["picture"] = "good"\n')
    runner = root / "rsail" / "study" / "notebooks.py"
    runner.write_text(
        runner.read_text().replace(
            'REPRODUCE = "', 'NOTEBOOKS = (Notebook("good", "Good", 1),)\nREPRODUCE = "'
        )
    )
    return root


def reproduce(root, profile="quick"):
    """Run notebook 00 of a checkout as the README says."""
    command = f"papermill notebooks/00_reproduce.ipynb 00.ipynb --cwd notebooks -p profile {profile}"
    return subprocess.run(
        [sys.executable, "-m", *command.split(), "--no-progress-bar"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_notebook_00_draws_every_figure_and_fails_naming_a_notebook_that_fails(small_checkout):
    make_notebook(small_checkout / "notebooks" / "good.ipynb", SAVE)
    done = reproduce(small_checkout)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {path.name for path in (small_checkout / "figures").iterdir()}
    assert found == {"README.md", "picture.json", "picture.pdf", "picture.png"}
    assert "No results are committed yet" in (small_checkout / "README.md").read_text()

    make_notebook(small_checkout / "notebooks" / "good.ipynb", "1 / 0")
    done = reproduce(small_checkout)
    assert done.returncode != 0 and "good, cell [3]: ZeroDivisionError" in done.stderr


def test_notebook_00_refuses_an_unknown_profile_before_it_runs_anything(small_checkout):
    done = reproduce(small_checkout, "quik")
    assert done.returncode != 0
    assert "profile must be one of full, gpu, quick, got 'quik'" in done.stderr
    assert not (small_checkout / "build").exists()
