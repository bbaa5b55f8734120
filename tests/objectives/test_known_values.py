"""Values of every loss and reweighting computed independently, to all digits with which they are known."""

import math

import pytest
import torch

from rsail.objectives import (
    LOSSES,
    REWEIGHTINGS,
    TERMS,
    dpo_loss,
    dpo_pro_loss,
    fpo_loss,
    kl_radius,
    pessimistic_score,
    plackett_luce_loss,
    weights,
)
from rsail.objectives.released import chi2_without_one, kldpo_weights

from .differences import tensor

VECTOR = tensor([0.1, 0.4, 0.9, 1.6, 2.5])
DIGITS = 5.1e-7  # six digits after the point


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("mean", {}, 1.1),
        ("chi2_ball", {"radius": 0.01}, 1.222311),
        ("chi2_ball", {"radius": 0.1}, 1.486782),
        ("chi2_ball", {"radius": 0.5}, 1.961146),
        ("chi2_ball", {"radius": 1.0}, 2.251246),
        ("chi2_ball", {"radius": 1.9}, 2.481625),
        ("chi2_ball", {"radius": 2.0}, 2.5),
        ("chi2_ball", {"radius": 7.0}, 2.5),
        ("kl_penalty", {"temperature": 1.0}, 1.490300),
        ("kl_ball", {"radius": 0.1}, 1.495645),
        ("dr_dpo", {"temperature": 1.0}, 0.791550),
        ("dr_dpo", {"temperature": 0.1}, 0.256053),
        ("tv_ball", {"radius": 0.1}, 1.34),
        ("tv_ball", {"radius": 0.3}, 1.79),
    ],
)
def test_values_of_the_reweightings(name, option, value):
    assert REWEIGHTINGS[name](VECTOR, **option).item() == pytest.approx(value, abs=DIGITS)


@pytest.mark.parametrize(
    ("name", "option", "wanted"),
    [
        ("chi2_ball", 0.01, [0.167297, 0.177108, 0.193459, 0.216352, 0.245785]),
        ("chi2_ball", 0.1, [0.096582, 0.127608, 0.179316, 0.251709, 0.344785]),
        ("chi2_ball", 0.5, [0, 0.016832, 0.139552, 0.31136, 0.532256]),
        ("kl_penalty", 1.0, [0.049800, 0.067223, 0.110832, 0.223189, 0.548956]),
        ("dr_dpo", 1.0, [0.399362, 0.295854, 0.179445, 0.089110, 0.036229]),
    ],
)
def test_weights_of_the_reweightings(name, option, wanted):
    assert weights(name, VECTOR, option).tolist() == pytest.approx(wanted, abs=DIGITS)


def test_the_formula_without_clipping_is_not_valid_at_a_large_radius():
    variance = VECTOR.var(unbiased=False)
    assert variance.item() == pytest.approx(0.748)
    unclipped = 1.1 + math.sqrt(2 * 0.5 * variance)
    assert unclipped == pytest.approx(1.964870, abs=DIGITS)
    assert REWEIGHTINGS["chi2_ball"](VECTOR, radius=0.5) < unclipped - 3e-3


def test_mean_under_the_tilted_law_its_radius_and_the_temperature_of_a_ball():
    tilted = weights("kl_penalty", VECTOR, 1.0)
    assert (tilted @ VECTOR).item() == pytest.approx(1.861110, abs=DIGITS)
    assert kl_radius(tilted).item() == pytest.approx(0.370810, abs=DIGITS)
    ball = weights("kl_ball", VECTOR, 0.1)
    torch.testing.assert_close(ball, weights("kl_penalty", VECTOR, 1.999061), rtol=0, atol=1e-6)
    temperature = (VECTOR[4] - VECTOR[0]) / (ball[4] / ball[0]).log()
    assert temperature.item() == pytest.approx(1.999061, abs=DIGITS)


@pytest.mark.parametrize(
    ("temperature", "wanted", "loss"),
    [
        (1.0, [0.367879, 0.496585, 0.818731, 1.648721, 4.055200], 2.749647),
        (0.1, [0.000045, 0.000912, 0.135335, 10, 10], 8.224434),
    ],
)
def test_the_published_weights_of_kldpo(temperature, wanted, loss):
    found = kldpo_weights(VECTOR, temperature=temperature)
    assert found.tolist() == pytest.approx(wanted, abs=DIGITS)
    assert (found * VECTOR).mean().item() == pytest.approx(loss, abs=DIGITS)


def test_the_published_chi_square_objective():
    eta, value, found = chi2_without_one(VECTOR, radius=0.01)
    assert (eta.item(), value.item()) == pytest.approx((-0.9, -0.591844), abs=DIGITS)
    assert found.tolist() == pytest.approx([0.6490, 0.8437, 1.1682, 1.6226, 2.2067], abs=5.1e-5)
    assert found.sum().item() == pytest.approx(6.4902, abs=5.1e-5)


