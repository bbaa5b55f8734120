"""RLOO and GRPO against values by hand; their mean gradients, over all samples, against derivatives of objectives."""

import itertools
import math

import numpy as np
import pytest
import torch

from rsail.objectives import (
    SEQUENCE_LOSSES,
    TOKEN_LOSSES,
    NotFinite,
    group_advantages,
    grpo_loss,
    leave_one_out,
    rloo_loss,
)
from rsail.oracles import oracle_scores

from .differences import differences, gradients, tensor

BETA = 0.7
THETA = tensor([0.3, -0.8, 0.5, 0.1])
REFERENCE = tensor([-0.4, 0.2, 0.9, -0.3]).log_softmax(0)
REWARDS = tensor([1.0, -0.5, 2.0, 0.3])


def kl(one, other):
    return one.exp() @ (one - other)


def mean_gradient(loss, count: int) -> torch.Tensor:
    """Of `loss(responses (N, K), log pi (N, K))`, with their law held: the mean over all lists of K responses."""
    chosen = torch.tensor(list(itertools.product(range(len(THETA)), repeat=count)))
    law = THETA.softmax(0)[chosen].prod(-1)
    return gradients(lambda theta: law * loss(chosen, theta.log_softmax(0)[chosen]), THETA)[0]


def test_rloo_by_hand():
    log_prob, ratio = tensor([-3.0, -4.0, -5.0]), tensor([0.2, -0.4, 0.6])
    reward = [1.0, 2.0, 6.0]  # 0.9, 2.2, 5.7 less the penalty; the others' means are 3.95, 3.3, 1.55
    assert rloo_loss(log_prob, ratio, reward, beta=0.5).item() == pytest.approx(-8.8 / 3)
    of_prob, of_ratio = gradients(lambda p, r: rloo_loss(p, r, reward, beta=0.5), log_prob, ratio)
    assert of_prob.tolist() == pytest.approx([3.05 / 3, 1.1 / 3, -4.15 / 3])
    assert not of_ratio.any()


def test_no_baseline_shares_a_sample_with_its_score():
    values = tensor([1.0, 2.0, 6.0, -3.0])
    changes = torch.autograd.functional.jacobian(leave_one_out, values)
    torch.testing.assert_close(changes, (torch.ones(4, 4) - torch.eye(4)).double() / 3)
    both = torch.stack([values, -values])
    torch.testing.assert_close(leave_one_out(both), torch.stack([leave_one_out(row) for row in both]))


@pytest.mark.parametrize("count", [2, 3])
def test_rloo_is_unbiased_for_the_reward_less_the_kl(count):
    def loss(chosen, log_prob):
        return rloo_loss(log_prob, log_prob - REFERENCE[chosen], REWARDS[chosen], beta=BETA)

    def objective(theta):
        own = theta.log_softmax(0)
        return BETA * kl(own, REFERENCE) - own.exp() @ REWARDS

    wanted = differences(objective, THETA)[0]
    torch.testing.assert_close(mean_gradient(loss, count), wanted, rtol=0, atol=1e-9)
    assert wanted.abs().max() > 0.1
    best = (REFERENCE + REWARDS / BETA).log_softmax(0)
    assert gradients(objective, best)[0].abs().max() < 1e-12


@pytest.mark.parametrize("count", [2, 3])
def test_scores_of_a_general_preference_stand_for_the_log_odds_against_the_present_policy(count):
    """Also of one that follows no reward; the second response's law is held fixed."""
    odds = np.triu(np.random.default_rng(0).normal(size=(4, 4)), 1)
    preference = 1 / (1 + np.exp(odds.T - odds))

    def loss(chosen, log_prob):
        scores = oracle_scores(preference[chosen[:, :, None], chosen[:, None, :]])
        return rloo_loss(log_prob, log_prob - REFERENCE[chosen], scores, beta=BETA)

    def objective(theta):
        own = theta.log_softmax(0)
        return BETA * kl(own, REFERENCE) - own.exp() @ tensor(odds - odds.T) @ THETA.softmax(0)

    wanted = differences(objective, THETA)[0]
    torch.testing.assert_close(mean_gradient(loss, count), wanted, rtol=0, atol=1e-9)


