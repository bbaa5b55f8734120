"""Where the cells of a sweep run: in this process, in processes of this machine, on the workers of a dask scheduler.

A process may die under its cell (killed for its memory, a fault in a library). That must cost that cell alone.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    "1",
)  # fmt: skip
_LOOK_AGAIN = 10.0  # seconds after which workers that joined a cluster get work
_IDLE = 300.0  # seconds after which a process without work ends, also one whose sweep was killed


def results(
    function: Callable[[Any], Any],
    items: Iterable,
    died: Callable[[Any, Exception, float], Any],
    *,
    jobs: int = 1,
    cluster: str | None = None,
) -> Iterator:
    """``function(item)`` of every item, as they get done.

    An item whose process died is tried once more after all others, with nothing beside it; if that process dies, too,
    its result is ``died(item, error, seconds)``, called here. Whatever else `function` raises is raised; so is
    `ConnectionError` when the scheduler of a cluster is gone.

    Parameters
    ----------
    jobs : int
        1: in this process, which nothing protects. More: so many other processes, each with one thread for linear
        algebra.
    cluster : str, optional
        Address of a dask scheduler, in place of this machine: one item at a time for each thread of its workers, and
        none while it has no worker.
    """
    suspects = []
    with contextlib.closing(_pool(jobs, cluster, in_others=jobs > 1)) as pool:
        for item, future in _finished(pool, function, items):
            if isinstance(future.exception(), pool.death):
                suspects.append(item)
            else:
                yield future.result()
    for item in suspects:
        with contextlib.closing(_pool(1, cluster, in_others=True)) as pool:
            started = time.perf_counter()
            [(_, future)] = _finished(pool, function, [item])
            if isinstance(error := future.exception(), pool.death):
                yield died(item, error, time.perf_counter() - started)
            else:
                yield future.result()


def _pool(jobs: int, cluster: str | None, *, in_others: bool) -> _ThisProcess | _Processes | _Cluster:
    if cluster is not None:
        return _Cluster(cluster)
    return _Processes(jobs) if in_others else _ThisProcess()


def _finished(pool, function: Callable, items: Iterable) -> Iterator[tuple[Any, Future]]:
    # No more are handed out than can run: those that wait must not be blamed for a process that dies.
    waiting, running = deque(items), {}
    while waiting or running:
        while waiting and len(running) < pool.places:
            item = waiting.popleft()
            running[pool.submit(function, item)] = item
        done, _ = wait(running, timeout=_LOOK_AGAIN, return_when=FIRST_COMPLETED)
        for future in done:
            if future.cancelled():  # by dask
                raise ConnectionError(
                    "the dask scheduler was lost; start the sweep again to make what is missing"
                )
            yield running.pop(future), future


class _ThisProcess:
    places, death = 1, ()

    def submit(self, function: Callable, item) -> Future:
        future: Future = Future()
        future.set_result(function(item))
        return future

    def close(self) -> None:
        pass


class _Processes:
    """Executors of one process each: joblib's, and any of several processes, gives up all its work when one dies."""

    death = TerminatedWorkerError

    def __init__(self, places: int):
        self.places = places
        self.idle: list[ProcessPoolExecutor] = []
        self.busy: dict[Future, ProcessPoolExecutor] = {}

    def submit(self, function: Callable, item) -> Future:
        for future in [future for future in self.busy if future.done()]:
            executor = self.busy.pop(future)
            if not isinstance(future.exception(), self.death):
                self.idle.append(executor)
        executor = self.idle.pop() if self.idle else ProcessPoolExecutor(1, timeout=_IDLE, env=_ONE_THREAD)
        future = executor.submit(function, item)
        self.busy[future] = executor
        return future

    def close(self) -> None:
        for executor in self.idle:
            executor.shutdown()
        for future, executor in self.busy.items():
            executor.shutdown(kill_workers=not future.done())


class _Cluster:
    def __init__(self, address: str):
        from distributed import Client, KilledWorker

        self.death = KilledWorker
        self.client = Client(address)
        self.executor = self.client.get_executor(pure=False)

    @property
    def places(self) -> int:
        return max(1, sum(self.client.nthreads().values()))

    def submit(self, function: Callable, item) -> Future:
        return self.executor.submit(function, item)

    def close(self) -> None:
        self.client.close()
