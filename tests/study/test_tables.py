"""The README's results table is computed from the result files, and the committed one is current."""

import pytest

from rsail.study import biased_oracle, pages, tables
from rsail.study.paths import ROOT
from rsail.study.results import ResultError, write_result

METRICS = {"objective/kl": 0.5, "objective/entropy": 10.0}
REFERENCE = METRICS | {biased_oracle.GOLD: 0.1, biased_oracle.SPURIOUS: 1.0, "objective/kl": 0.0}


@pytest.fixture
def folder(tmp_path):
    """Three seeds of each method; nominal's filler words end at 4, 5, 6 and robust's at 2, 2, 2."""
    for seed in range(3):
        for method, gold, filler in (("nominal", 0.5 + 0.1 * seed, 4.0 + seed), ("robust", 0.6, 2.0)):
            write_result(
                tmp_path / f"{method}_seed{seed}.json",
                study=biased_oracle.NAME,
                config={"rho": biased_oracle.METHODS[method]},
                metrics=METRICS | {biased_oracle.GOLD: gold, biased_oracle.SPURIOUS: filler},
                history={"evaluations": [{"step": 0, **REFERENCE}]},
                seeds={"run": seed},
                wall_time=1.0,
            )
    return tmp_path


def test_the_table_holds_the_means_and_intervals_of_the_files(folder):
    lines = tables.readme_results_table(folder).splitlines()
    assert lines[2] == "| reference | 0.10 | 1.00 | 0.00 | 10.00 |"
    # t = 4.3027 for 2 degrees of freedom; the standard errors are 0.1 / sqrt 3 and 1 / sqrt 3.
    assert lines[3].startswith("| nominal SAIL, ρ = 0 | 0.60 [0.35, 0.85] | 5.00 [2.52, 7.48] |")
    assert lines[4].startswith("| robust SAIL, ρ = 0.15 | 0.60 [0.60, 0.60] | 2.00 [2.00, 2.00] |")
    text = "\n".join(lines[5:])
    assert "over 3 seeds" in text and "3.00 [0.52, 5.48]" in text


def test_a_claim_that_does_not_hold_says_no(folder):
    text = tables.readme_results_table(folder)
    assert "- yes: robust SAIL's spurious attribute is nearer to the reference's" in text
    path = folder / "robust_seed0.json"
    path.unlink()
    bad = METRICS | {biased_oracle.GOLD: 0.6, biased_oracle.SPURIOUS: 2.0, "objective/kl": 3.0}
    history = {"evaluations": [{"step": 0, **REFERENCE}]}
    run = {"study": biased_oracle.NAME, "config": {}, "seeds": {"run": 0}, "wall_time": 1.0}
    write_result(path, metrics=bad, history=history, **run)
    assert "- **no**: robust SAIL stays within 2 nats" in tables.readme_results_table(folder)


def test_a_damaged_result_file_is_an_error(folder):
    path = folder / "robust_seed1.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ResultError, match=r"robust_seed1\.json is cut short"):
        tables.readme_results_table(folder)


def test_without_results_the_table_says_so(tmp_path):
    assert "No results" in tables.readme_results_table(tmp_path)


def test_updating_writes_only_what_changed(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("<!-- results:begin -->\nold\n<!-- results:end -->\n")
    assert tables.update_readme(path) and not tables.update_readme(path)


def test_the_results_table_in_the_readme_is_current():
    shown = pages.generated(ROOT / "README.md", "results")
    assert shown == tables.readme_results_table(), "run make reproduce"
