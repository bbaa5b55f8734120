"""What one stage of the GPU run does, in a process of its own; its result is one file."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from rsail.lm import load_model
from rsail.lm.pretraining import PretrainConfig, examples, pretrain
from rsail.stopping import Terminated
from rsail.study import biased_oracle
from rsail.study.cost.steps import measure
from rsail.study.cost.workload import Workload
from rsail.study.gpu import utilisation
from rsail.study.gpu.packed import NAME
from rsail.study.gpu.plan import Place, Scale, Size, Stage
from rsail.study.memory import peak_bytes, reset_peak
from rsail.study.results import ResultError, read_result, write_result
from rsail.tasks import TaskConfig, pretraining_texts
from rsail.training import METHODS, OnlineConfig, train
from rsail.training.checkpoint import read_log
from rsail.training.options import PolicyConfig

GRACE = 20.0  # seconds between being asked to stop and being killed: a step, and a checkpoint of the largest model
ATTRIBUTE = {"language": "filler", "imdb": "length"}  # which the biased oracle favors
SETTINGS = {
    "nominal": {"rho": 0.0},
    "robust": {"rho": biased_oracle.BIAS},
    "online_dpo": {"rho": 0.0, **METHODS["online_dpo"]},
}
ROWS = 256  # texts whose loss is computed at a time


def is_done(stage: Stage, place: Place) -> bool:
    """Whether the result of exactly this stage is there, and, for a model, the model."""
    try:
        found = read_result(place.result(stage))["config"].get("stage")
    except ResultError:
        return False
    return found == stage.identity() and (stage.kind != "pretrain" or place.model(stage).is_dir())


def work(stage: Stage, scale: Scale, place: Place, until: float, beside: int) -> bool:
    """Do `stage` and write its result, `beside` processes at a time; False if `until` came before (a `time.time`).

    A training run that was stopped goes on from its last checkpoint when the stage is done again.
    """
    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        with ended_after(until - time.time()):
            reset_peak()
            kind = {"pretrain": _pretrain, "train": _train, "speed": _speed}[stage.kind]
            config, metrics, history = kind(stage, scale, place)
            write_result(
                place.result(stage),
                study=NAME,
                config={"stage": stage.identity(), "processes": beside, **config},
                metrics={**metrics, "peak_bytes": peak_bytes()},
                history=history,
                seeds={"run": stage.seed},
                wall_time=time.perf_counter() - started,
                overwrite=True,
            )
            shutil.rmtree(place.run(stage), ignore_errors=True)
    except Terminated:
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()  # a process keeps what it had, which the others may need
    return True


@contextlib.contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """SIGTERM for this process when the time is up, as `Terminated` where nothing else handles it; then SIGKILL."""

    def stop(*_) -> None:
        raise Terminated("the time is up")

    before = signal.signal(signal.SIGTERM, stop)
    timers = [
        threading.Timer(max(0.0, after), os.kill, (os.getpid(), what))
        for after, what in ((seconds, signal.SIGTERM), (seconds + GRACE, signal.SIGKILL))
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _tensor_cores() -> Iterator[None]:
    """Products of float32 matrices with inputs rounded to TensorFloat-32, where the GPU can; not for exact laws."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _pretrain(stage: Stage, scale: Scale, place: Place) -> tuple[dict, dict, dict]:
    size, folder = scale.size(stage.size), place.model(stage)
    config = PretrainConfig(
        hidden_size=size.hidden, intermediate_size=4 * size.hidden, layers=size.layers, heads=size.heads,
        max_length=scale.max_length, steps=scale.pretraining_steps, batch_size=scale.pretraining_batch,
        learning_rate=size.pretraining_rate,
    )  # fmt: skip
    for remains in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed
        shutil.rmtree(remains)
    imdb = {"kind": "imdb", "data": place.imdb, "rows": scale.texts}
    task = TaskConfig(**(imdb if stage.task == "imdb" else {}))
    texts, tokenizer = pretraining_texts(task, scale.texts + scale.held_out)
    corpus, held_out = texts[: -scale.held_out], texts[-scale.held_out :]
    started = time.perf_counter()
    with _tensor_cores():
        pretrain(corpus, tokenizer, config, folder)
    seconds = time.perf_counter() - started
    model, tokenizer = load_model(folder)
    metrics = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "nats_per_token": text_loss(model, examples(held_out, tokenizer, scale.max_length)),
        "tokens_per_second": config.steps * config.batch_size * config.max_length / seconds,
        "seconds": seconds,
    }
    settings = {"pretraining": asdict(config), "texts": len(corpus), "held_out": len(held_out)}
    return settings, metrics, {}


