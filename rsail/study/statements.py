"""Statements that are computed from committed files: compute, measured times, errata of the paper, the model card.

`python -m rsail.study.statements` brings them up to date; `tests/study/test_statements.py` fails when one is stale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import nbformat
from safetensors import safe_open

from rsail.study import convergence, pages
from rsail.study.display import markdown_table
from rsail.study.errata import errata_list
from rsail.study.notebooks import MOST_AT_ONCE, NOTEBOOKS, REPRODUCE
from rsail.study.paths import DATA_DIR, NOTEBOOKS_DIR, RESULTS_DIR, ROOT
from rsail.study.results import read_result

MODEL = DATA_DIR / "models" / "preference_language"
_TIME_COLUMN = "wall time (s)"
# Studies whose runs step together: files that agree in this entry of their configuration hold the joint wall time.
_JOINT = {convergence.NAME: "problem"}


def compute_statement(results: Path = RESULTS_DIR) -> str:
    """Files, hours and processors of every study with result files below `results`, and their sum, in Markdown.

    Raises
    ------
    ResultError
        If a result file was cut short or edited.
    """
    rows, all_hours, processors = [], 0.0, set()
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        found = [read_result(path) for path in sorted(folder.rglob("*.json"))]
        if not found:
            continue
        hours = _seconds(found) / 3600
        machines = {_machine(result["provenance"]) for result in found}
        rows.append((f"`{folder.name}`", len(found), f"{hours:.2f}", "; ".join(sorted(machines))))
        all_hours, processors = all_hours + hours, processors | machines
    gpus = sum(" + " in machine for machine in processors)
    table = markdown_table(rows, ("folder of data/results", "result files", "hours", "machine"))
    return (
        f"{table}\n\nTogether {all_hours:.1f} hours of wall time in {sum(row[1] for row in rows)} result files, "
        f"{'with' if gpus else 'without'} a GPU. Runs that step together count their joint time once. Other runs "
        "count their own time each, and what they waited for a processor that other work used: on a free core they "
        "may take far less. Not in it: tests, notebooks, drafts, and runs that were not kept."
    )


def _seconds(results: list[dict]) -> float:
    """Wall time of result files in seconds; of a joint time, which each file has as it was written, the largest."""
    own, joint = 0.0, {}
    for result in results:
        if (entry := _JOINT.get(result["study"])) is None:
            own += result["wall_time"]
        else:
            together = result["study"], result["config"][entry]
            joint[together] = max(joint.get(together, 0.0), result["wall_time"])
    return own + sum(joint.values())


def _machine(provenance: dict) -> str:
    gpu = f" + {provenance['gpu']}" if provenance["gpu"] else ""
    return f"{provenance['cpu']}, {provenance['cores']} cores{gpu}"


def notebook_seconds() -> dict[str, float]:
    """Wall time in seconds of each notebook when notebook 00 was last executed, by title, from its table."""
    outputs = [
        output["data"].get("text/markdown", "")
        for cell in nbformat.read(NOTEBOOKS_DIR / f"{REPRODUCE}.ipynb", as_version=4).cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    (table,) = (text for text in outputs if _TIME_COLUMN in text)
    header, _, *lines = (
        [entry.strip() for entry in line.strip("|").split("|")] for line in table.splitlines()
    )
    return {line[0].split("]")[0].strip("["): float(line[header.index(_TIME_COLUMN)]) for line in lines}


def measured_times() -> str:
    """What each profile took where it was measured, in Markdown; what was not measured is said to be so."""
    seconds = notebook_seconds()
    left = [notebook.name for notebook in NOTEBOOKS if notebook.title not in seconds]
    quick = f"{sum(seconds.values()) / 60:.1f} minutes, the sum over {len(seconds)} notebooks"
    if left:
        quick += f" ({', '.join(left)} not in this measurement)"
    quick += (
        f"; one for each processor core, at most {MOST_AT_ONCE}, run at once, so that the whole takes less"
    )
    return markdown_table(
        [
            ("`quick`", quick, "table of notebook 00"),
            (
                "`full` with `retrain`",
                f"the study of notebook 08: {_minutes('biased_oracle')}",
                "its result files",
            ),
            ("`gpu`", _minutes("gpu"), "its result files"),
        ],
        ("profile", "measured", "from"),
    )


def _minutes(study: str) -> str:
    found = [read_result(path) for path in sorted((RESULTS_DIR / study).rglob("*.json"))]
    return f"{_seconds(found) / 60:.0f} minutes of training" if found else "not measured yet"


def model_card() -> str:
    """Sizes and training of the committed reference model, from its own files, in Markdown."""
    config = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    recipe = json.loads((MODEL / "recipe.json").read_text(encoding="utf-8"))
    with safe_open(MODEL / "model.safetensors", "pt") as weights:
        count = sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    training = recipe["pretraining"]
    rows = [
        ("parameters", f"{count:,}, {config['dtype']}, tied embeddings: {config['tie_word_embeddings']}"),
        ("layers, width, heads", f"{config['num_hidden_layers']}, {config['hidden_size']}, "
         f"{config['num_attention_heads']}"),
        ("vocabulary", f"{config['vocab_size']} words and marks"),
        ("pretraining", f"{training['steps']:,} steps of {training['batch_size']} out of {recipe['texts']:,} texts, "
         f"at most {training['max_length']} tokens, seed {training['seed']}"),
        ("recipe (SHA-256)", f"`{recipe['sha256'][:16]}…`"),
    ]  # fmt: skip
    return markdown_table(rows, ("", "value"))


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("REPRODUCING.md", "times"): measured_times,
    ("REPRODUCING.md", "compute"): compute_statement,
    ("REPRODUCING.md", "errata"): errata_list,
    ("data/models/MODEL_CARD.md", "model"): model_card,
}


def update(root: Path = ROOT) -> None:
    """Write every part between its two markers."""
    for (page, name), content in PARTS.items():
        pages.put(root / page, name, content())


if __name__ == "__main__":
    update()
