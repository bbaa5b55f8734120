"""How much memory a process or a GPU has used."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int:
    """Highest memory: of the GPU since `reset_peak`, without a GPU of the process since its start."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # On Linux `getrusage` begins, in a process that was started from another, with the peak of that one.
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def resident_bytes() -> int:
    """Memory of this process, or of the GPU, now; where the system does not say, the highest so far."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return _status("VmRSS") or peak_bytes()


def _status(entry: str) -> int | None:
    """Bytes of an entry of Linux's report on this process."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{entry}:")), None)
