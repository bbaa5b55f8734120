"""FiniteProblem: the test vectors, the theorem's properties, gradients, bad input."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from numpy.testing import assert_allclose
from scipy.special import expit

from rsail.exact import FiniteProblem, endpoint_loss, gini_mean_difference

from .problems import (
    central_difference,
    radii,
    random_preferences,
    random_problem,
    reference_problem,
    seeds,
    tabular,
)

everywhere = settings(deadline=None, derandomize=True, max_examples=60)


def distance_to_kinks(problem, theta) -> float:
    """The smallest |h| among pairs that theta can tell apart."""
    scores = np.abs(problem.pair_scores(theta))
    return scores[scores > 1e-9].min(initial=np.inf)


class TestTestVectors:
    """Values computed with 40 digits."""

    def test_losses_and_penalty(self):
        problem, theta = reference_problem()
        assert_allclose(problem.sail_loss(theta), 0.709630330057627, rtol=0, atol=1e-15)
        assert_allclose(problem.penalty(theta), 0.37770750901942, rtol=0, atol=1e-14)
        assert_allclose(problem.robust_loss(theta, 0.1), 0.728515705508598, rtol=0, atol=1e-15)

    def test_gradients(self):
        problem, theta = reference_problem()
        assert_allclose(problem.sail_gradient(theta), [0.0125642475822, 0.0189231615125], rtol=0, atol=1e-13)
        assert_allclose(
            problem.penalty_subgradient(theta), [0.267531328772, 0.189115067216], rtol=0, atol=1e-12
        )

    def test_example_4_4(self):
        example = FiniteProblem([[[1.0], [0.0]]], np.full((1, 2, 2), 0.5), beta=1.0)
        penalty = {theta: example.penalty([theta]) for theta in (1.0, 2.0)}
        assert_allclose(penalty[1.0], 0.393223866482964, rtol=0, atol=1e-15)
        assert_allclose(penalty[2.0], 0.419974341614026, rtol=0, atol=1e-15)
        assert_allclose(penalty[1.0] - penalty[2.0] / 2, 0.183236695675951, rtol=0, atol=1e-15)

    def test_least_curvature_of_example_4_4(self):
        example = FiniteProblem([[[1.0], [0.0]]], np.full((1, 2, 2), 0.5), beta=1.0)
        step, theta = 1e-4, 0.961311585174823

        def curvature(x):
            slopes = [example.penalty_subgradient([x + s * step])[0] for s in (-2, -1, 1, 2)]
            return (slopes[0] - 8 * slopes[1] + 8 * slopes[2] - slopes[3]) / (12 * step)

        assert_allclose(curvature(theta), -0.434765340683537, rtol=0, atol=1e-11)
        assert min(curvature(theta - 0.01), curvature(theta + 0.01)) > curvature(theta)


class TestDecomposition:
    def test_closed_form_endpoint_oracle_and_linear_program_agree_on_200_problems(self):
        rng = np.random.default_rng(0)
        for seed in range(200):
            problem, theta = random_problem(seed)
            rho = float(rng.choice([0.0, rng.uniform(0, 0.3), rng.uniform(0.3, 1.0)]))
            closed = problem.robust_loss(theta, rho)
            tables = problem.log_probs(theta), problem.ref_log_probs, problem.preferences
            given = {"beta": problem.beta, "rho": rho, "prompt_probs": problem.prompt_probs}
            assert_allclose(endpoint_loss(*tables, **given), closed, rtol=0, atol=1e-12)
            assert_allclose(problem.robust_loss_linear_program(theta, rho), closed, rtol=0, atol=1e-9)

    @everywhere
    @given(seeds)
    def test_below_delta_it_is_the_loss_plus_lambda_times_the_penalty(self, seed):
        problem, theta = random_problem(seed)
        interior = 0.5 + 0.8 * (problem.preferences - 0.5)
        problem = FiniteProblem(
            problem.features, interior, problem.beta, problem.prompt_probs, problem.theta_ref
        )
        rho = 0.99 * interior.min()
        expected = problem.sail_loss(theta) + rho * problem.beta * problem.penalty(theta)
        assert_allclose(problem.robust_loss(theta, rho), expected, rtol=1e-13)

    @everywhere
    @given(seeds, radii, radii)
    def test_no_oracle_of_the_set_does_worse(self, seed, rho, share):
        problem, theta = random_problem(seed)
        rng = np.random.default_rng(seed)
        other = random_preferences(rng, *problem.features.shape[:2])
        inside = np.clip(other, problem.preferences - share * rho, problem.preferences + share * rho)
        rival = FiniteProblem(problem.features, inside, problem.beta, problem.prompt_probs, problem.theta_ref)
        assert rival.sail_loss(theta) <= problem.robust_loss(theta, rho) + 1e-12

    @everywhere
    @given(seeds, radii)
    def test_certificate_with_its_gap(self, seed, rho):
        """Truth within rho of what is observed: the observed robust loss bounds the true loss."""
        observed, theta = random_problem(seed)
        rng = np.random.default_rng(seed)
        truth = random_preferences(rng, *observed.features.shape[:2])
        truth = np.clip(truth, observed.preferences - rho, observed.preferences + rho)
        true = FiniteProblem(
            observed.features, truth, observed.beta, observed.prompt_probs, observed.theta_ref
        )
        gap = observed.robust_loss(theta, rho) - true.sail_loss(theta)
        assert -1e-12 <= gap <= 2 * rho * observed.beta * observed.penalty(theta) + 1e-12

    @everywhere
    @given(seeds, radii, radii)
    def test_grows_with_rho_from_the_sail_loss(self, seed, first, second):
        problem, theta = random_problem(seed)
        low, high = sorted((first, second))
        assert problem.robust_loss(theta, 0.0) == problem.sail_loss(theta)
        assert problem.sail_loss(theta) <= problem.robust_loss(theta, low) + 1e-15
        assert problem.robust_loss(theta, low) <= problem.robust_loss(theta, high) + 1e-15

    def test_a_positive_radius_costs_something(self):
        problem, theta = reference_problem()
        assert problem.robust_loss(theta, 0.05) > problem.sail_loss(theta) + 0.005


class TestWorstCase:
    @everywhere
    @given(seeds, radii)
    def test_is_an_oracle_within_rho_also_at_ties(self, seed, rho):
        problem, theta = random_problem(seed)
        for parameter in (theta, problem.theta_ref):  # at the reference every pair is a tie
            worst = problem.worst_case_preferences(parameter, rho)
            assert_allclose(worst + np.swapaxes(worst, -1, -2), 1.0, rtol=0, atol=1e-15)
            assert np.all((worst >= 0) & (worst <= 1))
            assert np.abs(worst - problem.preferences).max() <= rho + 1e-15

    def test_leaves_ties_alone(self):
        problem, _ = reference_problem()
        assert_allclose(problem.worst_case_preferences(problem.theta_ref, 0.2), problem.preferences, atol=0)
        diagonal = problem.worst_case_preferences([1.1, 0.4], 0.2)[:, range(3), range(3)]
        assert_allclose(diagonal, 0.5, atol=0)

    def test_moves_against_the_policy(self):
        problem, theta = reference_problem()
        scores = problem.pair_scores(theta)
        moved = problem.worst_case_preferences(theta, 0.1) - problem.preferences
        assert_allclose(moved, -0.1 * np.sign(scores), rtol=0, atol=1e-15)


class TestPenalty:
    @everywhere
    @given(seeds)
    def test_equals_the_enumeration_of_pairs(self, seed):
        problem, theta = random_problem(seed)
        probs = np.exp(problem.log_probs(theta))
        law = problem.prompt_probs[:, None, None] * probs[:, :, None] * probs[:, None, :]
        expected = np.sum(law * np.abs(problem.pair_scores(theta)))
        assert_allclose(problem.penalty(theta), expected, rtol=1e-10)

    @everywhere
    @given(seeds)
    def test_vanishes_at_the_reference_and_under_collapse(self, seed):
        problem, theta = random_problem(seed)
        assume(distance_to_kinks(problem, theta) > 1e-3)
        assert problem.penalty(problem.theta_ref) == 0.0
        best = np.argmax(problem.features @ theta, axis=-1)
        unique = [
            np.sum(np.all(f == f[k], axis=-1)) == 1 for f, k in zip(problem.features, best, strict=True)
        ]
        assume(all(unique))
        gaps = np.sort(problem.features @ theta, axis=-1)
        assume((gaps[:, -1] - gaps[:, -2]).min() > 0.05)
        assert problem.penalty(2000.0 * theta) < 1e-9

    def test_identical_pairs_cost_log_2(self):
        problem = tabular([1.0, 0.0, -1.0])
        assert_allclose(problem.robust_loss(np.array([300.0, 0.0, 0.0]), 0.2), np.log(2), rtol=1e-14)
        assert_allclose(problem.robust_loss(np.zeros(3), 0.2), np.log(2), rtol=1e-14)

    def test_is_gini_mean_difference(self):
        problem, theta = reference_problem()
        probs = np.exp(problem.log_probs(theta))
        values = problem.features @ (theta - problem.theta_ref)
        expected = problem.prompt_probs @ gini_mean_difference(values, probs)
        assert_allclose(problem.penalty(theta), expected, rtol=1e-13)


class TestGradients:
    @settings(deadline=None, derandomize=True, max_examples=40)
    @given(seeds, radii)
    def test_match_central_differences_away_from_kinks(self, seed, rho):
        problem, theta = random_problem(seed)
        assume(distance_to_kinks(problem, theta) > 1e-3)
        pairs = [
            (problem.sail_gradient(theta), problem.sail_loss),
            (problem.penalty_subgradient(theta), problem.penalty),
            (problem.robust_subgradient(theta, rho), lambda x: problem.robust_loss(x, rho)),
        ]
        for gradient, function in pairs:
            assert_allclose(gradient, central_difference(function, theta), rtol=1e-7, atol=2e-9)

    @settings(deadline=None, derandomize=True, max_examples=40)
    @given(seeds, radii)
    def test_without_score_term_is_the_gradient_at_a_frozen_pair_law(self, seed, rho):
        problem, theta = random_problem(seed)
        assume(distance_to_kinks(problem, theta) > 1e-3)
        probs = np.exp(problem.log_probs(theta))
        law = problem.prompt_probs[:, None, None] * probs[:, :, None] * probs[:, None, :]

        def frozen_penalty(parameter):
            return np.sum(law * np.abs(problem.pair_scores(parameter)))

        def frozen_loss(parameter):
            margins = problem.beta * problem.pair_scores(parameter)
            worst = problem.worst_case_preferences(parameter, rho)
            return np.sum(law * (worst * np.logaddexp(0, -margins) + (1 - worst) * np.logaddexp(0, margins)))

        path = problem.penalty_subgradient(theta, score_weight=0.0)
        assert_allclose(path, central_difference(frozen_penalty, theta), rtol=1e-7, atol=2e-9)
        path = problem.robust_subgradient(theta, rho, score_weight=0.0)
        assert_allclose(path, central_difference(frozen_loss, theta), rtol=1e-7, atol=2e-9)

    def test_the_score_term_matters(self):
        problem, theta = reference_problem()
        difference = problem.sail_gradient(theta) - problem.sail_gradient(theta, score_weight=0.0)
        assert np.linalg.norm(difference) > 1e-3
        half = problem.sail_gradient(theta, score_weight=0.5) - problem.sail_gradient(theta, score_weight=0.0)
        assert_allclose(half, difference / 2, rtol=1e-12)

    @everywhere
    @given(seeds)
    def test_robust_is_sail_plus_lambda_times_penalty(self, seed):
        problem, theta = random_problem(seed)
        interior = 0.5 + 0.8 * (problem.preferences - 0.5)
        problem = FiniteProblem(
            problem.features, interior, problem.beta, problem.prompt_probs, problem.theta_ref
        )
        assume(distance_to_kinks(problem, theta) > 1e-6)
        rho = 0.99 * interior.min()
        expected = problem.sail_gradient(theta) + rho * problem.beta * problem.penalty_subgradient(theta)
        assert_allclose(problem.robust_subgradient(theta, rho), expected, rtol=1e-9, atol=1e-12)

    def test_at_the_reference_the_penalty_pulls_nowhere(self):
        problem, _ = reference_problem()
        assert_allclose(problem.penalty_subgradient(problem.theta_ref), 0.0, atol=0)


class TestInvariance:
    @everywhere
    @given(seeds, radii)
    def test_a_shift_of_the_features_per_prompt_changes_nothing(self, seed, rho):
        problem, theta = random_problem(seed)
        shift = np.random.default_rng(seed).normal(size=(len(problem.features), 1, len(theta)))
        shifted = FiniteProblem(
            problem.features + shift,
            problem.preferences,
            problem.beta,
            problem.prompt_probs,
            problem.theta_ref,
        )
        for method, arguments in (("sail_loss", ()), ("penalty", ()), ("robust_loss", (rho,))):
            expected = getattr(problem, method)(theta, *arguments)
            assert_allclose(getattr(shifted, method)(theta, *arguments), expected, rtol=1e-9)
        assert_allclose(shifted.sail_gradient(theta), problem.sail_gradient(theta), rtol=1e-6, atol=1e-10)

    def test_large_parameters_stay_finite(self):
        problem, theta = reference_problem()
        for scale in (1e3, 1e6):
            assert np.isfinite(problem.robust_loss(scale * theta, 0.3))
            assert np.all(np.isfinite(problem.robust_subgradient(scale * theta, 0.3)))

    def test_from_rewards_is_bradley_terry(self):
        problem = tabular([1.0, 0.0, -1.0])
        assert_allclose(problem.preferences[0, 0], [0.5, expit(1.0), expit(2.0)], rtol=1e-15)


class TestBadInput:
    features = np.zeros((1, 2, 1))
    preferences = np.full((1, 2, 2), 0.5)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"beta": 0.0}, "beta must be"),
            ({"beta": -0.1}, "beta must be"),
            ({"beta": np.inf}, "beta must be"),
            ({"features": np.zeros((2, 1))}, "features.shape must be"),
            ({"features": np.zeros((1, 2, 0))}, "features.shape must be"),
            ({"features": np.full((1, 2, 1), np.nan)}, "features must be finite"),
            ({"preferences": np.full((1, 3, 3), 0.5)}, "preferences.shape must be"),
            ({"preferences": np.full((1, 2, 2), 0.6)}, "preferences must be antisymmetric"),
            ({"preferences": [[[0.5, 1.5], [-0.5, 0.5]]]}, "preferences must be probabilities"),
            ({"prompt_probs": [0.9]}, "prompt_probs must be a distribution"),
            ({"prompt_probs": [0.5, 0.5]}, "prompt_probs.shape must be"),
            ({"prompt_probs": [-1.0]}, "prompt_probs must be probabilities"),
            ({"theta_ref": [0.0, 0.0]}, "theta_ref.shape must be"),
        ],
    )
    def test_at_construction(self, change, message):
        arguments = {"features": self.features, "preferences": self.preferences, "beta": 0.1} | change
        with pytest.raises(ValueError, match=message):
            FiniteProblem(**arguments)

    def test_numbers_are_kept_as_plain_floats(self):
        problem = FiniteProblem(self.features, self.preferences, beta=np.array(0.5))
        assert type(problem.beta) is float and problem.beta == 0.5

    def test_in_rewards(self):
        with pytest.raises(ValueError, match=r"rewards\.shape"):
            FiniteProblem.from_rewards(self.features, [0.0, 1.0], beta=0.1)
        for shape in ((1, 3), (2, 2), (1, 2, 1)):
            with pytest.raises(
                ValueError, match=r"rewards\.shape must be \(X, Y\) = \(1, 2\), as features, got"
            ):
                FiniteProblem.from_rewards(self.features, np.zeros(shape), beta=0.1)
        with pytest.raises(ValueError, match="rewards must be finite"):
            FiniteProblem.from_rewards(self.features, [[np.inf, 1.0]], beta=0.1)

    @pytest.mark.parametrize("method", ["sail_loss", "penalty", "log_probs", "sail_gradient", "pair_scores"])
    @pytest.mark.parametrize("theta", [1.0, [1.0, 2.0], [np.nan]])
    def test_in_theta(self, method, theta):
        problem = FiniteProblem(self.features, self.preferences, beta=0.1)
        with pytest.raises(ValueError, match="theta"):
            getattr(problem, method)(theta)

    @pytest.mark.parametrize(
        "method",
        ["robust_loss", "robust_subgradient", "robust_loss_linear_program", "worst_case_preferences"],
    )
    @pytest.mark.parametrize("rho", [-0.1, np.nan, np.inf])
    def test_in_rho(self, method, rho):
        problem = FiniteProblem(self.features, self.preferences, beta=0.1)
        with pytest.raises(ValueError, match="rho must be"):
            getattr(problem, method)([0.0], rho)
