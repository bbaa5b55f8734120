"""The GPU run does on a CPU, tiny, what it does on a GPU; and its results come back as they were."""

import ast
import json
import os
import signal
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rsail.lm import response_log_probs
from rsail.stopping import Terminated
from rsail.study import gpu_run
from rsail.study.cost.floor import phase_costs
from rsail.study.cost.steps import PHASES
from rsail.study.cost.workload import PROMPT_WORDS, Workload, build_model
from rsail.study.gpu import lanes, packed, report, stages, utilisation
from rsail.study.gpu.plan import LARGE, METHODS, TINY, Place, Stage, parts
from rsail.study.paths import ROOT
from rsail.study.results import ResultError, read_result
from rsail.training import loop
from rsail.training.checkpoint import read_log
from tests.study import meeting

RUNS = {f"language_tiny_{method}_seed0" for method in METHODS}
PLAN = parts(TINY)
MODEL, FIRST = PLAN["language"].stages[:2]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Two processes side by side: a model, then three runs from it."""
    folder = tmp_path_factory.mktemp("gpu") / "out"
    assert gpu_run.main(["--tiny", "--output", str(folder), "--part", "language"]) == 0
    return folder


@pytest.fixture(scope="module")
def imdb(tmp_path_factory):
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("imdb")
    for split in ("train", "test"):
        texts = [f"Movie {k} of the {split} was a {'fine' if k % 2 else 'poor'} one to watch in a cinema with friends "
                 f"who like number {k} and number {k + 1}, or any other film" for k in range(80)]  # fmt: skip
        table = datasets.Dataset.from_dict({"text": texts, "label": [k % 2 for k in range(80)]})
        table.to_parquet(str(folder / f"{split}.parquet"))
    return folder


def test_a_part_leaves_one_packed_file_and_a_summary(output):
    assert {path.name for path in (output / "packed").iterdir()} == {"language.jsonl", "summary.json"}
    part = json.loads((output / "packed" / "summary.json").read_text())["language"]
    assert part["lanes"] == 2
    assert {name: entry["state"] for name, entry in part["stages"].items()} == dict.fromkeys(
        {*RUNS, MODEL.name}, "done"
    )
    results = {r["config"]["stage"]["name"]: r for r in packed.load(output / "packed")}
    assert results.keys() == {*RUNS, MODEL.name}
    online = {name: results[name]["config"]["online"] for name in sorted(RUNS)}
    assert [(c["loss"], c["rho"], c["score_weight"]) for c in online.values()] == [
        ("robust_sail", 0.0, 1.0), ("dpo", 0.0, 0.0), ("robust_sail", 0.15, 1.0)
    ]  # fmt: skip
    for name in RUNS:
        metrics, history = results[name]["metrics"], results[name]["history"]
        assert metrics["tokens_per_second"] > 0 and metrics["peak_bytes"] > 0
        assert {"gold/reward", "seconds/sample", "seconds/forward", "seconds/update"} <= set(metrics)
        assert [row["step"] for row in history["steps"]] == [1, 2, 3] and history["texts"]
    assert results[MODEL.name]["metrics"]["nats_per_token"] > 0
    assert not list((output / "runs").iterdir())


def test_a_restart_keeps_what_is_there_and_does_what_is_not(output, monkeypatch):
    monkeypatch.setattr(
        lanes, "_lane", lambda board, *_: [board.end(s, "done") for s in tuple(board.waiting)]
    )
    place = Place(output)
    kept = lanes.run_part(PLAN["language"], TINY, place)
    assert {entry["state"] for entry in kept.values()} == {"kept"}
    result = place.result(FIRST)
    text = result.read_text()
    result.write_text(text.replace("language", "languid", 1))
    again = lanes.run_part(PLAN["language"], TINY, place)
    result.write_text(text)
    assert {name for name, entry in again.items() if entry["state"] == "done"} == {FIRST.name}
    assert not stages.is_done(replace(FIRST, seed=1), place)
    lanes.run_part(PLAN["language"], TINY, place)
    assert len(packed.load(output / "packed")) == len(PLAN["language"].stages)


def test_what_does_not_fit_into_the_time_is_not_started(tmp_path):
    ended = lanes.run_part(
        PLAN["language"], TINY, Place(tmp_path), minutes=0.2
    )  # less than the margin and a model
    assert [entry["state"] for entry in ended.values()] == ["not started", "skipped", "skipped", "skipped"]
    assert "takes up to 5 s, " in ended[MODEL.name]["reason"]
    assert packed.load(tmp_path / "packed") == []


def test_without_its_data_imdb_is_skipped_and_the_summary_says_why(tmp_path, capsys):
    assert gpu_run.main(["--tiny", "--output", str(tmp_path), "--part", "imdb"]) == 0
    stages_of = json.loads((tmp_path / "packed" / "summary.json").read_text())["imdb"]["stages"]
    assert all(entry["state"] == "skipped" and "--imdb" in entry["reason"] for entry in stages_of.values())
    assert "imdb: 4 skipped" in capsys.readouterr().out


def test_a_run_on_imdb_that_was_stopped_goes_on_from_its_checkpoint(imdb, tmp_path, monkeypatch):
    place, (model, run) = Place(tmp_path, str(imdb)), PLAN["imdb"].stages[:2]
    assert stages.work(model, TINY, place, time.time() + 600, 1)
    step = loop.online_step

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(loop, "online_step", signalled)
    assert not stages.work(run, TINY, place, time.time() + 600, 1)
    assert not stages.is_done(run, place)
    assert [row["step"] for row in read_log(tmp_path / "runs" / run.name / "metrics.jsonl")] == [1]
    monkeypatch.setattr(loop, "online_step", step)
    assert stages.work(run, TINY, place, time.time() + 600, 1) and stages.is_done(run, place)
    result = read_result(place.result(run))
    assert [row["step"] for row in result["history"]["steps"]] == [1, 2, 3]
    assert result["config"]["online"]["oracle"]["attribute"] == "length"
    assert (
        str(tmp_path) not in place.result(run).read_text() and str(imdb) not in place.result(run).read_text()
    )


def test_the_time_is_up_wherever_the_process_is():
    before = signal.getsignal(signal.SIGTERM)
    started = time.monotonic()
    with pytest.raises(Terminated), stages.ended_after(0.05):
        time.sleep(30)
    assert time.monotonic() - started < 20 and signal.getsignal(signal.SIGTERM) is before


def stage(name, needs="", kind="train", seconds=10.0):
    return Stage(name, kind, "tiny", seconds, "language", needs=needs)


def test_the_board_learns_how_long_stages_take_and_skips_what_lacks_its_model():
    changes = []
    board = lanes.Board(
        (stage("m", kind="pretrain"), stage("a", "m"), stage("b", "m")),
        time.monotonic() + 100,
        changes.append,
    )
    first = board.take()
    assert first.name == "m"
    board.end(first, "done", seconds=1.0)
    second = board.take()
    board.end(second, "done", seconds=1000.0)
    assert second.name == "a" and board.take() is None
    assert board.ended["b"]["state"] == "not started" and "1000 s" in board.ended["b"]["reason"]
    assert len(changes) == 3
    board = lanes.Board((stage("m"), stage("a", "m")), time.monotonic() + 100, changes.append)
    board.end(board.take(), "failed")
    assert board.take() is None and board.ended["a"] == {
        "state": "skipped",
        "seconds": 0.0,
        "reason": "m: failed",
    }


def test_stages_run_in_processes_of_their_own_at_the_same_time(monkeypatch, tmp_path):
    monkeypatch.setattr(lanes, "work", meeting.meet)
    part = replace(PLAN["language"], stages=(stage("a"), stage("b"), stage("c"), stage("d")), lanes=2)
    ended = lanes.run_part(part, TINY, Place(tmp_path))
    assert [entry["state"] for entry in ended.values()] == ["done"] * 4
    processes = {int((tmp_path / name).read_text()) for name in "abcd"}
    assert len(processes) == 2 and os.getpid() not in processes


def test_a_process_that_dies_takes_its_stage_with_it_and_no_other(monkeypatch, tmp_path, capsys):
    answers, made = [BrokenProcessPool(), ValueError("no"), True], []

    class Pool:
        def __init__(self, *_, **__):
            made.append(self)

        def submit(self, *_):
            future, answer = Future(), answers.pop(0)
            future.set_result(answer) if answer is True else future.set_exception(answer)
            return future

        def shutdown(self):
            pass

    monkeypatch.setattr(lanes, "ProcessPoolExecutor", Pool)
    part = replace(PLAN["language"], stages=(stage("a"), stage("b"), stage("c")), lanes=1)
    ended = lanes.run_part(part, TINY, Place(tmp_path))
    assert [entry["state"] for entry in ended.values()] == ["failed", "failed", "done"]
    assert ended["b"]["reason"] == "ValueError: no" and len(made) == 3
    assert "a: failed" in capsys.readouterr().out


def test_speed_is_measured_in_both_precisions(tmp_path):
    (only,) = PLAN["speed"].stages
    assert stages.work(only, TINY, Place(tmp_path), time.time() + 600, 1)
    history = read_result(Place(tmp_path).result(only))["history"]
    assert [record["precision"] for record in history] == ["float32", "bfloat16"]
    for record in history:
        assert set(record["of_product"]) == {"sample", "reference", "forward", "backward", "step"}
        assert 0 < record["of_product"]["step"] < 1.5 and record["of_datasheet"] is None
        assert record["step"] > 0 and record["peak"] > 0


def test_operations_are_those_that_torch_counts():
    load = Workload(vocabulary=24, new_tokens=5, prompts=3, hidden=16, layers=2)
    longest = PROMPT_WORDS[1]
    model = build_model(load)
    ids = {n: torch.ones(load.rows, n, dtype=torch.long) for n in (longest, load.new_tokens)}
    inputs = ids[longest], ids[longest], ids[load.new_tokens], ids[load.new_tokens]
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        response_log_probs(model, *inputs)
    counts = {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}
    length = longest + load.new_tokens
    attention = 4 * load.hidden * load.layers * load.rows * length * (length + 1) / 2
    # Torch counts what no position sees, too, and the logits of one further position.
    assert counts["aten.bmm"] == attention * 2 * length / (length + 1)
    further = 2 * load.rows * load.hidden * load.vocabulary
    stated = phase_costs(load)["forward"][0]
    assert sum(counts.values()) - counts["aten.bmm"] - further == stated - attention
    shares = utilisation.shares(load, dict.fromkeys(PHASES, 2.0), stated)
    assert shares["forward"] == 0.5 and shares["backward"] == 1.0
    assert utilisation.datasheet("NVIDIA H100 PCIe", "bfloat16") < utilisation.datasheet(
        "NVIDIA H100 80GB HBM3", "bfloat16"
    )
    assert utilisation.datasheet("made up", "float32") is utilisation.datasheet(None, "float32") is None


def test_packed_results_come_back_or_are_an_error(output, tmp_path):
    paths = packed.unpack(output / "packed", tmp_path / "files")
    assert sorted(map(read_result, paths), key=str) == sorted(packed.load(output / "packed"), key=str)
    lines = (output / "packed" / "language.jsonl").read_text().splitlines()
    (tmp_path / "bad.jsonl").write_text("\n".join([lines[0], lines[1].replace("tiny", "tinier")]) + "\n")
    with pytest.raises(ResultError, match=r"bad\.jsonl, line 2 was changed"):
        packed.load(tmp_path)
    (tmp_path / "bad.jsonl").write_text(lines[0][:-9] + "\n")
    with pytest.raises(ResultError, match=r"bad\.jsonl, line 1 is cut short"):
        packed.load(tmp_path)


def test_the_report_waits_for_a_run_or_shows_it(output, tmp_path):
    assert packed.load(tmp_path) == [] and list(report.tables([])) == []
    waiting = report.status([])
    assert "waits for a run" in waiting and "26 minutes" in waiting
    results = packed.load(output / "packed")
    assert "4 results" in report.status(results) and "no GPU" in report.status(results)
    (_, _, models), (_, headers, rows) = report.tables(results)
    assert [row[:2] for row in models] == [("language", "tiny")]
    assert [row[2] for row in rows] == list(METHODS) and all(row[headers.index("runs")] == 1 for row in rows)
    gold = {r["config"]["stage"]["method"]: r for r in results if r["config"]["stage"]["kind"] == "train"}[
        "robust"
    ]
    gain = gold["metrics"]["gold/reward"] - gold["history"]["evaluations"][0]["gold/reward"]
    assert rows[1][headers.index("gain in gold reward")] == f"{gain:.3f}"
    diverged = {**gold, "metrics": {"error": "it diverged"}}
    *_, ((*_, counted, gained, _, _, _),) = next(report.tables([diverged]))
    assert (counted, gained) == (1, "–")


def test_the_plan_fits_its_limits():
    plan = parts(LARGE)
    assert all(part.minutes <= 9 for part in plan.values()) and sum(p.minutes for p in plan.values()) <= 28
    assert len(plan) + 1 <= 8  # files that come back
    for part in plan.values():
        made = [stage.name for stage in part.stages]
        assert len(set(made)) == len(made)
        assert all(not s.needs or made.index(s.needs) < made.index(s.name) for s in part.stages)
        assert sum(stage.seconds for stage in part.stages) / part.lanes < 60 * part.minutes
    assert {(s.method, s.seed) for s in plan["imdb"].stages if s.kind == "train"} == {
        (method, seed) for method in METHODS for seed in range(3)
    }


def test_the_command_refuses_what_it_cannot_do(tmp_path, monkeypatch, capsys):
    out = ["--output", str(tmp_path / "out")]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_run.main(out) == 2 and "--tiny" in capsys.readouterr().err
    assert gpu_run.main([*out, "--tiny", "--imdb", str(tmp_path)]) == 2
    assert f"imdb must be a folder that holds train.parquet, got {tmp_path}" in capsys.readouterr().err
    assert gpu_run.main([*out, "--tiny", "--part", "speeed"]) == 2
    assert "part must be one of imdb, language, pretrain, speed, got 'speeed'" in capsys.readouterr().err
    assert gpu_run.main(["--list"]) == 0
    assert "language: 30 stages, 8 at a time, 8 minutes at most" in capsys.readouterr().out
    monkeypatch.setattr(gpu_run, "find_spec", lambda name: None if name in ("pydantic", "pyarrow") else name)
    assert gpu_run.main([*out, "--imdb", "there"]) == 2
    assert "packages are missing: pydantic, pyarrow" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def imported(name, seen):
    """Top-level packages that importing the module `name` of the package imports, of which `seen` collects modules."""
    path = ROOT / (name.replace(".", "/") + ".py")
    path = path if path.exists() else ROOT / name.replace(".", "/") / "__init__.py"
    if name in seen or not path.exists():
        return set()
    seen.add(name)
    found, todo = set(), list(ast.parse(path.read_text()).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ):
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for imported_name in names:
            top = imported_name.split(".")[0]
            parents = [imported_name.rsplit(".", k)[0] for k in range(imported_name.count("."))]
            found |= (
                set().union(*(imported(n, seen) for n in [imported_name, *parents]))
                if top == "rsail"
                else {top}
            )
        todo += list(ast.iter_child_nodes(node))
    return found


def test_what_it_imports_is_what_it_says_it_needs():
    import sys

    seen: set[str] = set()
    names = ("lanes", "plan", "stages")
    found = set().union(*(imported(f"rsail.study.gpu.{name}", seen) for name in names))
    for lazily in ("config", "evaluation", "loop", "methods"):  # rsail.training imports them when asked
        found |= imported(f"rsail.training.{lazily}", seen)
    assert {"rsail.training.loop", "rsail.lm.reader", "rsail.tasks"} <= seen
    assert found - set(sys.stdlib_module_names) <= set(gpu_run.NEEDED)
