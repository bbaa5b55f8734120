"""What is measured of samples. Names follow TRL where TRL has one; ours are under gold/, oracle/ and robust/."""

from __future__ import annotations

import numpy as np
import torch

from rsail.checks import finite, require
from rsail.objectives import dpo_loss, robust_sail_loss
from rsail.oracles import Answer


def judge(
    task, tokenizer, prompts: list[str], samples, count: int, alone: int = 0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Gold reward (X, K) and attributes (X, K) of the responses, judged from their text.

    About `alone` of them are judged a second time by themselves, see `check_rows`.
    """
    texts = decode(tokenizer, samples)
    repeated = [prompt for prompt in prompts for _ in range(count)]
    rewards = np.asarray(task.reward(repeated, texts), dtype=np.float64)
    if rewards.shape != (len(texts),) or not np.isfinite(rewards).all():
        raise ValueError(
            f"reward must give {len(texts)} finite numbers, got shape {rewards.shape}: {rewards.ravel()[:5]}"
        )
    if alone:
        check_rows(task, repeated, texts, rewards, alone)
    attributes = {}
    for name, values in task.attributes(texts).items():
        require(
            np.shape(values) == (len(texts),), f"attribute {name!r}", np.shape(values), f"({len(texts)},)"
        )
        attributes[name] = finite(f"attribute {name!r}", values).reshape(-1, count)
    return rewards.reshape(-1, count), attributes


def learned_rewards(task, tokenizer, prompts: list[str], samples, count: int) -> np.ndarray | None:
    """Rewards (X, K) of the reward model by which the oracle answers; None where it answers by the true ones."""
    if task.learned is None:
        return None
    repeated = [prompt for prompt in prompts for _ in range(count)]
    rewards = finite("learned", task.learned(repeated, decode(tokenizer, samples)))
    require(rewards.shape == (len(repeated),), "learned.shape", rewards.shape, f"({len(repeated)},)")
    return rewards.reshape(-1, count)


def check_rows(task, prompts: list[str], texts: list[str], rewards: np.ndarray, alone: int) -> None:
    """Raise unless about `alone` of the `rewards` (N,) of prompts and responses are those of their rows by themselves.

    A reward that answers in another order, or by what else is in the batch, would train the wrong thing in silence.
    """
    by_rank = np.argsort(rewards, kind="stable")  # the highest and the lowest would hardly stay so by chance
    for row in np.unique(by_rank[np.linspace(0, len(texts) - 1, alone).astype(int)]):
        again = float(np.asarray(task.reward(prompts[row : row + 1], texts[row : row + 1]))[0])
        require(
            np.isclose(again, rewards[row], rtol=1e-2, atol=1e-2),
            "reward", f"{rewards[row]:.6g} in a batch of {len(texts)} and {again:.6g} alone for row {row}",
            "a number of its prompt and response, in the order in which they were given",
        )  # fmt: skip


def decode(tokenizer, samples) -> list[str]:
    """Texts of the responses without special tokens."""
    return tokenizer.batch_decode(samples.response_ids, skip_special_tokens=True)


def sequence_measures(
    samples, tokens: torch.Tensor, ref_tokens: torch.Tensor, eos_token_id: int
) -> dict[str, np.ndarray]:
    """Per response, (N,): log pi, log pi_ref, two unbiased estimators of the KL to the reference, length, ended.

    k1 sums log pi - log pi_ref over the tokens; k3 sums e^d - 1 - d, d = log pi_ref - log pi, which is never
    negative. Padding counts in none of them.
    """
    mask = samples.response_mask.bool()
    tokens, ref_tokens = tokens.detach().double(), ref_tokens.double()
    backward = (ref_tokens - tokens) * mask
    ended = ((samples.response_ids == eos_token_id) & mask).any(1)
    table = torch.stack(
        [
            tokens.sum(1),
            ref_tokens.sum(1),
            -backward.sum(1),
            (backward.expm1() - backward).sum(1),
            mask.sum(1),
            ended,
        ]
    )
    names = ("log_prob", "ref_log_prob", "kl_k1", "kl_k3", "length", "ended")
    return dict(zip(names, table.cpu().numpy(), strict=True))


def identical_pairs(samples, count: int) -> np.ndarray:
    """Which pairs of a prompt's K responses are the same token sequence, (X, K (K - 1) / 2) bool."""
    ids = (samples.response_ids * samples.response_mask - (1 - samples.response_mask)).cpu().numpy()
    ids = ids.reshape(-1, count, ids.shape[-1])
    first, second = np.triu_indices(count, 1)
    return (ids[:, first] == ids[:, second]).all(-1)


def pair_losses(
    pair_score: np.ndarray, preference: np.ndarray, beta: float, rho: float
) -> tuple[np.ndarray, np.ndarray]:
    """SAIL's loss of each pair and its worst case within rho (eq. 9, 10), in float64."""
    scores, targets = torch.from_numpy(pair_score), torch.from_numpy(preference)
    return (
        dpo_loss(scores, targets, beta=beta).numpy(),
        robust_sail_loss(scores, targets, beta=beta, rho=rho, drawn=False).numpy(),
    )


def step_table(
    samples, tokens, ref_tokens, rewards, attributes, eos_token_id: int, count: int
) -> dict[str, np.ndarray]:
    """Everything that a step measures of each response, (X, K), and of each pair, (X, M), by name."""
    per_response = sequence_measures(samples, tokens, ref_tokens, eos_token_id)
    return {
        **{name: values.reshape(-1, count) for name, values in per_response.items()},
        "reward": rewards,
        "identical": identical_pairs(samples, count),
        **{f"attribute/{name}": values for name, values in attributes.items()},
    }


def step_metrics(config, table: dict[str, np.ndarray], answer: Answer) -> dict[str, float]:
    """Means over the batch of one step, from its `step_table`."""
    first, second = np.triu_indices(table["reward"].shape[1], 1)
    log_prob = table["log_prob"]
    ratio = log_prob - table["ref_log_prob"]
    preference = answer.preferences[:, first, second]
    pair_score = ratio[:, first] - ratio[:, second]
    # "Chosen" is what the oracle prefers; with a tie the first response.
    up = preference >= 0.5
    chosen, rejected = np.where(up, first, second), np.where(up, second, first)
    rows = np.arange(len(ratio))[:, None]
    margin = config.beta * np.where(up, pair_score, -pair_score)
    sail, robust = pair_losses(pair_score, preference, config.beta, config.rho)
    return {
        "rewards/chosen": mean(config.beta * ratio[rows, chosen]),
        "rewards/rejected": mean(config.beta * ratio[rows, rejected]),
        "rewards/margins": mean(margin),
        "rewards/accuracies": mean(margin > 0),
        "logps/chosen": mean(log_prob[rows, chosen]),
        "logps/rejected": mean(log_prob[rows, rejected]),
        "objective/kl": mean(table["kl_k1"]),
        "objective/kl_k3": mean(table["kl_k3"]),
        "objective/entropy": -mean(log_prob),
        "val/contain_eos_token": mean(table["ended"]),
        "length": mean(table["length"]),
        "gold/reward": mean(table["reward"]),
        "oracle/deviation": float(answer.deviation),
        "robust/sail_loss": mean(sail),
        "robust/loss": mean(robust),
        "robust/penalty": mean(np.abs(pair_score)),
        "robust/identical_pairs": mean(table["identical"]),
        **{name: mean(values) for name, values in table.items() if name.startswith("attribute/")},
    }


def mean(values) -> float:
    return float(np.mean(values))


def check_finite(where: str, metrics: dict[str, float]) -> None:
    """Raise `FloatingPointError` naming the metrics that are not finite."""
    bad = sorted(name for name, value in metrics.items() if not np.isfinite(value))
    if bad:
        raise FloatingPointError(
            f"{where}: not finite: {', '.join(bad)}; the last checkpoint is from before it. "
            "Lower learning_rate, or raise beta."
        )
