"""SIGTERM, with which schedulers end a program: finish the step, keep everything, say so."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


class Terminated(SystemExit):
    """A run was asked to stop and did; as a program it ends with the usual status, 128 + 15 = 143."""

    def __init__(self, message: str):
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self) -> str:
        return self.message


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether SIGTERM has come since; a second SIGTERM does what it did before.

    Outside the main thread, where Python handles no signals, the answer is always no.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()

    def take_note(*_) -> None:
        asked.set()
        signal.signal(signal.SIGTERM, before)

    before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL  # known before the first signal can come
    signal.signal(signal.SIGTERM, take_note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