@pytest.mark.parametrize(
    ("name", "options", "at_one", "at_minus_one"),
    [
        ("dpo", {}, 0.313262, 1.313262),
        ("cdpo", {"smoothing": 0.1}, 0.413262, 1.213262),
        ("rdpo", {"flip_rate": 0.1}, 0.188262, 1.438262),
        ("tv_robust", {"radius": 0.1}, 0.413262, 1.313262),
        ("robust_sail", {"rho": 0.1}, 0.413262, 1.413262),
        ("ropo", {"alpha": 6.0}, 0.943793, 2.791647),
    ],
)
def test_pair_losses_of_a_label(name, options, at_one, at_minus_one):
    found = LOSSES[name](tensor([1.0, -1.0]), 1.0, beta=1.0, **options)
    assert found.tolist() == pytest.approx([at_one, at_minus_one], abs=DIGITS)


def test_losses_of_a_soft_label():
    assert dpo_loss(1.5, 0.6, beta=1.0).item() == pytest.approx(0.801413, abs=DIGITS)
    assert LOSSES["robust_sail"](1.5, 0.6, beta=1.0, rho=0.1).item() == pytest.approx(0.951413, abs=DIGITS)
    for margin in (1.0, -1.0):  # the interval is 0.7 +- 0.250998
        excess = dpo_pro_loss(margin, 0.7, beta=1.0, radius=0.3) - dpo_loss(margin, 0.7, beta=1.0)
        assert excess.item() == pytest.approx(0.250998, abs=DIGITS)


@pytest.mark.parametrize(
    ("ranking", "rho", "value"),
    [([3, 0, 1, 2], 0.0, 1.399219), ([2, 1, 0, 3], 0.0, 6.681641), ([3, 0, 1, 2], 0.2, 2.455704)],
)
def test_losses_of_a_ranking(ranking, rho, value):
    found = plackett_luce_loss(tensor([1.0, 0.0, -0.5, 2.0]), ranking, beta=1.0, rho=rho)
    assert found.item() == pytest.approx(value, abs=DIGITS)


# Log-probabilities of the winner -10, the loser -12 and a third response -11; under the reference -11, -11.5, -10.5.
POLICY = {"winner": tensor(-10.0), "loser": tensor(-12.0), "third": tensor(-11.0)}
RATIO = {"winner": tensor(1.0), "loser": tensor(-0.5), "third": tensor(-0.5)}
BETA = 0.1


@pytest.mark.parametrize(
    ("name", "preference", "options", "value"),
    [
        ("dpo", 1.0, {}, 0.620957),
        ("cdpo", 1.0, {"smoothing": 0.1}, 0.635957),
        ("dpo", 0.8, {}, 0.650957),  # soft preferences: OSP
        ("ipo", 1.0, {}, 12.25),
        ("slic", 1.0, {}, 0.85),
    ],
)
def test_pair_losses_of_the_online_methods(name, preference, options, value):
    found = LOSSES[name](RATIO["winner"] - RATIO["loser"], preference, beta=BETA, **options)
    assert found.item() == pytest.approx(value, abs=DIGITS)


@pytest.mark.parametrize(
    ("name", "sample", "options", "value"),
    [
        ("selm", RATIO["third"], {"beta": BETA, "weight": 1e-3}, 0.620907),
        ("xpo", POLICY["loser"], {"weight": 5e-6}, 0.620897),
        ("vpo", RATIO["third"], {"beta": BETA, "weight": 0.1, "sign": 1}, 0.615957),
        ("vpo", RATIO["third"], {"beta": BETA, "weight": 0.1, "sign": -1}, 0.625957),
        ("copo", POLICY["third"], {"log_ratio": RATIO["third"], "bonus": 0.02, "weight": 1e-4}, 0.620970),
    ],
)
def test_dpo_with_a_term(name, sample, options, value):
    found = dpo_loss(RATIO["winner"] - RATIO["loser"], 1.0, beta=BETA) + TERMS[name](sample, **options)
    assert found.item() == pytest.approx(value, abs=DIGITS)


def test_pessimistic_dpo_and_fpo():
    score = pessimistic_score(RATIO["winner"] - RATIO["loser"], 0.3 - 0.5, beta=BETA)
    assert dpo_loss(score, 1.0, beta=BETA).item() == pytest.approx(0.718460, abs=DIGITS)
    found = fpo_loss(
        RATIO["winner"], RATIO["loser"], 1.0, lengths=(5, 6), distances=(0.625, 0.5), beta=BETA, weight=0.5
    )
    assert found.item() == pytest.approx(0.676005, abs=DIGITS)
    assert math.log(math.expm1(found.item())) == pytest.approx(-0.0345833, abs=5.1e-7)
