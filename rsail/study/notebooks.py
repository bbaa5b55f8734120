"""Run the notebooks: all of them for notebook 00, or in place for their authors.

    python -m rsail.study.notebooks [NAME ...]

executes notebooks with their own defaults (profile quick), one after another, and replaces each by its
executed and cleaned copy only if it ran to its end. Without names: all, notebook 00 last.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import joblib
import nbformat

from rsail.checks import one_of
from rsail.files import write_atomically
from rsail.study.paths import BUILD_DIR, NOTEBOOKS_DIR


@dataclass(frozen=True)
class Notebook:
    """A notebook of the compendium: file stem, title, minutes to read it."""

    name: str
    title: str
    minutes: int


# In reading order. Notebook 00 runs these; tests check that no notebook is missing here.
NOTEBOOKS = (
    Notebook("01_decomposition", "The decomposition, derived", 13),
    Notebook("02_numerical_check", "The decomposition, checked", 10),
    Notebook("02b_landscapes_and_relatives", "Landscapes, relatives, estimators", 16),
    Notebook("03_weak_convexity", "Weak convexity and its constants", 15),
    Notebook("04_convergence", "Convergence, derived and measured", 15),
    Notebook("05_sail_family", "SAIL's family", 15),
    Notebook("06_every_method", "Every method, one exact problem", 15),
    Notebook("07_preference_language", "A preference language and its oracles", 10),
    Notebook("08_training", "Robust SAIL on a language model", 12),
    Notebook("09_misspecification", "Misspecification", 15),
    Notebook("09b_language_model", "Misspecification on a language model", 10),
    Notebook("10_real_text_and_scale", "Real text and scale", 10),
)
REPRODUCE = "00_reproduce"
MOST_AT_ONCE = 4  # a notebook takes up to 1.5 GB of memory

# What papermill and Jupyter leave behind that differs from run to run, or between Python versions.
_NOISE = [
    "metadata.papermill",
    "metadata.widgets",
    "metadata.language_info.version",
    "cell.metadata.papermill",
    "cell.metadata.execution",
]
# A kernel from ipykernel 7.3 on warns on stderr about its sockets unless its log level is "error".
_QUIET_KERNEL = ["--IPKernelApp.log_level=40"]


@dataclass(frozen=True)
class Outcome:
    """How the run of one notebook ended."""

    name: str
    seconds: float
    error: str | None = None  # which cell failed and how; None if the notebook ran to its end

    @property
    def status(self) -> str:
        return "ok" if self.error is None else "failed"


class NotebookError(RuntimeError):
    """One or more notebooks failed; the message names each, its cell and its error."""


def run_notebooks(
    names: Iterable[str],
    profile: str | None = None,
    *,
    folder: str | Path = NOTEBOOKS_DIR,
    output: str | Path = BUILD_DIR / "notebooks",
    jobs: int | None = None,
) -> list[Outcome]:
    """Execute the notebooks `names` of `folder`, each in a kernel of its own; what came of each, in their order.

    Executed copies go to `output`, and beside each a ``.log`` of what its kernel wrote to stderr. No notebook needs
    another's fresh output, so a failure does not stop the others: the whole picture is worth more. Use
    `require_success` on what comes back.

    Parameters
    ----------
    names : iterable of str
        File stems.
    profile : str, optional
        Injected as the parameter `profile`; without it a notebook runs with its own defaults.
    jobs : int, optional
        How many run at once; by default one for each processor core, but at most `MOST_AT_ONCE`.
    """
    folder, output = Path(folder), Path(output)
    sources = [folder / f"{name}.ipynb" for name in names]
    for source in sources:
        if not source.exists():
            raise NotebookError(f"there is no notebook {source.stem} in {folder.name}/")
    output.mkdir(parents=True, exist_ok=True)
    parameters = {} if profile is None else {"profile": profile}
    jobs = min(joblib.cpu_count(), MOST_AT_ONCE) if jobs is None else jobs
    run = joblib.delayed(_execute_with_log)
    return joblib.Parallel(jobs)(run(source, output / source.name, parameters) for source in sources)


def _execute_with_log(source: Path, output: Path, parameters: dict) -> Outcome:
    """`execute`, with what the kernel's process says on stderr in a file: else it lands in the notebook that asked."""
    kept = os.dup(2)
    try:
        with open(output.with_suffix(".log"), "wb") as log:
            os.dup2(log.fileno(), 2)
            return execute(source, output, parameters)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def execute(source: Path, output: Path, parameters: dict) -> Outcome:
    """Execute one notebook with papermill, in its own folder; never raises for an error inside it."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    start, error = time.perf_counter(), None
    try:
        papermill.execute_notebook(
            source,
            output,
            parameters,
            kernel_name="python3",
            cwd=source.parent,
            progress_bar=False,
            extra_arguments=_QUIET_KERNEL,
        )
    except PapermillExecutionError as failure:
        error = f"cell [{failure.exec_count}]: {failure.ename}: {failure.evalue}"
    except DeadKernelError as failure:
        error = f"the kernel died: {failure}"
    return Outcome(source.stem, time.perf_counter() - start, error)


def require_success(outcomes: Iterable[Outcome]) -> None:
    """Raise NotebookError naming each notebook that failed, its cell and its error, if there is one."""
    failed = [f"{outcome.name}, {outcome.error}" for outcome in outcomes if outcome.error is not None]
    if failed:
        raise NotebookError(f"{len(failed)} notebook(s) failed: " + "; ".join(failed))


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what differs from run to run (times, paths, versions); keep outputs, counts and ids."""
    from nbstripout import strip_output

    notebook = strip_output(notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=_NOISE)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for cell in notebook.cells:
        if not cell.metadata.get("tags", True):  # papermill gives every cell an empty list of tags
            del cell.metadata["tags"]
    return notebook


def execute_in_place(path: Path) -> Outcome:
    """Replace the notebook at `path` by its executed, cleaned copy; a failure leaves it as it was."""
    output = BUILD_DIR / "notebooks" / f"{path.stem}.in_place.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    outcome = execute(path, output, {})
    if outcome.error is None:
        notebook = clean(nbformat.read(output, as_version=4))
        nbformat.validate(notebook)
        write_atomically(path, nbformat.writes(notebook) + "\n")
    return outcome


def main(arguments: list[str] | None = None) -> int:
    """Execute the named notebooks in place; 1 if one fails."""
    parser = argparse.ArgumentParser(description="Execute notebooks in place and clean their metadata.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="file stem, such as 01_decomposition")
    options = [notebook.name for notebook in NOTEBOOKS] + [REPRODUCE]
    names = parser.parse_args(arguments).names or options
    for name in names:
        one_of("NAME", name, options)
    outcomes = []
    for name in names:
        outcomes.append(execute_in_place(NOTEBOOKS_DIR / f"{name}.ipynb"))
        print(f"{name}: {outcomes[-1].status} in {outcomes[-1].seconds:.1f} s", flush=True)
    try:
        require_success(outcomes)
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
