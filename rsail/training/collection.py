"""Where the pairs of a step come from: schemes of collection, sets that are stored, labels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

from rsail.checks import require
from rsail.lm import Samples, Share, encode_prompts, sample
from rsail.oracles import ask, draw_labels, draw_rankings, oracle_scores, rank
from rsail.training.measures import judge, learned_rewards
from rsail.training.options import EXTRA_FROM, POLICY_GRADIENTS, loss_kind, stored_count
from rsail.training.sharding import gathered
from rsail.training.uncertainty import observe, response_features, uncertainty

if TYPE_CHECKING:
    from rsail.training.state import State


class PairSet(NamedTuple):
    """Responses and labels that are used again: of M prompts of the task, K rows of `samples` for each."""

    prompts: torch.Tensor  # (M,) indices among the task's training prompts
    samples: Samples
    targets: torch.Tensor  # (M, ...) as `make_targets` returns them


class Batch(NamedTuple):
    """What a step learns from: X prompts and K responses to each, then the further responses of a term.

    Each process has the responses to its `own` prompts, N of the X; alone, it has all.
    """

    prompts: list[str]
    own: np.ndarray  # (N,) indices among the prompts, ascending
    samples: Samples  # N K rows of the compared responses, N E rows behind them
    stored: torch.Tensor | None  # labels of the last prompts, where they are not to be made now

    @property
    def own_prompts(self) -> list[str]:
        return [self.prompts[k] for k in self.own]


def collect(config, state: State) -> Batch:
    """The responses of one step: first those of the scheme, behind them those from the offline set."""
    collection, count, stored = config.collection, config.responses_per_prompt, stored_count(config)
    texts, share = state.task.train_prompts, state.processes.share
    prompts: list[str] = []
    parts: list[Samples] = []
    labels: list[torch.Tensor] = []

    def take(pairs: PairSet, number: int, labelled: bool) -> None:
        rows = _choose(state, len(pairs.prompts), number)
        prompts.extend(texts[k] for k in pairs.prompts[rows].tolist())
        chosen = pick(pairs.samples, rows[share(number)], count)
        parts.append(Samples(*(tensor.to(state.accelerator.device) for tensor in chosen)))
        if labelled:
            labels.append(pairs.targets[rows])

    fresh = config.prompts_per_step - stored
    own = np.concatenate([share(fresh), fresh + share(stored)])
    if fresh:
        if collection.scheme == "offline":
            take(state.offline, fresh, labelled=False)
        elif collection.collected == "round":
            take(state.pool, fresh, labelled=True)
        else:
            prompts.extend(texts[k] for k in _choose(state, len(texts), fresh))
            parts.append(draw(config, state, prompts))
    if stored:
        take(state.offline, stored, labelled=True)
    if extra := EXTRA_FROM.get(config.addition.term):
        model = state.sampler if extra == "policy" else state.reference
        number, asked = config.addition.term_samples, Share(own, len(prompts))
        parts.append(_sample(config, state, model, prompts, number, "further", asked))
    samples = join(parts, state.tokenizer.pad_token_id)
    return Batch(prompts, own, samples, torch.cat(labels) if labels else None)


def pick(samples: Samples, chosen, count: int) -> Samples:
    """The rows of the chosen prompts (or, with `count` 1, the chosen rows), in their order."""
    rows = np.asarray(chosen)[:, None] * count + np.arange(count)
    index = torch.as_tensor(rows.ravel(), device=samples.response_ids.device)
    return Samples(*(tensor[index] for tensor in samples))


def join(parts: list[Samples], pad_token_id: int) -> Samples:
    """All rows one behind the other; prompts are padded on the left, responses on the right."""
    if len(parts) == 1:
        return parts[0]
    prompt, response = (max(part[k].shape[1] for part in parts) for k in (0, 2))

    def widened(k: int, value: int) -> torch.Tensor:
        left = k < 2
        rows = []
        for part in parts:
            missing = (prompt if left else response) - part[k].shape[1]
            rows.append(pad(part[k], (missing, 0) if left else (0, missing), value=value))
        return torch.cat(rows)

    return Samples(widened(0, pad_token_id), widened(1, 0), widened(2, pad_token_id), widened(3, 0))


def _choose(state: State, available: int, count: int) -> np.ndarray:
    """Indices of a step's prompts, distinct where there are enough."""
    return state.generators["prompts"].choice(available, count, replace=available < count)


