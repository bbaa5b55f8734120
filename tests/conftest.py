"""What several test folders share: one thread, no network, and a tiny reference model trained in a second."""

import ctypes
import os
import struct

os.environ["OMP_NUM_THREADS"] = "1"  # one order of summation; the two cores are for two processes
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest


@pytest.fixture(scope="session")
def reference_folder(tmp_path_factory):
    """A 5 k-parameter Llama that has seen the preference language for a moment: it ends some responses."""
    from rsail.lm.pretraining import PretrainConfig, pretrain
    from rsail.tasks import TaskConfig, pretraining_texts

    corpus, tokenizer = pretraining_texts(TaskConfig(), 400)
    config = PretrainConfig(
        hidden_size=16, intermediate_size=32, layers=1, heads=2, steps=60, batch_size=16, learning_rate=3e-2
    )
    return pretrain(corpus, tokenizer, config, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def without_windows():
    """Figures drawn by a test are drawn in memory, and closed when it ends."""
    import matplotlib.pyplot as plt

    backend = plt.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


@pytest.fixture
def without_privileges():
    """Take from root, for one test, the right to pass over the permissions of files; others have none to lose.

    The capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (Linux, capabilities(7)) of this thread.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    version_3, this_thread = 0x20080522, 0
    header = ctypes.create_string_buffer(struct.pack("Ii", version_3, this_thread))
    kept = ctypes.create_string_buffer(24)
    assert libc.capget(header, kept) == 0, os.strerror(ctypes.get_errno())
    effective, *rest = struct.unpack("6I", kept.raw)
    reduced = ctypes.create_string_buffer(struct.pack("6I", effective & ~0b110, *rest))
    assert libc.capset(header, reduced) == 0, os.strerror(ctypes.get_errno())
    yield
    assert libc.capset(header, kept) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def settings(tmp_path, reference_folder):
    """Builds plain settings of a small run into a new folder; keyword arguments win."""

    def build(name: str = "run", **changes) -> dict:
        return {
            "output_dir": str(tmp_path / name),
            "model": str(reference_folder),
            "task": {"train_prompts": 16},
            "oracle": {"kind": "bias", "strength": 0.15},
            "rho": 0.15,
            "prompts_per_step": 4,
            "max_new_tokens": 12,
            "steps": 6,
            "learning_rate": 1e-2,
            "checkpoint_every": 2,
            "evaluate_every": 3,
            "evaluation_prompts": 8,
            **changes,
        }

    return build
