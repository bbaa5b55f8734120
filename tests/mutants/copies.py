"""Copies of the project in which mutants live, and pytest in them.

pytest runs in a process that is forked from one which has imported NumPy, SciPy and SymPy, but nothing of rsail:
starting Python anew would take longer than most tests.
"""

from __future__ import annotations

import filecmp
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from .mutant import ROOT, Mutant, mutated

TIMEOUT = {True: 600, False: 120}  # seconds, with and without notebooks
_HEAVY = ["numpy.testing", "scipy.optimize", "scipy.linalg", "scipy.sparse", "scipy.special", "sympy"]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([*_HEAVY, "hypothesis", "nbval.plugin", "tests.mutants.copies"])
_WRONG_PACKAGE = 97


class Copy:
    """A copy of the project; its own rsail is the one that is imported."""

    def __init__(self, root: Path):
        self.root = root
        self.files = project_files()
        for name in self.files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)

    def passes(self, targets: tuple[str, ...], *, to_the_end: bool = False, sound: bool = False) -> bool:
        """Whether pytest, with nbval for notebooks, passes on all targets; RuntimeError if it could not run them.

        `sound`: nothing is broken, so tests that cannot even be collected are an error, too.
        """
        options = [*([] if to_the_end else ["-x"]), "-q", "-p", "no:cacheprovider", "--strict-markers"]
        notebooks = any(target.endswith(".ipynb") for target in targets)
        if notebooks:
            options += ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "120"]
            options += ["--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
        report = self.root / "report.txt"
        process = _FORKS.Process(target=_pytest, args=(str(self.root), [*options, *targets], str(report)))
        process.start()
        process.join(TIMEOUT[notebooks])
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            self.report = self.noticed_by = f"no end after {TIMEOUT[notebooks]} s"
            return False
        self.report = report.read_text(encoding="utf-8", errors="replace")
        # A mutant may keep the tests from being collected (2), and may crash a library (below 0).
        if process.exitcode not in ((0, 1) if sound else (0, 1, 2)) and (sound or process.exitcode > 0):
            raise RuntimeError(
                f"pytest could not run {targets} (exit {process.exitcode}):\n{self.report[-3000:]}"
            )
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", self.report, re.MULTILINE)
        self.noticed_by = failed[1] if failed else f"{targets[0]}, exit {process.exitcode}"
        return process.exitcode == 0

    def apply(self, mutant: Mutant) -> None:
        (self.root / mutant.file).write_text(mutated(mutant), encoding="utf-8")

    def changed_figures(self) -> set[str]:
        """Names of the figures of which a file differs from the original's."""
        paths = list((ROOT / "figures").glob("*.*")) + list((self.root / "figures").glob("*.*"))
        pairs = {
            path.name: (ROOT / "figures" / path.name, self.root / "figures" / path.name) for path in paths
        }
        return {Path(name).stem for name, (one, other) in pairs.items() if not _same(one, other)}

    def restore(self) -> None:
        """Make every file the original again: the mutated one, and what a notebook wrote."""
        for name in self.files:
            if not _same(ROOT / name, self.root / name):
                shutil.copyfile(ROOT / name, self.root / name)


def project_files() -> list[str]:
    """Tracked and new files, as git sees them; outside git, everything but environments and builds."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        names = done.stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        skipped = {".venv", "build", ".git", "__pycache__", ".pytest_cache", ".hypothesis"}
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        names = [str(path) for path in paths if not skipped & set(path.parts)]
    return sorted({name for name in names if (ROOT / name).is_file()})


def _pytest(root: str, arguments: list[str], report: str) -> None:
    """Run pytest in the copy at `root`, in a process of its own; its output goes to the file `report`."""
    os.setsid()
    with open(report, "wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.chdir(root)
    # A byte-code file is trusted if size and second of its source fit: so none may be written.
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    sys.path[:] = [root, *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "rsail")]:
        del sys.modules[name]
    import hypothesis
    import pytest

    # No shrinking: that a test fails is all there is to know.
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", phases=phases)
    hypothesis.settings.load_profile("mutants")
    code = pytest.main(arguments)
    found = getattr(sys.modules.get("rsail"), "__file__", root)
    sys.exit(int(code) if str(found).startswith(root) else _WRONG_PACKAGE)


def _same(one: Path, other: Path) -> bool:
    """Whether both files exist and have the same bytes."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
