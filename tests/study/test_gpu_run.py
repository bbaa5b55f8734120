"""The GPU script does on a CPU, tiny, what it does on a GPU."""

import json

from rsail.study import gpu_run
from rsail.study.results import read_results


def test_the_tiny_run_writes_a_result_per_method(tmp_path, capsys):
    assert gpu_run.main(["--tiny", "--output", str(tmp_path / "out")]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert set(summary["stages"]) == {"pretrain", "nominal_seed0", "robust_seed0"}
    assert summary["not_started"] == []
    (tmp_path / "out" / "summary.json").unlink()
    results = read_results(tmp_path / "out")
    assert {result["config"]["rho"] for result in results} == {0.0, 0.15}
    for result in results:
        assert result["metrics"]["tokens_per_second"] > 0
        assert {"seconds/sample", "seconds/forward", "seconds/update"} <= set(result["metrics"])
    assert "robust_seed0" in capsys.readouterr().out


def test_a_stage_that_does_not_fit_is_not_started(tmp_path):
    done = gpu_run.run(tmp_path, gpu_run.TINY, minutes=0.01)
    assert done["not_started"] == ["nominal_seed0", "robust_seed0"]


def test_without_a_gpu_the_large_run_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_run.torch.cuda, "is_available", lambda: False)
    assert gpu_run.main(["--output", str(tmp_path / "out")]) == 2
    assert "--tiny" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
