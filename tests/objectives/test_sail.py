"""The SAIL family by enumeration of all pairs and labels of one prompt, against its known gradients."""

import math

import numpy as np
import pytest
import torch

from rsail.objectives import (
    dpo_loss,
    preference_surrogate,
    sail_surrogate,
    score_surrogate,
    self_preference_loss,
)
from rsail.objectives.released import chi2_without_one, kldpo_weights, sail_response_hook

from .differences import assert_gradient, differences, gradients, tensor

BETA = 0.5
THETA = tensor([0.3, -0.2, 0.5, 0.0])
REFERENCE = tensor([0.0, 0.1, -0.1, 0.2]).log_softmax(0)
REWARDS = tensor([1.0, 0.0, -0.5, 0.3])
ORACLE = torch.sigmoid(REWARDS[:, None] - REWARDS)
DATA = {(0, 2): 0.5, (3, 1): 0.3, (1, 0): 0.2}
DATA_LAW = torch.zeros(4, 4, dtype=torch.float64)
for pair, share in DATA.items():
    DATA_LAW[pair] = share
# setting: responses and labels of the policy's own, value of J and its gradient in the logits, all weights 1
KNOWN = {
    "dpo": (False, False, -0.70572540, (0.10441269, -0.02495337, -0.08875108, 0.00929177)),
    "ddp": (False, True, -0.68942622, (-0.00198871, -0.00920758, 0.00932246, 0.00187383)),
    "dpp": (True, True, -0.68496799, (0.00141121, -0.00898346, 0.01722447, -0.00965222)),
    "dpr": (True, False, -0.71601417, (0.06032964, 0.00813176, -0.08508734, 0.01662594)),
}
SCORE_PART = {
    "dpp": (-0.00208445, 0.00117325, 0.0005971, 0.00031409),
    "dpr": (0.01265915, 0.00421707, -0.0169749, 0.00009869),
}


def parts(theta):
    """log pi of both responses of every pair, and the pair scores, (4, 4) each."""
    log_probs = theta.log_softmax(0)
    ratio = log_probs - REFERENCE
    first, second = log_probs[:, None].expand(4, 4), log_probs[None].expand(4, 4)
    return first, second, ratio[:, None] - ratio


def expected_loss(
    theta, setting: str, *, score_weight=1.0, preference_weight=1.0, baseline=0.0, rao_blackwell=False
):
    """The surrogate's mean over pairs and labels, both laws held fixed: -J with the gradient of the estimator."""
    responses, labels = KNOWN[setting][:2]
    first, second, score = parts(theta)
    law = (first + second).exp().detach() if responses else DATA_LAW
    own = torch.sigmoid(BETA * score).detach() if labels else ORACLE
    total = 0.0
    weights = {
        "preference_weight": preference_weight if labels else 0.0,
        "score_weight": score_weight if responses else 0.0,
    }
    if rao_blackwell:
        surrogate = sail_surrogate(score, own, first, second, beta=BETA, baseline=baseline, **weights)
        return (law * surrogate).sum()
    for label, probability in ((1.0, own), (0.0, 1 - own)):
        surrogate = sail_surrogate(score, label, first, second, beta=BETA, baseline=baseline, **weights)
        total = total + (law * probability * surrogate).sum()
    return total


@pytest.mark.parametrize("setting", sorted(KNOWN))
@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_value_and_gradient_of_every_setting_are_the_known_ones(setting, baseline):
    *_, value, wanted = KNOWN[setting]
    slope = gradients(lambda theta: expected_loss(theta, setting, baseline=baseline), THETA)[0]
    assert (-slope).tolist() == pytest.approx(wanted, abs=1e-8)
    # the value of the surrogate is that of -F - F^2 / 2 where labels are the policy's own
    without = expected_loss(THETA, setting, preference_weight=0.0)
    assert -without.item() == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize("setting", sorted(KNOWN))
