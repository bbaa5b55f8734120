"""Running out of memory, and the settings to lower when it happens."""

from __future__ import annotations

import contextlib
from operator import attrgetter

import torch

# What a step, a set of pairs that is kept, an evaluation holds at once grows with each of these.
STEP = ("prompts_per_step", "responses_per_prompt", "max_new_tokens")
STORED = ("collection.stored_prompts", "responses_per_prompt", "max_new_tokens")
EVALUATION = ("evaluation_prompts", "max_new_tokens")
FIT = ("oracle.pairs", "oracle.members", "max_new_tokens")


@contextlib.contextmanager
def settings_named(where: str, config, names: tuple[str, ...]):
    """Turn what torch, its CPU allocator and NumPy raise into one `MemoryError` that names the settings."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        settings = ", ".join(f"{name} (now {attrgetter(name)(config)})" for name in names)
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise MemoryError(
            f"{where}: out of memory; lower one of {settings}, in a new output_dir: {reason}"
        ) from error


def _out_of_memory(error: Exception) -> bool:
    # The CPU allocator raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
