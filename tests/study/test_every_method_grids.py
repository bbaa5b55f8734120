"""Every method on one exact problem: what the option grids hold, and which objectives fall for ever."""

import numpy as np
import pytest
import torch

from rsail.study.every_method import analysis, basins, bounds, experiment, online, problem
from rsail.study.every_method.methods import METHODS, NEUTRAL
from rsail.study.every_method.setting import make_setting

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def testbed():
    return problem.make_testbed(3)


class TestGrids:
    def test_every_grid_holds_the_value_that_turns_the_method_off(self):
        for name, method in METHODS.items():
            for option in {key for options in method.grid for key in options} & set(NEUTRAL):
                assert {option: NEUTRAL[option]} in method.grid, name

    @pytest.mark.parametrize(
        "name, plain, tolerance",
        [
            ("cDPO", "DPO", 1e-7), ("rDPO", "DPO", 1e-7), ("TV, hard label", "DPO", 1e-7), ("DPO-PRO", "DPO", 1e-7),
            ("robust DPO", "DPO", 1e-7), ("Dr. DPO", "DPO", 1e-3), ("KLDPO", "DPO", 1e-3), ("WDPO", "DPO", 1e-6),
            ("pessimistic DPO", "DPO", 1e-7), ("DPR", "DPO", 1e-7), ("SAIL-RevKL", "SAIL", 1e-7),
            ("robust SAIL", "SAIL", 1e-6), ("KL-REBEL", "REBEL", 1e-3), ("χ²-REBEL", "REBEL", 1e-6),
            ("SPAC, unanchored", "DPO", 1e-5),
        ],
    )  # fmt: skip
    def test_turned_off_a_method_is_its_plain_relative(self, testbed, name, plain, tolerance):
        setting = make_setting(testbed, "flips")
        (option,) = METHODS[name].grid[0]
        found = METHODS[name].solve(setting, **{option: NEUTRAL[option]})
        probs = [
            np.exp(testbed.ref_log_probs + found.log_ratio)
            for found in (found, METHODS[plain].solve(setting))
        ]
        assert found.bounded and np.abs(probs[0] - probs[1]).max() < tolerance

    def test_edges_and_neutral_values_are_told_apart(self):
        options = {
            "robust DPO": {"rho": 0.3},
            "cDPO": {"smoothing": 0.0},
            "χPO": {"beta": 0.1},
            "IPO": {"beta": 0.4},
        }
        table = experiment.Table("bias", [], options)
        assert analysis.at_the_edge(table) == {"robust DPO": {"rho": 0.3}, "IPO": {"beta": 0.4}}
        assert analysis.turned_off(table) == ["cDPO"]


class TestBounds:
    def test_the_least_slope_changes_sign_at_the_optimism_bound(self, testbed):
        setting = make_setting(testbed, "bias")
        bound, _ = analysis.optimism_bound(setting)
        for factor in (0.98, 1.02):
            slope = bounds.pull(
                setting, lambda h, factor=factor: online.xpo_bonus(setting, h, factor * bound)
            )
            least = bounds.least_slope(setting, setting.offline_law, setting.beta, slope)
            assert (least > 0) == (factor < 1)

    def test_the_pull_is_the_slope_of_the_term_per_prompt(self, testbed):
        setting = make_setting(testbed, "bias")
        slope = bounds.pull(setting, lambda h: online.vpo_bonus(setting, h, 0.3))
        assert torch.allclose(slope, 0.3 * setting.beta * setting.ref_log_probs.exp(), atol=1e-15)

    def test_a_descent_that_stops_on_an_unbounded_objective_is_said_to_be_on_one(self):
        setting = make_setting(problem.make_testbed(experiment.SEEDS[0]), "flips")
        found = METHODS["VPO, online"].solve(setting, weight=0.01)
        assert found.converged and not found.ran_away and not found.bounded
        assert METHODS["VPO, online"].solve(setting, weight=1e-4).bounded

    def test_no_point_between_two_betas_without_the_distance_in_between(self):
        betas, far = experiment.FRONTIER_BETAS, [5.0, 4.0, 3.0, 2.0, 1.0, 0.5]
        with pytest.raises(ValueError, match="kl = 9"):
            basins.at_distance("DPO, β tuned", {}, "bias", 10, 9.0, betas, far)
