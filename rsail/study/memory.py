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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes() -> int:
    """Memory of this process, or of the GPU, now; where the system does not say, the highest so far."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_bytes()
    return pages * resource.getpagesize()
