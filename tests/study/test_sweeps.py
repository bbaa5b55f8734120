"""Sweeps: complete, restartable, and honest about failures; in one process, in several, on a cluster."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rsail.study import sweeps
from rsail.study.results import ResultError, read_result
from rsail.study.sweeps import Cell, grid, read_sweep, run_sweep
from rsail.versions import versions

PLAN = [Cell(f"x{x}", {"x": x}, {"run": x}) for x in range(5)]


def square(cell):
    return {"y": cell.config["x"] ** 2}, []


def square_below_three(cell):
    if cell.config["x"] >= 3:
        raise FloatingPointError(f"x is {cell.config['x']}")
    return square(cell)


def process(cell):
    return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}, []


def slow(cell):
    time.sleep(0.4)
    return square(cell)


def die_at_two(cell):
    if cell.config["x"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return process(cell)


def die_beside_another(cell):
    """The first cell is killed at its first try, as one is that finds too little memory beside the second."""
    killed = Path(cell.config["folder"]) / "killed"
    if cell.name == "first" and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return process(cell)


def meet(cell):
    """Done once as many cells as `count` have begun."""
    (Path(cell.config["folder"]) / f"{cell.name}.begun").touch()
    until = time.monotonic() + 20
    while len(list(Path(cell.config["folder"]).glob("*.begun"))) < cell.config["count"]:
        if time.monotonic() > until:
            raise TimeoutError("nothing runs beside this cell")
        time.sleep(0.01)
    return process(cell)


def leave(cell):
    if cell.config["x"] == 1:
        sys.exit("no licence")
    if cell.config["x"] == 2:
        return {"y": object()}, []
    return square(cell)


def interrupt(cell):
    if cell.config["x"] == 2:
        raise KeyboardInterrupt
    return square(cell)


def content(folder):
    return {path.name: json.loads(path.read_text())["metrics"] for path in sorted(folder.iterdir())}


def test_a_grid_is_the_product_of_its_axes():
    assert list(grid(a=[1, 2], b="xy")) == [{"a": a, "b": b} for a in (1, 2) for b in "xy"]
    assert list(grid(a=[1], b=[])) == []


def test_every_cell_gets_a_file_and_a_second_run_makes_none(tmp_path):
    report = run_sweep("s", PLAN, square, tmp_path / "out", progress=False)
    assert report.made == [cell.name for cell in PLAN] and not report.failed
    assert [result["metrics"]["y"] for result in read_sweep("s", PLAN, tmp_path / "out").values()] == [
        0,
        1,
        4,
        9,
        16,
    ]
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again = run_sweep("s", PLAN, square, tmp_path / "out", progress=False)
    assert again.kept == report.made and not again.made
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_failure_is_recorded_told_and_made_again_only_when_asked(tmp_path):
    report = run_sweep("s", PLAN, square_below_three, tmp_path, progress=False)
    assert report.failed == {"x3": "FloatingPointError: x is 3", "x4": "FloatingPointError: x is 4"}
    assert "5 planned: 3 made, 0 kept, 2 failed" in str(report) and "failed: x4: Float" in str(report)
    metrics = read_result(tmp_path / "x3.json")["metrics"]
    assert metrics["error"] == report.failed["x3"] and "square_below_three" in metrics["traceback"]
    assert run_sweep("s", PLAN, square, tmp_path, progress=False).failed == report.failed
    retried = run_sweep("s", PLAN, square, tmp_path, retry=True, progress=False)
    assert retried.made == ["x3", "x4"] and len(retried.kept) == 3 and not retried.failed


DAMAGE = {
    "cut": b"{",
    "empty": b"",
    "edited": lambda whole: whole.replace(b'"y": 4', b'"y": 5'),
    "nan": lambda whole: whole.replace(b'"y": 4', b'"y": NaN'),
    "infinite": lambda whole: whole.replace(b'"y": 4', b'"y": 1e999'),
    "deep": b"[" * 200_000,
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_named_and_made_again(tmp_path, damage):
    run_sweep("s", PLAN, square, tmp_path, progress=False)
    path = tmp_path / "x2.json"
    whole = path.read_bytes()
    path.write_bytes(damage if isinstance(damage, bytes) else damage(whole))
    assert path.read_bytes() != whole
    with pytest.raises(ResultError, match=r"x2\.json"):
        read_sweep("s", PLAN, tmp_path)
    report = run_sweep("s", PLAN, square, tmp_path, progress=False)
    assert report.made == ["x2"] and "x2.json" in report.damaged["x2"] and len(report.kept) == 4
    assert read_sweep("s", PLAN, tmp_path)["x2"]["metrics"]["y"] == 4


def test_a_file_that_cannot_be_read_is_named_and_made_again(tmp_path, without_privileges):
    run_sweep("s", PLAN, square, tmp_path, progress=False)
    (tmp_path / "x2.json").chmod(0)
    report = run_sweep("s", PLAN, square, tmp_path, progress=False)
    assert report.made == ["x2"] and "x2.json cannot be read: Permission denied" in report.damaged["x2"]


def test_a_folder_in_place_of_a_file_is_named_before_any_work(tmp_path):
    (tmp_path / "x2.json").mkdir()
    with pytest.raises(ResultError, match=r"x2\.json must be a result file or nothing, it is a folder"):
        run_sweep("s", PLAN, square, tmp_path, progress=False)
    with pytest.raises(ResultError, match=r"x2\.json cannot be read: Is a directory"):
        read_sweep("s", PLAN[2:], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x2.json"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_that_leaves_or_returns_no_data_has_failed(tmp_path, jobs):
    report = run_sweep("s", PLAN, leave, tmp_path, jobs=jobs, progress=False)
    assert report.made == ["x0", "x3", "x4"] and report.failed.keys() == {"x1", "x2"}
    assert report.failed["x1"] == "SystemExit: no licence"
    assert "must hold numbers, strings, lists and dicts, got object" in report.failed["x2"]
    assert read_sweep("s", PLAN, tmp_path)["x2"]["metrics"]["error"] == report.failed["x2"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_stops_the_sweep_and_is_no_result(tmp_path, jobs):
    with pytest.raises(KeyboardInterrupt):
        run_sweep("s", PLAN, interrupt, tmp_path, jobs=jobs, progress=False)
    assert not (tmp_path / "x2.json").exists()
    assert jobs > 1 or [path.stem for path in sorted(tmp_path.iterdir())] == ["x0", "x1"]


def test_a_full_disk_stops_the_sweep(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rsail.study.results.write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        run_sweep("s", PLAN, square, tmp_path, progress=False)


def test_a_file_of_another_run_is_refused_and_files_of_no_run_are_named(tmp_path):
    run_sweep("s", PLAN, square, tmp_path, progress=False)
    for changed in (Cell("x1", {"x": 7}, {"run": 1}), Cell("x1", {"x": 1}, {"run": 2})):
        for use in (
            lambda c: run_sweep("s", [c], square, tmp_path, progress=False),
            lambda c: read_sweep("s", [c], tmp_path),
        ):
            with pytest.raises(ResultError, match=r"x1\.json holds another run.* differs in (x|run)"):
                use(changed)
    for use in (
        lambda: run_sweep("t", PLAN, square, tmp_path, progress=False),
        lambda: read_sweep("t", PLAN, tmp_path),
    ):
        with pytest.raises(ResultError, match="study 's', expected 't'"):
            use()
    report = run_sweep("s", PLAN[:3], square, tmp_path, progress=False)
    assert report.strangers == ["x3", "x4"] and "of no planned run: x4" in str(report)


def test_cells_that_were_made_with_other_versions_are_told(tmp_path, monkeypatch):
    assert not run_sweep("s", PLAN[:2], square, tmp_path, progress=False).older
    now = versions()
    other = {**now, "libraries": {**now["libraries"], "numpy": "9.9"}}
    monkeypatch.setattr(sweeps, "versions", lambda: other)
    report = run_sweep("s", PLAN[:3], square, tmp_path, progress=False)
    assert report.kept == ["x0", "x1"] == list(report.older) and report.made == ["x2"]
    told = f"2 kept of other versions: libraries.numpy ({now['libraries']['numpy']!r} there, '9.9' now)"
    assert told in str(report)


def test_a_plan_with_one_name_twice_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match=r"cells must be .* no name stands twice, got \['x0'\]"):
        run_sweep("s", [PLAN[0], PLAN[0]], square, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_several_processes_give_the_files_of_one(tmp_path):
    run_sweep("s", PLAN, square_below_three, tmp_path / "one", progress=False)
    run_sweep("s", PLAN, square_below_three, tmp_path / "two", jobs=2, progress=False)
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert {name: {**m, "traceback": ""} for name, m in one.items()} == {
        name: {**m, "traceback": ""} for name, m in two.items()
    }
    run_sweep("p", PLAN, process, tmp_path / "where", jobs=2, progress=False)
    assert os.getpid() not in {metrics["pid"] for metrics in content(tmp_path / "where").values()}


def test_each_of_several_processes_has_one_thread_for_linear_algebra(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run_sweep("p", PLAN, process, tmp_path, jobs=2, progress=False)
    assert {metrics["threads"] for metrics in content(tmp_path).values()} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_a_cell_whose_process_is_killed_has_failed_and_the_others_are_made(tmp_path):
    report = run_sweep("s", PLAN, die_at_two, tmp_path, jobs=2, progress=False)
    assert report.made == ["x0", "x1", "x3", "x4"] and list(report.failed) == ["x2"]
    assert report.failed["x2"].startswith("TerminatedWorkerError: ") and "SIGKILL" in report.failed["x2"]
    assert read_sweep("s", PLAN, tmp_path)["x2"]["metrics"]["error"] == report.failed["x2"]
    again = run_sweep("s", PLAN, square, tmp_path, jobs=2, progress=False)
    assert again.failed == report.failed and not again.made
    assert run_sweep("s", PLAN, square, tmp_path, jobs=2, retry=True, progress=False).made == ["x2"]


def test_a_cell_that_is_killed_beside_others_is_made_alone(tmp_path):
    cells = [Cell(name, {"folder": str(tmp_path)}) for name in ("first", "second")]
    report = run_sweep("s", cells, die_beside_another, tmp_path / "out", jobs=2, progress=False)
    assert report.made == ["first", "second"] and (tmp_path / "killed").exists()


@pytest.fixture(scope="module", params=[1, 2], ids=lambda workers: f"{workers}-workers")
def cluster(request):
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=request.param, threads_per_worker=1, dashboard_address=None) as cluster,
    ):
        yield cluster


def test_a_dask_cluster_gives_the_files_of_one_process(tmp_path, cluster):
    there = {"cluster": cluster.scheduler_address, "progress": False}
    report = run_sweep("s", PLAN, square, tmp_path / "there", **there)
    assert report.made == [cell.name for cell in PLAN]
    run_sweep("s", PLAN, square, tmp_path / "here", progress=False)
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_the_workers_of_a_dask_cluster_work_side_by_side(tmp_path, cluster):
    count = len(cluster.workers)
    cells = [Cell(name, {"folder": str(tmp_path), "count": count}) for name in "ab"[:count]]
    run_sweep("p", cells, meet, tmp_path / "out", cluster=cluster.scheduler_address, progress=False)
    found = {metrics.get("pid") for metrics in content(tmp_path / "out").values()}
    assert len(found) == count and not found & {None, os.getpid()}


def test_a_cell_that_kills_its_dask_worker_has_failed_and_the_others_are_made(tmp_path, cluster):
    there = {"cluster": cluster.scheduler_address, "progress": False}
    report = run_sweep("s", PLAN, die_at_two, tmp_path, **there)
    assert report.made == ["x0", "x1", "x3", "x4"] and list(report.failed) == ["x2"]
    assert report.failed["x2"].startswith("KilledWorker: ")
    assert read_sweep("s", PLAN, tmp_path)["x2"]["metrics"]["error"] == report.failed["x2"]


def test_a_scheduler_that_goes_away_is_an_error(tmp_path):
    from distributed import LocalCluster

    def begin_and_wait(cell):
        (tmp_path / "begun").touch()
        time.sleep(1)

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:

        def close():
            while not (tmp_path / "begun").exists():
                time.sleep(0.02)
            cluster.close()

        closing = threading.Thread(target=close)
        closing.start()
        with pytest.raises(ConnectionError, match="the dask scheduler was lost; start the sweep again"):
            run_sweep("s", PLAN, begin_and_wait, tmp_path, cluster=cluster.scheduler_address, progress=False)
        closing.join()


def test_a_sweep_that_is_killed_loses_only_the_cells_in_flight(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_sweeps import PLAN, slow\n"
        "from rsail.study.sweeps import run_sweep\n"
        "run_sweep('s', PLAN, slow, sys.argv[1], progress=False)\n"
    )
    out = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", script, str(out), str(Path(__file__).parent)])
    deadline = time.monotonic() + 60
    while not (out / "x1.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    there = sorted(path.stem for path in out.glob("*.json"))
    assert "x1" in there and len(there) < len(PLAN)
    report = run_sweep("s", PLAN, slow, out, progress=False)
    assert (
        report.kept == there
        and report.made == sorted({c.name for c in PLAN} - set(there))
        and not report.damaged
    )


def test_a_bar_is_shown_when_asked(tmp_path, capsys):
    run_sweep("bars", PLAN, square, tmp_path, progress=True)
    assert "bars: 100%" in capsys.readouterr().err
    assert sweeps.run_sweep("bars", PLAN, square, tmp_path, progress=False).kept
    assert capsys.readouterr().err == ""
