"""Algorithm 1 of arXiv 2602.20457 for a language model: sample, ask the oracle, score, descend."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from rsail.checks import require
from rsail.files import text_digest
from rsail.lm import (
    Samples,
    check_prompts,
    fingerprint,
    frozen_copy,
    load_model,
    response_log_probs,
    save_model,
)
from rsail.objectives import NotFinite
from rsail.oracles import ask
from rsail.stopping import Terminated, stop_requests
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
from rsail.training.collection import batch_targets, collect, question_of
from rsail.training.config import OnlineConfig
from rsail.training.context import Tokens, batch_context, embedded, group_indices
from rsail.training.evaluation import evaluate_policy
from rsail.training.measures import check_finite, judge, mean, step_metrics
from rsail.training.memory import EVALUATION, FIT, STEP, STORED, settings_named
from rsail.training.objective import online_loss
from rsail.training.reward_model import load_reward_model, make_reward_model
from rsail.training.state import State, begin_round, begin_run, begins_round, parts_of, restore_parts


def train(config: OnlineConfig, *, resume: bool = False, progress: bool | None = None) -> Path:
    """Train `config.model` online against `config.oracle`; returns the folder of the run.

    The folder holds ``run.json`` (configuration, reference, prompts, versions), ``metrics.jsonl`` (one line per
    step), ``rounds.jsonl`` (hashes of the reference and of stored pairs), ``evaluations.jsonl``, ``timings.jsonl``,
    checkpoints and, in the end, ``model/``. With `resume` a run that was interrupted goes on from its last checkpoint
    and gives the numbers of an uninterrupted one; a finished run is
    left as it is. `progress` None shows a bar only on a terminal.

    SIGTERM ends the run after the step that it is in, with a checkpoint and `rsail.stopping.Terminated` (exit status
    143); a second one ends it at once. `MemoryError` names the settings to lower. What the reward of a task raises is
    passed on as it is, and it is given all the time that it takes: code that asks another machine must have a time
    limit of its own.
    """
    folder = Path(config.output_dir)
    accelerator = Accelerator(mixed_precision="no")  # `online_step` lowers the precision where it is asked to
    require(accelerator.num_processes == 1, "number of processes", accelerator.num_processes, "1")
    policy, tokenizer = load_model(config.model)
    task = load_task(config.task, eval_prompts=config.evaluation_prompts, tokenizer=tokenizer)
    check_task(config, task)
    check_prompts(policy, tokenizer, task.train_prompts + task.eval_prompts, config.max_new_tokens)
    settings = {k: v for k, v in config.to_dict().items() if k != "output_dir"}
    with exclusive(folder):
        identity = {
            "config": settings,
            "reference": fingerprint(policy),
            "prompts": text_digest(task.train_prompts + task.eval_prompts),
        }
        open_run(folder, identity, resume=resume)
        if not (folder / "model").exists():
            with stop_requests() as stopping:
                _go_on(config, folder, accelerator, policy, tokenizer, task, progress, stopping)
    return folder


def _go_on(config, folder, accelerator, policy, tokenizer, task, progress, stopping) -> None:
    """Every step after the last checkpoint in `folder`, then the final model."""
    initial = frozen_copy(policy).to(accelerator.device)
    if config.oracle.kind == "reward_model":
        with settings_named("fit of the reward model", config, FIT):
            make_reward_model(config, folder, initial, tokenizer, task)
        task = load_reward_model(config, folder, task)
    moving = config.collection.reference == "round"
    reference = frozen_copy(policy).to(accelerator.device) if moving else initial
    optimizer = make_optimizer(config, policy)
    generators = make_generators(config.seed)
    done, parts = 0, {}
    if found := checkpoints(folder):
        done = load_checkpoint(found[-1], policy, optimizer, generators, parts)
    policy, optimizer = accelerator.prepare(policy, optimizer)
    state = State(accelerator, policy, reference, initial, tokenizer, task, optimizer, generators)
    logs = {name: Log(folder / f"{name}.jsonl", done) for name in ("metrics", "evaluations", "rounds")}
    # Steps that are done again took their time twice: nothing is dropped here.
    logs["timings"] = Log(folder / "timings.jsonl", config.steps)
    if done:
        check_logs(config, logs, done, parts["logs"])
        restore_parts(state, parts)
    else:
        with settings_named("begin of the run", config, STORED):
            begin_run(config, state)

    def evaluate_now(step: int) -> None:
        where = f"evaluation after step {step}"
        with _divergence_named(where), settings_named(where, config, EVALUATION):
            metrics = evaluate_policy(config, state.sampler, initial, tokenizer, task)
        logs["evaluations"].append({"step": step, **metrics})

    if not logs["evaluations"].steps:  # else the run was interrupted between this and its first checkpoint
        evaluate_now(0)
    steps = range(done + 1, config.steps + 1)
    for step in tqdm(
        steps, initial=done, total=config.steps, disable=None if progress is None else not progress
    ):
        state.progress = step / config.steps
        if begins_round(config, step):
            with settings_named(f"begin of the round of step {step}", config, STORED):
                hashes = begin_round(config, state)
            logs["rounds"].append({"step": step, **hashes})
        with _divergence_named(f"step {step}"), settings_named(f"step {step}", config, STEP):
            metrics, seconds = online_step(config, state)
        check_finite(f"step {step}", metrics)
        logs["metrics"].append({"step": step, **metrics})
        logs["timings"].append({"step": step, **seconds})
        if evaluates(config, step):
            evaluate_now(step)
        stop = stopping() and step < config.steps
        if stop or step == config.steps or step % config.checkpoint_every == 0:
            for log in logs.values():
                log.sync()
            parts = {**parts_of(state), "logs": _log_digests(logs)}
            save_checkpoint(folder, step, state.sampler, optimizer, generators, parts)
        if stop:
            raise Terminated(f"stopped by SIGTERM after step {step}; --resume goes on from there")
    save_model(state.sampler, tokenizer, folder / "model")
    for log in logs.values():
        log.close()


@contextlib.contextmanager
def _divergence_named(where: str):
    """Pair scores of a policy that diverged are refused wherever they come first: say when that was."""
    try:
        yield
    except NotFinite:
        check_finite(where, {"pair scores": math.nan})


def online_step(config: OnlineConfig, state: State) -> tuple[dict[str, float], dict[str, float]]:
    """One pass through lines 3 to 6 of Algorithm 1; returns metrics and seconds per phase.

    One forward pass of the policy with gradient and one of the reference without, over the compared responses and
    those of a term together: penalty and score term reuse their log-probabilities.
    """
    accelerator, policy, count = state.accelerator, state.policy, config.responses_per_prompt
    clock, measures, robust = Clock(accelerator.device), {}, config.addition.wasserstein > 0
    # A Wasserstein ball differentiates twice, which fused attention does not.
    kernel = sdpa_kernel(SDPBackend.MATH) if robust else contextlib.nullcontext()
    low = config.precision == "bfloat16"
    with kernel, torch.autocast(accelerator.device.type, torch.bfloat16, enabled=low):
        batch = collect(config, state)
        clock.lap("sample")
        with torch.no_grad():
            ref_tokens = response_log_probs(state.reference, *batch.samples)
        clock.lap("reference")
        with embedded(state.sampler, robust) as inputs:
            tokens = response_log_probs(policy, *batch.samples)
    compared = len(batch.prompts) * count
    samples = Samples(*(part[:compared] for part in batch.samples))
    log_probs, further = _per_prompt(tokens, batch.prompts, compared)
    ref_log_probs, ref_further = _per_prompt(ref_tokens, batch.prompts, compared)
    clock.lap("forward")

    rewards, attributes = judge(state.task, state.tokenizer, batch.prompts, samples, count)
    scores = (log_probs - ref_log_probs).detach().double().cpu().numpy()
    if not np.isfinite(scores).all():  # before the oracle takes them for a wrong argument
        raise NotFinite("log-ratios of the policy must be finite")
    pair_scores = scores[:, :, None] - scores[:, None, :]
    question = question_of(config, state, batch.prompts, samples, count)
    answer = ask(config.oracle, rewards, attributes=attributes, pair_scores=pair_scores, **question)
    targets = batch_targets(config, state, batch, answer.preferences, pair_scores)
    clock.lap("oracle")

    tokens, ref_tokens = tokens[:compared], ref_tokens[:compared]
    of_groups = (tokens, tokens - ref_tokens, samples.response_mask)
    of_tokens = Tokens(*(table.view(len(batch.prompts), count, -1) for table in of_groups))
    context = batch_context(config, state, batch, further, ref_further, inputs, of_tokens)
    targets = torch.as_tensor(targets, dtype=log_probs.dtype).to(log_probs.device)
    loss = online_loss(config, log_probs, ref_log_probs, targets, context, measures)
    accelerator.backward(loss)
    clock.lap("backward")
    grad_norm = accelerator.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
    state.optimizer.step()
    state.optimizer.zero_grad()
    clock.lap("update")
    metrics = step_metrics(
        config, samples, tokens, ref_tokens, rewards, attributes, answer, state.tokenizer, count
    )
    if (learned := question["learned"]) is not None:
        metrics["proxy/reward"] = mean(learned)
    return {"loss": loss.item(), "grad_norm": float(grad_norm), **measures, **metrics}, clock.seconds


def _per_prompt(tokens: torch.Tensor, prompts: list[str], compared: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (X, K) of the compared responses and (X, E) of a term's from those of tokens."""
    sequences = tokens.sum(-1)
    return sequences[:compared].view(len(prompts), -1), sequences[compared:].view(len(prompts), -1)


