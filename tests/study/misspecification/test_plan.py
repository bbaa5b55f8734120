"""The plan is data, PLAN.md says the same, and a planned run can be made."""

import dataclasses

import pytest

from rsail.study.misspecification import lm, plan
from rsail.study.misspecification.models import BASE, RECIPES, recipe
from rsail.study.paths import RESULTS_DIR
from rsail.study.sweeps import run_sweep

PAGE = RESULTS_DIR / plan.STUDY / "PLAN.md"


def test_the_page_has_the_plans_table():
    text = PAGE.read_text()
    for part in plan.PARTS:
        cells = plan.plan(part)
        seeds = len({cell.seeds["run"] for cell in cells})
        row = (part, len(cells) // seeds, seeds, len(cells))
        assert "| " + " | ".join(map(str, row)) + " |" in text
    assert text.count("\n| ") == 2 + len(plan.PARTS) + 9, "a row of no part, or a question without a test"


@pytest.mark.parametrize("part", plan.PARTS)
def test_names_say_what_a_run_is(part):
    cells = plan.plan(part)
    assert len({cell.name for cell in cells}) == len(cells)
    seeds = plan.TUNING_SEEDS if part == "tuning" else plan.SEEDS
    configs = [cell.config for cell in cells if cell.seeds["run"] == seeds[0]]
    assert all(configs.count(config) == 1 for config in configs), "two settings are the same"
    assert {cell.config["seed"] for cell in cells} == set(seeds)
    assert not set(plan.SEEDS) & set(plan.TUNING_SEEDS)


def test_a_model_that_is_not_committed_is_named_by_its_recipe():
    cells = plan.plan("sizes")
    assert {cell.config["model"] for cell in cells} == RECIPES.keys() - {BASE}
    for cell in cells:
        assert cell.config["recipe"] == recipe(cell.config["model"])
        assert "model_sha256" not in cell.config


def test_a_run_keeps_what_claims_read(tmp_path):
    cell = plan.plan("central")[3]
    short = {**cell.config, "steps": 4, "evaluate_every": 2, "evaluation_prompts": 8, "checkpoint_every": 4}
    report = run_sweep(plan.STUDY, [dataclasses.replace(cell, config=short)], lm.run_cell, tmp_path)
    assert not report.failed
    from rsail.study.results import read_result

    result = read_result(tmp_path / f"{cell.name}.json")
    assert [row["step"] for row in result["history"]["evaluations"]] == [0, 2, 4]
    kept = set(result["history"]["evaluations"][-1])
    assert set(lm.OF_EVALUATIONS) == kept
    assert all(
        result["metrics"][name] == value for name, value in result["history"]["evaluations"][-1].items()
    )
    assert result["metrics"]["robust/certificate_gap"] == pytest.approx(
        result["metrics"]["robust/loss"] - result["metrics"]["robust/sail_loss_true"]
    )
