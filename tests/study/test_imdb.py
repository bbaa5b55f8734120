"""The study on real text: one command from reviews to result files, and answers that follow from the files."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from rsail.lm import load_model
from rsail.oracles import OracleConfig
from rsail.study.imdb import analysis, plan
from rsail.study.imdb.__main__ import main
from rsail.study.imdb.run import perplexity
from rsail.study.results import ResultError, read_result

WORDS = {1: ("great", "lovely", "moving"), 0: ("dull", "awful", "wasted")}
THINGS = ("film", "story", "cast", "music", "ending", "director")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Two splits of made-up reviews, 240 each, in the columns of the IMDb data set."""
    import datasets

    folder, rng = tmp_path_factory.mktemp("reviews"), np.random.default_rng(0)
    for split in ("train", "test"):
        labels = rng.integers(0, 2, 240)
        said = [
            " ".join(f"the {rng.choice(THINGS)} is {rng.choice(WORDS[k])}," for _ in range(3)) for k in labels
        ]
        texts = [f"{text.capitalize()} I say! And number {n}.<br />The end." for n, text in enumerate(said)]
        datasets.Dataset.from_dict({"text": texts, "label": labels}).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module", autouse=True)
def private_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def command(data, work, *more) -> list[str]:
    return ["--data", str(data), "--output", str(work), "--jobs", "1", "--tiny", *map(str, more)]


@pytest.fixture(scope="module")
def work(reviews, tmp_path_factory):
    """The folder of a finished tiny study."""
    folder = tmp_path_factory.mktemp("study")
    assert main(command(reviews, folder)) == 0
    return folder


def test_the_command_makes_every_planned_file_and_keeps_it(work, reviews, capsys):
    results, model = work / "results", work / "model" / "model.safetensors"
    planned = {f"{name}_seed{seed}.json" for name in plan.METHODS for seed in plan.TINY.seeds}
    files = {path: path.read_bytes() for path in results.iterdir()}
    assert {path.name for path in files} == planned | {"reference.json"}
    assert max(map(len, files.values())) < 15_000
    assert not list((work / "runs").iterdir())
    stamp = model.stat().st_mtime_ns
    lost = results / "robust_seed11.json"
    lost.unlink()
    assert main(command(reviews, work)) == 0
    printed = capsys.readouterr().out
    assert "17 planned: 1 made, 16 kept, 0 failed" in printed
    assert (
        printed.endswith(f"{work / 'real_text.png'}\n") and (work / "real_text.png").stat().st_size > 10_000
    )
    assert model.stat().st_mtime_ns == stamp
    assert all(path.read_bytes() == content for path, content in files.items() if path != lost)
    again, first = json.loads(lost.read_text()), json.loads(files[lost])
    assert again["history"] == first["history"]


def test_a_run_keeps_what_the_analysis_reads(work):
    study = analysis.load_study(work / "results", plan.TINY)
    assert study.seeds == plan.TINY.seeds and set(study.runs) == set(plan.METHODS)
    for runs in study.runs.values():
        for run in runs:
            rows = run["history"]["evaluations"]
            assert rows["step"] == [0, 1, 2]
            assert rows["gold/reward/open"] == rows["proxy/reward/open"] == [0, 0, 0]
            assert rows["gold/preference/open"] == [0.5] * 3
            assert {name: values[-1] for name, values in rows.items() if name != "step"}.items() <= run[
                "metrics"
            ].items()
            prompts = [text["prompt"].split(" ")[0] for text in run["history"]["texts"]]
            assert prompts == ["Review:"] * 3 + ["Notes:"] * 3
    assert study.before(analysis.GOLD) == study.path("robust", analysis.GOLD)[1][0, 0]


def test_runs_differ_as_the_plan_says(work):
    study = analysis.load_study(work / "results", plan.TINY)
    common = study.runs["nominal"][0]["history"]["config"]
    assert common["oracle"] == asdict(OracleConfig("bias", plan.BIAS, plan.ATTRIBUTE))
    assert common["learning_rate"] == plan.LEARNING_RATE
    for method, changes in plan.METHODS.items():
        for seed, run in zip(study.seeds, study.runs[method], strict=True):
            config = run["history"]["config"]
            assert config["seed"] == seed
            assert {k: v for k, v in config.items() if v != common[k] and k != "seed"} == changes
    assert study.runs["nominal"][0]["history"] != study.runs["robust"][0]["history"]


def test_the_reference_is_measured(work):
    metrics = analysis.load_study(work / "results", plan.TINY).reference["metrics"]
    assert metrics["accuracy/gold/review"] > 0.9 and metrics["accuracy/oracle/review"] > 0.9
    assert 0 < metrics["deviation/mean"] < metrics["deviation/most"] < 1
    assert metrics["perplexity"] > 1 and metrics["pretraining/cpu_time"] > 0


def test_perplexity_is_that_of_the_pairs_one_by_one(work):
    model, tokenizer = load_model(work / "model")
    pairs = [("Review: The", " film is great."), ("Notes: A", " lovely one"), ("Review: I say", "!")]
    total, count = 0.0, 0
    for prompt, rest in pairs:
        first = tokenizer(prompt)["input_ids"]
        ids = first + tokenizer(rest)["input_ids"] + [tokenizer.eos_token_id]
        logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        total -= sum(logits[k - 1, ids[k]].item() for k in range(len(first), len(ids)))
        count += len(ids) - len(first)
    assert perplexity(model, tokenizer, pairs, batch=2) == pytest.approx(np.exp(total / count), rel=1e-5)