LARGE = (
    2**20
)  # parameters from which one pass over all of an optimizer's memory is worth other rounding errors


def make_optimizer(config: OnlineConfig, policy: torch.nn.Module) -> torch.optim.Optimizer:
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[config.optimizer]
    fused = sum(parameter.numel() for parameter in policy.parameters()) >= LARGE or None
    return kind(policy.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=fused)


def evaluates(config: OnlineConfig, step: int) -> bool:
    """Whether the run evaluates its policy after `step` steps."""
    due = config.evaluate_every > 0 and step % config.evaluate_every == 0
    return due or step in (0, config.steps)


def _log_digests(logs: dict[str, Log]) -> dict[str, str]:
    """SHA-256 of the logs whose rows a resumed run does not make again."""
    return {name: log.digest.hexdigest() for name, log in logs.items() if name != "timings"}


def check_logs(config: OnlineConfig, logs: dict[str, Log], done: int, digests: dict[str, str]) -> None:
    """Raise unless the logs of a resumed run are those of its checkpoint of step `done`: complete, and unchanged."""
    wanted = {
        "metrics": list(range(1, done + 1)),
        "evaluations": [step for step in range(done + 1) if evaluates(config, step)],
        "rounds": [step for step in range(1, done + 1) if begins_round(config, step)],
    }
    for name, steps in wanted.items():
        found = logs[name].steps
        require(
            found == steps,
            str(logs[name].path), f"{len(found)} rows", f"a log with {len(steps)} rows through step {done}",
        )  # fmt: skip
        require(
            logs[name].digest.hexdigest() == digests[name],
            str(logs[name].path), "other rows", f"as it was when step {done} was saved",
        )  # fmt: skip


def check_task(config: OnlineConfig, task) -> None:
    """Raise unless the task offers what the oracle and the reweighting of `config` ask for."""
    known = set(task.attributes([""]))
    if config.oracle.reads_attribute:
        require(
            config.oracle.attribute in known,
            "oracle.attribute",
            config.oracle.attribute,
            f"one of {sorted(known)}",
        )
    if config.addition.reweighting == "group_robust":
        group_indices(task, task.train_prompts)


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
