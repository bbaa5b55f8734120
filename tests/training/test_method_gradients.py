"""The expected gradient of every method's objective is the derivative of what the method says it minimizes.

The code sees the whole law of what a step may draw as one batch, with its probabilities; `enumerated` and `stated`
have laws and objectives in NumPy, differentiated by central differences.
"""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from rsail.lm import Samples, response_log_probs
from rsail.lm.enumeration import moved
from rsail.study.gradient_check import cosine
from rsail.training import method_config
from rsail.training.context import Context, Further, embedded
from rsail.training.objective import online_loss
from rsail.training.options import loss_kind

from .cases import CASES, SETTINGS, WASSERSTEIN, config_of
from .enumerated import STEP, World, log_odds, pair_law
from .stated import RANKINGS, derivative, label_law, list_law, list_scores, lists, response_sources


@pytest.fixture(scope="module")
def world():
    return World()


# The code, on the whole law as one batch.


def compared(config, world, law, labels):
    """All that the law (X, Y, ..., Y) of a source lets be compared: (prompt, responses, target, probability)."""
    if loss_kind(config.loss) == "list":
        table = list_law(law, labels, list_scores(world))
        for r, x, k in zip(*np.nonzero(table), strict=True):
            yield x, lists(world)[k], RANKINGS[r], table[r, x, k]
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
    elif loss_kind(config.loss) != "list":
        half = np.full_like(target, 0.5)
        target = np.stack([np.stack([half, target], 1), np.stack([1 - target, half], 1)], 1)
    return x, chosen, extra.astype(int).reshape(len(x), -1), target, weight, ends[0] if ends[1:] else None


def code_gradient(config, world) -> np.ndarray:
    """Along each direction, from the code that trains."""
    x, pair, extra, targets, weight, fresh = batch(config, world)
    leaf, ref = torch.from_numpy(world.own).requires_grad_(), torch.from_numpy(world.ref)
    rows = torch.from_numpy(x)[:, None]
    further = None
    if extra.shape[1]:
        log_probs = leaf[rows, extra]
        bonus = torch.from_numpy(world.bonus)[rows, extra]
        further = Further(log_probs, log_probs - ref[rows, extra], bonus)
    context = Context(
        fresh=fresh,
        further=further,
        uncertainty=torch.from_numpy(world.uncertainty)[rows, pair],
        groups=torch.from_numpy(x),
        memory={"group_weights": torch.full((2,), 0.5, dtype=torch.float64)},
        probs=torch.from_numpy(weight),
    )
    loss = online_loss(config, leaf[rows, pair], ref[rows, pair], torch.from_numpy(targets), context)
    coefficients = torch.autograd.grad(loss, leaf)[0].numpy()
    return np.einsum("xy,dxy->d", coefficients, world.slopes)


@pytest.mark.parametrize("case", [case for case in CASES if case not in WASSERSTEIN])
def test_the_expected_gradient_is_the_derivative_of_the_stated_objective(world, case):
    config = config_of(case)
    found, wanted = code_gradient(config, world), derivative(config, world)
    assert np.linalg.norm(wanted) > 1e-3
    assert cosine(found, wanted) > 0.999999
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())


def test_without_their_law_labels_of_the_policy_teach_nothing(world):
    """Their mean gradient is zero: sum over labels of p_t grad log p_t."""
    config = method_config("online_dpo", **SETTINGS, labels="policy")
    assert np.abs(code_gradient(config, world)).max() < 1e-12


# Methods whose expected gradients are one at the start of a round and differ elsewhere: in variance (labels drawn or
# their probability, of a loss that is linear in the label) and in what a round does.
ALIKE = {
    frozenset({"offline_dpo", "soft labels"}),
    frozenset({"online_dpo", "osp"}),
    frozenset({"rso", "multi_step_rso"}),
    frozenset({"hypo", "one sample of hypo"}),
}


def test_no_two_other_cases_have_the_same_gradient(world):
    found = {c: code_gradient(config_of(c), world) for c in CASES if c not in WASSERSTEIN}
    alike = {
        frozenset(pair)
        for pair in itertools.combinations(found, 2)
        if np.abs(found[pair[0]] - found[pair[1]]).max() < 1e-6
    }
    assert alike == ALIKE


# Wasserstein balls around the embedded tokens: the code differentiates twice, this once and takes differences.


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


@pytest.mark.parametrize("form", ["norm", "squared"])
@pytest.mark.parametrize("name", WASSERSTEIN)
def test_a_wasserstein_ball_adds_the_norm_of_the_gradient_in_the_embedded_tokens(world, name, form):
    config = method_config(name, **SETTINGS, addition={"wasserstein": 0.8, "wasserstein_form": form})
    x, pair, _, targets, weight, _ = batch(config, world)
    index = torch.from_numpy((x[:, None] * world.own.shape[1] + pair).ravel())
    rows = Samples(*(part[index] for part in world.responses))
    model = world.policy
    with sdpa_kernel(SDPBackend.MATH), embedded(model, True) as inputs:
        log_probs = response_log_probs(model, *rows).sum(1).view(-1, 2)
    ref = torch.from_numpy(world.ref[x[:, None], pair])
    context = Context(inputs=inputs[0], probs=torch.from_numpy(weight))
    loss = online_loss(config, log_probs, ref, torch.from_numpy(targets), context)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    directions = world.directions[:8]
    found = (directions @ gradient).numpy()

    def along(direction) -> float:
        up, down = (
            embedded_objective(config, world, moved(model, direction, s), rows, x, pair, targets, weight)
            for s in (STEP, -STEP)
        )
        return (up - down) / (2 * STEP)

    wanted = np.array([along(direction) for direction in directions])
    plain = code_gradient(
        method_config(name, **SETTINGS, addition={"wasserstein": 0.0, "wasserstein_form": "norm"}), world
    )
    assert cosine(found, wanted) > 0.999999 > 0.99 > cosine(found, plain[:8])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())
