"""Worst and best cases over laws of the pairs: against dual minimization, linear programs, and brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from rsail.exact.listwise import total_variation_linear_program, total_variation_worst_case
from rsail.objectives import (
    REWEIGHTINGS,
    NotFinite,
    group_means,
    group_robust,
    group_weights,
    kl_radius,
    weights,
)

from .differences import assert_gradient, gradients, tensor

SEEDED = settings(deadline=None, derandomize=True, max_examples=60)
OPTION = {
    "mean": {},
    "dr_dpo": {"temperature": 0.7},
    "kl_penalty": {"temperature": 0.7},
    "kl_ball": {"radius": 0.2},
    "chi2_ball": {"radius": 0.4},
    "tv_ball": {"radius": 0.3},
}
BALLS = ["kl_ball", "chi2_ball", "tv_ball"]


def option(name: str) -> float | None:
    return next(iter(OPTION[name].values()), None)


@st.composite
def laws(draw):
    """Losses (some of them equal) and a base law (some of it zero), of 2 to 8 pairs."""
    size = draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    losses = rng.exponential(size=size)
    if draw(st.booleans()):
        losses = rng.integers(0, 3, size) / 2
    probs = rng.dirichlet(np.ones(size))
    if draw(st.booleans()):
        probs[rng.random(size) < 0.3] = 0
    if draw(st.booleans()):
        probs = np.ones(size)
    assume(probs.sum() > 0)
    return losses, probs / probs.sum()


def support(losses, probs):
    return losses[probs > 0], probs[probs > 0]


def kl_dual(losses, probs, radius: float) -> float:
    losses, probs = support(losses, probs)
    top = losses.max()

    def dual(log_t: float) -> float:
        t = math.exp(log_t)
        return t * radius + top + t * math.log(probs @ np.exp((losses - top) / t))

    grid = np.linspace(-25, 12, 400)
    k = int(np.argmin([dual(value) for value in grid]))
    around = grid[max(k - 1, 0)], grid[min(k + 1, 399)]
    return min(top, minimize_scalar(dual, bounds=around, method="bounded", options={"xatol": 1e-12}).fun)


def chi2_dual(losses, probs, radius: float) -> float:
    losses, probs = support(losses, probs)

    def dual(eta: float) -> float:
        return eta + math.sqrt((1 + 2 * radius) * (probs @ np.clip(losses - eta, 0, None) ** 2))

    span = np.ptp(losses) + 1e-3
    bounds = losses.min() - span * (2 + 2 / math.sqrt(2 * radius)), losses.max()
    found = minimize_scalar(dual, bounds=bounds, method="bounded", options={"xatol": 1e-12}).fun
    return min(found, *(dual(eta) for eta in losses))


@SEEDED
@given(law=laws(), radius=st.floats(1e-3, 3))
def test_the_kl_ball_is_its_dual_minimum(law, radius):
    losses, probs = law
    found = REWEIGHTINGS["kl_ball"](tensor(losses), radius=radius, probs=probs)
    assert found.item() == pytest.approx(kl_dual(losses, probs, radius), abs=1e-8)
    worst = weights("kl_ball", tensor(losses), radius, probs)
    assert kl_radius(worst, probs).item() <= radius + 1e-10


@SEEDED
@given(law=laws(), radius=st.floats(1e-3, 4))
def test_the_chi_square_ball_is_its_dual_minimum(law, radius):
    losses, probs = law
    found = REWEIGHTINGS["chi2_ball"](tensor(losses), radius=radius, probs=probs)
    assert found.item() == pytest.approx(chi2_dual(losses, probs, radius), abs=1e-8)
    worst = weights("chi2_ball", tensor(losses), radius, probs).numpy()
    inside = probs > 0
    assert worst.min() >= 0 and not worst[~inside].any()
    assert (worst[inside] ** 2 / probs[inside]).sum() <= (1 + 2 * radius) * (1 + 1e-12)


@pytest.mark.parametrize("radius", [0.05, 0.6, 1.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_chi_square_ball_is_the_primal_maximum_of_a_solver(radius, seed):
    rng = np.random.default_rng(seed)
    losses = rng.integers(0, 4, 6) / 2 if seed % 2 else rng.exponential(size=6)
    probs = rng.dirichlet(np.ones(6))
    solved = minimize(
        lambda q: -q @ losses,
        probs + 0.1 * (rng.dirichlet(np.ones(6)) - probs),  # at probs both constraints have one gradient
        jac=lambda q: -losses,
        bounds=[(0, 1)] * 6,
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1, "jac": lambda q: np.ones(6)},
            {
                "type": "ineq",
                "fun": lambda q: 1 + 2 * radius - (q**2 / probs).sum(),
                "jac": lambda q: -2 * q / probs,
            },
        ],
        method="SLSQP",
        options={"ftol": 1e-10, "maxiter": 500},
    )
    assert solved.success
    found = REWEIGHTINGS["chi2_ball"](tensor(losses), radius=radius, probs=probs)
    assert found.item() == pytest.approx(-solved.fun, abs=1e-6)


@SEEDED
@given(law=laws(), radius=st.floats(0, 1))
def test_the_total_variation_ball_is_that_of_the_exact_engine(law, radius):
    losses, probs = law
    found = REWEIGHTINGS["tv_ball"](tensor(losses), radius=radius, probs=probs)
    assert found.item() == pytest.approx(total_variation_worst_case(losses, probs, radius)[0], abs=1e-13)
    assert found.item() == pytest.approx(total_variation_linear_program(losses, probs, radius), abs=1e-8)
    worst = weights("tv_ball", tensor(losses), radius, probs).numpy()
    assert np.abs(worst - probs).sum() / 2 <= radius + 1e-13
    assert worst.min() >= 0 and worst.sum() == pytest.approx(1)


@pytest.mark.parametrize("radius", [1e-4, 0.01, 0.1])
def test_without_clipping_the_chi_square_ball_adds_the_standard_deviation(radius):
    losses, probs = tensor([0.1, 0.4, 0.9, 1.6, 2.5]), tensor([0.1, 0.3, 0.2, 0.25, 0.15])
    center = probs @ losses
    variance = probs @ (losses - center) ** 2
    slope = (2 * radius / variance).sqrt()
    assert 1 + slope * (losses.min() - center) > 0
    found = REWEIGHTINGS["chi2_ball"](losses, radius=radius, probs=probs)
    assert found.item() == pytest.approx((center + (2 * radius * variance).sqrt()).item(), abs=1e-13)
    torch.testing.assert_close(
        weights("chi2_ball", losses, radius, probs),
        probs * (1 + slope * (losses - center)),
        rtol=0,
        atol=1e-13,
    )


@pytest.mark.parametrize("name", sorted(REWEIGHTINGS))
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_that_of_finite_differences_and_of_the_weights(name, weighted):
    losses = tensor([0.31, 1.2, 0.05, 0.77, 0.9, 2.1])
    probs = tensor([0.1, 0.15, 0.3, 0.2, 0.05, 0.2]) if weighted else None
    assert_gradient(lambda l: REWEIGHTINGS[name](l, probs=probs, **OPTION[name]), losses)
    slope = gradients(lambda l: REWEIGHTINGS[name](l, probs=probs, **OPTION[name]), losses)[0]
    torch.testing.assert_close(slope, weights(name, losses, option(name), probs), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", sorted(REWEIGHTINGS))
def test_a_weighted_law_is_that_of_repeated_losses(name):
    losses, times = tensor([0.31, 1.2, 0.05, 0.77]), torch.tensor([2, 1, 4, 3])
    probs = times.double() / 10
    repeated = losses.repeat_interleave(times)
    found = REWEIGHTINGS[name](losses, probs=probs, **OPTION[name])
    assert found.item() == pytest.approx(REWEIGHTINGS[name](repeated, **OPTION[name]).item(), abs=1e-12)
    each = weights(name, repeated, option(name))
    together = torch.zeros(4, dtype=torch.float64).index_add(
        0, torch.arange(4).repeat_interleave(times), each
    )
    torch.testing.assert_close(weights(name, losses, option(name), probs), together, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(REWEIGHTINGS))
def test_equal_losses_weigh_the_same_in_any_order(name):
    losses, order = tensor([0.7, 0.2, 1.5, 0.2, 1.5, 0.7, 1.5]), [4, 6, 1, 5, 3, 0, 2]
    found = weights(name, losses, option(name))
    for equal in ([0, 5], [1, 3], [2, 4, 6]):
        assert found[equal].tolist() == pytest.approx([found[equal[0]].item()] * len(equal), abs=1e-15)
    torch.testing.assert_close(weights(name, losses[order], option(name)), found[order], rtol=0, atol=1e-15)


def test_a_loss_without_probability_at_the_edge_of_the_radius_gives_nothing():
    worst = weights("tv_ball", tensor([0.0, 1.0, 2.0]), 0.3, tensor([0.3, 0.0, 0.7]))
    assert worst.tolist() == pytest.approx([0.0, 0.0, 1.0], abs=1e-15)


def test_the_total_variation_ball_leaves_the_support_in_equal_parts():
    worst = weights("tv_ball", tensor([2.0, 0.1, 0.5, 2.0]), 0.4, tensor([0.0, 0.3, 0.7, 0.0]))
    assert worst.tolist() == pytest.approx([0.2, 0.0, 0.6, 0.2], abs=1e-15)


@pytest.mark.parametrize("name", sorted(REWEIGHTINGS))
def test_equal_losses_keep_their_law_and_value(name):
    probs = tensor([0.2, 0.5, 0.3])
    at_reference = torch.full((3,), math.log(2), dtype=torch.float64)
    value = REWEIGHTINGS[name](at_reference, probs=probs, **OPTION[name])
    assert value.item() == pytest.approx(math.log(2), abs=1e-15)
    torch.testing.assert_close(weights(name, at_reference, option(name), probs), probs, rtol=0, atol=1e-15)
    assert gradients(lambda l: REWEIGHTINGS[name](l, probs=probs, **OPTION[name]), at_reference)[
        0
    ].sum().item() == pytest.approx(1)


@pytest.mark.parametrize("name", sorted(REWEIGHTINGS))
def test_a_constant_added_to_the_losses_is_added_to_the_value(name):
    losses = tensor([0.31, 1.2, 0.05, 0.77])
    value = REWEIGHTINGS[name](losses, **OPTION[name])
    moved = REWEIGHTINGS[name](losses - 5, **OPTION[name])
    assert moved.item() == pytest.approx(value.item() - 5, abs=1e-12)


def test_weights_fear_large_losses_and_only_dr_dpo_trusts_small_ones():
    losses = tensor([0.1, 0.4, 0.9, 1.6, 2.5])
    for name in REWEIGHTINGS:
        steps = weights(name, losses, option(name)).diff()
        assert (steps <= 0).all() if name == "dr_dpo" else (steps >= 0).all()


def test_dr_dpo_is_the_opposite_of_the_kl_penalty():
    losses, probs = tensor([0.31, 1.2, 0.05, 0.77]), tensor([0.1, 0.4, 0.3, 0.2])
    soft_minimum = REWEIGHTINGS["dr_dpo"](losses, temperature=0.3, probs=probs)
    soft_maximum = REWEIGHTINGS["kl_penalty"](-losses, temperature=0.3, probs=probs)
    assert soft_minimum.item() == pytest.approx(-soft_maximum.item(), abs=1e-14)
    center = (probs @ losses).item()
    assert soft_minimum < center < REWEIGHTINGS["kl_penalty"](losses, temperature=0.3, probs=probs)


@pytest.mark.parametrize(("name", "sign"), [("kl_penalty", 1), ("dr_dpo", -1)])
def test_the_penalized_value_is_that_of_its_weights(name, sign):
    losses, probs = tensor([0.31, 1.2, 0.05, 0.77]), tensor([0.1, 0.4, 0.3, 0.2])
    tilted = weights(name, losses, 0.3, probs)
    value = tilted @ losses - sign * 0.3 * kl_radius(tilted, probs)
    found = REWEIGHTINGS[name](losses, temperature=0.3, probs=probs)
    assert found.item() == pytest.approx(value.item(), abs=1e-14)


def test_a_temperature_is_the_ball_of_the_radius_it_uses():
    losses, probs = tensor([0.31, 1.2, 0.05, 0.77]), tensor([0.1, 0.4, 0.3, 0.2])
    for temperature in (0.02, 0.3, 50.0):
        tilted = weights("kl_penalty", losses, temperature, probs)
        radius = kl_radius(tilted, probs).item()
        torch.testing.assert_close(weights("kl_ball", losses, radius, probs), tilted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", BALLS)
def test_a_ball_of_radius_zero_is_the_mean_and_a_small_one_is_near(name):
    losses, probs = tensor([0.31, 1.2, 0.05, 0.77]), tensor([0.1, 0.4, 0.3, 0.2])
    center = probs @ losses
    assert torch.equal(REWEIGHTINGS[name](losses, radius=0.0, probs=probs), center)
    # to first order sqrt(2 rho v) for divergences that are quadratic at P
    spread = (probs @ (losses - center) ** 2).sqrt().item()
    for radius in (1e-6, 1e-10):
        excess = (REWEIGHTINGS[name](losses, radius=radius, probs=probs) - center).item()
        wanted = radius * (1.2 - 0.05) if name == "tv_ball" else math.sqrt(2 * radius) * spread
        assert excess == pytest.approx(wanted, rel=3e-3, abs=1e-12)


@pytest.mark.parametrize("name", ["dr_dpo", "kl_penalty"])
def test_a_high_temperature_is_the_mean_and_a_low_one_an_extreme(name):
    losses, probs = tensor([0.31, 1.2, 0.05, 0.77]), tensor([0.1, 0.4, 0.3, 0.2])
    high = REWEIGHTINGS[name](losses, temperature=1e6, probs=probs)
    assert high.item() == pytest.approx((probs @ losses).item(), abs=1e-6)
    torch.testing.assert_close(weights(name, losses, 1e9, probs), probs, rtol=0, atol=1e-9)
    low = REWEIGHTINGS[name](losses, temperature=1e-3, probs=probs)
    assert low.item() == pytest.approx(0.05 if name == "dr_dpo" else 1.2, abs=5e-3)


@pytest.mark.parametrize("name", BALLS)
def test_a_large_ball_holds_the_worst_pair(name):
    losses, probs = tensor([0.3, 1.2, 1.2, 0.7]), tensor([0.1, 0.15, 0.05, 0.7])
    radius = {"kl_ball": math.log(5), "chi2_ball": 2.0, "tv_ball": 1.0}[name] + 1e-12 * (name != "tv_ball")
    assert REWEIGHTINGS[name](losses, radius=radius, probs=probs).item() == pytest.approx(1.2, abs=1e-12)
    less = REWEIGHTINGS[name](losses, radius=0.9 * radius if name != "tv_ball" else 0.79, probs=probs)
    assert less.item() < 1.2 - 1e-3
    worst = weights(name, losses, radius, probs)
    assert worst.tolist() == pytest.approx([0, 0.75, 0.25, 0], abs=1e-12)


@pytest.mark.parametrize("name", ["mean", "dr_dpo", "kl_penalty", "kl_ball", "chi2_ball"])
def test_a_pair_without_probability_does_not_count(name):
    losses, probs = tensor([0.3, 1e300, 0.7, -1e300, 0.1]), tensor([0.5, 0.0, 0.3, 0.0, 0.2])
    kept = [0, 2, 4]
    value = REWEIGHTINGS[name](losses, probs=probs, **OPTION[name])
    wanted = REWEIGHTINGS[name](losses[kept], probs=probs[kept], **OPTION[name])
    assert value.item() == pytest.approx(wanted.item(), abs=1e-13)
    assert not weights(name, losses, option(name), probs)[[1, 3]].any()


@pytest.mark.parametrize("name", sorted(REWEIGHTINGS))
def test_single_precision_and_large_batches_are_fine(name):
    rng = np.random.default_rng(0)
    losses = torch.tensor(rng.exponential(size=20_000), dtype=torch.float32, requires_grad=True)
    value = REWEIGHTINGS[name](losses, **OPTION[name])
    value.backward()
    exact = REWEIGHTINGS[name](losses.detach().double(), **OPTION[name])
    assert value.dtype == torch.float32 and value.item() == pytest.approx(exact.item(), rel=1e-4)
    assert losses.grad.sum().item() == pytest.approx(1, abs=1e-3) and losses.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(REWEIGHTINGS))
def test_one_loss_is_its_own_value(name):
    assert REWEIGHTINGS[name](tensor([0.4]), **OPTION[name]).item() == pytest.approx(0.4)


def test_a_step_of_the_group_weights_is_exponentiated_gradient():
    start, losses = tensor([0.2, 0.5, 0.3]), tensor([1.0, 0.1, 2.0])
    by_hand = start * torch.exp(0.7 * losses)
    found = group_weights(start, losses.requires_grad_(), 0.7)
    torch.testing.assert_close(found, by_hand.detach() / by_hand.detach().sum())
    assert not found.requires_grad
    torch.testing.assert_close(group_weights(start, losses, 0.0), start)


def test_group_weights_climb_to_the_worst_group():
    found = tensor([0.2, 0.5, 0.3])
    for _ in range(100):
        found = group_weights(found, tensor([1.0, 0.1, 2.0]), 0.5)
    assert found.tolist() == pytest.approx([0, 0, 1], abs=1e-12)


def test_descent_and_group_weights_meet_at_the_saddle_point():
    """min over theta of max over groups: two losses cross between their minima; a third never matters."""
    slopes = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)

    def losses(theta):
        return slopes * (theta - tensor([0.0, 1.0, 0.5])) ** 2 + tensor([0.1, 0.0, 0.0])

    solved = minimize_scalar(
        lambda theta: losses(theta).max().item(), bounds=(0, 1), method="bounded", options={"xatol": 1e-12}
    )
    theta, law = tensor(0.9).requires_grad_(), tensor([1 / 3] * 3)
    for _ in range(4000):
        law = group_weights(law, losses(theta), 0.05)
        slope = torch.autograd.grad(group_robust(losses(theta), law), theta)[0]
        theta = (theta - 0.05 * slope).detach().requires_grad_()
    assert theta.item() == pytest.approx(solved.x, abs=1e-6)
    assert losses(theta).max().item() == pytest.approx(solved.fun, abs=1e-6)
    wanted = 4 * (1 - solved.x) / (4 * (1 - solved.x) + 2 * solved.x)  # where the mean slope is zero
    assert law.tolist() == pytest.approx([wanted, 1 - wanted, 0], abs=1e-5)


def test_group_means_and_their_robust_sum():
    losses, groups = tensor([1.0, 3.0, 0.5, 2.0]), torch.tensor([0, 0, 2, 0])
    assert group_means(losses, groups, 4).tolist() == [2.0, 0.0, 0.5, 0.0]
    assert group_means(losses, torch.zeros(4, dtype=torch.int64), 1).tolist() == [1.625]
    weighted = group_means(losses, groups, 4, probs=tensor([0.1, 0.2, 0.6, 0.1]))
    assert weighted.tolist() == pytest.approx([(0.1 + 0.6 + 0.2) / 0.4, 0, 0.5, 0])
    per_group, law = tensor([2.0, 0.5]), tensor([0.9, 0.1])
    for trade_off, wanted in ((1.0, [0.9, 0.1]), (0.0, [0.5, 0.5]), (0.25, [0.6, 0.4])):
        assert gradients(lambda l, c=trade_off: group_robust(l, law, trade_off=c), per_group)[
            0
        ].tolist() == pytest.approx(wanted)
        assert_gradient(lambda l, c=trade_off: group_robust(l, law, trade_off=c), per_group)
        assert_gradient(lambda l: group_means(l, torch.tensor([0, 1, 1]), 2), tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("name", sorted(REWEIGHTINGS))
@pytest.mark.parametrize(
    ("losses", "probs", "error", "message"),
    [
        ([[1.0]], None, ValueError, r"losses.shape must be \(n,\) with n >= 1, got \(1, 1\)"),
        ([], None, ValueError, r"losses.shape must be \(n,\) with n >= 1, got \(0,\)"),
        ([1.0, math.nan], None, NotFinite, "losses must be finite, got nan"),
        ([1.0, 2.0], [1.0], ValueError, r"probs.shape must be \(2,\), got \(1,\)"),
        ([1.0, 2.0], [1.5, -0.5], ValueError, "probs must be probabilities >= 0, got -0.5"),
        ([1.0, 2.0], [0.5, 0.6], ValueError, r"probs.sum\(\) must be 1, got 1.1"),
        ([1.0, 2.0], [math.nan, 1.0], ValueError, "probs must be probabilities >= 0, got nan"),
    ],
)
def test_bad_losses_and_laws_are_named(name, losses, probs, error, message):
    with pytest.raises(error, match=message):
        REWEIGHTINGS[name](tensor(losses), probs=probs, **OPTION[name])


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("dr_dpo", 0.0, "temperature must be a finite number > 0, got 0.0"),
        ("kl_penalty", math.nan, "temperature must be a finite number > 0, got nan"),
        ("kl_ball", -0.1, "radius must be a finite number >= 0, got -0.1"),
        ("chi2_ball", math.inf, "radius must be a finite number >= 0, got inf"),
        ("tv_ball", 1.1, r"radius must be in \[0, 1\], got 1.1"),
    ],
)
def test_bad_options_are_named(name, wrong, message):
    losses = tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=message):
        REWEIGHTINGS[name](losses, **{next(iter(OPTION[name])): wrong})
    with pytest.raises(ValueError, match=message):
        weights(name, losses, wrong)


def test_other_bad_arguments_are_named():
    losses = tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"name must be one of chi2_ball, .* got 'cvar'"):
        weights("cvar", losses, 0.1)
    with pytest.raises(ValueError, match=r"option must be None for 'mean', got 0\.1"):
        weights("mean", losses, 0.1)
    with pytest.raises(ValueError, match="temperature must be a finite number > 0, got None"):
        weights("dr_dpo", losses)
    with pytest.raises(ValueError, match=r"groups must be in 0 ... 1, got \[2\]"):
        group_means(losses, torch.tensor([0, 2]), 2)
    with pytest.raises(ValueError, match=r"groups.shape must be \(2,\), got \(1,\)"):
        group_means(losses, torch.tensor([0]), 2)
    with pytest.raises(ValueError, match="step_size must be a finite number >= 0, got -1"):
        group_weights(tensor([0.5, 0.5]), losses, -1)
    with pytest.raises(ValueError, match=r"weights.sum\(\) must be 1, got 2.0"):
        group_weights(tensor([1.0, 1.0]), losses, 1.0)
    with pytest.raises(ValueError, match=r"trade_off must be in \[0, 1\], got 2"):
        group_robust(losses, tensor([0.5, 0.5]), trade_off=2)


def test_a_law_in_single_precision_may_be_off_by_its_rounding():
    """A law of double losses that is itself in doubles must sum to 1 to nine digits, any other one to five."""
    losses, off = tensor([1.0, 2.0]), tensor([0.5, 0.5 + 1e-6])
    mean = REWEIGHTINGS["mean"]
    for some, law in ((losses.float(), off), (losses, off.float()), (losses.float(), off.float())):
        assert mean(some, probs=law).item() == pytest.approx(1.5, abs=1e-5)
    with pytest.raises(ValueError, match=r"probs.sum\(\) must be 1"):
        mean(losses, probs=off)
    with pytest.raises(ValueError, match=r"probs.sum\(\) must be 1"):
        mean(losses.float(), probs=tensor([0.5, 0.5 + 1e-4]))