def test_a_number_added_to_all_rewards_changes_the_value_of_rloo_alone():
    def loss(reward):
        return lambda p: rloo_loss(p, torch.zeros(4), reward, beta=BETA)

    torch.testing.assert_close(gradients(loss(REWARDS), THETA), gradients(loss(REWARDS + 5), THETA))
    assert loss(REWARDS + 5)(THETA) - loss(REWARDS)(THETA) == pytest.approx(-5)


def test_advantages_of_a_group_by_hand():
    found = group_advantages(tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]]))
    spread = math.sqrt((4 + 1 + 9) / 2) + 1e-4
    torch.testing.assert_close(found, tensor([[-2 / spread, -1 / spread, 3 / spread], [0.0, 0.0, 0.0]]))


def test_without_its_standard_deviation_it_is_rloos_times_a_constant():
    """The advantage of "Dr. GRPO" (arXiv 2503.20783), r - mean r, is (K - 1) / K of RLOO's."""
    torch.testing.assert_close(REWARDS - REWARDS.mean(), 0.75 * (REWARDS - leave_one_out(REWARDS)))


LOG_PROBS = tensor([[-1.0, -2.0], [-0.5, 0.0]])
LOG_RATIOS = tensor([[0.3, -0.2], [0.4, 0.0]])
MASK = tensor([[1.0, 1.0], [1.0, 0.0]])


def test_grpo_by_hand():
    """Two tokens and one; rewards 1 and 3."""
    own = 1 / (math.sqrt(2) + 1e-4)
    k3 = {d: math.exp(-d) - 1 + d for d in (0.3, -0.2, 0.4)}
    value = -((-own - BETA * (k3[0.3] + k3[-0.2]) / 2) + (own - BETA * k3[0.4])) / 2
    assert grpo_loss(LOG_PROBS, LOG_RATIOS, MASK, [1.0, 3.0], beta=BETA).item() == pytest.approx(value)
    of_probs, of_ratios = gradients(
        lambda p, d: grpo_loss(p, d, MASK, [1.0, 3.0], beta=BETA), LOG_PROBS, LOG_RATIOS
    )
    torch.testing.assert_close(of_probs, tensor([[own / 4, own / 4], [-own / 2, 0.0]]))
    slope = {d: BETA * (1 - math.exp(-d)) for d in k3}
    torch.testing.assert_close(of_ratios, tensor([[slope[0.3] / 4, slope[-0.2] / 4], [slope[0.4] / 2, 0.0]]))


def test_what_is_behind_a_response_does_not_count():
    more = torch.nn.functional.pad(LOG_PROBS, (0, 2), value=-7.0)
    ratios, mask = (torch.nn.functional.pad(t, (0, 2)) for t in (LOG_RATIOS, MASK))
    ratios[1, 1:] = 2.0
    short = grpo_loss(LOG_PROBS, LOG_RATIOS, MASK, [1.0, 3.0], beta=BETA)
    assert grpo_loss(more, ratios, mask, [1.0, 3.0], beta=BETA).item() == pytest.approx(short.item())


def test_clipping_would_change_nothing_at_the_sampler():
    def clipped(p):
        ratio, advantage = (p - LOG_PROBS).exp(), group_advantages(tensor([1.0, 3.0]))[:, None]
        smaller = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        return -((smaller * MASK).sum(-1) / MASK.sum(-1)).mean(-1)

    def ours(p):
        return grpo_loss(p, torch.zeros(2, 2), MASK, [1.0, 3.0], beta=BETA)

    assert ours(LOG_PROBS).item() == pytest.approx(clipped(LOG_PROBS).item())
    torch.testing.assert_close(gradients(ours, LOG_PROBS), gradients(clipped, LOG_PROBS))