def _sample(
    config,
    state: State,
    model,
    prompts: list[str],
    count: int,
    generator: str = "sampling",
    share: Share | None = None,
) -> Samples:
    """Responses to this process's share of `prompts`."""
    share = share or _share(state, prompts)
    with gathered(model):
        return sample(
            model,
            *encode_prompts(state.tokenizer, [prompts[k] for k in share.rows]),
            responses_per_prompt=count,
            max_new_tokens=config.max_new_tokens,
            eos_token_id=state.tokenizer.eos_token_id,
            pad_token_id=state.tokenizer.pad_token_id,
            generator=state.generators[generator],
            share=share,
        )


def _share(state: State, prompts: list[str]) -> Share:
    return Share(state.processes.share(len(prompts)), len(prompts))


# Schemes.


def draw(config, state: State, prompts: list[str]) -> Samples:
    """K responses to each prompt of this process's share, new ones: row n = prompt n // K of the share."""
    collection, count = config.collection, config.responses_per_prompt
    own = _share(state, prompts).rows
    if collection.scheme == "on_policy":
        return _sample(config, state, state.sampler, prompts, count)
    if collection.scheme == "hybrid":
        one, other = (_sample(config, state, model, prompts, 1) for model in (state.sampler, state.initial))
        rows = np.arange(2 * len(own)).reshape(2, -1).T.ravel()
        return pick(join([one, other], state.tokenizer.pad_token_id), rows, 1)
    if collection.scheme == "enhancer":
        samples = _sample(config, state, state.sampler, prompts, 1 + collection.candidates)
        chosen = _most_informative(state, samples, 1 + collection.candidates, own)
    elif collection.scheme == "best_worst":
        samples = _sample(config, state, state.sampler, prompts, collection.candidates)
        chosen = rank(_candidate_scores(config, state, prompts, samples, own))[:, [0, -1]]
    else:  # rejection
        samples = _sample(config, state, state.reference, prompts, collection.candidates)
        scores = _candidate_scores(config, state, prompts, samples, own)
        scores = state.processes.whole(own, {"scores": scores})["scores"]
        rng = state.generators["acceptance"]
        chosen = np.stack([accept(row, config.beta, count, rng) for row in scores])[own]
    offsets = np.arange(len(own))[:, None] * (len(samples.response_ids) // len(own))
    return pick(samples, (offsets + chosen).ravel(), 1)


def _candidate_scores(config, state: State, prompts: list[str], samples: Samples, own) -> np.ndarray:
    """What the oracle makes of each candidate of the prompts `own`, (N, n)."""
    asked = [prompts[k] for k in own]
    count = len(samples.response_ids) // len(asked)
    rewards, attributes = judge(state.task, state.tokenizer, asked, samples, count)
    learned = learned_rewards(state.task, state.tokenizer, asked, samples, count)
    question = question_of(state, asked, learned)
    return oracle_scores(ask(config.oracle, rewards, attributes=attributes, **question).preferences)


def question_of(state: State, prompts: list[str], learned: np.ndarray | None) -> dict:
    """What an oracle may ask for besides rewards, attributes and the policy's h."""
    return {"prompts": prompts, "progress": state.progress, "learned": learned}


def accept(scores: np.ndarray, beta: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of `count` of the n candidates, by statistical rejection sampling (RSO, arXiv 2309.06657).

    In the order in which they were drawn, each is accepted with probability exp((s - s_max) / beta), s_max the
    largest score of those that are left when a pass begins; passes go on until `count` are accepted. The first
    accepted of many candidates from pi_ref has about the law pi_ref exp(s / beta) / Z.
    """
    require(count <= len(scores), "count", count, f"at most the {len(scores)} candidates")
    accepted: list[int] = []
    left = np.arange(len(scores))
    while len(accepted) < count:
        kept = rng.random(len(left)) < np.exp((scores[left] - scores[left].max()) / beta)
        accepted += left[kept].tolist()
        left = left[~kept]
    return np.array(accepted[:count])


def _most_informative(state: State, samples: Samples, count: int, own: np.ndarray) -> np.ndarray:
    """The first response and, of the others, that of the largest |phi(y1) - phi(y)|_{Sigma^-1}: indices (N, 2).

    The bonus of GSHF's enhancer (arXiv 2312.11456), over candidates of the policy instead of a set of policies.
    Sigma grows by the mean of z z^T over the pairs that were chosen.
    """
    features = response_features(state.initial, samples)
    features = features.view(-1, count, features.shape[-1])
    moments = state.memory["moments"]
    gaps = (features[:, 1:] - features[:, :1]).to(moments.device)
    best = uncertainty(moments, gaps).argmax(1)
    seen = gaps[torch.arange(len(gaps)), best].cpu().numpy()
    seen = torch.from_numpy(state.processes.whole(own, {"gaps": seen})["gaps"])
    state.memory["moments"] = observe(moments, seen, 1 / len(seen))
    return np.stack([np.zeros(len(gaps), dtype=int), 1 + best.cpu().numpy()], axis=1)


# Labels.


def batch_targets(config, state: State, batch: Batch, preferences: np.ndarray, pair_scores: np.ndarray):
    """What the loss compares the policy with, (X, ...): made from the oracle's answer now, or as stored."""
    fresh = len(batch.prompts) - (0 if batch.stored is None else len(batch.stored))
    if fresh == 0:
        return batch.stored.numpy()
    rng = state.generators["labels"]
    made = make_targets(config, preferences[:fresh], pair_scores[:fresh], rng, labels=config.labels)
    return made if batch.stored is None else np.concatenate([made, batch.stored.numpy()])


def make_targets(
    config, preferences: np.ndarray, pair_scores: np.ndarray | None, rng: np.random.Generator, *, labels: str
) -> np.ndarray:
    """What the loss compares the policy with, from the oracle's answer (X, K, K) and the policy's h (X, K, K).

    For losses of pairs: probabilities or labels (X, K, K), as `labels` says. For losses of rewards and policy
    gradients: the oracle's scores (X, K). For losses of lists: rankings (X, K), by score (``hard``) or drawn.
    """
    kind = loss_kind(config.loss)
    if kind in ("reward", *POLICY_GRADIENTS):
        return oracle_scores(preferences)
    if kind == "list":
        scores = oracle_scores(preferences)
        return rank(scores) if labels == "hard" else draw_rankings(scores, rng)
    if labels == "probability":
        return preferences
    if labels == "hard":
        return (1 + np.sign(preferences - 0.5)) / 2
    if labels == "policy":
        preferences = 0.5 + 0.5 * np.tanh(config.beta * pair_scores / 2)
    return draw_labels(preferences, rng)


# Sets that are stored.


def collect_set(config, state: State, *, offline: bool) -> PairSet:
    """`config.collection.stored_prompts` prompts of the task with new responses and labels of the oracle.

    The offline set has K responses of the initial model each, by generators of its own; that of a round is by the
    scheme. Where the run's labels are the policy's, the offline set has drawn ones.
    """
    rng = state.generators["offline" if offline else "prompts"]
    available, number = len(state.task.train_prompts), config.collection.stored_prompts
    chosen = rng.choice(available, number, replace=available < number)
    prompts, count = [state.task.train_prompts[k] for k in chosen], config.responses_per_prompt
    own = _share(state, prompts).rows
    if offline:
        samples = _sample(config, state, state.initial, prompts, count, "further")
    else:
        samples = draw(config, state, prompts)
    asked = [prompts[k] for k in own]
    rewards, attributes = judge(state.task, state.tokenizer, asked, samples, count)
    learned = learned_rewards(state.task, state.tokenizer, asked, samples, count)
    table = attributes | {".reward": rewards} | ({} if learned is None else {".learned": learned})
    attributes = state.processes.whole(own, table)
    rewards, learned = attributes.pop(".reward"), attributes.pop(".learned", None)
    answer = ask(config.oracle, rewards, attributes=attributes, **question_of(state, prompts, learned))
    labels = "drawn" if config.labels == "policy" else config.labels
    rng = state.generators["offline" if offline else "labels"]
    targets = make_targets(config, answer.preferences, None, rng, labels=labels)
    samples = Samples(*(tensor.cpu() for tensor in samples))
    samples = join(state.processes.gather(samples), state.tokenizer.pad_token_id)
    return PairSet(torch.from_numpy(chosen), samples, torch.from_numpy(np.ascontiguousarray(targets)))


def digest(pairs: PairSet) -> str:
    """SHA-256 of a stored set: prompts, token ids, masks and labels."""
    value = hashlib.sha256()
    for tensor in (pairs.prompts, *pairs.samples, pairs.targets):
        value.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        value.update(tensor.contiguous().numpy().tobytes())
    return value.hexdigest()
