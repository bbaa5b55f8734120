"""The same numbers with other instructions of the processor: bytes where that is promised, else to a tolerance.

The libraries have switches by which they use fewer instructions than there are. This is as near to another processor
as one machine comes.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from . import numbers

# Largest difference of log-probabilities and exact quantities in their units; of gradients, in units of their norm.
TOLERANCES = {
    "float32/log_probs": 1e-4,
    "float32/gradient": 1e-4,
    "float64/log_probs": 1e-12,
    "float64/gradient": 1e-12,
    "exact/losses": 1e-13,
    "exact/gradient": 1e-12,
    "exact/subgradient": 1e-12,
    "exact/linear_program": 1e-9,
    "exact/gini": 1e-13,
    "exact/prox": 1e-11,
}
X86 = platform.machine() == "x86_64"
# Elsewhere torch and NumPy have the baseline alone to fall back to, and OpenBLAS names other processors.
SWITCHES = {
    "baseline": {
        "ATEN_CPU_CAPABILITY": "default",
        "NPY_DISABLE_CPU_FEATURES": " ".join(numbers.instructions()["numpy"]),
        **(
            {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Nehalem"}
            if X86
            else {}
        ),
    },
}
if X86:
    SWITCHES["avx2"] = {
        "ATEN_CPU_CAPABILITY": "avx2",
        "NPY_DISABLE_CPU_FEATURES": " ".join(
            name for name in numbers.instructions()["numpy"] if name.startswith(("AVX512", "X86_V4"))
        ),
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    }


@pytest.fixture(scope="module")
def here() -> dict[str, np.ndarray]:
    """The numbers with all instructions that this processor has."""
    return numbers.numbers()


@pytest.fixture(scope="module", params=SWITCHES)
def elsewhere(request, tmp_path_factory) -> tuple[dict, dict[str, np.ndarray]]:
    """Which instructions another process used, and its numbers."""
    path = tmp_path_factory.mktemp("numbers") / "numbers.npz"
    done = subprocess.run(
        [sys.executable, "-m", "tests.determinism.numbers", str(path)],
        env=os.environ | SWITCHES[request.param],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as archive:
        return request.param, json.loads(done.stdout), dict(archive)


def test_the_switches_are_obeyed(elsewhere):
    name, used, _ = elsewhere
    assert used["torch"] == {"baseline": "DEFAULT", "avx2": "AVX2"}[name]
    assert not set(used["numpy"]) & set(SWITCHES[name]["NPY_DISABLE_CPU_FEATURES"].split())
    assert not X86 or set(used["blas"]) <= {SWITCHES[name]["OPENBLAS_CORETYPE"]}


def test_what_is_drawn_and_what_is_hashed_is_the_same(here, elsewhere):
    names = [name for name in here if name.startswith("drawn/")]
    assert len(names) == 6
    for name in names:
        assert here[name].tobytes() == elsewhere[2][name].tobytes(), name


def test_everything_computed_is_the_same_to_its_tolerance(here, elsewhere):
    computed = {name for name in here if not name.startswith("drawn/")}
    assert computed == TOLERANCES.keys()
    for name in sorted(computed):
        scale = np.linalg.norm(here[name]) if name.endswith("gradient") else 1.0
        assert scale > 1e-3  # there is something to compare
        difference = np.abs(here[name] - elsewhere[2][name]).max() / scale
        assert difference <= TOLERANCES[name], f"{name}: {difference:.2e}"


def test_digits_of_a_language_model_do_differ(here, elsewhere):
    """Why trained numbers are not the same on another processor: the last digits are not, and tokens follow them."""
    name, _, found = elsewhere
    if numbers.instructions()["torch"] != {"baseline": "DEFAULT", "avx2": "AVX2"}[name]:
        assert (here["float32/log_probs"] != found["float32/log_probs"]).any()
