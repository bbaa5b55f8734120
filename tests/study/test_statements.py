"""Generated statements are up to date and come from the files they name."""

import shutil

import pytest

from rsail.study import convergence, errata, notebooks, pages, paper_results, statements
from rsail.study.paths import RESULTS_DIR, ROOT
from rsail.study.results import ResultError, read_result


@pytest.mark.parametrize(("page", "name"), statements.PARTS)
def test_every_part_is_up_to_date(page, name):
    shown = pages.generated(ROOT / page, name)
    wanted = statements.PARTS[page, name]()
    assert shown == wanted, "python -m rsail.study.statements brings it up to date"


def test_hours_are_the_sum_of_the_files_and_an_edited_file_is_refused(tmp_path):
    source = sorted((RESULTS_DIR / "biased_oracle").glob("*.json"))[:2]
    for path in source:
        (tmp_path / "study").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "study" / path.name)
    hours = sum(read_result(path)["wall_time"] for path in source) / 3600
    text = statements.compute_statement(tmp_path)
    assert f"| `study` | 2 | {hours:.2f} |" in text and f"Together {hours:.1f} hours" in text
    edited = tmp_path / "study" / source[0].name
    edited.write_text(edited.read_text().replace('"wall_time": ', '"wall_time": 1'))
    with pytest.raises(ResultError, match="changed after it was written"):
        statements.compute_statement(tmp_path)


def test_the_joint_time_of_runs_that_step_together_counts_once(tmp_path):
    study = tmp_path / "copied"
    study.mkdir()
    for path in (RESULTS_DIR / "convergence").glob("*.json"):
        shutil.copy(path, study)
    times = {path.stem: read_result(path)["wall_time"] for path in study.glob("*.json")}
    assert len(times) == len(convergence.PROBLEMS) * len(convergence.KINDS)
    joint = [max(times[f"{name}_{kind}"] for kind in convergence.KINDS) for name in convergence.PROBLEMS]
    assert sum(times.values()) > 2.9 * sum(joint)
    assert f"| {len(times)} | {sum(joint) / 3600:.2f} |" in statements.compute_statement(tmp_path)


def test_the_time_of_the_notebooks_is_said_to_be_a_sum_of_what_runs_at_once(monkeypatch):
    monkeypatch.setattr(statements, "notebook_seconds", lambda: {n.title: 30.0 for n in notebooks.NOTEBOOKS})
    count = len(notebooks.NOTEBOOKS)
    text = statements.measured_times()
    assert f"{count * 30 / 60:.1f} minutes, the sum over {count} notebooks;" in text
    assert f"at most {notebooks.MOST_AT_ONCE}, run at once" in text


@pytest.mark.parametrize("erratum", errata.WRONG, ids=lambda erratum: erratum.place)
def test_what_is_said_to_be_wrong_is_shown_by_the_code_cell_after_its_text(erratum):
    index = paper_results.find_cell(erratum.notebook, erratum.shown)
    after = paper_results.cells_of(erratum.notebook)[index + 1]
    assert after.cell_type == "code" and ("assert" in after.source or "check_below" in after.source)


def test_the_notebook_of_errata_has_no_entry_that_the_list_lacks():
    cells = paper_results.cells_of("04_convergence")
    start = paper_results.find_cell("04_convergence", "## 12. Errata")
    entries = [cell.source for cell in cells[start:] if cell.cell_type == "markdown" and "**(" in cell.source]
    assert sum(source.count("**(") for source in entries) == len(errata.WRONG)
