"""What the GPU run does: sizes, stages, and parts of at most nine minutes.

Times are estimates for one H100 or H200, made before there was a run; a part starts no stage whose estimate, or the
longest time that one like it has taken by then, does not fit into what is left of its limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rsail.checks import one_of

METHODS = ("nominal", "robust", "online_dpo")
TASKS = ("language", "imdb")
WIDTH, RATE = 64, 3e-4  # of the model of notebook 08, and its learning rate


@dataclass(frozen=True)
class Size:
    """A Llama whose MLP is four times as wide as it is: 16 layers hidden^2 entries besides the embeddings."""

    name: str
    hidden: int
    layers: int
    heads: int
    pretraining_rate: float
    precision: str  # of online training: bfloat16 where float32 would be bound by arithmetic
    seconds: dict[str, float]  # of a stage of each kind, roughly

    @property
    def learning_rate(self) -> float:
        """Of online training: that of notebook 08, smaller in proportion to the width."""
        return RATE * WIDTH / self.hidden


@dataclass(frozen=True)
class Scale:
    """How much of it is done."""

    sizes: tuple[Size, ...]
    texts: int  # of the language to pretrain on; of IMDb, all reviews of a split
    held_out: int  # texts whose loss is measured
    pretraining_steps: int
    pretraining_batch: int
    max_length: int  # tokens of prompt and response in pretraining
    rows: int  # of IMDb in online training
    steps: int  # online steps of a run
    prompts: int  # per online step, two responses each
    new_tokens: int
    evaluation_prompts: int
    seeds: int
    vocabulary: int  # where speed is measured: that of the models of IMDb
    speed_prompts: tuple[int, ...]  # batch sizes whose speed is measured
    speed_steps: int
    product: int  # rows and columns of the matrices whose product is taken for the GPU's best
    limits: dict[str, float]  # minutes of each part
    lanes: dict[str, int]  # processes side by side in each part

    def size(self, name: str) -> Size:
        one_of("size", name, [size.name for size in self.sizes])
        return next(size for size in self.sizes if size.name == name)


LARGE = Scale(
    sizes=(
        Size("1M", 128, 4, 4, 2e-3, "float32", {"pretrain": 60, "train": 40, "speed": 40}),
        Size("14M", 384, 6, 6, 1e-3, "float32", {"pretrain": 80, "train": 60, "speed": 50}),
        Size("113M", 768, 12, 12, 6e-4, "bfloat16", {"pretrain": 150, "train": 120, "speed": 90}),
    ),
    texts=100_000, held_out=512, pretraining_steps=600, pretraining_batch=256, max_length=48, rows=5000,
    steps=200, prompts=64, new_tokens=24, evaluation_prompts=256, seeds=3,
    vocabulary=4000, speed_prompts=(32, 128, 512), speed_steps=10, product=8192,
    limits={"pretrain": 6.0, "speed": 4.0, "language": 8.0, "imdb": 8.0},
    # Small models leave a GPU idle: most of their time goes into starting operations, on a core of each process's own.
    lanes={"pretrain": 4, "speed": 1, "language": 8, "imdb": 8},
)  # fmt: skip
TINY = Scale(
    sizes=(Size("tiny", 16, 1, 2, 3e-3, "float32", {"pretrain": 5, "train": 5, "speed": 5}),),
    texts=60, held_out=8, pretraining_steps=3, pretraining_batch=4, max_length=32, rows=200,
    steps=3, prompts=2, new_tokens=6, evaluation_prompts=4, seeds=1,
    vocabulary=64, speed_prompts=(2,), speed_steps=2, product=64,
    limits=dict.fromkeys(LARGE.limits, 9.0),
    lanes={"pretrain": 2, "speed": 1, "language": 2, "imdb": 2},
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One thing to do; its result is one file of its name."""

    name: str
    kind: str  # pretrain, train or speed
    size: str
    seconds: float  # it may take: not started with less time left
    task: str = ""
    method: str = ""
    seed: int = 0
    needs: str = ""  # the stage that must have ended well before

    def identity(self) -> dict:
        """What a result file keeps of it, to be known again."""
        return {key: value for key, value in asdict(self).items() if key != "seconds"}

    @property
    def like(self) -> tuple[str, str, str]:
        """Stages that agree in it take about the same time."""
        return self.kind, self.size, self.task


@dataclass(frozen=True)
class Part:
    """Stages that run in one command, in `lanes` processes, within `minutes`."""

    name: str
    minutes: float
    lanes: int
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Place:
    """Where a stage finds its data and leaves its files."""

    output: Path
    imdb: str | None = None  # a folder with train.parquet and test.parquet

    def result(self, stage: Stage) -> Path:
        return self.output / "results" / f"{stage.name}.json"

    def run(self, stage: Stage) -> Path:
        return self.output / "runs" / stage.name

    def model(self, stage: Stage) -> Path:
        return self.output / "models" / f"{stage.task}_{stage.size}"


def parts(scale: Scale) -> dict[str, Part]:
    """All parts in their order. Those that train begin with the models that they need, which are kept once made."""
    stages = {
        "pretrain": [stage for task in TASKS for stage in _models(scale, task)],
        "speed": [Stage(f"speed_{s.name}", "speed", s.name, s.seconds["speed"]) for s in scale.sizes],
        **{task: [*_models(scale, task), *_runs(scale, task)] for task in TASKS},
    }
    return {
        name: Part(name, scale.limits[name], scale.lanes[name], tuple(found))
        for name, found in stages.items()
    }


def _models(scale: Scale, task: str) -> Iterator[Stage]:
    """The largest first: the others fit beside it."""
    for size in reversed(scale.sizes):
        yield Stage(f"model_{task}_{size.name}", "pretrain", size.name, size.seconds["pretrain"], task)


def _runs(scale: Scale, task: str) -> Iterator[Stage]:
    """Seed by seed, so that what a lack of time cuts off is the last seed, of all sizes and methods."""
    for seed in range(scale.seeds):
        for size in reversed(scale.sizes):
            for method in METHODS:
                yield Stage(
                    f"{task}_{size.name}_{method}_seed{seed}",
                    "train", size.name, size.seconds["train"], task, method, seed,
                    needs=f"model_{task}_{size.name}",
                )  # fmt: skip
