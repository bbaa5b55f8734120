"""What notebook 10 shows of the GPU run: a sentence that says what there is, and tables of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rsail.study.gpu.packed import RESULTS
from rsail.study.gpu.plan import LARGE, METHODS, TASKS, parts
from rsail.study.paths import ROOT
from rsail.study.statistics import mean_interval

ATTRIBUTE = {"language": "filler words", "imdb": "length"}
KEYS = {"language": "attribute/filler", "imdb": "attribute/length"}
Table = tuple[str, tuple[str, ...], list[tuple]]


def of_kind(results: list[dict], kind: str) -> list[dict]:
    """The results of stages of one kind, in the order of the plan."""
    order = {stage.name: k for part in parts(LARGE).values() for k, stage in enumerate(part.stages)}
    found = {
        r["config"]["stage"]["name"]: r for r in results if r["config"]["stage"]["kind"] == kind
    }  # a model is packed with each part that needs it
    return [found[name] for name in sorted(found, key=lambda name: (order.get(name, -1), name))]


def status(results: list[dict]) -> str:
    """What there is, in Markdown: or that all of it waits for a run, and how that is made."""
    plan = parts(LARGE)
    wanted = {stage.name for part in plan.values() for stage in part.stages}
    if not results:
        minutes = sum(part.minutes for part in plan.values())
        return (
            f"**This part waits for a run.** There is no result of a GPU in `{RESULTS.relative_to(ROOT)}`. On a "
            f"machine with one large GPU, `python -m rsail.study.gpu_run --output build/gpu --imdb FOLDER` makes "
            f"{len(wanted)} of them, in {len(plan)} parts and at most {minutes:.0f} minutes; the files of "
            "`build/gpu/packed` are what to copy here."
        )
    found = {result["config"]["stage"]["name"] for result in results}
    machine = results[0]["provenance"]
    return (
        f"{len(found)} results, {len(wanted - found)} of the plan's {len(wanted)} not among them. Machine: "
        f"{machine['gpu'] or 'no GPU'}, {machine['cores']} cores; torch {machine['libraries']['torch']}, transformers "
        f"{machine['libraries']['transformers']}."
    )


def tables(results: list[dict]) -> Iterator[Table]:
    """Title, headers and rows of each table that there are results for."""
    for make in (_models, _speed, _training):
        title, headers, rows = make(results)
        if rows:
            yield title, headers, rows


def _models(results: list[dict]) -> Table:
    rows = [
        (r["config"]["stage"]["task"], r["config"]["stage"]["size"], f"{r['metrics']['parameters']:,}",
         r["metrics"]["nats_per_token"], f"{r['metrics']['tokens_per_second']:,.0f}", r["metrics"]["seconds"],
         r["metrics"]["peak_bytes"] / 2**30)
        for r in of_kind(results, "pretrain")
    ]  # fmt: skip
    headers = (
        "texts",
        "size",
        "parameters",
        "held-out loss (nats)",
        "tokens per second",
        "time (s)",
        "memory (GiB)",
    )
    return "Pretraining, several models at a time.", headers, rows


def _speed(results: list[dict]) -> Table:
    def percent(share: float | None) -> str:
        return "–" if share is None else f"{100 * share:.1f}"

    rows = [
        (r["config"]["stage"]["size"], h["precision"], h["workload"]["prompts"], 1e3 * h["step"],
         " / ".join(f"{1e3 * seconds:.1f}" for seconds in h["phases"].values()),
         f"{h['tokens_per_second']:,.0f}", h["peak"] / 2**30, percent(h["of_product"]["step"]),
         percent(h["of_product"]["backward"]), percent(h["of_datasheet"] and h["of_datasheet"]["step"]))
        for r in of_kind(results, "speed") for h in r["history"]
    ]  # fmt: skip
    phases = " / ".join(next((h["phases"] for r in of_kind(results, "speed") for h in r["history"]), ()))
    headers = (
        "size", "precision", "prompts", "step (ms)", f"{phases} (ms)", "tokens per second", "memory (GiB)",
        "% of a large product", "backward alone, %", "% of the data sheet",
    )  # fmt: skip
    return (
        "An online step, alone on the GPU: new tokens per second and model FLOP utilisation.",
        headers,
        rows,
    )


def _training(results: list[dict]) -> Table:
    groups: dict[tuple[str, ...], list[dict]] = {}
    for result in of_kind(results, "train"):
        key = tuple(result["config"]["stage"][name] for name in ("task", "size", "method"))
        groups.setdefault(key, []).append(result)
    rows = [(*key, *_summary(runs, KEYS[key[0]])) for key, runs in sorted(groups.items(), key=_in_order)]
    headers = (
        "task", "size", "method", "runs", "diverged", "gain in gold reward", "gain in the favored attribute", "KL",
        "step (ms)",
    )  # fmt: skip
    favored = ", ".join(f"{name} on {task}" for task, name in ATTRIBUTE.items())
    title = (
        f"Training, several runs at a time; the oracle favors {favored}. Means over seeds, 95 % intervals."
    )
    return title, headers, rows


def _in_order(group: tuple[tuple[str, ...], list[dict]]) -> tuple[int, int, int]:
    """Tasks and methods as the plan has them, small models first."""
    (task, _, method), runs = group
    return TASKS.index(task), runs[0]["config"]["parameters"], METHODS.index(method)


def _summary(runs: list[dict], attribute: str) -> tuple:
    """Of the runs of one method: how many, how many without an end, what they gained from before training."""
    whole = [r for r in runs if "error" not in r["metrics"]]

    def gain(name: str) -> str:
        values = np.array([r["metrics"][name] - r["history"]["evaluations"][0][name] for r in whole])
        return (
            "–"
            if len(values) == 0
            else f"{values[0]:.3f}"
            if len(values) == 1
            else str(mean_interval(values))
        )

    def mean(name: str, factor: float = 1.0) -> str:
        return f"{factor * np.mean([r['metrics'][name] for r in whole]):.2f}" if whole else "–"

    return (
        len(runs), len(runs) - len(whole), gain("gold/reward"), gain(attribute), mean("objective/kl"),
        mean("seconds/step", 1e3),
    )  # fmt: skip
