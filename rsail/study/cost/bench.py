"""Every measurement of what a step costs, one result file each: `python -m rsail bench --output FOLDER`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rsail.checks import one_of
from rsail.files import make_writable
from rsail.study.cost import exact
from rsail.study.cost.floor import floors, measure_machine
from rsail.study.cost.statistics import ratio_of_medians
from rsail.study.cost.steps import in_turns, isolated
from rsail.study.cost.workload import Workload
from rsail.study.results import write_result

NAME = "cost"
# The model and the batch of the study of notebook 08.
STUDY = Workload(vocabulary=263, new_tokens=24, prompts=32, hidden=64)
PLAIN = {"rho": 0.0, "score_weight": 0.0}
SETTINGS = {
    "plain": (STUDY, PLAIN),
    "penalty": (STUDY, {"rho": 0.15, "score_weight": 0.0}),
    "score term": (STUDY, {"rho": 0.0, "score_weight": 1.0}),
    "both": (STUDY, {"rho": 0.15, "score_weight": 1.0}),
}


@dataclass(frozen=True)
class Amount:
    """How much is measured."""

    phases: list[Workload] = field(
        default_factory=lambda: [
            Workload(vocabulary=v, new_tokens=n, threads=t)
            for v in (512, 32_000)
            for n in (32, 128)
            for t in (1, 2)
        ]
    )
    settings: dict = field(default_factory=lambda: SETTINGS)
    group_sizes: dict = field(  # the same 64 responses to fewer prompts
        default_factory=lambda: {
            str(k): (Workload(263, 24, 64 // k, k, hidden=64), {"baseline": "log2"}) for k in (2, 4, 8, 16)
        }
    )
    widths: tuple[int, ...] = (64, 128, 256, 512)
    lengths: tuple[int, ...] = (16, 32, 64, 128, 256)
    steps: int = 20
    rounds: int = 300
    compared: int = exact.COMPARED
    sizes: tuple[int, ...] = exact.SIZES
    tasks: int = 16


FULL = Amount()
TINY = Amount(
    phases=[Workload(vocabulary=32, new_tokens=4, prompts=2, hidden=16, layers=1)],
    settings={
        name: (Workload(32, 4, 2, hidden=16, layers=1), settings) for name, (_, settings) in SETTINGS.items()
    },
    group_sizes={"2": (Workload(32, 4, 2, hidden=16, layers=1), {})},
    widths=(16,), lengths=(4,), steps=2, rounds=2, compared=200, sizes=(50, 100), tasks=2,
)  # fmt: skip


def measure_phases(amount: Amount) -> tuple[dict, list[dict]]:
    """Each workload in a process of its own, beside the floor of each phase."""
    records = []
    for workload in amount.phases:
        found, machine = isolated(workload, amount.steps), measure_machine(workload)
        limit = floors(workload, machine)
        records.append({"workload": asdict(workload), **found, "floors": limit, "machine": machine._asdict()})
    furthest = {
        phase: max(record["best"][phase] / max(record["floors"][phase].values()) for record in records)
        for phase in records[0]["floors"]
    }
    return {f"times_floor/{phase}": times for phase, times in furthest.items()}, records


def measure_settings(amount: Amount) -> tuple[dict, list[dict]]:
    """Penalty and score term over plain online DPO, and the number of responses per prompt, each in turns."""
    metrics, records = {}, []
    for sweep, variants, base in (
        ("terms", amount.settings, "plain"),
        ("responses", amount.group_sizes, "2"),
    ):
        seconds = in_turns(variants, amount.rounds)
        for name, taken in seconds.items():
            ratio, interval = ratio_of_medians(taken, seconds[base])
            records.append(
                {
                    "sweep": sweep,
                    "name": name,
                    "median": float(np.median(taken)),
                    "ratio": ratio,
                    "interval": interval,
                }
            )
            metrics[f"{sweep}/{name}"] = ratio
    return metrics, records


def measure_sizes(amount: Amount) -> tuple[dict, list[dict]]:
    """The model's width, the length of the responses."""
    plans = [("width", width, {"hidden": width}) for width in amount.widths]
    plans += [("length", length, {"new_tokens": length}) for length in amount.lengths]
    small = Workload(vocabulary=512) if amount is FULL else Workload(32, 4, 2, hidden=16, layers=1)
    records = [
        {"sweep": sweep, "value": value, **isolated(Workload(**asdict(small) | changes), amount.steps)}
        for sweep, value, changes in plans
    ]
    return {f"{r['sweep']}/{r['value']}": r["step"] for r in records}, records


def measure_exact(amount: Amount) -> tuple[dict, list[dict]]:
    """The exact penalty: sorting against all pairs, its growth, and a sweep against cores."""
    compared, grown = exact.compare(amount.compared), exact.growth(amount.sizes)
    cores = exact.against_cores(amount.tasks)
    rates = [record["per_n_log_n"] for record in grown]
    metrics = {
        "speedup": compared["speedup"],
        "difference": compared["difference"],
        "n_log_n_spread": max(rates) / min(rates),
        "exponent": float(np.polyfit(np.log(amount.sizes), np.log([r["seconds"] for r in grown]), 1)[0]),
        "cores_speedup": cores[0]["seconds"] / cores[-1]["seconds"],
    }
    records = [("compared", compared), *(("growth", r) for r in grown), *(("cores", r) for r in cores)]
    return metrics, [{"part": part, **record} for part, record in records]


PARTS: dict[str, Callable[[Amount], tuple[dict, list[dict]]]] = {
    "phases": measure_phases,
    "settings": measure_settings,
    "sizes": measure_sizes,
    "exact": measure_exact,
}


def run(output: Path, parts: list[str] | None = None, amount: Amount = FULL) -> None:
    """Measure `parts` (default: all) and write ``PART.json`` into `output` for each."""
    for part in parts or PARTS:
        one_of("part", part, PARTS)
    make_writable("output", output)
    for part in parts or PARTS:
        start = time.perf_counter()
        metrics, records = PARTS[part](amount)
        write_result(
            output / f"{part}.json",
            study=NAME,
            config={"part": part, "steps": amount.steps, "rounds": amount.rounds},
            metrics=metrics,
            history=records,
            seeds=[0],
            wall_time=time.perf_counter() - start,
            overwrite=True,
        )
        print(f"{part}: {time.perf_counter() - start:.0f} s", flush=True)
