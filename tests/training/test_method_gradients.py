"""The expected gradient of every method's objective is the derivative of what the method says it minimizes.

The code sees the whole law of what a step may draw as one batch, with its probabilities; `enumerated` and `stated`
have laws and objectives in NumPy, differentiated by central differences.
"""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from rsail.lm import response_log_probs
from rsail.study.gradient_check import cosine
from rsail.training import method_config
from rsail.training.context import Context, Further, Tokens, embedded
from rsail.training.objective import online_loss

from .cases import CASES, SETTINGS, WASSERSTEIN, config_of
from .enumerated import World
from .stated import derivative
from .whole_law import batch, embedded_derivative, rows_of


@pytest.fixture(scope="module")
def world():
    return World()


# The code, on the whole law as one batch.


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
    own_tokens, ref_tokens = (world.tokens(table)[rows, pair] for table in (leaf, ref))
    mask = world.responses.response_mask[pair]
    context = Context(
        fresh=fresh,
        tokens=Tokens(own_tokens, own_tokens - ref_tokens, mask),
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


# Wasserstein balls around the embedded tokens.


@pytest.mark.parametrize("form", ["norm", "squared"])
@pytest.mark.parametrize("name", WASSERSTEIN)
def test_a_wasserstein_ball_adds_the_norm_of_the_gradient_in_the_embedded_tokens(world, name, form):
    config = method_config(name, **SETTINGS, addition={"wasserstein": 0.8, "wasserstein_form": form})
    x, pair, _, targets, weight, _ = batch(config, world)
    rows, model = rows_of(world, x, pair), world.policy
    with sdpa_kernel(SDPBackend.MATH), embedded(model, True) as inputs:
        log_probs = response_log_probs(model, *rows).sum(1).view(-1, 2)
    ref = torch.from_numpy(world.ref[x[:, None], pair])
    context = Context(inputs=inputs[0], probs=torch.from_numpy(weight))
    loss = online_loss(config, log_probs, ref, torch.from_numpy(targets), context)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    directions = world.directions[:8]
    found = (directions @ gradient).numpy()

    wanted = embedded_derivative(config, world, directions)
    plain = code_gradient(
        method_config(name, **SETTINGS, addition={"wasserstein": 0.0, "wasserstein_form": "norm"}), world
    )
    assert cosine(found, wanted) > 0.999999 > 0.99 > cosine(found, plain[:8])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())
