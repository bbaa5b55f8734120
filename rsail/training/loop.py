"""Algorithm 1 of arXiv 2602.20457 for a language model: sample, ask the oracle, score, descend."""

from __future__ import annotations

import contextlib
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import pad
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
from rsail.lm.recomputing import checkpointed
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
from rsail.training.context import Tokens, batch_context, check_task, embedded
from rsail.training.evaluation import evaluate_policy
from rsail.training.logs import check_logs, evaluates, log_digests
from rsail.training.measures import check_finite, judge, learned_rewards, mean, step_metrics, step_table
from rsail.training.memory import EVALUATION, FIT, STEP, STORED, settings_named
from rsail.training.objective import online_loss
from rsail.training.processes import check_shares, make_accelerator, make_processes
from rsail.training.reward_model import load_reward_model, make_reward_model
from rsail.training.sharding import Whole, shard, take_over, whole
from rsail.training.state import (
    State,
    begin_round,
    begin_run,
    begins_round,
    parts_of,
    policy_and_reference,
    restore_parts,
)


def train(config: OnlineConfig, *, resume: bool = False, progress: bool | None = None) -> Path:
    """Train `config.model` online against `config.oracle`; returns the folder of the run.

    The folder holds ``run.json`` (configuration, reference, prompts, versions), ``metrics.jsonl`` (one line per
    step), ``rounds.jsonl`` (hashes of the reference and of stored pairs), ``evaluations.jsonl``, ``timings.jsonl``,
    checkpoints and, in the end, ``model/``. With `resume` a run that was interrupted goes on from its last checkpoint
    and gives the numbers of an uninterrupted one; a finished run is
    left as it is. `progress` None shows a bar only on a terminal.

    Started by ``accelerate launch``, several processes share the prompts of each step and make the run of one.

    SIGTERM ends the run after the step that it is in, with a checkpoint and `rsail.stopping.Terminated` (exit status
    143); a second one ends it at once. `MemoryError` names the settings to lower. What the reward of a task raises is
    passed on as it is, and it is given all the time that it takes: code that asks another machine must have a time
    limit of its own.
    """
    folder = Path(config.output_dir)
    accelerator = make_accelerator()  # `online_step` lowers the precision where it is asked to
    processes = make_processes(accelerator)
    check_shares(config, processes)
    alone = processes.count == 1 and config.policy.sharding != "none"
    require(not alone, "policy.sharding", config.policy.sharding, "'none' in one process")
    policy, tokenizer = load_model(config.model)
    task = load_task(config.task, eval_prompts=config.evaluation_prompts, tokenizer=tokenizer)
    check_task(config, task)
    check_prompts(policy, tokenizer, task.train_prompts + task.eval_prompts, config.max_new_tokens)
    settings = {k: v for k, v in config.to_dict().items() if k != "output_dir"}
    identity = {
        "config": settings,
        "reference": fingerprint(policy),
        "prompts": text_digest(task.train_prompts + task.eval_prompts),
        "reward": task.reward_digest,
    }
    models = policy_and_reference(config, policy.to(accelerator.device))
    with contextlib.ExitStack() as held:

        def claim() -> bool:
            held.enter_context(exclusive(folder))
            open_run(folder, identity, resume=resume)
            return (folder / "model").exists()

        if not processes.on_first(claim):
            with stop_requests() as stopping:
                _go_on(config, folder, accelerator, processes, models, tokenizer, task, progress, stopping)
    return folder


