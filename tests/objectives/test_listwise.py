"""The list loss against the exact engine, all rankings, and finite differences."""

import numpy as np
import pytest
import torch

from rsail.exact import listwise as exact
from rsail.objectives import LIST_LOSSES, NotFinite, plackett_luce_loss

from .differences import assert_gradient, gradients, tensor

SCORES, RANKING = tensor([1.0, 0.0, -0.5, 2.0]), [3, 0, 1, 2]


def random_lists(count: int, size: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, size)), np.argsort(rng.normal(size=(count, size)), axis=1)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("rho", [0.0, 0.2, 1.0])
def test_value_and_gradient_are_those_of_the_exact_engine(size, rho):
    log_ratio, ranking = random_lists(20, size)
    found = plackett_luce_loss(tensor(log_ratio), ranking, beta=0.7, rho=rho)
    wanted = exact.robust_listwise_loss(0.7 * log_ratio, ranking, rho)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-13)
    slope = gradients(lambda s: plackett_luce_loss(s, ranking, beta=0.7, rho=rho), log_ratio)[0]
    np.testing.assert_allclose(
        slope.numpy(), 0.7 * exact.robust_listwise_gradient(0.7 * log_ratio, ranking, rho), atol=1e-13
    )
    assert slope.sum(-1).abs().max() < 1e-13


@pytest.mark.parametrize("rho", [0.1, 0.6])
def test_it_is_the_largest_mean_loss_over_laws_of_the_ranking(rho):
    for log_ratio, ranking in zip(*random_lists(5, 4, seed=1), strict=True):
        rankings = exact.all_rankings(4)
        losses = plackett_luce_loss(tensor(log_ratio).expand(24, 4), rankings, beta=1.3).numpy()
        observed = (rankings == ranking).all(1).astype(float)
        worst = exact.total_variation_linear_program(losses, observed, rho)
        found = plackett_luce_loss(tensor(log_ratio), ranking, beta=1.3, rho=rho)
        assert found.item() == pytest.approx(worst, abs=1e-8)


def test_gradients_are_those_of_finite_differences():
    log_ratio, ranking = random_lists(3, 5, seed=2)
    for rho in (0.0, 0.3):
        assert_gradient(lambda s, rho=rho: plackett_luce_loss(s, ranking, beta=0.7, rho=rho), log_ratio)


def test_at_a_tie_the_gradient_is_that_of_one_of_the_orders():
    slope = gradients(lambda s: plackett_luce_loss(s, [0, 1], beta=1.0, rho=0.2), tensor([0.5, 0.5]))[0]
    assert slope.tolist() == pytest.approx([-0.5, 0.5]) or slope.tolist() == pytest.approx([-0.3, 0.3])


def test_rho_zero_is_the_limit_of_small_rho():
    plain = plackett_luce_loss(SCORES, RANKING, beta=1.0)
    near = plackett_luce_loss(SCORES, RANKING, beta=1.0, rho=1e-9)
    assert near.item() == pytest.approx(plain.item(), abs=1e-8) and near > plain


def test_large_scores_do_not_overflow():
    at = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    loss = plackett_luce_loss(at, [1, 2, 0], beta=1.0, rho=0.2)
    loss.backward()
    assert loss.isfinite() and at.grad.isfinite().all() and loss.dtype == torch.float32


@pytest.mark.parametrize("name", sorted(LIST_LOSSES))
@pytest.mark.parametrize(
    ("log_ratio", "ranking", "options", "error", "message"),
    [
        ([0.0, 1.0], [0, 0], {}, ValueError, "ranking must be permutations of 0 ... K - 1, best first, got"),
        ([0.0, 1.0], [1, 2], {}, ValueError, "ranking must be permutations of 0 ... K - 1, best first, got"),
        ([0.0, 1.0], [0, 1, 2], {}, ValueError, r"ranking.shape must be \(2,\), got \(3,\)"),
        ([0.0, 1.0], [0.0, 1.0], {}, ValueError, "ranking.dtype must be int64, got torch.float32"),
        ([0.0, float("nan")], [0, 1], {}, NotFinite, "log_ratio must be finite, got nan"),
        (1.0, 0, {}, ValueError, r"log_ratio.shape must be \(..., K\), got \(\)"),
        ([0.0, 1.0], [0, 1], {"rho": 1.2}, ValueError, r"rho must be in \[0, 1\], got 1.2"),
        ([0.0, 1.0], [0, 1], {"beta": -1.0}, ValueError, "beta must be a finite number > 0, got -1.0"),
    ],
)
def test_bad_arguments_are_named(name, log_ratio, ranking, options, error, message):
    with pytest.raises(error, match=message):
        LIST_LOSSES[name](tensor(log_ratio), ranking, **{"beta": 1.0, **options})
