"""Three model sizes on one large GPU, in parts of at most nine minutes.

    python -m rsail.study.gpu_run --list
    python -m rsail.study.gpu_run --output build/gpu --imdb FOLDER [--part NAME]

pretrains models of about 1, 14 and 113 million parameters on the synthetic language and on IMDb (where a folder with
its parquet files is given), trains nominal SAIL, robust SAIL and online DPO from each with three seeds, and measures
what a step costs and how much of the GPU it uses. A part that was interrupted is run again with the same command:
results that are there are kept, training goes on from checkpoints under ``build/gpu``. The few files of
``build/gpu/packed`` are the result; in ``data/results/gpu`` notebook 10 reads them. ``--tiny`` is the same on a CPU.

The machine needs no network, and of Python's packages those of `NEEDED`: fewer than the notebooks do. It needs a
checkout, not this package installed. On a GPU two runs of the same seed differ by rounding: the gradients of embeddings
are summed in whatever order they come, and torch has no deterministic cumulative sum there, so that its deterministic
mode is left off.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

NEEDED = (
    "accelerate", "numpy", "pydantic", "safetensors", "scipy", "tokenizers", "torch", "tqdm", "transformers", "yaml"
)  # fmt: skip
NEEDED_FOR_IMDB = ("pyarrow",)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rsail.study.gpu_run",
        description="Pretrain, train and measure three model sizes on a GPU.",
    )
    parser.add_argument("--output", type=Path, default=Path("build/gpu"), help="folder of models and results")
    parser.add_argument(
        "--part", action="append", help="one part, by its name in --list; default: all, in order"
    )
    parser.add_argument("--list", action="store_true", help="list the parts")
    parser.add_argument(
        "--imdb", help="folder with train.parquet and test.parquet; without it IMDb is left out"
    )
    parser.add_argument("--minutes", type=float, help="time limit of each part instead of its own")
    parser.add_argument("--lanes", type=int, help="processes side by side instead of each part's own number")
    parser.add_argument("--tiny", action="store_true", help="a minute on a CPU, to see that everything works")
    options = parser.parse_args(arguments)
    if missing := missing_packages(imdb=options.imdb is not None):
        print(f"gpu_run: packages are missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    try:
        return _run(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"gpu_run: {error}", file=sys.stderr)
        return 2


def missing_packages(*, imdb: bool) -> list[str]:
    """The packages that a run needs and this Python does not have."""
    return [name for name in (*NEEDED, *(NEEDED_FOR_IMDB if imdb else ())) if find_spec(name) is None]


def _run(options: argparse.Namespace) -> int:
    # Here: a message about a missing package must come before what needs it.
    import torch

    from rsail.checks import one_of
    from rsail.study.gpu.lanes import run_part
    from rsail.study.gpu.plan import LARGE, TINY, Place, parts

    scale = TINY if options.tiny else LARGE
    plan = parts(scale)
    for name in options.part or ():
        one_of("part", name, plan)
    if options.list:
        for part in plan.values():
            print(
                f"{part.name}: {len(part.stages)} stages, {part.lanes} at a time, {part.minutes:g} minutes at most"
            )
        return 0
    if options.imdb is not None and not (Path(options.imdb) / "train.parquet").is_file():
        raise FileNotFoundError(f"imdb must be a folder that holds train.parquet, got {options.imdb}")
    if not options.tiny and not torch.cuda.is_available():
        print("gpu_run: no GPU was found; --tiny runs the same on a CPU", file=sys.stderr)
        return 2
    bad = False
    for name in options.part or plan:
        imdb = None if options.imdb is None else str(Path(options.imdb).resolve())
        ended = run_part(
            plan[name], scale, Place(options.output, imdb), minutes=options.minutes, lanes=options.lanes
        )
        states = [entry["state"] for entry in ended.values()]
        print(f"{name}: " + ", ".join(f"{states.count(s)} {s}" for s in sorted(set(states))), flush=True)
        bad |= "failed" in states
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
