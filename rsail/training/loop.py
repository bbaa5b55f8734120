"""Algorithm 1 of arXiv 2602.20457 for a language model: sample, ask the oracle, score, descend."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm

from rsail.checks import require
from rsail.lm import (
    check_prompts,
    encode_prompts,
    fingerprint,
    frozen_copy,
    load_model,
    response_log_probs,
    sample,
    save_model,
)
from rsail.objectives import LOSSES, NotFinite, baseline, pair_indices, score_surrogate
from rsail.oracles import ask, draw_labels
from rsail.tasks import load_task
from rsail.training.checkpoint import (
    Log,
    checkpoints,
    exclusive,
    load_checkpoint,
    make_generators,
    open_run,
    save_checkpoint,
)
from rsail.training.config import OnlineConfig
from rsail.training.evaluation import evaluate_policy
from rsail.training.measures import check_finite, judge, step_metrics


def train(config: OnlineConfig, *, resume: bool = False, progress: bool | None = None) -> Path:
    """Train `config.model` online against `config.oracle`; returns the folder of the run.

    The folder holds ``run.json`` (configuration and reference), ``metrics.jsonl`` (one line per step),
    ``evaluations.jsonl``, ``timings.jsonl``, checkpoints and, in the end, ``model/``. With `resume` a run that was
    interrupted goes on from its last checkpoint and gives the numbers of an uninterrupted one; a finished run is
    left as it is. `progress` None shows a bar only on a terminal.
    """
    folder = Path(config.output_dir)
    accelerator = Accelerator(mixed_precision="no")  # `online_step` lowers the precision where it is asked to
    require(accelerator.num_processes == 1, "number of processes", accelerator.num_processes, "1")
    policy, tokenizer = load_model(config.model)
    task = load_task(config.task, eval_prompts=config.evaluation_prompts)
    check_task(config, task)
    check_prompts(policy, tokenizer, task.train_prompts + task.eval_prompts, config.max_new_tokens)
    settings = {k: v for k, v in config.to_dict().items() if k != "output_dir"}
    with exclusive(folder):
        open_run(folder, {"config": settings, "reference": fingerprint(policy)}, resume=resume)
        if not (folder / "model").exists():
            _go_on(config, folder, accelerator, policy, tokenizer, task, progress)
    return folder


def _go_on(config, folder, accelerator, policy, tokenizer, task, progress) -> None:
    """Every step after the last checkpoint in `folder`, then the final model."""
    reference = frozen_copy(policy)
    optimizer = make_optimizer(config, policy)
    generators = make_generators(config.seed)
    done = 0
    if found := checkpoints(folder):
        done = load_checkpoint(found[-1], policy, optimizer, generators)
    policy, optimizer = accelerator.prepare(policy, optimizer)
    reference = reference.to(accelerator.device)
    logs = {name: Log(folder / f"{name}.jsonl", done) for name in ("metrics", "evaluations")}
    # Steps that are done again took their time twice: nothing is dropped here.
    logs["timings"] = Log(folder / "timings.jsonl", config.steps)
    check_logs(config, logs, done)

    def evaluate_now(step: int) -> None:
        with _divergence_named(f"evaluation after step {step}"):
            metrics = evaluate_policy(config, accelerator.unwrap_model(policy), reference, tokenizer, task)
        logs["evaluations"].append({"step": step, **metrics})

    if not logs["evaluations"].steps:  # else the run was interrupted between this and its first checkpoint
        evaluate_now(0)
    steps = range(done + 1, config.steps + 1)
    for step in tqdm(
        steps, initial=done, total=config.steps, disable=None if progress is None else not progress
    ):
        with _divergence_named(f"step {step}"):
            metrics, seconds = online_step(
                config, accelerator, policy, reference, tokenizer, task, optimizer, generators
            )
        check_finite(f"step {step}", metrics)
        logs["metrics"].append({"step": step, **metrics})
        logs["timings"].append({"step": step, **seconds})
        if evaluates(config, step):
            evaluate_now(step)
        if step == config.steps or step % config.checkpoint_every == 0:
            for log in logs.values():
                log.sync()
            save_checkpoint(folder, step, accelerator.unwrap_model(policy), optimizer, generators)
    save_model(accelerator.unwrap_model(policy), tokenizer, folder / "model")
    for log in logs.values():
        log.close()


@contextlib.contextmanager
def _divergence_named(where: str):
    """Pair scores of a policy that diverged are refused wherever they come first: say when that was."""
    try:
        yield
    except NotFinite:
        check_finite(where, {"pair scores": math.nan})


def online_step(config, accelerator, policy, reference, tokenizer, task, optimizer, generators):
    """One pass through lines 3 to 6 of Algorithm 1; returns metrics and seconds per phase.

    One sampling call, one forward pass of the policy with gradient and one of the reference without: penalty and
    score term reuse their log-probabilities.
    """
    count, clock = config.responses_per_prompt, Clock(accelerator.device)
    chosen = generators["prompts"].choice(
        len(task.train_prompts),
        config.prompts_per_step,
        replace=len(task.train_prompts) < config.prompts_per_step,
    )
    prompts = [task.train_prompts[k] for k in chosen]
    bfloat16 = config.precision == "bfloat16"
    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bfloat16):
        samples = sample(
            accelerator.unwrap_model(policy),
            *encode_prompts(tokenizer, prompts),
            responses_per_prompt=count,
            max_new_tokens=config.max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            generator=generators["sampling"],
        )
        clock.lap("sample")
        with torch.no_grad():
            ref_tokens = response_log_probs(reference, *samples)
        clock.lap("reference")
        tokens = response_log_probs(policy, *samples)
    log_probs = tokens.sum(-1).view(-1, count)
    ref_log_probs = ref_tokens.sum(-1).view(-1, count)
    clock.lap("forward")

    rewards, attributes = judge(task, tokenizer, prompts, samples, count)
    scores = (log_probs - ref_log_probs).detach().double().cpu().numpy()
    if not np.isfinite(scores).all():  # before the oracle takes them for a wrong argument
        raise NotFinite("log-ratios of the policy must be finite")
    answer = ask(
        config.oracle, rewards, attributes=attributes, pair_scores=scores[:, :, None] - scores[:, None, :]
    )
    targets = (
        answer.preferences
        if config.labels == "probability"
        else draw_labels(answer.preferences, generators["labels"])
    )
    clock.lap("oracle")

    preferences = torch.as_tensor(targets, dtype=log_probs.dtype).to(log_probs.device)
    loss = online_loss(config, log_probs, ref_log_probs, preferences)
    accelerator.backward(loss)
    clock.lap("backward")
    grad_norm = accelerator.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    clock.lap("update")
    metrics = step_metrics(config, samples, tokens, ref_tokens, rewards, attributes, answer, tokenizer, count)
    return {"loss": loss.item(), "grad_norm": float(grad_norm), **metrics}, clock.seconds


def online_loss(config: OnlineConfig, log_probs, ref_log_probs, preferences) -> torch.Tensor:
    """Mean over all pairs of the batch, a tensor whose gradient is the estimator of Algorithm 1 (eq. 22).

    `log_probs` (X, K) are log pi(y|x) with graph, `ref_log_probs` those of the reference, `preferences` (X, K, K).
    The value is that of the pair loss; with a score weight the gradient of the sampling law comes on top.
    """
    count = config.responses_per_prompt
    first, second = pair_indices(count)
    log_ratio = log_probs - ref_log_probs
    pair_score = log_ratio[:, first] - log_ratio[:, second]
    pair_loss = LOSSES[config.loss](pair_score, preferences[:, first, second], **config.pair_loss_arguments())
    if config.score_weight == 0:
        return pair_loss.mean()
    return score_surrogate(
        pair_loss,
        log_probs[:, first],
        log_probs[:, second],
        baseline=baseline(pair_loss, config.baseline, count),
        weight=config.score_weight,
    ).mean()


def make_optimizer(config: OnlineConfig, policy: torch.nn.Module) -> torch.optim.Optimizer:
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[config.optimizer]
    return kind(policy.parameters(), lr=config.learning_rate, weight_decay=0.0)


def evaluates(config: OnlineConfig, step: int) -> bool:
    """Whether the run evaluates its policy after `step` steps."""
    due = config.evaluate_every > 0 and step % config.evaluate_every == 0
    return due or step in (0, config.steps)


def check_logs(config: OnlineConfig, logs: dict[str, Log], done: int) -> None:
    """Raise unless the logs of a resumed run are complete through its checkpoint of step `done`."""
    wanted = {
        "metrics": list(range(1, done + 1)),
        "evaluations": [step for step in range(done + 1) if evaluates(config, step)],
    }
    for name, steps in wanted.items():
        found = logs[name].steps
        require(
            found == steps or done == 0,
            str(logs[name].path), f"{len(found)} rows", f"a log with {len(steps)} rows through step {done}",
        )  # fmt: skip


def check_task(config: OnlineConfig, task) -> None:
    """Raise unless the task offers what the oracle of `config` asks for."""
    known = set(task.attributes([""]))
    if config.oracle.kind == "bias":
        require(
            config.oracle.attribute in known,
            "oracle.attribute",
            config.oracle.attribute,
            f"one of {sorted(known)}",
        )


class Clock:
    """Seconds per phase; on a GPU a lap waits for the device."""

    def __init__(self, device: torch.device):
        self.wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, phase: str) -> None:
        self.wait()
        now = time.perf_counter()
        self.seconds[phase], self.last = now - self.last, now