def test_every_setting_has_the_gradient_of_finite_differences_of_its_objective(setting):
    responses, labels = KNOWN[setting][:2]

    def objective(theta):  # laws move with theta
        first, second, score = parts(theta)
        law = (first + second).exp() if responses else DATA_LAW
        own = torch.sigmoid(BETA * score) if labels else ORACLE
        return (law * dpo_loss(score, own, beta=BETA)).sum()

    found = gradients(lambda theta: expected_loss(theta, setting), THETA)[0]
    torch.testing.assert_close(found, differences(objective, THETA)[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("setting", sorted(SCORE_PART))
def test_the_score_term_alone_is_the_known_one(setting):
    with_it, without = (
        gradients(lambda theta, w=weight: expected_loss(theta, setting, score_weight=w), THETA)[0]
        for weight in (1.0, 0.0)
    )
    assert (without - with_it).tolist() == pytest.approx(SCORE_PART[setting], abs=1e-8)


@pytest.mark.parametrize("setting", ["ddp", "dpp"])
def test_labels_of_the_policys_own_without_their_term_are_noise(setting):
    slope = gradients(
        lambda theta: expected_loss(theta, setting, preference_weight=0.0, score_weight=0.0), THETA
    )[0]
    assert slope.abs().max() < 1e-15


@pytest.mark.parametrize("setting", sorted(KNOWN))
def test_the_mean_over_labels_can_be_taken_before_the_gradient(setting):
    drawn = gradients(lambda theta: expected_loss(theta, setting, baseline=0.7), THETA)[0]
    averaged = gradients(
        lambda theta: expected_loss(theta, setting, baseline=0.7, rao_blackwell=True), THETA
    )[0]
    torch.testing.assert_close(drawn, averaged, rtol=0, atol=1e-15)


def test_the_self_preference_loss_is_the_binary_entropy_and_its_gradient_that_of_own_labels():
    score = tensor([-3.0, -0.4, 0.0, 0.7, 60.0])
    p = torch.sigmoid(BETA * score[:4])
    entropy = -p * p.log() - (1 - p) * (1 - p).log()
    torch.testing.assert_close(self_preference_loss(score[:4], beta=BETA), entropy)
    assert_gradient(lambda h: self_preference_loss(h, beta=BETA), score)
    own = torch.sigmoid(BETA * score)
    slope = gradients(lambda h: self_preference_loss(h, beta=BETA), score)[0]
    torch.testing.assert_close(slope, -(BETA**2) * own * (1 - own) * score)
    surrogate = gradients(lambda h: preference_surrogate(h, own, beta=BETA), score)[0]
    torch.testing.assert_close(slope, surrogate, rtol=0, atol=1e-15)


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_the_preference_surrogate_has_one_plus_weight_times_f_of_the_slope(label, weight):
    score = tensor([-12.0, -0.4, 0.7, 3.0])
    loss = dpo_loss(score, label, beta=BETA)
    nominal = gradients(lambda h: dpo_loss(h, label, beta=BETA), score)[0]
    slope = gradients(lambda h: preference_surrogate(h, label, beta=BETA, weight=weight), score)[0]
    torch.testing.assert_close(slope, (1 - weight * loss) * nominal)
    assert_gradient(lambda h: preference_surrogate(h, label, beta=BETA, weight=weight), score)
    if weight == 1.0 and label == 1.0:
        assert slope[0] > 0 > nominal[0]  # F < -1: the pair's sign has turned over


def test_the_known_single_pair():
    """beta 0.1, log pi -120 and -130 against -121 and -128, labelled for the first."""
    score = tensor((-120 + 121) - (-130 + 128.0))
    loss = dpo_loss(score, 1.0, beta=0.1)
    assert 0.1 * score.item() == pytest.approx(0.3) and loss.item() == pytest.approx(0.554355244, abs=5e-10)
    weight = -gradients(lambda h: dpo_loss(h, 1.0, beta=0.1), score)[0]
    assert weight.item() == pytest.approx(0.0425557483, abs=5e-11)
    damped = preference_surrogate(score, 1.0, beta=0.1, weight=0.2)
    assert damped.item() == pytest.approx(0.5236242708, abs=5e-11)
    slope = gradients(lambda h: preference_surrogate(h, 1.0, beta=0.1, weight=0.2), score)[0]
    assert -slope.item() == pytest.approx(0.0378375479, abs=5e-11)
    log_probs = tensor(-120.0), tensor(-130.0)
    exact = gradients(lambda a, b: score_surrogate(loss, a, b, weight=0.3), *log_probs)
    assert [g.item() for g in exact] == pytest.approx([0.1663065733] * 2, abs=5e-11)
    hook = gradients(lambda a, b: sail_response_hook(loss, a, b, weight=0.3), *log_probs)
    assert [g.item() for g in hook] == pytest.approx([-0.0013858881, -0.0012792813], abs=5e-11)
    assert sail_response_hook(loss, *log_probs, weight=0.3).item() == 0


def test_all_weights_zero_is_dpo_bit_for_bit():
    score = tensor([-2.0, 0.3])
    log_probs = tensor([-3.0, -4.0])
    nominal = dpo_loss(score, 0.3, beta=BETA)
    options = {"preference_weight": 0.0, "score_weight": 0.0}
    assert torch.equal(sail_surrogate(score, 0.3, log_probs, log_probs, beta=BETA, **options), nominal)


def test_without_the_score_the_surrogate_is_that_of_the_preference():
    score, log_probs = tensor([-2.0, 0.3]), tensor([-3.0, -4.0])
    found = sail_surrogate(
        score, 0.3, log_probs, log_probs, beta=BETA, preference_weight=0.4, score_weight=0.0
    )
    torch.testing.assert_close(found, preference_surrogate(score, 0.3, beta=BETA, weight=0.4))


def test_bad_arguments_are_named():
    score = tensor([0.3])
    for call, message in (
        (
            lambda: preference_surrogate(score, 0.5, beta=BETA, weight=-1),
            "weight must be a finite number >= 0, got -1",
        ),
        (lambda: preference_surrogate(score, 1.5, beta=BETA), r"preference must be in \[0, 1\], got 1.5"),
        (lambda: self_preference_loss(score, beta=0.0), "beta must be a finite number > 0, got 0.0"),
        (
            lambda: sail_response_hook(score, score, score[:0], weight=1.0),
            r"log_prob shapes must be \(1,\), as",
        ),
        (
            lambda: sail_response_hook(score, score, score, weight=-1.0),
            "weight must be a finite number >= 0, got",
        ),
        (lambda: kldpo_weights(score, temperature=0.0), "temperature must be a finite number > 0, got 0.0"),
        (lambda: kldpo_weights(score, temperature=1.0, limit=0), "limit must be a finite number > 0, got 0"),
        (lambda: chi2_without_one(score, radius=0.0), "radius must be a finite number > 0, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_published_chi_square_objective_has_no_minimum_below_one_half():
    losses = tensor(np.random.default_rng(0).exponential(size=7))
    eta, value, weights = chi2_without_one(losses, radius=0.3)
    assert eta == losses.min() - 1 and weights.sum() > 1.1

    def objective(at):
        return at + math.sqrt(0.6) * (losses - at).clamp(min=0).square().mean().sqrt()

    assert value.item() == pytest.approx(objective(eta).item())
    assert objective(eta - 100) < objective(eta - 10) < value
    eta, value, weights = chi2_without_one(losses, radius=50.0)  # nothing is worth more than the largest loss
    assert eta == value == losses.max() and not weights.any()
