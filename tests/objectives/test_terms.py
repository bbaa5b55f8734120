"""Terms from other samples: their means over a small softmax policy against exact gradients and identities."""

import itertools
import math

import numpy as np
import pytest
import torch

from rsail.objectives import TERMS, NotFinite, count_bonus, dpo_loss, fpo_loss, pessimistic_score
from rsail.objectives.terms import (
    aihf,
    copo,
    hypo,
    reference_kl,
    selm,
    spac_anchored,
    spac_smoothed,
    spac_unanchored,
    vpo,
    xpo,
)

from .differences import assert_gradient, differences, gradients, tensor

RNG = np.random.default_rng(0)
THETA = tensor(RNG.normal(size=4))
REFERENCE = tensor(RNG.normal(size=4)).log_softmax(0)
CALIBRATION = tensor(RNG.dirichlet(np.ones(4)))
BETA = 0.4


def kl(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """KL(first || second) of two laws given by their logarithms."""
    return (first.exp() * (first - second)).sum()


def own(theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log pi and its ratio to the reference, (4,)."""
    log_probs = theta.log_softmax(0)
    return log_probs, log_probs - REFERENCE


@pytest.mark.parametrize("count", [1, 2, 3])
def test_hypo_is_unbiased_for_the_kl_to_the_reference(count):
    """Over all tuples of samples, weighted with their probabilities: value and gradient."""

    def expected(theta):
        log_probs, ratio = own(theta)
        total = 0.0
        for drawn in itertools.product(range(4), repeat=count):
            y = torch.tensor(drawn)
            probability = log_probs[y].detach().sum().exp()
            total = total + probability * hypo(log_probs[y][None], ratio[y][None], weight=0.7).mean()
        return total

    exact = 0.7 * kl(THETA.log_softmax(0), REFERENCE)
    assert expected(THETA).item() == pytest.approx(exact.item(), abs=1e-14)
    slope = gradients(expected, THETA)[0]
    wanted = differences(lambda theta: 0.7 * kl(theta.log_softmax(0), REFERENCE), THETA)[0]
    torch.testing.assert_close(slope, wanted, rtol=0, atol=1e-9)
    assert wanted.abs().max() > 0.05


def test_hypo_takes_each_prompts_other_samples_for_its_baseline():
    log_prob, ratio = (
        tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, -1.0]]),
        tensor([[0.3, 0.9, -0.6], [5.0, 6.0, 8.0]]),
    )
    of_prob, of_ratio = gradients(lambda p, r: hypo(p, r, weight=2.0), log_prob, ratio)
    by_hand = [[0.3 - 0.15, 0.9 + 0.15, -0.6 - 0.6], [5.0 - 7.0, 6.0 - 6.5, 8.0 - 5.5]]
    torch.testing.assert_close(of_prob, 2 * tensor(by_hand))
    assert not of_ratio.any()
    alone = gradients(lambda p, r: hypo(p, r, weight=2.0), tensor([[-1.0]]), tensor([[0.3]]))[0]
    assert alone.item() == pytest.approx(0.6)


def test_the_reference_kl_is_that_from_the_reference_to_the_policy():
    def mean(theta):
        return REFERENCE.exp() @ reference_kl(own(theta)[1], weight=0.7)

    forward, backward = kl(REFERENCE, THETA.log_softmax(0)), kl(THETA.log_softmax(0), REFERENCE)
    assert mean(THETA).item() == pytest.approx(0.7 * forward.item(), abs=1e-14)
    assert abs(forward - backward) > 0.01
    wanted = differences(lambda theta: 0.7 * kl(REFERENCE, theta.log_softmax(0)), THETA)[0]
    torch.testing.assert_close(gradients(mean, THETA)[0], wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_vpo_is_the_optimal_value_of_the_implicit_reward(sign):
    """r = beta log(pi / pi_ref) + c with E r = 0 under the calibration law has J*(r) = beta log Z = c."""

    def bias(theta):
        implicit = BETA * own(theta)[1]
        reward = implicit - CALIBRATION @ implicit
        return -sign * 0.3 * BETA * torch.logsumexp(REFERENCE + reward / BETA, 0)

    def mean(theta):
        return CALIBRATION @ vpo(own(theta)[1], beta=BETA, weight=0.3, sign=sign)

    assert mean(THETA).item() == pytest.approx(bias(THETA).item(), abs=1e-14)
    torch.testing.assert_close(gradients(mean, THETA)[0], differences(bias, THETA)[0], rtol=0, atol=1e-9)


def test_selm_is_optimistic_vpo_calibrated_at_the_reference_and_reweights_own_samples():
    log_probs, ratio = own(THETA)
    assert torch.equal(selm(ratio, beta=BETA, weight=0.3), vpo(ratio, beta=BETA, weight=0.3, sign=1))
    slope = gradients(lambda theta: REFERENCE.exp() @ selm(own(theta)[1], beta=BETA, weight=0.3), THETA)[0]
    factor = (-ratio).exp()
    from_own = gradients(lambda theta: (log_probs.exp() * factor) @ theta.log_softmax(0), THETA)[0]
    torch.testing.assert_close(slope, 0.3 * BETA * from_own, rtol=0, atol=1e-14)


def test_xpo_pushes_the_response_of_the_reference_down():
    log_prob = tensor([-3.0, -40.0])
    assert xpo(log_prob, weight=0.2).tolist() == pytest.approx([-0.6, -8.0])
    assert gradients(lambda p: xpo(p, weight=0.2), log_prob)[0].tolist() == pytest.approx([0.2, 0.2])


def test_copo_raises_a_response_by_its_clipped_ratio_times_its_bonus():
    log_prob, ratio = tensor([-3.0, -4.0, -5.0]), tensor([-0.5, math.log(4.9), math.log(80.0)])
    bonus = tensor([0.1, 0.2, 0.3])

    def term(p, r, b):
        return copo(p, r, b, weight=0.5)

    of_prob, of_ratio, of_bonus = gradients(term, log_prob, ratio, bonus)
    assert of_prob.tolist() == pytest.approx([-0.5 * math.exp(-0.5) * 0.1, -0.5 * 4.9 * 0.2, -0.5 * 5 * 0.3])
    assert not of_ratio.any() and not of_bonus.any()
    assert gradients(lambda p: copo(p, ratio, 1.0, weight=0.5, clip=2.0), log_prob)[0].tolist() == (
        pytest.approx([-0.5 * math.exp(-0.5), -1.0, -1.0])
    )


def test_the_count_bonus_estimates_one_over_the_root_of_the_visits():
    coins = tensor(np.random.default_rng(0).choice([-1.0, 1.0], size=(25, 4000))).mean(0)  # 25 visits
    assert count_bonus(coins).item() == pytest.approx(0.1 / 5, rel=0.05)
    assert count_bonus(tensor([[0.2, -0.2], [1.0, 1.0]]), scale=0.5).tolist() == pytest.approx([0.1, 0.5])


def test_the_anchored_term_of_spac_is_that_of_the_critic_without_its_shift():
    """f = (log(pi / pi_t) + log Z_t) / eta is the critic of one mirror step."""
    eta, critic, anchor = 0.6, tensor(RNG.normal(size=4)), tensor(RNG.dirichlet(np.ones(4)))
    before = THETA.log_softmax(0)
    log_partition = torch.logsumexp(before + eta * critic, 0)
    ratio = before + eta * critic - log_partition - before
    mean = before.exp() @ critic
    assert mean.item() == pytest.approx(((before.exp() @ ratio + log_partition) / eta).item(), abs=1e-14)
    both = before.exp()[:, None] * anchor
    term = spac_anchored(ratio[:, None].expand(4, 4), ratio.expand(4, 4), weight=0.7)
    wanted = 0.7 * eta * (mean - anchor @ critic)
    assert (both * term).sum().item() == pytest.approx(wanted.item(), abs=1e-14)
    assert_gradient(lambda a, b: spac_anchored(a, b, weight=0.7), ratio, ratio.flip(0))


def test_the_unanchored_term_of_spac_is_minus_a_kl_and_stops_at_its_floor():
    before, after = REFERENCE, THETA.log_softmax(0)
    term = spac_unanchored(after - before, weight=0.7, floor=100.0)
    assert (before.exp() @ term).item() == pytest.approx(-0.7 * kl(before, after).item(), abs=1e-14)
    log_ratio = tensor([-3.0, -1.9, 4.0])
    assert spac_unanchored(log_ratio, weight=0.5, floor=2.0).tolist() == pytest.approx([-1.0, -0.95, 2.0])
    slope = gradients(lambda r: spac_unanchored(r, weight=0.5, floor=2.0), log_ratio)[0]
    assert slope.tolist() == [0.0, 0.5, 0.5]


def test_the_smoothed_term_of_spac_compares_the_own_sample_with_both_of_the_pair():
    mine, first, second = tensor([0.3, -1.0]), tensor([1.2, 0.4]), tensor([-0.5, 2.0])
    term = spac_smoothed(mine, first, second, beta=BETA, weight=0.7)
    by_hand = 0.35 * (dpo_loss(first - mine, 1.0, beta=BETA) + dpo_loss(second - mine, 1.0, beta=BETA))
    torch.testing.assert_close(term, by_hand, rtol=0, atol=1e-15)
    assert_gradient(lambda *r: spac_smoothed(*r, beta=BETA, weight=0.7), mine, first, second)
    slopes = gradients(lambda *r: spac_smoothed(*r, beta=BETA, weight=0.7), mine, first, second)
    assert (slopes[0] > 0).all() and (slopes[1] < 0).all() and (slopes[2] < 0).all()
    far = spac_smoothed(tensor(-1e4), tensor(0.0), tensor(0.0), beta=BETA, weight=0.7)
    assert far.item() >= 0  # bounded below, unlike the other forms
    # near the round's policy it is the anchored term at weight beta / 2, anchored at the mean of the pair
    tiny = [1e-6 * r for r in (mine, first, second)]
    linear = spac_anchored(tiny[0], (tiny[1] + tiny[2]) / 2, weight=0.7 * BETA / 2)
    change = spac_smoothed(*tiny, beta=BETA, weight=0.7) - 0.7 * math.log(2)
    torch.testing.assert_close(change, linear, rtol=1e-4, atol=0)


def test_aihf_is_the_gradient_of_maximum_entropy_inverse_reinforcement_learning():
    """E_demo dr - E_pi dr over beta, with the reward beta log(pi / pi_0) of the policy."""
    demonstrations = tensor(RNG.dirichlet(np.ones(4)))
    slope = gradients(lambda theta: demonstrations @ aihf(own(theta)[0], weight=0.7), THETA)[0]
    law = THETA.log_softmax(0).exp()
    reward_slope = gradients(lambda theta: (demonstrations - law) @ (BETA * own(theta)[1]), THETA)[0]
    torch.testing.assert_close(slope, -0.7 / BETA * reward_slope, rtol=0, atol=1e-14)


ONE_ARGUMENT = {
    "vpo": lambda r: vpo(r, beta=BETA, weight=0.3, sign=-1),
    "xpo": lambda r: xpo(r, weight=0.3),
    "selm": lambda r: selm(r, beta=BETA, weight=0.3),
    "copo": lambda r: copo(r, tensor([0.3, -1.0]), 0.2, weight=0.3),
    "hypo": lambda r: hypo(r[None], tensor([[0.3, -1.0]]), weight=0.3),
    "spac_anchored": lambda r: spac_anchored(r, tensor([0.3, -1.0]), weight=0.3),
    "spac_smoothed": lambda r: spac_smoothed(r, tensor([0.3, -1.0]), 0.4, beta=BETA, weight=0.3),
    "spac_unanchored": lambda r: spac_unanchored(r, weight=0.3, floor=5.0),
    "reference_kl": lambda r: reference_kl(r, weight=0.3),
    "aihf": lambda r: aihf(r, weight=0.3),
}


@pytest.mark.parametrize("name", sorted(TERMS))
def test_every_term_has_the_gradient_of_finite_differences_one_value_per_sample_and_names_what_is_wrong(name):
    at = tensor([-1.7, -0.4])
    if (
        name != "hypo"
    ):  # its value is the log-ratio, its gradient a score: over all samples they agree, see above
        assert_gradient(ONE_ARGUMENT[name], at)
    assert ONE_ARGUMENT[name](at).numel() == 2
    with pytest.raises(NotFinite, match=r"log_(prob|ratio) must be finite, got nan"):
        ONE_ARGUMENT[name](tensor([0.0, math.nan]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: vpo(r, beta=0.0, weight=1.0, sign=1), "beta must be a finite number > 0, got 0.0"),
        (lambda r: vpo(r, beta=1.0, weight=-1.0, sign=1), "weight must be a finite number >= 0, got -1.0"),
        (
            lambda r: vpo(r, beta=1.0, weight=1.0, sign=0),
            r"sign must be 1 \(online\) or -1 \(offline\), got 0",
        ),
        (lambda r: xpo(r, weight=math.nan), "weight must be a finite number >= 0, got nan"),
        (lambda r: selm(r, beta=1.0, weight=None), "weight must be a finite number >= 0, got None"),
        (lambda r: copo(r, r, 0.1, weight=1.0, clip=0.0), "clip must be a finite number > 0, got 0.0"),
        (
            lambda r: copo(r, r, r[:1], weight=1.0),
            r"bonus.shape must be that of log_prob, \(2,\), got \(1,\)",
        ),
        (lambda r: hypo(r, r, weight=1.0), r"log_prob.shape must be \(X, k\), got \(2,\)"),
        (
            lambda r: hypo(r[None], r, weight=1.0),
            r"log_ratio.shape must be that of log_prob, \(1, 2\), got \(2,\)",
        ),
        (
            lambda r: spac_anchored(r, r[None], weight=1.0),
            r"log_ratio_anchor.shape must be that of log_ratio, \(2,\), got \(1, 2\)",
        ),
        (
            lambda r: spac_smoothed(r, r, r, beta=-1.0, weight=1.0),
            "beta must be a finite number > 0, got -1.0",
        ),
        (lambda r: spac_unanchored(r, weight=1.0, floor=0.0), "floor must be a finite number > 0, got 0.0"),
        (lambda r: reference_kl(r, weight=-0.1), "weight must be a finite number >= 0, got -0.1"),
        (lambda r: aihf(r, weight=math.inf), "weight must be a finite number >= 0, got inf"),
        (lambda r: count_bonus(r, scale=-1), "scale must be a finite number >= 0, got -1"),
        (lambda r: pessimistic_score(r, r, beta=0.0), "beta must be a finite number > 0, got 0.0"),
        (
            lambda r: pessimistic_score(r, r[:1], beta=1.0),
            r"uncertainty_gap.shape must be that of pair_score, \(2,\), got \(1,\)",
        ),
        (lambda r: fpo(r, lengths=(1, 2, 3)), r"lengths must be a pair, got \(1, 2, 3\)"),
        (lambda r: fpo(r, lengths=(5, 0)), "lengths must be >= 1, got 0.0"),
        (lambda r: fpo(r, distances=0.5), "distances must be a pair, got 0.5"),
        (lambda r: fpo(r, preference=1.5), r"preference must be in \[0, 1\], got 1.5"),
        (lambda r: fpo(r, weight=-1.0), "weight must be a finite number >= 0, got -1.0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(tensor([0.3, -0.2]))


def fpo(log_ratio, other=None, **wrong):
    usual = {
        "preference": 1.0,
        "lengths": (5, 6),
        "distances": (0.6, 0.5),
        "beta": BETA,
        "weight": 0.5,
    } | wrong
    return fpo_loss(log_ratio, 0.3 * log_ratio if other is None else other, usual.pop("preference"), **usual)


def test_an_uncertain_winner_is_pushed_less():
    h = tensor([0.5, -1.0])
    for preference, more in ((1.0, 1), (0.0, -1)):
        pulls = [
            gradients(
                lambda s, g=gap, p=preference: dpo_loss(pessimistic_score(s, g, beta=BETA), p, beta=BETA), h
            )[0].abs()
            for gap in (0.0, more * 0.8)
        ]
        assert (pulls[1] < pulls[0]).all()
    found = dpo_loss(pessimistic_score(h, tensor([0.3, -0.2]), beta=BETA), 1.0, beta=BETA)
    by_hand = torch.log1p(torch.exp(-(BETA * h + tensor([0.3, -0.2]))))
    torch.testing.assert_close(found, by_hand)
    assert_gradient(
        lambda s, g: dpo_loss(pessimistic_score(s, g, beta=BETA), 0.7, beta=BETA), h, tensor([0.3, -0.2])
    )


def test_fpo_has_length_normalized_margins_and_holds_the_winners_distance_fixed():
    first, second = tensor([1.0, -0.4]), tensor([-0.5, 0.8])
    lengths, distances = (tensor([5.0, 3.0]), tensor([6.0, 4.0])), (tensor([0.6, 0.1]), tensor([0.5, 0.7]))

    def loss(a, b, d1, d2, preference=1.0):
        return fpo(a, b, preference=preference, lengths=lengths, distances=(d1, d2))

    margin = BETA * (first / lengths[0] - second / lengths[1]) - 0.5 * BETA * (distances[1] - distances[0])
    torch.testing.assert_close(loss(first, second, *distances), torch.log1p(torch.exp(-margin)))
    assert_gradient(lambda a, b: loss(a, b, *distances, preference=0.3), first, second)
    assert_gradient(lambda d: loss(first, second, distances[0], d), distances[1])
    assert not gradients(lambda d: loss(first, second, d, distances[1]), distances[0])[0].any()
    assert not gradients(lambda d: loss(first, second, distances[0], d, 0.0), distances[1])[0].any()
    labels = [loss(first, second, *distances, preference=label) for label in (0.0, 1.0)]
    torch.testing.assert_close(
        loss(first, second, *distances, preference=0.3), 0.3 * labels[1] + 0.7 * labels[0]
    )
    swapped = fpo(second, first, preference=0.7, lengths=lengths[::-1], distances=distances[::-1])
    torch.testing.assert_close(loss(first, second, *distances, preference=0.3), swapped)
