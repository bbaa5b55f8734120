"""The checks of the rankings find no gap, and would find one."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import listwise
from rsail.study import listwise_check


def test_no_gap_is_found():
    gaps = listwise_check.hard_center(np.random.default_rng(0), (2, 3, 4))
    assert gaps["worst ranking"] < 1e-12 and gaps["robust loss"] < 1e-9 and gaps["gradient"] < 1e-8
    pair_gap, list_gap, short = listwise_check.soft_center(np.random.default_rng(0), pairs=20, lists=3)
    assert pair_gap < 1e-12 and list_gap < 1e-9 and short.min() > -1e-12


@pytest.mark.parametrize("wrong", ["worst_ranking", "robust_listwise_loss", "robust_listwise_gradient"])
def test_a_wrong_formula_is_found(monkeypatch, wrong):
    right = getattr(listwise, wrong)
    broken = {
        "worst_ranking": lambda scores: right(scores)[::-1],
        "robust_listwise_loss": lambda scores, ranking, rho: right(scores, ranking, 0.9 * rho),
        "robust_listwise_gradient": lambda scores, ranking, rho: right(scores, ranking, 0.9 * rho),
    }
    monkeypatch.setattr(listwise_check, wrong, broken[wrong])
    gaps = listwise_check.hard_center(np.random.default_rng(0), (3, 4, 4))
    assert max(gaps.values()) > 1e-3


def test_curves_and_programs_agree_at_the_checked_radii():
    losses, law = listwise_check.all_losses([1.0, 0.0, -0.5]), listwise.ranking_law([0.5, 0.0, 0.2])
    radii = [0.0, 0.3, 1.0]
    curves, programs = listwise_check.radius_curves(losses, law, radii, radii)
    for name in curves:
        assert_allclose(curves[name], programs[name], atol=1e-9)
    assert_allclose([curve[0] for curve in curves.values()], law @ losses)
    assert_allclose([curve[-1] for curve in curves.values()], losses.max())
