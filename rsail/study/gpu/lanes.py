"""The stages of a part in processes side by side, until they are done or the time is up."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from rsail.checks import positive, require
from rsail.files import write_atomically
from rsail.study.cost.steps import environment
from rsail.study.gpu.packed import pack
from rsail.study.gpu.plan import Part, Place, Scale, Stage
from rsail.study.gpu.stages import is_done, work

MARGIN = 10.0  # seconds at the end of a part, to end processes and to pack the results
ENOUGH = ("done", "kept")
# Small models do not gain from threads, and there are several processes.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


class Board:
    """Which stages wait, are being done, and how the others ended; lanes share it."""

    def __init__(self, stages: tuple[Stage, ...], deadline: float, changed: Callable[[dict], None]):
        self.waiting, self.deadline, self.changed = list(stages), deadline, changed
        self.doing: set[str] = set()
        self.ended: dict[str, dict] = {}
        self.longest: dict[tuple[str, str, str], float] = {}
        self.condition = threading.Condition()

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def end(self, stage: Stage, state: str, *, seconds: float = 0.0, reason: str = "") -> None:
        """`stage` ended: done, kept, skipped, failed, stopped, or not started."""
        with self.condition:
            if stage in self.waiting:
                self.waiting.remove(stage)
            self.doing.discard(stage.name)
            if state == "done":
                self.longest[stage.like] = max(self.longest.get(stage.like, 0.0), seconds)
            self.ended[stage.name] = {"state": state, "seconds": round(seconds, 1), "reason": reason}
            self.changed(self.ended)
            self.condition.notify_all()

    def take(self) -> Stage | None:
        """The next stage for which there is time, None when there is none; waits for a stage that another one needs."""
        with self.condition:
            while self.waiting:
                for stage in tuple(self.waiting):
                    needed = self.ended.get(stage.needs, {"state": ""})["state"]
                    if not stage.needs or needed in ENOUGH:
                        wanted = self.longest.get(stage.like, stage.seconds)
                        if wanted > self.left():
                            reason = f"takes up to {wanted:.0f} s, {max(0.0, self.left()):.0f} s were left"
                            self.end(stage, "not started", reason=reason)
                            continue
                        self.waiting.remove(stage)
                        self.doing.add(stage.name)
                        return stage
                    if needed:
                        self.end(stage, "skipped", reason=f"{stage.needs}: {needed}")
                if self.waiting:
                    self.condition.wait(timeout=1.0)
            return None


def run_part(
    part: Part, scale: Scale, place: Place, *, minutes: float | None = None, lanes: int | None = None
) -> dict[str, dict]:
    """Do the stages of `part` that are not done, pack all its results; returns how each stage ended.

    ``packed/summary.json`` says the same for all parts, and is written whenever a stage ends. What is short of time
    when the limit of `minutes` comes is stopped, and goes on from its last checkpoint when the part is run again.
    """
    started = time.monotonic()
    limit = 60 * positive("minutes", part.minutes if minutes is None else minutes)
    lanes = part.lanes if lanes is None else lanes
    require(lanes >= 1, "lanes", lanes, ">= 1")
    packed = place.output / "packed"
    packed.mkdir(parents=True, exist_ok=True)

    def note(ended: dict) -> None:
        entry = {
            "lanes": lanes,
            "limit": limit,
            "seconds": round(time.monotonic() - started, 1),
            "stages": ended,
        }
        summary = read_summary(place) | {part.name: entry}
        write_atomically(packed / "summary.json", json.dumps(summary, indent=1) + "\n")

    board = Board(part.stages, started + limit - MARGIN, note)
    for stage in part.stages:
        if is_done(stage, place):
            board.end(stage, "kept")
        elif stage.task == "imdb" and place.imdb is None:
            board.end(stage, "skipped", reason="no folder with IMDb was given (--imdb)")
    todo = len(board.waiting)
    with environment(**ENVIRONMENT), ThreadPoolExecutor(lanes) as threads:
        for lane in [threads.submit(_lane, board, scale, place, lanes) for _ in range(min(lanes, todo))]:
            lane.result()
    pack([place.result(s) for s in part.stages if is_done(s, place)], packed / f"{part.name}.jsonl")
    note(board.ended)
    return board.ended


def read_summary(place: Place) -> dict[str, dict]:
    """How the stages of each part ended, as far as they were run."""
    path = place.output / "packed" / "summary.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _lane(board: Board, scale: Scale, place: Place, lanes: int) -> None:
    """One stage after the other, in one process; in a new one after a failure, which may have spoilt its GPU state."""
    process = None
    try:
        while (stage := board.take()) is not None:
            process = process or ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
            begun, reason = time.monotonic(), ""
            try:
                until = time.time() + board.left()
                done = process.submit(work, stage, scale, place, until, lanes).result()
                state = "done" if done else "stopped"
            except BrokenProcessPool:
                state, reason = "failed" if board.left() > 0 else "stopped", "its process was ended"
            except Exception as error:  # of a library, say: the other stages go on
                state, reason = "failed", f"{type(error).__name__}: {error}"
            if state in ("failed", "stopped"):
                process.shutdown()
                process = None
            seconds = time.monotonic() - begun
            print(f"{stage.name}: {state}, {seconds:.0f} s {reason}".rstrip(), flush=True)
            board.end(stage, state, seconds=seconds, reason=reason)
    finally:
        if process:
            process.shutdown()