def test_the_penalty_of_grpo_is_one_kl_in_its_value_and_the_other_in_its_gradient():
    """Of one token: the mean value is KL(pi || pi_ref), the mean gradient that of KL(pi_ref || pi)."""

    def penalty(chosen, log_prob):
        ratio = log_prob - REFERENCE[chosen]
        return grpo_loss(log_prob[..., None], ratio[..., None], torch.ones(len(chosen), 2, 1), 0.0, beta=BETA)

    own = THETA.log_softmax(0)
    chosen = torch.tensor(list(itertools.product(range(4), repeat=2)))
    value = own[chosen].sum(-1).exp() @ penalty(chosen, own[chosen])
    assert value.item() == pytest.approx(BETA * kl(own, REFERENCE).item(), abs=1e-14)
    wanted = differences(lambda theta: BETA * kl(REFERENCE, theta.log_softmax(0)), THETA)[0]
    other = differences(lambda theta: BETA * kl(theta.log_softmax(0), REFERENCE), THETA)[0]
    torch.testing.assert_close(mean_gradient(penalty, 2), wanted, rtol=0, atol=1e-9)
    assert (wanted - other).abs().max() > 0.03


def test_grpo_knows_rewards_up_to_their_scale():
    def of(reward):
        return gradients(lambda p: grpo_loss(p, LOG_RATIOS, MASK, reward, beta=BETA), LOG_PROBS)[0]

    torch.testing.assert_close(of([1.0, 3.0]), of([10.0, 50.0]), rtol=1e-3, atol=0)
    torch.testing.assert_close(of([1.0, 3.0]), -of([3.0, 1.0]))
    assert not of(2.0).any()


def test_types_are_kept():
    single = [table.float() for table in (LOG_PROBS, LOG_RATIOS, MASK)]
    assert grpo_loss(*single, np.array([1.0, 3.0]), beta=BETA).dtype == torch.float32
    assert rloo_loss(THETA.float(), 0.0, REWARDS.numpy(), beta=BETA).dtype == torch.float32


GOOD = {
    **{name: (loss, (THETA, THETA, REWARDS)) for name, loss in SEQUENCE_LOSSES.items()},
    **{name: (loss, (LOG_PROBS, LOG_RATIOS, MASK, [1.0, 3.0])) for name, loss in TOKEN_LOSSES.items()},
}


@pytest.mark.parametrize(
    ("name", "place", "value", "error", "message"),
    [
        ("rloo", 0, tensor(1.0), ValueError, r"log_prob.shape must be \(..., K\), got \(\)"),
        ("rloo", 0, THETA * math.nan, NotFinite, "log_prob must be finite, got nan"),
        ("rloo", 1, THETA[:2], ValueError, r"log_ratio.shape must be that of log_prob, \(4,\), got \(2,\)"),
        ("rloo", 2, REWARDS[:3], ValueError, r"reward.shape must be that of log_prob, \(4,\), got \(3,\)"),
        ("rloo", 2, REWARDS * math.inf, NotFinite, "reward must be finite, got inf"),
        ("grpo", 0, THETA, ValueError, r"log_probs.shape must be \(..., K, T\), got \(4,\)"),
        ("grpo", 1, LOG_RATIOS * math.nan, NotFinite, "log_ratios must be finite, got nan"),
        ("grpo", 2, MASK[:1], ValueError, r"mask.shape must be that of log_probs, \(2, 2\), got \(1, 2\)"),
        ("grpo", 2, MASK * 0, ValueError, "mask must be at least one token in each response, got 0.0"),
        (
            "grpo",
            3,
            [1.0],
            ValueError,
            r"reward.shape must be that of log_probs\[..., 0\], \(2,\), got \(1,\)",
        ),
    ],
)
def test_bad_arguments_are_named(name, place, value, error, message):
    loss, arguments = GOOD[name]
    with pytest.raises(error, match=message):
        loss(*arguments[:place], value, *arguments[place + 1 :], beta=BETA)


@pytest.mark.parametrize("name", GOOD)
def test_one_response_and_a_beta_that_is_not_positive_are_refused(name):
    loss, arguments = GOOD[name]
    with pytest.raises(ValueError, match="beta must be a finite number > 0, got 0"):
        loss(*arguments, beta=0.0)
    alone = [tensor(value)[:1] for value in arguments]
    with pytest.raises(ValueError, match=r"number of responses must be at least 2 for a .*, got 1"):
        loss(*alone, beta=BETA)
