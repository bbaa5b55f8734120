"""Pair losses that move, smooth or bound the label: slic, ropo, tv_robust, dpo_pro."""

import math

import numpy as np
import pytest
import torch

from rsail.exact.listwise import total_variation_linear_program
from rsail.objectives import (
    LOSSES,
    dpo_loss,
    dpo_pro_loss,
    plackett_luce_loss,
    robust_sail_loss,
    ropo_loss,
    slic_loss,
    tv_robust_loss,
)

from .differences import assert_gradient, gradients, tensor
from .test_losses import OPTIONS

SCORES = tensor([-4.0, -0.7, 0.6, 3.0])
PREFERENCES = tensor([0.05, 0.3, 0.6, 0.98])


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("preferences", [PREFERENCES, tensor([1.0, 0.0, 1.0, 0.0])])
def test_every_pair_loss_has_the_gradient_of_finite_differences(name, preferences):
    options = OPTIONS.get(name, {})
    assert_gradient(lambda h: LOSSES[name](h, preferences, beta=0.6, **options), SCORES)


def test_slic_is_the_hinge_of_the_margin():
    # beta h = -1.5, 0.5, 1.5 with label 1, then the same with label 0
    for preference, wanted in ((1.0, [2.5, 0.5, 0.0]), (0.0, [0.0, 1.5, 2.5]), (0.25, [0.625, 1.25, 1.875])):
        loss = slic_loss(tensor([-3.0, 1.0, 3.0]), preference, beta=0.5)
        assert loss.tolist() == pytest.approx(wanted, abs=1e-15)


def test_slic_has_no_gradient_beyond_the_margin():
    slope = gradients(lambda h: slic_loss(h, 1.0, beta=0.5), tensor([1.0, 2.0, 3.0]))[0]
    assert slope.tolist() == [-0.5, 0.0, 0.0]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 6.0])
def test_ropo_has_its_slope_and_its_largest_slope_is_one(alpha):
    margin = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    slope = -gradients(lambda h: ropo_loss(h, 1.0, beta=1.0, alpha=alpha), margin)[0]
    scale = 4 * alpha / (1 + alpha) ** 2
    wrong = torch.sigmoid(-margin)
    torch.testing.assert_close(slope, scale * wrong * (1 + alpha * (1 - wrong)), rtol=0, atol=1e-14)
    if alpha > 1:
        assert slope.max().item() == pytest.approx(1, abs=1e-8)
        assert wrong[slope.argmax()].item() == pytest.approx((1 + alpha) / (2 * alpha), abs=1e-4)
    assert slope[0].item() == pytest.approx(scale, abs=1e-4)  # confidently contradicted pairs; DPO's is 1


def test_the_bounded_part_of_ropo_is_tolerant_to_symmetric_flips():
    for alpha in (0.5, 6.0):
        scale = 4 * alpha / (1 + alpha) ** 2
        both = [
            ropo_loss(SCORES, label, beta=0.6, alpha=alpha) - scale * dpo_loss(SCORES, label, beta=0.6)
            for label in (0.0, 1.0)
        ]
        torch.testing.assert_close(sum(both), torch.full_like(SCORES, scale * alpha), rtol=0, atol=1e-14)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("radius", [0.0, 0.1, 0.35, 1.0])
def test_tv_robust_is_the_largest_loss_over_laws_of_the_label_around_the_observed_one(label, radius):
    for score in (-3.0, -0.2, 0.4, 5.0):
        both = [dpo_loss(score, other, beta=0.5).item() for other in (0.0, 1.0)]
        worst = total_variation_linear_program(both, [1 - label, label], radius)
        found = tv_robust_loss(score, float(label), beta=0.5, radius=radius)
        assert found.item() == pytest.approx(worst, abs=1e-9)


def test_tv_robust_is_the_listwise_loss_of_two_responses():
    rng = np.random.default_rng(0)
    log_ratio = tensor(rng.normal(size=(50, 2)))
    h = log_ratio[:, 0] - log_ratio[:, 1]
    for label, ranking in ((1.0, [0, 1]), (0.0, [1, 0])):
        listwise = plackett_luce_loss(log_ratio, torch.tensor(ranking).expand(50, 2), beta=0.7, rho=0.2)
        torch.testing.assert_close(
            listwise, tv_robust_loss(h, label, beta=0.7, radius=0.2), rtol=0, atol=1e-14
        )