@torch.no_grad()
def text_loss(model, rows: list[dict]) -> float:
    """Mean cross-entropy of the labelled tokens of `rows`, as `rsail.lm.pretraining.examples` makes them, in nats."""
    where = utilisation.device()
    model, total, count = model.to(where), 0.0, 0
    for start in range(0, len(rows), ROWS):
        batch = {
            key: torch.stack([row[key] for row in rows[start : start + ROWS]]).to(where) for key in rows[0]
        }
        predicted = int((batch["labels"][:, 1:] != -100).sum())
        total, count = total + float(model(**batch).loss) * predicted, count + predicted
    return total / count


def online_config(stage: Stage, scale: Scale, place: Place) -> OnlineConfig:
    """The setting of notebook 08 at another size; on IMDb with the reward, the prompts and the lengths of IMDb."""
    size = scale.size(stage.size)
    config = biased_oracle.base_config(
        place.run(stage),
        steps=scale.steps,
        seed=biased_oracle.FIRST_SEED + stage.seed,
        rho=0.0,
    )
    task = config.task
    if stage.task == "imdb":
        task = TaskConfig(
            kind="imdb", data=place.imdb, rows=scale.rows, train_prompts=min(512, scale.rows // 4)
        )
    return replace(
        config,
        model=str(place.model(stage)),
        task=task,
        oracle=replace(config.oracle, attribute=ATTRIBUTE[stage.task]),
        learning_rate=size.learning_rate,
        prompts_per_step=scale.prompts,
        max_new_tokens=scale.new_tokens,
        policy=PolicyConfig(precision=size.precision),
        evaluate_every=max(1, scale.steps // 4),
        checkpoint_every=max(1, scale.steps // 2),
        evaluation_prompts=scale.evaluation_prompts,
        **SETTINGS[stage.method],
    )


def _train(stage: Stage, scale: Scale, place: Place) -> tuple[dict, dict, dict]:
    config = online_config(stage, scale, place)
    run = Path(config.output_dir)
    recorded = biased_oracle.recorded(config)
    if stage.task == "imdb":
        recorded["task"]["data"] = "imdb"  # no path
    history: dict[str, list] = {"evaluations": [], "steps": [], "texts": []}
    try:
        train(config, resume=(run / "run.json").exists(), progress=False)
        # The policy was evaluated after its last step.
        metrics = read_log(run / "evaluations.jsonl")[-1] | biased_oracle.performance(config, run)
        history["texts"] = biased_oracle.sample_texts(config)
    except FloatingPointError as error:
        metrics = {"error": str(error)}
    every = max(1, scale.steps // 40)
    history["evaluations"] = read_log(run / "evaluations.jsonl")
    history["steps"] = [
        r for r in read_log(run / "metrics.jsonl") if r["step"] == 1 or r["step"] % every == 0
    ]
    weights = load_file(place.model(stage) / "model.safetensors")
    return {"online": recorded, "parameters": sum(w.numel() for w in weights.values())}, metrics, history


def _speed(stage: Stage, scale: Scale, place: Place) -> tuple[dict, dict, list[dict]]:
    size, name = scale.size(stage.size), torch.cuda.get_device_name() if torch.cuda.is_available() else None
    records = []
    for precision in ("float32", "bfloat16"):
        best = utilisation.measured(precision, scale.product)
        stated = utilisation.datasheet(name, precision)
        for prompts in scale.speed_prompts:
            records.append(_step_speed(size, scale, prompts, precision, best, stated))
    fastest = max(records, key=lambda record: record["tokens_per_second"])
    metrics = {key: fastest[key] for key in ("tokens_per_second", "parameters")}
    settings = {"steps": scale.speed_steps, "product": scale.product}
    return settings, {**metrics, "utilisation": fastest["of_product"]["step"]}, records


def _step_speed(
    size: Size, scale: Scale, prompts: int, precision: str, best: float, stated: float | None
) -> dict:
    """Seconds per phase, tokens per second, bytes, and utilisation of one batch size in one precision."""
    load = Workload(
        scale.vocabulary, scale.new_tokens, prompts, hidden=size.hidden, layers=size.layers, heads=size.heads
    )
    found = measure(load, scale.speed_steps, policy=PolicyConfig(precision=precision))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what the next one finds is what a process of its own would
    return {
        "workload": asdict(load), "precision": precision, **found,
        "product": best, "datasheet": stated,
        "of_product": utilisation.shares(load, found["phases"], best),
        "of_datasheet": utilisation.shares(load, found["phases"], stated) if stated else None,
    }  # fmt: skip
