"""The expected gradient of every method's objective is the derivative of what the method says it minimizes.

The code sees the whole law of what a step may draw as one batch, with its probabilities; tests/training/enumerated.py
has the objectives and laws in NumPy, differentiated by central differences.
"""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from rsail.lm import Samples, response_log_probs
from rsail.lm.enumeration import moved
from rsail.study.gradient_check import cosine
from rsail.training import METHODS, method_config
from rsail.training.context import Context, Further, embedded
from rsail.training.objective import online_loss
from rsail.training.options import loss_kind, stored_count

from .enumerated import (
    RANKINGS,
    STEP,
    World,
    derivative,
    every_list,
    label_law,
    ranking_law,
    response_law,
)

SETTINGS = {"beta": 0.7, "baseline": "log2", "prompts_per_step": 8}
# What is changed so that every term weighs enough to be missed, and settings that no method has.
STRONG = {"addition": {"term_weight": 0.6}}
CHANGES = {
    "sail_revkl": STRONG, "xpo": STRONG, "selm": STRONG, "copo": STRONG, "vpo": STRONG, "vpo_offline": STRONG,
    "hypo": STRONG, "gshf_offline": STRONG, "group_robust": {"addition": {"reweighting_strength": 0.8}},
    "listwise_pl": {"responses_per_prompt": 3},
    "chi2_rebel": {"addition": {"reweighting_strength": 0.3}},
    "kldpo": {"addition": {"reweighting_strength": 0.5}},
    "iterative_dpo": {"collection": {"candidates": 3}}, "gshf_online": {"collection": {"candidates": 2}},
    "rso": {"collection": {"candidates": 3}}, "multi_step_rso": {"collection": {"candidates": 3}},
}  # fmt: skip
EXTRA = {
    "chi2_ball that cuts": ("offline_dpo", {"addition": {"reweighting": "chi2_ball", "reweighting_strength": 2.0}}),
    "kl_ball": ("offline_dpo", {"addition": {"reweighting": "kl_ball", "reweighting_strength": 0.2}}),
    "tv_ball": ("offline_dpo", {"addition": {"reweighting": "tv_ball", "reweighting_strength": 0.2}}),
    "another temperature": ("dr_dpo", {"addition": {"reweighting_strength": 0.3}}),
    "spac_anchored": ("spac", {"addition": {"term": "spac_anchored", "term_weight": 0.5}}),
    "another weight of a term": ("spac", {"addition": {"term_weight": 1.5}}),
    "hard labels": ("online_dpo", {"labels": "hard"}),
    "soft labels": ("offline_dpo", {"labels": "probability"}),
    "exact label law": ("sail_ddp", {"addition": {"preference_weight": 1.0}, "collection": {"offline_share": 0.0}}),
    "exact SAIL-PP": (
        "sail_dpp",
        {"score_weight": 1.0, "addition": {"preference_weight": 1.0}, "collection": {"offline_share": 0.0}},
    ),
    "another share": ("sail_dpr", {"collection": {"offline_share": 0.25}}),
    "score term of chi_po": ("chi_po", {"score_weight": 1.0, "collection": {"scheme": "on_policy"}}),
    "bounded chi_po": ("chi_po", {"loss_options": {"reward_bound": 0.4}}),
    "rebel with the score term": (
        "rebel",
        {
            "score_weight": 1.0, "beta": 0.7,
            "collection": {"reference": "initial", "collected": "step", "steps_per_round": 0},
        },
    ),
    "list by score": ("listwise_pl", {"responses_per_prompt": 3, "labels": "hard"}),
    "list without its score term": ("listwise_pl", {"responses_per_prompt": 3, "score_weight": 0.0}),
    "list of another radius": ("listwise_pl", {"responses_per_prompt": 3, "rho": 0.4}),
    "tv_robust": ("offline_dpo", {"loss": "tv_robust", "loss_options": {"radius": 0.2}}),
    "one sample of hypo": ("hypo", {"addition": {"term_weight": 0.6, "term_samples": 1}}),
}  # fmt: skip
CASES = {name: (name, CHANGES.get(name, {})) for name in METHODS} | EXTRA
WASSERSTEIN = ("wdpo", "w_rebel")  # need the embedded tokens: below


def config_of(case: str):
    method, changes = CASES[case]
    return method_config(method, **{**SETTINGS, **changes})


@pytest.fixture(scope="module")
def world():
    return World()


# The code, on the whole law as one batch.


def batch(config, world):
    """Rows of all that may be drawn: responses (N, K), further ones (N, E), targets, prompts, probabilities, fresh."""
    laws = response_law(config, world, world.own)
    samples = config.addition.term_samples
    source = {"none": None, "pessimism": None, "xpo": None, "hypo": world.own}.get(
        config.addition.term, world.ref
    )
    further = [((), np.ones(2))]
    if source is not None:
        further = [
            (y, np.exp(source[:, list(y)].sum(1)))
            for y in itertools.product(range(source.shape[1]), repeat=samples)
        ]
    if loss_kind(config.loss) == "list":
        return list_batch(config, world, laws)
    stored = stored_count(config) / config.prompts_per_step
    sources = []
    if stored < 1:
        sources.append(((1 - stored) * laws, label_law(config, world, world.own)))
    if stored > 0:
        kept = "drawn" if config.labels == "policy" else config.labels
        offline = np.exp(world.first[:, :, None] + world.first[:, None, :])
        sources.append((stored * offline, label_law(type("", (), {"labels": kept}), world, None)))
    rows, fresh = [], None
    for law, labels in sources:
        for label, chance in labels:
            for x, i, j in np.ndindex(law.shape):
                for extra, probability in further:
                    weight = law[x, i, j] * chance[x, i, j] * probability[x] / 2
                    if weight > 0:
                        rows.append((x, (i, j), extra, label[x, i, j], weight))
        fresh = len(rows) if fresh is None else fresh
    x, pair, extra, label, weight = zip(*rows, strict=True)
    label = np.array(label, dtype=np.float64)
    targets = np.stack([np.stack([0 * label + 0.5, label], 1), np.stack([1 - label, 0 * label + 0.5], 1)], 1)
    x, pair = np.array(x), np.array(pair)
    if config.loss == "rebel":
        rewards = world.rewards[x[:, None], pair]
        targets = rewards - rewards.mean(1, keepdims=True)
    whole = stored in (0, 1)
    return x, pair, np.array(extra, dtype=int), targets, np.array(weight), None if whole else fresh


def list_batch(config, world, laws):
    lists = list(itertools.product(range(world.own.shape[1]), repeat=3))
    chances = ranking_law(config, every_list(world.rewards))
    rows = [
        (x, chosen, ranking, laws[(x, *chosen)] * chances[r, x, k] / len(laws))
        for x in range(len(laws))
        for k, chosen in enumerate(lists)
        for r, ranking in enumerate(RANKINGS)
        if chances[r, x, k] > 0
    ]
    x, chosen, rankings, weight = (np.array(column) for column in zip(*rows, strict=True))
    return x, chosen, np.zeros((len(x), 0), dtype=int), rankings, weight, None


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