def test_tv_robust_of_a_probability_is_the_mean_over_labels_and_not_robust_sail():
    loss = tv_robust_loss(SCORES, PREFERENCES, beta=0.6, radius=0.2)
    labels = [tv_robust_loss(SCORES, label, beta=0.6, radius=0.2) for label in (0.0, 1.0)]
    torch.testing.assert_close(
        loss, PREFERENCES * labels[1] + (1 - PREFERENCES) * labels[0], rtol=0, atol=1e-14
    )
    excess = 0.2 * 0.6 * (PREFERENCES * SCORES.clamp(min=0) + (1 - PREFERENCES) * (-SCORES).clamp(min=0))
    torch.testing.assert_close(loss - dpo_loss(SCORES, PREFERENCES, beta=0.6), excess, rtol=0, atol=1e-14)
    apart = robust_sail_loss(SCORES, PREFERENCES, beta=0.6, rho=0.2) - loss
    assert apart.abs().max() > 0.01


@pytest.mark.parametrize("radius", [0.01, 0.3, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("preference", [0.02, 0.3, 0.5, 0.7, 0.99])
def test_dpo_pro_is_the_largest_dpo_loss_over_the_chi_square_interval(preference, radius):
    others = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    apart = (others - preference) ** 2
    inside = others[apart / preference + apart / (1 - preference) <= radius + 1e-12]
    for score in (-3.0, -0.2, 0.0, 0.4, 5.0):
        worst = dpo_loss(tensor(score).expand_as(inside), inside, beta=0.5).max().item()
        found = dpo_pro_loss(score, preference, beta=0.5, radius=radius).item()
        # the grid misses the end of the interval by at most its spacing
        assert worst - 1e-12 <= found <= worst + 1e-5 * 0.5 * abs(score) + 1e-12


def test_dpo_pro_of_a_certain_label_is_dpo_and_its_penalty_is_largest_at_one_half():
    for label in (0.0, 1.0):
        loss = dpo_pro_loss(SCORES, label, beta=0.6, radius=0.5)
        assert torch.equal(loss, dpo_loss(SCORES, label, beta=0.6))
    grid = torch.linspace(0, 1, 101, dtype=torch.float64)
    score = torch.full_like(grid, 2.0)
    penalty = dpo_pro_loss(score, grid, beta=1.0, radius=0.3) - dpo_loss(score, grid, beta=1.0)
    assert penalty.argmax() == 50


def test_a_radius_of_zero_is_dpo_bit_for_bit_and_a_small_one_is_near():
    nominal = dpo_loss(SCORES, PREFERENCES, beta=0.6)
    for loss, order in ((tv_robust_loss, 1.0), (dpo_pro_loss, 0.5)):
        assert torch.equal(loss(SCORES, PREFERENCES, beta=0.6, radius=0.0), nominal)
        near = [
            (loss(SCORES, PREFERENCES, beta=0.6, radius=radius) - nominal).max().item()
            for radius in (1e-6, 1e-8)
        ]
        assert near[0] / near[1] == pytest.approx(100**order, rel=1e-4)


def test_every_loss_of_the_literature_that_ends_at_log_2_does_so_at_a_tie():
    for name in ("tv_robust", "dpo_pro"):
        assert LOSSES[name](0.0, 0.3, beta=0.4, **OPTIONS[name]).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (ropo_loss, {"alpha": 0.0}, "alpha must be a finite number > 0, got 0.0"),
        (ropo_loss, {"alpha": None}, "alpha must be a finite number > 0, got None"),
        (tv_robust_loss, {"radius": 1.5}, r"radius must be in \[0, 1\], got 1.5"),
        (tv_robust_loss, {"radius": -0.1}, r"radius must be in \[0, 1\], got -0.1"),
        (tv_robust_loss, {"radius": "all"}, r"radius must be in \[0, 1\], got 'all'"),
        (dpo_pro_loss, {"radius": -1.0}, "radius must be a finite number >= 0, got -1.0"),
        (dpo_pro_loss, {"radius": float("nan")}, "radius must be a finite number >= 0, got nan"),
    ],
)
def test_bad_options_are_named_with_their_value(loss, options, message):
    with pytest.raises(ValueError, match=message):
        loss(tensor(0.0), 0.5, beta=0.1, **options)
