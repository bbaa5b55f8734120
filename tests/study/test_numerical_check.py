"""What notebook 02 computes: the routes are independent, and each check would notice a mistake."""

import numpy as np
import pytest
from mpmath import mpf
from numpy.testing import assert_allclose
from scipy.special import log_softmax

from rsail import checks
from rsail.exact import FiniteProblem, penalty, robust_loss
from rsail.oracles import OracleConfig
from rsail.study import numerical_check as check

VECTORS = {
    "features": [[[0.6, 0.0], [-0.2, 0.5], [0.1, -0.7]], [[0.3, 0.4], [-0.5, 0.1], [0.0, -0.3]]],
    "rewards": [[0.8, -0.3, 0.1], [-0.2, 0.5, 0.0]],
    "beta": 0.5,
    "prompt_probs": [0.25, 0.75],
    "theta_ref": [0.2, -0.1],
}


def tables(seed=0, responses=6):
    rng = np.random.default_rng(seed)
    policy, reference = log_softmax(rng.normal(size=(2, 3, responses)) * 1.5, axis=-1)
    return policy, reference, check.random_oracle(rng, 3, responses, 0.1)


class TestRandomProblems:
    @pytest.mark.parametrize("delta", [0.0, 0.1, 0.4])
    def test_oracles_are_antisymmetric_and_keep_delta(self, delta):
        oracle = check.random_oracle(np.random.default_rng(0), 4, 8, delta)
        checks.preferences("oracle", oracle)
        off = oracle[:, ~np.eye(8, dtype=bool)]
        assert off.min() >= delta - 1e-15
        assert off.max() <= 1 - delta + 1e-15
        assert (off == 0.5).any()
        assert (off == 0).any() == (delta == 0)

    def test_half_of_them_satisfy_assumption_1_and_there_eq_13_is_exact(self):
        found = check.compare_problems(40, np.random.default_rng(0))
        holds = found["assumption"]
        assert holds.sum() == 20
        printed = found["sail"] + found["form"]
        for route in check.ROUTES:
            assert_allclose(found[route][holds], printed[holds], rtol=0, atol=1e-9)
        assert (printed - found["linear program"])[~holds].max() > 1e-3

    def test_the_routes_agree_also_where_the_radius_is_clipped(self):
        found = check.compare_problems(40, np.random.default_rng(1))
        for route in check.ROUTES[1:]:
            assert_allclose(found[route], found["closed form"], rtol=0, atol=1e-9)


class TestTables:
    @pytest.mark.parametrize("rho", [0.0, 0.05, 0.4, 1.0])
    def test_all_four_routes_agree(self, rho):
        found = check.table_routes(*tables(), beta=0.4, rho=rho)
        assert_allclose(list(found.values()), found["closed form"], rtol=0, atol=1e-12)

    def test_the_tie_breaking_selector_is_no_oracle_but_gives_the_value(self):
        policy, reference, oracle = tables()
        scores = (policy - reference)[:, :, None] - (policy - reference)[:, None, :]
        with pytest.raises(ValueError, match="antisymmetric"):
            checks.preferences("selected", check.paper_selector(oracle, scores, 0.05))
        value = check.tie_breaking_loss(policy, reference, oracle, beta=0.4, rho=0.05)
        assert_allclose(value, robust_loss(policy, reference, oracle, beta=0.4, rho=0.05), rtol=0, atol=1e-14)


class TestHighPrecision:
    def test_the_recorded_digits(self):
        found = check.high_precision(**VECTORS, theta=[1.1, 0.4], rho=0.1)
        expected = {
            "L_SAIL": "0.709630330057627", "R": "0.37770750901942", "L^W": "0.728515705508598",
            "grad L_SAIL [0]": "0.0125642475822", "grad R [0]": "0.267531328772",
            "grad L_SAIL [1]": "0.0189231615125", "grad R [1]": "0.189115067216",
        }  # fmt: skip
        assert found.keys() == expected.keys()
        for name, digits in expected.items():
            assert abs(found[name] - mpf(digits)) < mpf("1e-12"), name

    def test_more_digits_change_nothing(self):
        coarse, fine = (
            check.high_precision(**VECTORS, theta=[1.1, 0.4], rho=0.1, digits=d) for d in (30, 50)
        )
        assert max(abs(coarse[name] - fine[name]) for name in fine) < mpf("1e-25")

    def test_double_precision_agrees(self):
        problem = FiniteProblem.from_rewards(**VECTORS)
        found = check.high_precision(**VECTORS, theta=[1.1, 0.4], rho=0.1)
        assert_allclose(problem.robust_loss([1.1, 0.4], 0.1), float(found["L^W"]), rtol=1e-15)
        gradient = [float(found["grad R [0]"]), float(found["grad R [1]"])]
        assert_allclose(problem.penalty_subgradient([1.1, 0.4]), gradient, rtol=1e-13)


ORACLES = {
    "worst": (OracleConfig("worst_case", 0.1), 1),
    "flattering": (OracleConfig("worst_case", 0.1), -1),
    "bias": (OracleConfig("bias", 0.3), 1),
    "flip": (OracleConfig("flip", 0.4), 1),
    "flatten": (OracleConfig("flatten", 0.9), 1),
    "truth": (OracleConfig(), 1),
}


class TestCertificate:
    @pytest.fixture(scope="class")
    @staticmethod
    def found():
        rng = np.random.default_rng(0)
        policies = [tuple(log_softmax(rng.normal(size=(2, 3, 6)) * 2, axis=-1)) for _ in range(30)]
        rewards = rng.uniform(0, 2.0, size=(3, 6))
        attributes = {"filler": rng.integers(0, 3, size=(3, 6)).astype(float)}
        return check.certificates(policies, ORACLES, rewards, attributes, beta=0.3, spare_radius=0.07)

    def test_the_gap_is_never_negative_and_never_above_its_bound(self, found):
        for rows in found.values():
            assert rows["gap"].min() > -1e-12
            assert (rows["gap"] - rows["bound"]).max() < 1e-12

    def test_both_ends_are_attained(self, found):
        assert_allclose(found["flattering"]["gap"], 0.0, rtol=0, atol=1e-12)
        worst = found["worst"]
        share = worst["gap"] / worst["bound"]
        assert share.max() > 0.9
        assert found["bias"]["gap"].min() > 1e-6

    def test_around_the_truth_the_gap_is_half_the_bound(self, found):
        assert_allclose(found["truth"]["deviation"], 0.0, atol=0)
        assert_allclose(found["truth"]["gap"], found["truth"]["bound"] / 2, rtol=1e-9)

    def test_it_fails_when_the_deviation_exceeds_the_radius(self):
        policy, reference, oracle = tables()
        scores = (policy - reference)[:, :, None] - (policy - reference)[:, None, :]
        flattering = oracle + 0.08 * np.sign(scores)
        found = check.certificate(policy, reference, flattering, oracle, beta=0.3, rho=0.05)
        assert_allclose(found["gap"], -0.03 * 0.3 * penalty(policy, reference), rtol=1e-9)
