"""All that a step may draw as one batch with its probabilities, and Wasserstein balls on it."""

import itertools

import numpy as np
import torch

from rsail.lm import Samples
from rsail.lm.enumeration import moved
from rsail.training.options import POLICY_GRADIENTS, loss_kind

from .enumerated import STEP, log_odds, pair_law
from .stated import RANKINGS, label_law, list_law, list_scores, lists, response_sources


def compared(config, world, law, labels):
    """All that the law (X, Y, ..., Y) of a source lets be compared: (prompt, responses, target, probability)."""
    if loss_kind(config.loss) == "list":
        table = list_law(law, labels, list_scores(world))
        for r, x, k in zip(*np.nonzero(table), strict=True):
            yield x, lists(world)[k], RANKINGS[r], table[r, x, k]
        return
    if loss_kind(config.loss) in POLICY_GRADIENTS:
        table, scores = law.reshape(len(law), -1), list_scores(world)
        for x, k in np.ndindex(table.shape):
            yield x, lists(world)[k], scores[x, k], table[x, k]
        return
    for label, chance in label_law(labels, config, world, world.own):
        table = pair_law(law) * chance
        for x, i, j in zip(*np.nonzero(table), strict=True):
            target = log_odds(world.preferences)[x, i, j] if config.loss == "rebel" else label[x, i, j]
            yield x, (i, j), target, table[x, i, j]


def batch(config, world):
    """Rows of all that may be drawn: prompts, responses (N, K), further ones (N, E), targets, probabilities, fresh."""
    term = config.addition.term
    source = {"none": None, "pessimism": None, "xpo": None, "hypo": world.own}.get(term, world.ref)
    further = [((), np.ones(len(world.own)))]
    if source is not None:
        further = [
            (y, np.exp(source[:, list(y)].sum(1)))
            for y in itertools.product(range(source.shape[1]), repeat=config.addition.term_samples)
        ]
    ends, rows = [], []
    for law, labels in response_sources(config, world, world.own):
        rows += [
            (x, chosen, extra, target, weight * probability[x] / len(world.own))
            for x, chosen, target, weight in compared(config, world, law, labels)
            for extra, probability in further
        ]
        ends.append(len(rows))
    x, chosen, extra, target, weight = (np.array(column) for column in zip(*rows, strict=True))
    if config.loss == "rebel":
        target = np.stack([target / 2, -target / 2], 1)  # the oracle's scores, of mean 0
    elif loss_kind(config.loss) not in ("list", *POLICY_GRADIENTS):
        half = np.full_like(target, 0.5)
        target = np.stack([np.stack([half, target], 1), np.stack([1 - target, half], 1)], 1)
    return x, chosen, extra.astype(int).reshape(len(x), -1), target, weight, ends[0] if ends[1:] else None


# Wasserstein balls around the embedded tokens: the code differentiates twice, this once and takes differences.


def rows_of(world, x, pair) -> Samples:
    """The responses `pair` (N, K) to the prompts `x` (N,), as rows of the models."""
    index = torch.from_numpy((x[:, None] * world.own.shape[1] + pair).ravel())
    return Samples(*(part[index] for part in world.responses))


def embedded_derivative(config, world, directions) -> np.ndarray:
    """Along `directions`, of mean loss and penalty over all pairs."""
    x, pair, _, targets, weight, _ = batch(config, world)
    arguments = rows_of(world, x, pair), x, pair, targets, weight

    def along(direction) -> float:
        up, down = (
            embedded_objective(config, world, moved(world.policy, direction, s), *arguments)
            for s in (STEP, -STEP)
        )
        return (up - down) / (2 * STEP)

    return np.array([along(direction) for direction in directions])


def embedded_objective(config, world, model, rows, x, pair, targets, weight) -> float:
    """Mean loss plus the penalty, from embedded tokens that are given to the model."""
    prompt_ids, prompt_mask, response_ids, response_mask = rows
    ids, mask = torch.cat([prompt_ids, response_ids], 1), torch.cat([prompt_mask, response_mask], 1)
    inputs = model.get_input_embeddings()(ids).detach().requires_grad_()
    logits = model(inputs_embeds=inputs, attention_mask=mask).logits[:, prompt_ids.shape[1] - 1 : -1]
    tokens = logits.log_softmax(-1).gather(-1, response_ids[..., None])[..., 0] * response_mask
    ratio = tokens.sum(1).view(-1, 2) - torch.from_numpy(world.ref[x[:, None], pair])
    h, probs = ratio[:, 0] - ratio[:, 1], torch.from_numpy(weight)
    if config.loss == "rebel":
        losses = (config.beta * h - torch.from_numpy(targets[:, 0] - targets[:, 1])) ** 2
    else:
        losses = -torch.nn.functional.logsigmoid(config.beta * h * torch.from_numpy(2 * targets[:, 0, 1] - 1))
    slopes = torch.autograd.grad(losses.sum(), inputs)[0].view(len(x), -1)
    squared = probs @ slopes.square().sum(1)
    penalty = squared if config.addition.wasserstein_form == "squared" else squared.sqrt()
    return (probs @ losses + config.addition.wasserstein * penalty).item()
