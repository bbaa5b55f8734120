"""The command of the language model's runs hands its options on; no run is made here."""

import pytest

from rsail.study.misspecification import __main__ as command
from rsail.study.misspecification import lm, plan
from rsail.study.sweeps import Report


@pytest.fixture
def called(monkeypatch):
    """What the command calls `run_sweep` with, and a failure that it returns."""
    calls = []

    def run_sweep(*positional, **options):
        calls.append((*positional, options))
        return Report([], [], {"x": "ValueError: no"} if options["retry"] else {}, {}, [], {})

    monkeypatch.setattr(command, "run_sweep", run_sweep)
    return calls


def test_options_are_handed_on_and_a_failed_run_is_an_exit_status(called, tmp_path, capsys):
    given = ["central", "--output", str(tmp_path), "--jobs", "3", "--cluster", "tcp://host:8786", "--retry"]
    assert command.main(given) == 1
    options = {"jobs": 3, "cluster": "tcp://host:8786", "retry": True}
    assert called == [(plan.STUDY, plan.plan("central"), lm.run_cell, tmp_path / "central", options)]
    assert "failed: x: ValueError: no" in capsys.readouterr().out


def test_without_options_runs_are_made_here_one_at_a_time(called):
    assert command.main(["central"]) == 0
    [(*_, folder, options)] = called
    assert options == {"jobs": 1, "cluster": None, "retry": False}
    assert folder == command.RESULTS_DIR / plan.STUDY / "central"
