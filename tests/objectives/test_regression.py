"""REBEL and its Wasserstein-robust forms against closed forms, the dual, and finite differences."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from rsail.objectives import (
    REWARD_LOSSES,
    NotFinite,
    dpo_loss,
    rebel_loss,
    rebel_residual,
    w_rebel_loss,
    wasserstein_penalty,
)

from .differences import assert_gradient, gradients, tensor

GAPS = tensor([0.4, -1.3, 0.0, 2.0])
FEATURES = tensor(np.random.default_rng(0).normal(size=(4, 3)))
SLOPE = tensor([0.5, -1.0, 0.3])
LAW = tensor([0.1, 0.4, 0.2, 0.3])


def test_the_residual_at_the_sampler_is_the_opposite_of_the_reward_gap():
    assert torch.equal(rebel_residual(torch.zeros_like(GAPS), GAPS, beta=2.0), -GAPS)
    assert torch.equal(rebel_loss(torch.zeros_like(GAPS), GAPS, beta=2.0), GAPS**2)


def test_an_exact_fit_is_one_step_of_mirror_descent():
    rng, eta = np.random.default_rng(1), 0.7
    log_probs, rewards = tensor(np.log(rng.dirichlet(np.ones(5)))), tensor(rng.normal(size=5))
    improved = (log_probs + eta * rewards).log_softmax(0)
    ratio = improved - log_probs
    loss = rebel_loss(ratio[:, None] - ratio, rewards[:, None] - rewards, beta=1 / eta)
    assert loss.abs().max() < 1e-28
    apart = rebel_loss(ratio[:, None] - ratio, rewards[:, None] - rewards, beta=eta)
    assert apart.max() > 0.1


@pytest.mark.parametrize("name", sorted(REWARD_LOSSES))
def test_the_gradient_is_twice_beta_times_the_residual_and_that_of_finite_differences(name):
    h = tensor([0.3, -1.2, 2.0, 0.1])
    assert_gradient(lambda s: REWARD_LOSSES[name](s, GAPS, beta=0.6), h)
    slope = gradients(lambda s: rebel_loss(s, GAPS, beta=0.6), h)[0]
    torch.testing.assert_close(slope, 2 * 0.6 * (0.6 * h - GAPS), rtol=0, atol=1e-15)
    published = (h - GAPS / 0.6) ** 2  # its eta is 1 / beta, its loss eta^2 times the paper's
    torch.testing.assert_close(rebel_loss(h, GAPS, beta=0.6), 0.6**2 * published)


def residuals(slope: torch.Tensor, features: torch.Tensor = FEATURES) -> torch.Tensor:
    return features @ slope - GAPS


def robust_by_duality(slope: torch.Tensor, radius: float, probs: torch.Tensor) -> float:
    """min over L of L radius^2 + E sup_z [(slope . z - gap)^2 - L |z - z_i|^2]; the sup is L r^2 / (L - |slope|^2)."""
    square, steepest = float(probs @ residuals(slope) ** 2), float(slope @ slope)

    def dual(log_excess: float) -> float:
        multiplier = steepest + math.exp(log_excess)
        return multiplier * radius**2 + multiplier * square / (multiplier - steepest)

    return minimize_scalar(dual, bounds=(-12, 12), method="bounded", options={"xatol": 1e-10}).fun


@pytest.mark.parametrize("radius", [0.05, 0.4, 2.0])
@pytest.mark.parametrize("probs", [torch.full_like(LAW, 0.25), LAW])
def test_w_rebel_is_the_worst_mean_square_over_the_wasserstein_ball(radius, probs):
    found = w_rebel_loss(residuals(SLOPE), SLOPE, radius=radius, probs=probs)
    assert found.item() == pytest.approx(robust_by_duality(SLOPE, radius, probs), rel=1e-9)
    # and it is attained: every z moves along the slope, by its share of the radius
    r, size = residuals(SLOPE), SLOPE.norm()
    rms = (probs @ r**2).sqrt()
    moved = FEATURES + radius * (r / rms)[:, None] * SLOPE / size
    assert (probs @ (moved - FEATURES).square().sum(1)).sqrt().item() == pytest.approx(radius)
    assert (probs @ residuals(SLOPE, moved) ** 2).item() == pytest.approx(found.item())


@pytest.mark.parametrize("probs", [None, LAW])
def test_w_rebel_exceeds_the_gradient_form_by_radius_squared_times_slope_squared(probs):
    features = FEATURES.clone().requires_grad_()
    losses = residuals(SLOPE, features) ** 2
    nominal = losses.mean() if probs is None else probs @ losses
    gradient_form = nominal + wasserstein_penalty(losses, features, radius=0.3, probs=probs)
    exact = w_rebel_loss(residuals(SLOPE), SLOPE, radius=0.3, probs=probs)
    assert (exact - gradient_form).item() == pytest.approx(0.09 * float(SLOPE @ SLOPE), abs=1e-12)


def test_a_reward_gap_that_moves_too_is_one_more_coordinate():
    moved = w_rebel_loss(residuals(SLOPE), SLOPE, radius=0.3, reward_shifts=True)
    longer = w_rebel_loss(residuals(SLOPE), torch.cat([SLOPE, tensor([-1.0])]), radius=0.3)
    assert moved.item() == longer.item() > w_rebel_loss(residuals(SLOPE), SLOPE, radius=0.3).item()


@pytest.mark.parametrize("shifts", [False, True])
@pytest.mark.parametrize("probs", [None, LAW])
def test_w_rebel_has_the_gradient_of_finite_differences(shifts, probs):
    assert_gradient(
        lambda a: w_rebel_loss(residuals(a), a, radius=0.3, reward_shifts=shifts, probs=probs), SLOPE
    )


def test_w_rebel_of_radius_zero_is_rebel_and_it_is_differentiable_at_the_sampler():
    found = w_rebel_loss(residuals(SLOPE), SLOPE, radius=0.0)
    assert found.item() == pytest.approx((residuals(SLOPE) ** 2).mean().item(), abs=1e-15)
    at_sampler = gradients(lambda a: w_rebel_loss(residuals(a), a, radius=0.3), torch.zeros(3))[0]
    nominal = gradients(lambda a: (residuals(a) ** 2).mean(), torch.zeros(3))[0]
    torch.testing.assert_close(at_sampler, nominal)
    nothing = w_rebel_loss(torch.zeros(4, requires_grad=True), torch.zeros(3), radius=0.3)
    nothing.backward()
    assert nothing.item() == 0


def pair_losses(theta: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """A loss per pair that is not linear in its inputs, (n, 2, d) or their rows (2 n, d)."""
    value = torch.tanh(inputs.view(-1, 2, inputs.shape[-1])) @ theta
    return dpo_loss(value[:, 0] - value[:, 1], LAW, beta=0.8)


INPUTS = tensor(np.random.default_rng(2).normal(size=(8, 3)))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("probs", [None, LAW])
def test_the_wasserstein_penalty_is_the_norm_of_the_gradients_of_each_pair(squared, probs):
    inputs = INPUTS.clone().requires_grad_()
    found = wasserstein_penalty(pair_losses(SLOPE, inputs), inputs, radius=0.3, squared=squared, probs=probs)
    norms = []
    for pair in range(4):
        (slope,) = torch.autograd.grad(pair_losses(SLOPE, inputs)[pair], inputs)
        assert not slope[[k for k in range(8) if k // 2 != pair]].any()
        norms.append(slope.square().sum())
    mean = (torch.full((4,), 0.25, dtype=torch.float64) if probs is None else probs) @ torch.stack(norms)
    assert found.item() == pytest.approx(0.3 * (mean if squared else mean.sqrt()).item(), abs=1e-15)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("probs", [None, LAW])
def test_the_wasserstein_penalty_has_the_gradient_of_finite_differences(squared, probs):
    def penalty(theta):
        inputs = INPUTS.clone().requires_grad_()
        options = {"radius": 0.3, "squared": squared, "probs": probs}
        return wasserstein_penalty(pair_losses(theta, inputs), inputs, **options)

    assert_gradient(penalty, SLOPE)


def test_inputs_in_several_tensors_count_together():
    first, second = INPUTS[0::2].clone().requires_grad_(), INPUTS[1::2].clone().requires_grad_()
    losses = pair_losses(SLOPE, torch.stack([first, second], 1).view(8, 3))
    apart = wasserstein_penalty(losses, (first, second), radius=0.3)
    inputs = INPUTS.clone().requires_grad_()
    together = wasserstein_penalty(pair_losses(SLOPE, inputs), inputs, radius=0.3)
    assert apart.item() == pytest.approx(together.item(), abs=1e-15)


def test_a_single_loss_of_a_single_input_and_the_type_of_the_losses():
    point = tensor([[0.5, -2.0]]).requires_grad_()
    assert wasserstein_penalty((3 * point).sum(1), point, radius=0.1).item() == pytest.approx(
        0.3 * math.sqrt(2)
    )
    single = wasserstein_penalty((3 * point).sum(1).float(), point, radius=0.1)
    assert single.dtype == torch.float32


def test_a_flat_loss_has_no_penalty_and_no_nan():
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    inputs = INPUTS.clone().requires_grad_()
    penalty = wasserstein_penalty(pair_losses(theta, inputs), inputs, radius=0.3)
    penalty.backward()
    assert penalty.item() == 0 and not theta.grad.isnan().any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beta": 0.0}, ValueError, "beta must be a finite number > 0, got 0.0"),
        ({"pair_score": tensor(math.nan)}, NotFinite, "pair_score must be finite, got nan"),
        ({"reward_gap": math.inf}, NotFinite, "reward_gap must be finite, got inf"),
        (
            {"reward_gap": [0.0, 0.0]},
            ValueError,
            r"reward_gap.shape must be that of pair_score, \(\), got \(2,\)",
        ),
    ],
)
@pytest.mark.parametrize("name", sorted(REWARD_LOSSES))
def test_bad_arguments_are_named(name, arguments, error, message):
    usual = {"pair_score": 0.5, "reward_gap": 0.2, "beta": 1.0, **arguments}
    with pytest.raises(error, match=message):
        REWARD_LOSSES[name](usual.pop("pair_score"), usual.pop("reward_gap"), **usual)


def test_bad_arguments_of_the_robust_forms_are_named():
    inputs = INPUTS.clone().requires_grad_()
    losses = pair_losses(SLOPE, inputs)
    for wrong, message in (
        ({"radius": -0.1}, "radius must be a finite number >= 0, got -0.1"),
        ({"inputs": INPUTS}, "inputs.requires_grad must be True, got False"),
        ({"inputs": inputs[:3]}, r"inputs.shape must be \(a multiple of 4, ...\), got \(3, 3\)"),
        ({"inputs": inputs[:0]}, r"inputs.shape must be \(a multiple of 4, ...\), got \(0, 3\)"),
        ({"inputs": []}, r"inputs must be at least one tensor, got \[\]"),
        ({"inputs": INPUTS.clone().requires_grad_()}, "inputs must be inputs of losses, got"),
        ({"losses": losses.detach()}, "losses.requires_grad must be True, got False"),
        ({"probs": [0.5, 0.5]}, r"probs.shape must be \(4,\), got \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            usual = {"losses": losses, "inputs": inputs, "radius": 0.1, **wrong}
            wasserstein_penalty(usual.pop("losses"), usual.pop("inputs"), **usual)
    with pytest.raises(ValueError, match="radius must be a finite number >= 0, got nan"):
        w_rebel_loss(GAPS, SLOPE, radius=math.nan)
    with pytest.raises(ValueError, match=r"slope.shape must be \(d,\), got \(4, 3\)"):
        w_rebel_loss(GAPS, FEATURES, radius=0.1)
    with pytest.raises(ValueError, match=r"residuals.shape must be \(n,\) with n >= 1, got \(4, 3\)"):
        w_rebel_loss(FEATURES, SLOPE, radius=0.1)
