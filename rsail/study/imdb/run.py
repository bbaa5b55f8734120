"""The runs of the study: pretraining, the reference's measurement, one run of a method."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from rsail.files import file_digest, write_atomically
from rsail.imdb import classifiers, marked, prefixes, read_imdb, sentences
from rsail.lm import encode_prompts, load_model, sample
from rsail.lm.pretraining import pretrain
from rsail.oracles import truth
from rsail.study.imdb import plan
from rsail.study.sweeps import Cell, Report, run_sweep
from rsail.tasks import load_task, pretraining_texts
from rsail.training import train
from rsail.training.checkpoint import read_log
from rsail.training.measures import decode

KEPT = (
    "gold/reward", "gold/preference", "gold/win_rate", "proxy/preference", "proxy/reward", "objective/kl",
    "objective/kl_k3", "objective/entropy", "val/contain_eos_token", "attribute/length", "attribute/exclamation",
    "robust/certificate_gap",
)  # fmt: skip
GROUPS = ("sentiment", "open")
SHOWN_PROMPTS = 3  # of each group, in every result file
DIGITS = 6
MEASURED_SENTENCES = 2000


@dataclass(frozen=True)
class Place:
    """Where a study reads and works; none of it decides a number."""

    size: plan.Size
    data: str  # a hub name or a folder
    work: str  # folder of the model and of runs under way

    @property
    def model(self) -> Path:
        return Path(self.work) / "model"


def run_study(place: Place, results: str | Path, *, jobs: int = 1, tuning: bool = False) -> Report:
    """Pretrain if that was not done, then make every result file of the plan that is not there."""
    make_model(place)
    planned = plan.cells(place.size, identity(place), tuning=tuning)
    return run_sweep(plan.STUDY, planned, partial(run_cell, place), results, jobs=jobs)


def make_model(place: Place) -> None:
    """The tokenizer and the reference model, once; ``pretraining.json`` beside it keeps what that took."""
    if place.model.exists():
        return
    started, cpu = time.perf_counter(), time.process_time()
    corpus, tokenizer = pretraining_texts(
        plan.task(place.size, place.data), place.size.texts, vocabulary=place.size.vocabulary
    )
    pretrain(corpus, tokenizer, place.size.pretraining, place.model)
    took = {
        "pretraining/wall_time": time.perf_counter() - started,
        "pretraining/cpu_time": time.process_time() - cpu,
    }
    write_atomically(place.model.with_name("pretraining.json"), json.dumps(took) + "\n")


def identity(place: Place) -> dict[str, str]:
    """What all runs share, by content: digests of the weights and of the files of reviews, or their hub name."""
    folder, files = Path(place.data), ("train.parquet", "test.parquet")
    digests = "-".join(file_digest(folder / name)[:16] for name in files) if folder.is_dir() else place.data
    return {"data": digests, "model_sha256": file_digest(place.model / "model.safetensors")}


def run_cell(place: Place, cell: Cell) -> tuple[dict, dict]:
    """Metrics and history of one planned run."""
    torch.set_num_threads(1)
    return measure_reference(place) if cell.name == "reference" else run_method(place, cell)


def run_method(place: Place, cell: Cell) -> tuple[dict, dict]:
    """Train in a folder that is removed; keep evaluations, final metrics, what it took and a few texts."""
    folder = Path(place.work) / "runs" / cell.name
    shutil.rmtree(folder, ignore_errors=True)
    seed, changes = cell.seeds["run"], cell.config["changes"]
    config = plan.run_config(place.size, place.data, str(place.model), str(folder), seed, changes)
    cpu = time.process_time()
    train(config, progress=False)
    rows = read_log(folder / "evaluations.jsonl")
    names = [f"{name}{ending}" for name in KEPT for ending in ("", *(f"/{group}" for group in GROUPS))]
    names += ["oracle/deviation", "robust/identical_pairs"]
    evaluations = {"step": [row["step"] for row in rows]}
    evaluations |= {name: [_round(row[name]) for row in rows] for name in names if name in rows[0]}
    timings = read_log(folder / "timings.jsonl")
    metrics = {name: values[-1] for name, values in evaluations.items() if name != "step"}
    metrics["seconds/step"] = _round(
        np.median([sum(v for k, v in row.items() if k != "step") for row in timings])
    )
    texts = sample_texts(place, folder / "model", config.max_new_tokens)
    metrics["cpu_time"] = _round(time.process_time() - cpu)
    shutil.rmtree(folder)
    resolved = config.to_dict()
    del (
        resolved["output_dir"],
        resolved["model"],
        resolved["task"]["data"],
    )  # places; the cell has their contents
    return metrics, {"config": resolved, "evaluations": evaluations, "texts": texts}


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def sample_texts(place: Place, model: Path, length: int) -> list[dict]:
    """One response to each of the first held-out prompts of either group: the same ones and draws for every model."""
    policy, tokenizer = load_model(model)
    config = plan.task(place.size, place.data)
    task = load_task(config, eval_prompts=place.size.evaluation_prompts, tokenizer=tokenizer)
    members = task.groups(task.eval_prompts)
    chosen = [k for group in GROUPS for k in np.flatnonzero(members[group])[:SHOWN_PROMPTS]]
    prompts = [task.eval_prompts[k] for k in chosen]
    samples = sample(
        policy,
        *encode_prompts(tokenizer, prompts),
        responses_per_prompt=1,
        max_new_tokens=length,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        generator=torch.Generator().manual_seed(0),
    )
    responses = decode(tokenizer, samples)
    return [{"prompt": p, "response": r} for p, r in zip(prompts, responses, strict=True)]


def measure_reference(place: Place) -> tuple[dict, dict]:
    """How good the reference and the two classifiers are.

    Perplexity per token on sentences of the test split; accuracy of each classifier on whole reviews and on single
    sentences of the train split, which neither has seen; how far apart the two are in the preference between two such
    sentences.
    """
    config, size = plan.task(place.size, place.data), place.size
    model, tokenizer = load_model(place.model)
    unseen, _ = read_imdb(config.data, "test", size.rows, config.seed)
    cut = list(prefixes(list(sentences(unseen))[:MEASURED_SENTENCES], tokenizer, config.seed))
    prompts = marked([prefix for prefix, _ in cut], config.open_share)
    pairs = list(zip(prompts, (rest for _, rest in cut), strict=True))
    reviews, labels = read_imdb(config.data, "train", size.rows, config.seed)
    single = [next(sentences([review]), "") for review in reviews]
    judges = dict(zip(("gold", "oracle"), classifiers(config), strict=True))
    rewards = {name: judge(single) for name, judge in judges.items()}
    shares = {f"accuracy/{name}/sentence": _accuracy(rewards[name], labels) for name in judges}
    shares |= {f"accuracy/{name}/review": _accuracy(judge(reviews), labels) for name, judge in judges.items()}
    even = len(single) // 2 * 2
    gold, oracle = (truth(rewards[name][:even].reshape(-1, 2))[:, 0, 1] for name in judges)
    metrics = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "perplexity": perplexity(model, tokenizer, pairs),
        **shares,
        "correlation": float(np.corrcoef(rewards["gold"], rewards["oracle"])[0, 1]),
        "deviation/mean": float(np.abs(gold - oracle).mean()),
        "deviation/above_bias": float((np.abs(gold - oracle) > plan.BIAS).mean()),
        "deviation/most": float(np.abs(gold - oracle).max()),
    }
    took = place.model.with_name("pretraining.json")
    metrics |= json.loads(took.read_text()) if took.exists() else {}
    rounded = {name: value if isinstance(value, int) else _round(value) for name, value in metrics.items()}
    return rounded, {"texts": sample_texts(place, place.model, size.max_new_tokens)}


def _accuracy(rewards: np.ndarray, labels: np.ndarray) -> float:
    """Share of labels that the sign of the reward gets right; a reward of 0 counts half."""
    return float(np.mean(np.where(rewards == 0, 0.5, (rewards > 0) == (labels == 1))))


@torch.no_grad()
def perplexity(model, tokenizer, pairs: list[tuple[str, str]], *, batch: int = 64) -> float:
    """exp of the mean negative log-probability of the responses' tokens and of their end, given the prompts."""
    total, count = 0.0, 0
    for start in range(0, len(pairs), batch):
        rows = [
            (
                tokenizer(prompt, add_special_tokens=False)["input_ids"],
                tokenizer(rest, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id],
            )
            for prompt, rest in pairs[start : start + batch]
        ]
        width = max(len(p) + len(r) for p, r in rows)
        ids = torch.full((len(rows), width), tokenizer.pad_token_id)
        labels = torch.full((len(rows), width), -100)
        for k, (prompt, rest) in enumerate(rows):
            ids[k, : len(prompt) + len(rest)] = torch.tensor(prompt + rest)
            labels[k, len(prompt) : len(prompt) + len(rest)] = torch.tensor(rest)
        logits = model(input_ids=ids).logits[:, :-1]
        total += cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum").item()
        count += int((labels[:, 1:] != -100).sum())
    return math.exp(total / count)