def _go_on(config, folder, accelerator, processes, models, tokenizer, task, progress, stopping) -> None:
    """Every step after the last checkpoint in `folder`, then the final model. The first process writes all files."""
    policy, initial = models
    if config.oracle.kind == "reward_model":
        with settings_named("fit of the reward model", config, FIT):
            processes.on_first(partial(make_reward_model, config, folder, initial, tokenizer, task))
        task = load_reward_model(config, folder, task)
    moving = config.collection.reference == "round"
    reference = frozen_copy(policy) if moving else initial
    optimizer = make_optimizer(config, policy)
    generators = make_generators(config.seed)
    done, parts = 0, {}
    if found := processes.on_first(lambda: checkpoints(folder)):
        done = load_checkpoint(found[-1], policy, optimizer, generators, parts)
    if config.policy.sharding == "fsdp":
        states, policy = optimizer.state_dict(), shard(policy, processes.count)
        initial = reference = shard(initial, processes.count)
        optimizer = make_optimizer(config, policy)
        take_over(optimizer, states)
        optimizer = accelerator.prepare(optimizer)
    else:
        policy, optimizer = accelerator.prepare(policy, optimizer)
    state = State(
        accelerator, policy, reference, initial, tokenizer, task, optimizer, generators, processes=processes
    )
    logs: dict[str, Log] = {}

    def open_logs() -> bool:
        for name in ("metrics", "evaluations", "rounds"):
            logs[name] = Log(folder / f"{name}.jsonl", done)
        # Steps that are done again took their time twice: nothing is dropped here.
        logs["timings"] = Log(folder / "timings.jsonl", config.steps)
        if done:
            check_logs(config, logs, done, parts["logs"])
        return bool(logs["evaluations"].steps)

    def write(name: str, row: dict) -> None:
        if processes.first:
            logs[name].append(row)

    def evaluate_now(step: int) -> None:
        where = f"evaluation after step {step}"
        with _divergence_named(where), settings_named(where, config, EVALUATION):
            metrics = evaluate_policy(config, state.sampler, initial, tokenizer, task, processes)
        write("evaluations", {"step": step, **metrics})

    def kept() -> tuple:
        """Model and optimizer to be saved, as every process must be asked for them."""
        if config.policy.sharding == "none":
            return state.sampler, optimizer
        return (Whole(state.sampler, optimizer, processes.first),) * 2

    def save(step: int, model, optimizer) -> None:
        for log in logs.values():
            log.sync()
        parts = {**parts_of(state), "logs": log_digests(logs)}
        save_checkpoint(folder, step, model, optimizer, generators, parts)

    evaluated = processes.on_first(open_logs)
    if done:
        restore_parts(state, parts)
    else:
        with settings_named("begin of the run", config, STORED):
            begin_run(config, state)
    if not evaluated:  # else the run was interrupted between this and its first checkpoint
        evaluate_now(0)
    steps = range(done + 1, config.steps + 1)
    hidden = True if not processes.first else None if progress is None else not progress
    for step in tqdm(steps, initial=done, total=config.steps, disable=hidden):
        state.progress = step / config.steps
        if begins_round(config, step):
            with settings_named(f"begin of the round of step {step}", config, STORED):
                hashes = begin_round(config, state)
            write("rounds", {"step": step, **hashes})
        with _divergence_named(f"step {step}"), settings_named(f"step {step}", config, STEP):
            metrics, seconds = online_step(config, state)
        check_finite(f"step {step}", metrics)
        write("metrics", {"step": step, **metrics})
        write("timings", {"step": step, **seconds})
        if evaluates(config, step):
            evaluate_now(step)
        stop = processes.any(stopping()) and step < config.steps
        if stop or step == config.steps or step % config.checkpoint_every == 0:
            processes.on_first(partial(save, step, *kept()))
        if stop:
            raise Terminated(f"stopped by SIGTERM after step {step}; --resume goes on from there")
    processes.on_first(partial(save_model, kept()[0], tokenizer, folder / "model"))
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
    low, again = config.policy.precision == "bfloat16", config.policy.gradient_checkpointing == "layers"
    with kernel, torch.autocast(accelerator.device.type, torch.bfloat16, enabled=low):
        batch = collect(config, state)
        clock.lap("sample")
        with torch.no_grad():
            ref_tokens = response_log_probs(state.reference, *batch.samples)
        clock.lap("reference")
        # Rounded weights that were kept while nothing was differentiated may have no gradient (torch issue 112583).
        torch.clear_autocast_cache()
        with embedded(state.sampler, robust) as inputs, checkpointed(state.sampler, again):
            tokens = response_log_probs(policy, *batch.samples)
    own, compared = batch.own, len(batch.own) * count
    samples = Samples(*(part[:compared] for part in batch.samples))
    log_probs, further = _per_prompt(tokens, len(own), compared)
    ref_log_probs, ref_further = _per_prompt(ref_tokens, len(own), compared)
    clock.lap("forward")

    rewards, attributes = judge(state.task, state.tokenizer, batch.own_prompts, samples, count)
    learned = learned_rewards(state.task, state.tokenizer, batch.own_prompts, samples, count)
    tokens, ref_tokens = tokens[:compared], ref_tokens[:compared]
    of_tokens = _alike(config, state, tokens, tokens - ref_tokens, samples.response_mask)
    parts = [
        log_probs,
        ref_log_probs,
        further,
        ref_further,
        *(x.view(len(own), count, -1) for x in of_tokens),
    ]
    # From here on everything is of the prompts of all processes.
    table = state.processes.whole(
        own,
        step_table(samples, tokens, ref_tokens, rewards, attributes, state.tokenizer.eos_token_id, count)
        | ({} if learned is None else {"learned": learned})
        | {f"with_graph/{k}": part.detach().cpu().numpy() for k, part in enumerate(parts)},
    )
    log_probs, ref_log_probs, further, ref_further, *of_tokens = (
        state.processes.with_graph(own, part, table.pop(f"with_graph/{k}")) for k, part in enumerate(parts)
    )
    attributes = {name: table[f"attribute/{name}"] for name in attributes}
    scores = (log_probs - ref_log_probs).detach().double().cpu().numpy()
    if not np.isfinite(scores).all():  # before the oracle takes them for a wrong argument
        raise NotFinite("log-ratios of the policy must be finite")
    pair_scores = scores[:, :, None] - scores[:, None, :]
    question = question_of(state, batch.prompts, table.pop("learned", None))
    answer = ask(config.oracle, table["reward"], attributes=attributes, pair_scores=pair_scores, **question)
    targets = batch_targets(config, state, batch, answer.preferences, pair_scores)
    clock.lap("oracle")

    context = batch_context(config, state, batch, further, ref_further, inputs, Tokens(*of_tokens))
    targets = torch.as_tensor(targets, dtype=log_probs.dtype).to(log_probs.device)
    loss = online_loss(config, log_probs, ref_log_probs, targets, context, measures)
    accelerator.backward(loss * state.processes.count)  # DDP takes the mean of the processes' gradients
    clock.lap("backward")
    grad_norm = accelerator.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
    state.optimizer.step()
    state.optimizer.zero_grad()
    clock.lap("update")
    metrics = step_metrics(config, table, answer)
    if (learned := question["learned"]) is not None:
        metrics["proxy/reward"] = mean(learned)
    return {"loss": loss.item(), "grad_norm": float(whole(grad_norm)), **measures, **metrics}, clock.seconds


def _per_prompt(tokens: torch.Tensor, prompts: int, compared: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (N, K) of the compared responses and (N, E) of a term's from those of tokens."""
    sequences = tokens.sum(-1)
    return sequences[:compared].view(prompts, -1), sequences[compared:].view(prompts, -1)


def _alike(config, state: State, *of_tokens: torch.Tensor) -> list[torch.Tensor]:
    """Tables (N, T) with as many columns in every process; what is filled in is behind the end of responses."""
    if state.processes.count == 1:
        return list(of_tokens)
    return [pad(table, (0, config.max_new_tokens - table.shape[1])) for table in of_tokens]


LARGE = (
    2**20
)  # parameters from which one pass over all of an optimizer's memory is worth other rounding errors


def make_optimizer(config: OnlineConfig, policy: torch.nn.Module) -> torch.optim.Optimizer:
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[config.optimizer]
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    fused = sum(parameter.numel() for parameter in trained) >= LARGE or None
    return kind(trained, lr=config.learning_rate, weight_decay=0.0, fused=fused)


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
