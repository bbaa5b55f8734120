"""The study of a biased oracle: its claims follow from the committed result files."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

from rsail.study import biased_oracle as study
from rsail.study.profiles import get_profile
from rsail.study.results import ResultError, read_result
from rsail.training import OnlineConfig
from rsail.training.checkpoint import exclusive
from rsail.training.config import build

COMMITTED = sorted(study.RESULTS.glob("*.json"))


def raw(method, metric, *, before=False):
    """One number per seed straight from the files, without the code under test."""
    runs = [json.loads(path.read_text()) for path in COMMITTED if path.name.startswith(method)]
    runs.sort(key=lambda run: run["seeds"]["run"])
    return np.array(
        [(run["history"]["evaluations"][0] if before else run["metrics"])[metric] for run in runs]
    )


def t_interval(values):
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return np.mean(values) - half, np.mean(values) + half


def test_every_planned_run_is_reported_and_no_other():
    planned = {f"{method}_seed{seed}.json" for method, seed in study.plan(get_profile("full"))}
    assert {path.name for path in COMMITTED} == planned
    assert len(planned) >= 10


def test_runs_differ_in_seed_and_rho_alone():
    configs = [dict(read_result(path)["config"]) for path in COMMITTED]
    rest = [{k: v for k, v in config.items() if k not in ("seed", "rho")} for config in configs]
    assert all(config == rest[0] for config in rest)
    assert rest[0]["oracle"] == {"kind": "bias", "strength": study.BIAS, "attribute": "filler"}
    assert {(c["seed"], c["rho"]) for c in configs} == {
        (seed, study.METHODS[method]) for method, seed in study.plan(get_profile("full"))
    }


def test_runs_started_from_the_committed_model():
    import hashlib

    digest = hashlib.sha256((study.MODEL / "model.safetensors").read_bytes()).hexdigest()
    assert {read_result(path)["config"]["model_sha256"] for path in COMMITTED} == {digest}


def test_robust_sail_is_nearer_to_the_reference_in_the_spurious_attribute():
    reference = raw("nominal", study.SPURIOUS, before=True)
    nominal, robust = (np.abs(raw(m, study.SPURIOUS) - reference) for m in ("nominal", "robust"))
    low, _ = t_interval(nominal - robust)
    assert low > 0
    assert robust.max() < nominal.min()


def test_robust_sail_keeps_the_gain_in_gold_reward():
    reference = raw("nominal", study.GOLD, before=True)
    nominal, robust = (raw(m, study.GOLD) - reference for m in ("nominal", "robust"))
    assert t_interval(robust)[0] > 0
    assert t_interval(nominal)[0] > 0
    assert robust.mean() >= 0.8 * nominal.mean()


def test_no_reported_run_has_collapsed():
    reference = raw("nominal", "objective/entropy", before=True)
    for method in study.METHODS:
        assert (raw(method, "objective/entropy") >= 0.5 * reference).all()
    assert (raw("robust", "objective/kl") <= 2).all()


def test_the_claims_are_what_the_files_say():
    found = study.load_study()
    claims = study.compute_claims(found)
    assert all(claims.hold.values())
    reference = raw("nominal", study.GOLD, before=True)
    gain = {m: raw(m, study.GOLD) - reference for m in study.METHODS}
    for method in study.METHODS:
        interval = claims.gold_gain[method]
        assert (interval.low, interval.high) == pytest.approx(t_interval(gain[method]), rel=1e-12)
    assert claims.gold_kept == pytest.approx(gain["robust"].mean() / gain["nominal"].mean(), rel=1e-12)
    assert claims.kl["robust"] == raw("robust", "objective/kl").max()


def test_a_run_that_failed_stops_the_claims(tmp_path):
    for path in COMMITTED:
        shutil.copy(path, tmp_path)
    result = read_result(COMMITTED[0])
    study.write_result(
        tmp_path / COMMITTED[0].name,
        **{key: result[key] for key in ("study", "config", "history", "seeds", "wall_time")},
        metrics={"error": "step 7: not finite: loss"},
        overwrite=True,
    )
    with pytest.raises(ResultError, match=r"failed: seed .*: step 7"):
        study.load_study(tmp_path)


def test_a_missing_seed_stops_the_claims(tmp_path):
    for path in COMMITTED[1:]:
        shutil.copy(path, tmp_path)
    with pytest.raises(ResultError, match="the same two or more seeds of every method"):
        study.load_study(tmp_path)


def test_notebook_08_also_runs_when_it_trains_the_study_again(tmp_path):
    from rsail.study.notebooks import execute
    from rsail.study.paths import NOTEBOOKS_DIR

    outcome = execute(NOTEBOOKS_DIR / "08_training.ipynb", tmp_path / "08.ipynb", {"retrain": True})
    assert outcome.error is None


def test_a_study_is_made_again_unless_it_is_resumed(tmp_path, monkeypatch):
    made = []

    def record(config, path, seed, **_):
        made.append(path.name)
        shutil.copy(COMMITTED[0], path)

    monkeypatch.setattr(study, "run_one", record)
    profile = get_profile("quick")
    study.run_study(tmp_path, profile)
    study.run_study(tmp_path, profile)
    assert len(made) == 2 * len(study.plan(profile))
    monkeypatch.setattr(study, "_is_made", lambda path, config: path.exists())
    study.run_study(tmp_path, profile, resume=True)
    assert len(made) == 2 * len(study.plan(profile))


def test_the_folder_of_a_run_that_another_process_trains_now_is_left_alone(tmp_path):
    config, log = study.base_config(tmp_path / "run", steps=1, seed=0, rho=0.0), tmp_path / "run" / "log"
    log.parent.mkdir()
    log.write_text("precious")
    with exclusive(log.parent), pytest.raises(ValueError, match="no other run writes now"):
        study.run_one(config, tmp_path / "result.json", 0)
    assert log.read_text() == "precious"


@pytest.mark.parametrize("changed", ["commit", "config", "dirty", None])
def test_a_run_counts_as_made_only_by_the_same_code_and_configuration(tmp_path, monkeypatch, changed):
    result = read_result(COMMITTED[0])
    config = study.base_config(tmp_path, steps=300, seed=result["seeds"]["run"], rho=result["config"]["rho"])
    if changed == "config":
        config = study.base_config(tmp_path, steps=300, seed=99, rho=0.0)
    suffix = {"commit": "0", "dirty": "-dirty"}.get(changed, "")
    monkeypatch.setattr(study, "commit", lambda: result["provenance"]["commit"] + suffix)
    monkeypatch.setattr(study, "read_result", lambda path: result)
    assert study._is_made(COMMITTED[0], config) == (changed is None)


def test_what_is_recorded_can_be_run_again():
    config = study.base_config("build/never", steps=3, seed=4, rho=0.1)
    settings = study.settings_of(study.recorded(config))
    again = build(OnlineConfig, settings | {"model": config.model, "output_dir": config.output_dir})
    assert again == config
