"""Every option changes the gradient as its formula says: online_loss against a gradient written down by hand."""

import itertools
import math

import numpy as np
import pytest
import torch

from rsail.exact.one_pair import one_pair_loss
from rsail.oracles import bias, draw_labels, truth
from rsail.training import OnlineConfig
from rsail.training.objective import online_loss

X = 3


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def dpo(h, p, beta, **_):
    return -p * math.log(sigmoid(beta * h)) - (1 - p) * math.log(sigmoid(-beta * h)), beta * (
        sigmoid(beta * h) - p
    )


def robust_sail(h, p, beta, rho, drawn):
    loss, slope = dpo(h, p, beta)
    room = rho if drawn else min(rho, p if h > 0 else 1 - p)
    return loss + room * beta * abs(h), slope + room * beta * np.sign(h)


def cdpo(h, p, beta, smoothing):
    return dpo(h, (1 - smoothing) * p + smoothing * (1 - p), beta)


def rdpo(h, p, beta, flip_rate):
    straight, flipped = np.array(dpo(h, p, beta)), np.array(dpo(h, 1 - p, beta))
    return tuple(((1 - flip_rate) * straight - flip_rate * flipped) / (1 - 2 * flip_rate))


def ipo(h, p, beta):
    up, down = h - 1 / (2 * beta), h + 1 / (2 * beta)
    return p * up**2 + (1 - p) * down**2, 2 * (p * up + (1 - p) * down)


BY_HAND = {"dpo": dpo, "robust_sail": robust_sail, "cdpo": cdpo, "rdpo": rdpo, "ipo": ipo}


def baseline_by_hand(losses: dict, kind: str, x: int, pair: tuple, own: int) -> float:
    """The baseline of the score of response `own` in `pair` of prompt x, straight from its description."""
    if kind == "log2":
        return math.log(2)
    if kind == "other_prompts":
        return float(np.mean([value for (z, _), value in losses.items() if z != x]))
    banned = set(pair) if kind == "disjoint" else {own}
    return float(np.mean([v for (z, other), v in losses.items() if z == x and not banned & set(other)]))


def gradient_by_hand(config: OnlineConfig, log_probs, ref_log_probs, preferences) -> tuple[float, np.ndarray]:
    """Value of the loss and its gradient with respect to the log-probabilities (X, K), pair by pair."""
    count = config.responses_per_prompt
    pairs = list(itertools.combinations(range(count), 2))
    ratio, losses, slopes = log_probs - ref_log_probs, {}, {}
    for x, (i, j) in itertools.product(range(X), pairs):
        h, p = ratio[x, i] - ratio[x, j], preferences[x, i, j]
        losses[x, (i, j)], slopes[x, (i, j)] = BY_HAND[config.loss](h, p, **config.loss_arguments())
    gradient = np.zeros_like(log_probs)
    for (x, (i, j)), loss in losses.items():
        gradient[x, i] += slopes[x, (i, j)]
        gradient[x, j] -= slopes[x, (i, j)]
        if config.score_weight:
            for own in (i, j):
                b = baseline_by_hand(losses, config.baseline, x, (i, j), own)
                gradient[x, own] += config.score_weight * (loss - b)
    return float(np.mean(list(losses.values()))), gradient / len(losses)


def inputs(count: int):
    rng = np.random.default_rng(count)
    log_probs, ref_log_probs = rng.normal(-20, 3, size=(2, X, count))
    rewards = rng.normal(size=(X, count))
    return log_probs, ref_log_probs, 1 / (1 + np.exp(rewards[:, None, :] - rewards[:, :, None]))


def gradient_of_the_code(config: OnlineConfig, log_probs, ref_log_probs, preferences):
    leaf = torch.from_numpy(log_probs).requires_grad_()
    loss = online_loss(config, leaf, torch.from_numpy(ref_log_probs), torch.from_numpy(preferences))
    loss.backward()
    return loss.item(), leaf.grad.numpy()


CASES = {
    "nominal": {},
    "beta": {"beta": 0.5},
    "rho": {"rho": 0.1},
    "rho that is clipped": {"rho": 0.6},
    "rho and beta": {"rho": 0.2, "beta": 1.0},
    "no score term": {"score_weight": 0.0},
    "half the score term": {"score_weight": 0.5},
    "twice the score term": {"score_weight": 2.0},
    "baseline log2": {"baseline": "log2"},
    "baseline disjoint": {"baseline": "disjoint", "responses_per_prompt": 4},
    "baseline per_response": {"baseline": "per_response", "responses_per_prompt": 3},
    "five responses": {"responses_per_prompt": 5, "rho": 0.1},
    "loss dpo": {"loss": "dpo"},
    "loss cdpo": {"loss": "cdpo", "loss_options": {"smoothing": 0.2}},
    "another smoothing": {"loss": "cdpo", "loss_options": {"smoothing": 0.3}},
    "loss rdpo": {"loss": "rdpo", "loss_options": {"flip_rate": 0.2}},
    "loss ipo": {"loss": "ipo"},
}


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_those_written_down_by_hand(case):
    config = OnlineConfig(output_dir="unused", **CASES[case])
    arrays = inputs(config.responses_per_prompt)
    value, gradient = gradient_of_the_code(config, *arrays)
    wanted_value, wanted = gradient_by_hand(config, *arrays)
    assert value == pytest.approx(wanted_value, abs=1e-12)
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-12)


def test_no_two_of_the_cases_with_two_responses_have_the_same_gradient():
    gradients = {}
    for case, changes in CASES.items():
        config = OnlineConfig(output_dir="unused", **changes)
        if config.responses_per_prompt == 2 and case != "loss dpo":  # nominal robust_sail is dpo
            gradients[case] = gradient_of_the_code(config, *inputs(2))[1]
    for one, other in itertools.combinations(gradients, 2):
        assert np.abs(gradients[one] - gradients[other]).max() > 1e-4, (one, other)


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_drawn_labels_are_trained_on_as_they_are(rho):
    config = OnlineConfig(output_dir="unused", rho=rho, labels="drawn")
    log_probs, ref_log_probs, preferences = inputs(2)
    labels = draw_labels(preferences, np.random.default_rng(0))
    _, gradient = gradient_of_the_code(config, log_probs, ref_log_probs, labels)
    np.testing.assert_allclose(
        gradient, gradient_by_hand(config, log_probs, ref_log_probs, labels)[1], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_an_oracle_that_is_certain_is_clipped_against_as_the_exact_engine_does(rho):
    config = OnlineConfig(rho=rho, responses_per_prompt=4)
    log_probs, ref_log_probs, _ = inputs(4)
    rng = np.random.default_rng(0)
    preferences = bias(truth(rng.normal(size=(X, 4))), rng.normal(size=(X, 4)), 0.5)
    first, second = np.triu_indices(4, 1)
    asked = preferences[:, first, second]
    assert ((asked == 0) | (asked == 1)).any() and ((asked > 0) & (asked < 1)).any()
    ratio = log_probs - ref_log_probs
    margins = config.beta * (ratio[:, first] - ratio[:, second])
    value, _ = gradient_of_the_code(config, log_probs, ref_log_probs, preferences)
    assert value == pytest.approx(one_pair_loss(margins, asked, rho).mean(), abs=1e-12)
