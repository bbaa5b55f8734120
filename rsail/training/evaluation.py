"""Evaluation on held-out prompts: gold and proxy reward, distance to the reference, losses, certificate."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch

from rsail.files import write_atomically
from rsail.lm import Samples, Share, encode_prompts, fingerprint, load_model, response_log_probs, sample
from rsail.oracles import ask
from rsail.tasks import Task, load_task
from rsail.training.checkpoint import read_run
from rsail.training.config import OnlineConfig, build
from rsail.training.measures import check_finite, judge, learned_rewards, mean, pair_losses, step_table
from rsail.training.memory import EVALUATION, settings_named
from rsail.training.processes import ALONE, Processes, check_shares, make_accelerator, make_processes
from rsail.training.reward_model import load_reward_model
from rsail.training.sharding import gathered

RESPONSES = 4
ROWS_ALONE = 8  # responses judged a second time, alone, in each evaluation
# One evaluation seed for all runs: they differ by their policies, not by the draw of the evaluation.
SEED = 20260224


def evaluate(run: str | Path, *, output: str | Path | None = None) -> dict:
    """Evaluate the trained model of the folder `run` on held-out prompts; written to ``evaluation.json`` there.

    Raises `FileNotFoundError` when `run` is not the folder of a finished run, `ValueError` when its reference is
    not the model that the run started from.
    """
    run = Path(run)
    record = read_run(run)
    config = build(OnlineConfig, {**record["config"], "output_dir": str(run)})
    if not (run / "model").is_dir():
        raise FileNotFoundError(
            f"run must be finished, got {run} without model/; continue it with train --resume"
        )
    output = Path(output) if output else run / "evaluation.json"
    if not os.access(output.parent, os.W_OK):
        raise PermissionError(f"output must be a file in a writable folder, got {output}")
    accelerator = make_accelerator()
    processes = make_processes(accelerator)
    check_shares(config, processes)
    policy, reference, tokenizer = _load_policies(
        config, record["reference"], run / "model", accelerator.device
    )
    task = load_task(config.task, eval_prompts=config.evaluation_prompts, tokenizer=tokenizer)
    if task.reward_digest != record.get("reward"):
        raise ValueError(
            f"task.prompts.reward_model must be the one that the run asked, got other weights in "
            f"{config.task.prompts.reward_model}"
        )
    if config.oracle.kind == "reward_model":
        task = load_reward_model(config, run, task)
    with settings_named("evaluation", config, EVALUATION):
        metrics = evaluate_policy(config, policy, reference, tokenizer, task, processes)
    if processes.first:
        write_atomically(output, json.dumps(metrics, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return metrics


def _load_policies(config: OnlineConfig, identity: str, trained: Path, device) -> tuple:
    """The policy that was trained, its reference, which must be of this identity, and the tokenizer."""
    if config.policy.lora_rank == 0:  # whatever is wrong with what was trained is said first
        policy, tokenizer = load_model(trained)
        reference, _ = load_model(config.model)
    else:
        reference, tokenizer = load_model(config.model)
    if fingerprint(reference) != identity:
        raise ValueError(
            f"model must be the one that the run started from, got other weights in {config.model}"
        )
    if config.policy.lora_rank == 0:
        return policy.to(device), reference.to(device), tokenizer
    from rsail.lm.adapters import WithoutAdapter, load_adapter

    policy = load_adapter(reference.to(device), trained)
    return policy, WithoutAdapter(policy), tokenizer


@torch.no_grad()
def evaluate_policy(
    config: OnlineConfig, policy, reference, tokenizer, task: Task, processes: Processes = ALONE
) -> dict[str, float]:
    """Metrics of the study on `task.eval_prompts`, RESPONSES per prompt, with a fixed generator.

    Of several processes each samples and judges its share of the prompts; all return the metrics of all prompts.

    Names without a suffix are means over all prompts; ``name/group`` over the prompts of one group. Against as many
    responses of the reference: ``gold/preference`` and ``proxy/preference`` are the mean probabilities that the
    truth and the oracle prefer the policy's response (1/2 before training, up to the draw of the samples), and
    ``gold/win_rate`` is the share of pairs with the higher gold reward, ties counted half. ``fixed/chosen`` and
    ``fixed/rejected`` are mean log-ratios log pi - log pi_ref of the reference's own responses, the same texts in
    every evaluation, where the oracle prefers one of a pair; ``objective/kl_forward`` is KL(pi_ref || pi) from them.
    ``robust/certificate_gap`` is L^W_rho(P_obs) - L_SAIL(P*), not negative when the oracle is within rho of the truth.
    An oracle that drifts is that of the last step, in every evaluation: those of one run compare policies, not oracles.
    ``proxy/reward`` is the reward by which the oracle compares, where it does not know the true one.

    Raises `FloatingPointError` naming the metrics that are not finite.
    """
    prompts = task.eval_prompts
    share = Share(processes.share(len(prompts)), len(prompts))
    asked = [prompts[k] for k in share.rows]
    own = _draw(policy, tokenizer, asked, config, SEED, share)
    other = _draw(reference, tokenizer, asked, config, SEED + 1, share)

    def table(samples: Samples, alone: int = 0) -> dict[str, np.ndarray]:
        tokens, ref_tokens = (response_log_probs(model, *samples) for model in (policy, reference))
        judged = judge(task, tokenizer, asked, samples, RESPONSES, alone)
        rows = step_table(samples, tokens, ref_tokens, *judged, tokenizer.eos_token_id, RESPONSES)
        learned = learned_rewards(task, tokenizer, asked, samples, RESPONSES)
        return processes.whole(share.rows, rows if learned is None else rows | {"learned": learned})

    of_own, of_other = table(own, ROWS_ALONE), table(other)
    rewards, ref_rewards = of_own["reward"], of_other["reward"]
    learned, ref_learned = (t.get("learned") for t in (of_own, of_other))
    attributes, ref_attributes = (
        {name.removeprefix("attribute/"): v for name, v in t.items() if name.startswith("attribute/")}
        for t in (of_own, of_other)
    )
    ratio, ref_ratio = (t["log_prob"] - t["ref_log_prob"] for t in (of_own, of_other))

    # One question to the oracle for all of a prompt's responses, the policy's first, the reference's behind them.
    scores = np.concatenate([ratio, ref_ratio], axis=1)
    answer = ask(
        config.oracle,
        np.concatenate([rewards, ref_rewards], axis=1),
        attributes={k: np.concatenate([attributes[k], ref_attributes[k]], axis=1) for k in attributes},
        pair_scores=scores[:, :, None] - scores[:, None, :],
        prompts=prompts,
        learned=None if learned is None else np.concatenate([learned, ref_learned], axis=1),
    )
    first, second = np.triu_indices(RESPONSES, 1)
    pair_score = ratio[:, first] - ratio[:, second]
    observed, robust = pair_losses(pair_score, answer.preferences[:, first, second], config.beta, config.rho)
    true, _ = pair_losses(pair_score, answer.truth[:, first, second], config.beta, 0.0)
    against = (slice(None), slice(0, RESPONSES), slice(RESPONSES, None))

    per_prompt = {
        "gold/reward": rewards,
        "gold/win_rate": _wins(rewards, ref_rewards),
        "gold/preference": answer.truth[against],
        "proxy/preference": answer.preferences[against],
        "objective/kl": of_own["kl_k1"],
        "objective/kl_k3": of_own["kl_k3"],
        "objective/kl_forward": -ref_ratio,
        "objective/entropy": -of_own["log_prob"],
        "length": of_own["length"],
        "val/contain_eos_token": of_own["ended"],
        "robust/sail_loss_true": true,
        "robust/sail_loss_observed": observed,
        "robust/loss": robust,
        "robust/penalty": np.abs(pair_score),
        "robust/certificate_gap": robust - true,
        **{f"attribute/{name}": values for name, values in attributes.items()},
        **({} if learned is None else {"proxy/reward": learned}),
    }
    per_prompt = {
        name: np.asarray(v, dtype=np.float64).reshape(len(prompts), -1).mean(1)
        for name, v in per_prompt.items()
    }
    metrics = {name: mean(values) for name, values in per_prompt.items()}
    for group, members in task.groups(prompts).items():
        if members.any() and not members.all():
            metrics |= {f"{name}/{group}": mean(values[members]) for name, values in per_prompt.items()}
    metrics |= _fixed_pairs(ref_ratio, answer.preferences[:, RESPONSES:, RESPONSES:]) | {
        "robust/identical_pairs": mean(of_own["identical"]),
        "oracle/deviation": float(answer.deviation),
    }
    check_finite("evaluation", metrics)
    return metrics


def _fixed_pairs(log_ratio: np.ndarray, preferences: np.ndarray) -> dict[str, float]:
    """Mean log-ratio of the preferred and of the rejected responses, over all pairs that the oracle decides."""
    first, second = np.triu_indices(RESPONSES, 1)
    up = preferences[:, first, second]
    pairs = log_ratio[:, first], log_ratio[:, second]
    chosen, rejected = np.where(up > 0.5, *pairs), np.where(up > 0.5, *reversed(pairs))
    decided = up != 0.5
    if not decided.any():
        return {}
    return {"fixed/chosen": mean(chosen[decided]), "fixed/rejected": mean(rejected[decided])}


def _draw(model, tokenizer, prompts: list[str], config: OnlineConfig, seed: int, share: Share) -> Samples:
    with gathered(model):
        return sample(
            model,
            *encode_prompts(tokenizer, prompts),
            responses_per_prompt=RESPONSES,
            max_new_tokens=config.max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            generator=torch.Generator().manual_seed(seed),
            share=share,
        )


def _wins(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 where own beats other, 1/2 where they tie, for all pairs of a prompt's responses: (X, K, K)."""
    return 0.5 + 0.5 * np.sign(own[:, :, None] - other[:, None, :])
