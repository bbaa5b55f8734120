"""The policy that shares one parameter between prompts: its gradient, its result files, what they show."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from rsail.study.misspecification import exact_shared as shared
from rsail.study.misspecification.exact_central import differences_at
from rsail.study.misspecification.exact_setting import make_bench
from rsail.study.misspecification.exact_solver import loss_and_slopes, make_prompts, margin_gradient


@pytest.fixture(scope="module")
def bench():
    return make_bench([shared.SEEDS[0]])


def test_features_move_rewards_apart_and_the_attribute_together(bench):
    table = shared.features(bench.rewards, bench.attribute)
    closed = np.flatnonzero(~bench.open_prompts)
    assert table.shape == (*bench.rewards.shape, len(closed) + 1)
    np.testing.assert_array_equal(table[..., -1], bench.attribute)
    for column, prompt in enumerate(closed):
        np.testing.assert_array_equal(table[prompt, :, column], bench.rewards[prompt])
        assert not np.delete(table[..., column], prompt, axis=0).any()


def test_the_gradient_in_the_weights_is_the_derivative_of_the_mean_loss(bench):
    prompts = make_prompts(bench.ref_log_probs, bench.biased, beta=0.1, rho=0.15)
    table = shared.features(bench.rewards, bench.attribute)

    def loss(weights):
        return loss_and_slopes(prompts, table @ weights, 1e-2)[0].mean()

    def gradient(weights):
        found, pieces = loss_and_slopes(prompts, table @ weights, 1e-2)
        slopes = margin_gradient(prompts, found, pieces)
        return np.einsum("xy,xyk->k", slopes, table) / len(found)

    point = np.random.default_rng(0).normal(size=table.shape[-1]) * 0.3
    assert check_grad(loss, gradient, point) < 1e-6


def test_a_result_file_is_what_is_computed_from_nothing(bench):
    found, _, lengths = shared.learn(bench, beta=0.1, rho=0.15)
    path = shared.load()["rho"]
    row = int(np.flatnonzero(path.rhos == 0.15)[0])
    assert lengths.max() < 1e-5
    for name in ("gold", "spurious", "kl"):
        assert found[name][0] == pytest.approx(path.measures[name][row, 0], abs=1e-3)


def test_every_descent_ended():
    for path in shared.load().values():
        assert path.residual.max() < 1e-4


def test_at_equal_kl_rho_gains_less_than_where_nothing_is_shared():
    found = differences_at(shared.load(), 0.15)
    assert abs(found["spurious"].mean) < 0.1
