"""chi-PO: its link, its loss, its cut, and its neighbourhood of DPO."""

import math

import pytest
import torch
from scipy.special import lambertw

from rsail.objectives import RATIO_LOSSES, NotFinite, chi_po_link, chi_po_loss, dpo_loss

from .differences import assert_gradient, gradients, tensor

FIRST, SECOND = tensor([0.3, -1.2, 2.0, 0.1]), tensor([-0.4, 0.9, 1.1, 0.2])
PREFERENCES = tensor([1.0, 0.0, 0.6, 0.3])


def test_the_slope_of_the_link_is_one_plus_the_ratio():
    log_ratio = tensor([-30.0, -2.0, 0.0, 0.7, 3.0, 19.0])
    slope = gradients(chi_po_link, log_ratio)[0]
    torch.testing.assert_close(slope, 1 + log_ratio.exp(), rtol=1e-14, atol=0)
    assert_gradient(chi_po_link, tensor([-2.0, 0.0, 0.7, 3.0]))


def test_the_link_is_inverted_by_the_lambert_function():
    for log_ratio in (-3.0, 0.0, 1.5):
        value = chi_po_link(tensor(log_ratio)).item()
        assert math.log(lambertw(math.exp(value)).real) == pytest.approx(log_ratio, abs=1e-12)


def test_nothing_overflows_at_a_huge_ratio():
    for dtype in (torch.float32, torch.float64):
        at = torch.tensor([20.5, 800.0, -800.0], dtype=dtype, requires_grad=True)
        loss = chi_po_loss(at, torch.zeros(3, dtype=dtype), 1.0, beta=0.1)
        loss.sum().backward()
        assert loss.isfinite().all() and at.grad.isfinite().all()
    assert chi_po_link(tensor(25.0)).item() == pytest.approx(math.exp(20) + 25)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_precision(dtype):
    first, second = torch.tensor([15.0, 0.5], dtype=dtype), torch.tensor([14.0, -0.25], dtype=dtype)
    found = chi_po_loss(first.requires_grad_(), second, 0.0, beta=0.1)
    wanted = chi_po_loss(first.detach().float(), second.float(), 0.0, beta=0.1)
    assert torch.equal(found.detach(), wanted)
    found[1].backward()
    assert first.grad.isfinite().all() and first.grad.dtype == dtype


@pytest.mark.parametrize("options", [{}, {"reward_bound": 10.0}])
def test_chi_po_is_dpo_of_the_difference_of_links(options):
    margin = 0.3 * (FIRST.exp() + FIRST - SECOND.exp() - SECOND)
    torch.testing.assert_close(
        chi_po_loss(FIRST, SECOND, PREFERENCES, beta=0.3, **options),
        dpo_loss(margin, PREFERENCES, beta=1.0),
        rtol=0,
        atol=1e-14,
    )
    assert_gradient(lambda a, b: chi_po_loss(a, b, PREFERENCES, beta=0.3, **options), FIRST, SECOND)


def test_near_the_reference_it_is_dpo_at_twice_beta():
    small = 1e-4 * FIRST, 1e-4 * SECOND
    at_twice = dpo_loss(small[0] - small[1], PREFERENCES, beta=0.6)
    torch.testing.assert_close(chi_po_loss(*small, PREFERENCES, beta=0.3), at_twice, rtol=0, atol=1e-8)
    apart = chi_po_loss(FIRST, SECOND, PREFERENCES, beta=0.3) - dpo_loss(
        FIRST - SECOND, PREFERENCES, beta=0.6
    )
    assert apart.abs().max() > 0.1


def test_beyond_twice_the_reward_bound_the_loss_is_flat():
    first, second = tensor([3.0, -3.0]), tensor([-3.0, 3.0])
    loss = chi_po_loss(first, second, 1.0, beta=1.0, reward_bound=0.5)
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-1)), math.log1p(math.exp(1))])
    slopes = gradients(lambda a, b: chi_po_loss(a, b, 1.0, beta=1.0, reward_bound=0.5), first, second)
    assert not any(slope.any() for slope in slopes)


def test_swapping_the_responses_changes_nothing():
    torch.testing.assert_close(
        chi_po_loss(FIRST, SECOND, PREFERENCES, beta=0.3, reward_bound=0.4),
        chi_po_loss(SECOND, FIRST, 1 - PREFERENCES, beta=0.3, reward_bound=0.4),
        rtol=0,
        atol=1e-14,
    )


@pytest.mark.parametrize("name", sorted(RATIO_LOSSES))
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beta": 0.0}, ValueError, "beta must be a finite number > 0, got 0.0"),
        ({"preference": 1.2}, ValueError, r"preference must be in \[0, 1\], got 1.2"),
        (
            {"preference": tensor([0.5] * 3)},
            ValueError,
            r"preference.shape must be that of log_ratio_1, \(2,\), got \(3,\)",
        ),
        ({"reward_bound": 0.0}, ValueError, "reward_bound must be a finite number > 0, got 0.0"),
        ({"log_ratio_1": [0.0, math.nan]}, NotFinite, "log_ratio_1 must be finite, got nan"),
        ({"log_ratio_2": [0.0, math.inf]}, NotFinite, "log_ratio_2 must be finite, got inf"),
        (
            {"log_ratio_2": [0.0, 0.0, 0.0]},
            ValueError,
            r"log_ratio_2.shape must be that of log_ratio_1, \(2,\), got \(3,\)",
        ),
    ],
)
def test_bad_arguments_are_named(name, arguments, error, message):
    usual = {
        "log_ratio_1": [0.0, 1.0],
        "log_ratio_2": [1.0, 0.0],
        "preference": 0.5,
        "beta": 0.1,
        **arguments,
    }
    first, second = torch.tensor(usual.pop("log_ratio_1")), torch.tensor(usual.pop("log_ratio_2"))
    with pytest.raises(error, match=message):
        RATIO_LOSSES[name](first, second, usual.pop("preference"), **usual)