def test_tuning_runs_have_other_seeds_and_choose_the_rate(work, reviews, capsys):
    assert not set(plan.FULL.tuning_seeds) & set(plan.FULL.seeds)
    assert main(command(reviews, work, "--tuning")) == 0
    tuning = analysis.load_tuning(work / "tuning", plan.TINY)
    assert [name for name, _ in tuning] == [f"{name}_seed100" for name, _ in plan.TUNING]
    assert analysis.chosen_rate(tuning) == max(changes["learning_rate"] for _, changes in plan.TUNING)
    wild = tuning[-1][1]
    wild["metrics"][analysis.KL] = 10.5
    assert analysis.chosen_rate(tuning) == sorted({c["learning_rate"] for _, c in plan.TUNING})[-2]
    for _, result in tuning:
        result["metrics"] = {"error": "diverged"}
    with pytest.raises(ResultError, match="no learning rate"):
        analysis.chosen_rate(tuning)


def test_results_of_other_reviews_are_refused(work, reviews, tmp_path, capsys):
    for name in ("train", "test"):
        (tmp_path / f"{name}.parquet").write_bytes((reviews / f"{name}.parquet").read_bytes())
    import datasets

    table = datasets.load_dataset("parquet", data_files=str(reviews / "test.parquet"), split="train")
    table.select(range(200)).to_parquet(tmp_path / "test.parquet")
    assert main(command(tmp_path, work)) == 2
    assert "holds another run than the plan's: config differs in data" in capsys.readouterr().err


def test_data_that_are_not_there_are_named(tmp_path, capsys):
    assert main(command(tmp_path / "nothing", tmp_path / "work")) == 2
    assert "task.data must be a folder that holds train.parquet" in capsys.readouterr().err


def test_a_failed_or_missing_run_is_no_study(work, tmp_path):
    for path in (work / "results").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "online_seed10.json").unlink()
    with pytest.raises(ResultError, match=r"online_seed10\.json does not exist"):
        analysis.load_study(tmp_path, plan.TINY)


def made_up(numbers: dict[str, dict[str, list[float]]], before: dict[str, float]) -> analysis.Study:
    """A study of two seeds with these final metrics."""
    runs = {
        method: [
            {
                "metrics": {name: values[k] for name, values in metrics.items()},
                "history": {"evaluations": {name: [before[name], v[k]] for name, v in metrics.items()}},
            }
            for k in range(2)
        ]
        for method, metrics in numbers.items()
    }
    return analysis.Study((10, 11), {}, runs)


def test_at_equal_kl_values_are_interpolated_between_the_runs_of_a_seed():
    numbers = {
        "beta_1": {"objective/kl": [0.5, 0.1], "length": [11.0, 10.0]},
        "beta_0.3": {"objective/kl": [1.0, 2.0], "length": [13.0, 14.0]},
        "nominal": {"objective/kl": [3.0, 3.0], "length": [17.0, 15.0]},
        "robust": {"objective/kl": [2.0, 4.0], "length": [12.0, 12.0]},
    }
    study = made_up(numbers, {"objective/kl": 0.0, "length": 10.0})
    values, inside = analysis.at_equal_kl(study, "robust", "length")
    assert values.tolist() == [15.0, 15.0] and inside.tolist() == [True, False]
    values, inside = analysis.at_equal_kl(study, "beta_1", "length")
    np.testing.assert_allclose(values, [11.0, 10.0])
    assert inside.all()


def test_answers_are_paired_t_tests_with_holms_correction(work):
    study = analysis.load_study(work / "results", plan.TINY)
    found = analysis.answers(study)
    assert tuple(found) == plan.QUESTIONS
    robust, nominal = (
        np.array([run["metrics"][analysis.GOLD] for run in study.runs[m]]) for m in ("robust", "nominal")
    )
    answer = found["gain_robust"]
    if not np.array_equal(robust, nominal):
        assert answer.p_value == pytest.approx(stats.ttest_rel(robust, nominal).pvalue)
    assert answer.difference.mean == pytest.approx((robust - nominal).mean())
    p_values = np.array([a.p_value for a in found.values()])
    assert min(a.adjusted for a in found.values()) == pytest.approx(min(1, p_values.min() * len(p_values)))
    answer = analysis.Answer("q", answer.difference, 0.001, 0.06)
    assert answer.verdict == "undecided"


LOCAL = Path(os.environ.get("RSAIL_DATA", "")) / "imdb"


@pytest.mark.real_data
@pytest.mark.skipif(
    not (os.environ.get("RSAIL_DATA") and (LOCAL / "train.parquet").is_file()),
    reason="RSAIL_DATA names no folder with imdb/train.parquet",
)
def test_the_command_runs_on_the_reviews_themselves(tmp_path):
    assert main(command(LOCAL, tmp_path)) == 0
    study = analysis.load_study(tmp_path / "results", plan.TINY)
    assert study.reference["metrics"]["accuracy/gold/review"] > 0.6


COMMITTED = sorted(analysis.RESULTS.glob("*.json"))


def test_committed_runs_are_those_of_the_plan():
    study = analysis.load_study()
    assert len(study.seeds) >= 5
    planned = {f"{name}_seed{seed}" for name in plan.METHODS for seed in study.seeds}
    assert {path.stem for path in COMMITTED} == planned | {"reference"}
    assert max(path.stat().st_size for path in COMMITTED) < 15_000
    assert {run["provenance"]["commit"] for runs in study.runs.values() for run in runs} == {
        study.reference["provenance"]["commit"]
    }


def test_the_learning_rate_of_the_plan_is_that_of_the_tuning_runs():
    assert analysis.chosen_rate(analysis.load_tuning()) == plan.LEARNING_RATE


def test_runs_of_the_plan_start_from_one_model_and_read_one_set_of_reviews():
    configs = [read_result(path)["config"] for path in [*COMMITTED, *sorted(analysis.TUNING.glob("*.json"))]]
    assert len({(config["data"], config["model_sha256"]) for config in configs}) == 1
