"""SAIL's family: test vectors, the identities of its gradients, limits, mixtures, the released response term."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit, log_expit

from rsail.exact import FiniteProblem, expected_loss, log_prob_gradient, pair_law
from rsail.exact import sail_family as sail
from rsail.exact.reference_kl import identifiable_basis
from rsail.exact.sail_family import SETTINGS, Mixture

from .problems import central_difference, random_problem, seeds

everywhere = settings(deadline=None, derandomize=True, max_examples=40)
each_setting = pytest.mark.parametrize("setting", SETTINGS)

THETA = np.array([0.3, -0.2, 0.5, 0.0])
# Eight digits of J, the gradient, and its terms: one prompt, softmax over four responses.
VECTORS = {
    "offline": (-0.70572540, (0.10441269, -0.02495337, -0.08875108, 0.00929177), {}),
    "ddp": (-0.68942622, (-0.00198871, -0.00920758, 0.00932246, 0.00187383), {"path": (0, 0, 0, 0)}),
    "dpp": (
        -0.68496799,
        (0.00141121, -0.00898346, 0.01722447, -0.00965222),
        {"path": (0, 0, 0, 0), "response": (-0.00208445, 0.00117325, 0.0005971, 0.00031409)},
    ),
    "dpr": (
        -0.71601417,
        (0.06032964, 0.00813176, -0.08508734, 0.01662594),
        {"response": (0.01265915, 0.00421707, -0.0169749, 0.00009869)},
    ),
}


def four_responses():
    problem = FiniteProblem.from_rewards(
        np.eye(4)[None], [[1.0, 0.0, -0.5, 0.3]], beta=0.5, theta_ref=[0.0, 0.1, -0.1, 0.2]
    )
    pairs = np.zeros((1, 4, 4))
    pairs[0, 0, 2], pairs[0, 3, 1], pairs[0, 1, 0] = 0.5, 0.3, 0.2
    return problem, pairs


def random_pairs(problem, seed):
    shape = problem.preferences.shape
    return np.random.default_rng(seed).dirichlet(np.ones(np.prod(shape))).reshape(shape)


def sum_zero_eigenvalues(problem, hessian):
    basis = identifiable_basis(problem.features)
    return np.linalg.eigvalsh(basis.T @ hessian @ basis)


class TestTestVectors:
    @each_setting
    def test_objectives_gradients_and_terms(self, setting):
        problem, pairs = four_responses()
        value, gradient, parts = VECTORS[setting]
        found = sail.terms(problem, THETA, setting, pairs)
        assert_allclose(found.value, value, rtol=0, atol=5.01e-9)
        assert_allclose(found.gradient(), gradient, rtol=0, atol=5.01e-9)
        for name, part in parts.items():
            assert_allclose(getattr(found, name), part, rtol=0, atol=5.01e-9)

    def test_hessian_of_dpr_on_the_sum_zero_subspace(self):
        problem, pairs = four_responses()
        found = sum_zero_eigenvalues(problem, sail.hessian(problem, THETA, "dpr", pairs))
        assert_allclose(found, [-0.0791, -0.0031, 0.0345], rtol=0, atol=5.01e-5)

    def test_the_worked_pair(self):
        """beta 0.1, log-probabilities -120 and -130, the reference's -121 and -128."""
        beta, weight, damping = 0.1, 0.3, 0.2
        margin = beta * ((-120 + 121) - (-130 + 128))
        gain = float(log_expit(margin))
        step = beta * expit(-margin)
        assert_allclose(margin, 0.3, rtol=1e-14)
        assert_allclose(gain, -0.554355244, rtol=0, atol=5.01e-10)
        assert_allclose(step, 0.0425557483, rtol=0, atol=5.01e-11)
        assert_allclose(-weight * gain, 0.1663065733, rtol=0, atol=5.01e-11)  # gradient of the loss, exact
        released = [-weight * gain / log_prob for log_prob in (-120, -130)]
        assert_allclose(released, [-0.0013858881, -0.0012792813], rtol=0, atol=5.01e-11)
        assert_allclose(step * sail.pair_weight(margin, damping), 0.0378375479, rtol=0, atol=5.01e-11)
        assert_allclose(-gain - damping / 2 * gain**2, 0.5236242708, rtol=0, atol=5.01e-11)


@everywhere
@given(seeds)
def test_gradients_and_hessians_are_derivatives(seed):
    problem, theta = random_problem(seed)
    pairs = random_pairs(problem, seed)
    for setting in SETTINGS:
        slope = central_difference(lambda x, s=setting: sail.objective(problem, x, s, pairs), theta)
        exact = sail.gradient(problem, theta, setting, pairs)
        assert_allclose(exact, slope, rtol=1e-6, atol=1e-9)
        hessian = sail.hessian(problem, theta, setting, pairs)
        rows = [
            central_difference(lambda x, s=setting, k=k: sail.gradient(problem, x, s, pairs)[k], theta)
            for k in range(len(theta))
        ]
        assert_allclose(hessian, rows, rtol=1e-6, atol=1e-8)


@everywhere
@given(seeds)
def test_labels_of_the_policys_own_leave_the_preference_term_only(seed):
    problem, theta = random_problem(seed)
    pairs = random_pairs(problem, seed)
    for setting in ("ddp", "dpp"):
        found = sail.terms(problem, theta, setting, pairs)
        assert_allclose(found.path, 0, atol=1e-14)
        law = pairs if setting == "ddp" else pair_law(problem.log_probs(theta), problem.prompt_probs)
        margins = problem.beta * problem.pair_scores(theta)
        belief = expit(margins)
        # Minus the mean binary entropy, written with logarithms of the belief itself.
        entropy = -(belief * np.log(belief) + (1 - belief) * np.log1p(-belief))
        assert_allclose(found.value, -np.sum(law * entropy), rtol=1e-12)
        sharpening = problem.beta * belief * (1 - belief) * margins
        moves = problem.features[:, :, None] - problem.features[:, None]
        expected = np.einsum("xij,xijd->d", law * sharpening, moves)
        assert_allclose(found.preference, expected, rtol=0, atol=1e-13)


@everywhere
@given(seeds)
def test_dpr_is_minus_the_nominal_loss_of_robust_sail(seed):
    problem, theta = random_problem(seed)
    assert_allclose(sail.objective(problem, theta, "dpr"), -problem.sail_loss(theta), rtol=1e-13)
    assert_allclose(sail.gradient(problem, theta, "dpr"), -problem.sail_gradient(theta), atol=1e-13)
    assert_allclose(sail.hessian(problem, theta, "dpr"), -problem.sail_hessian(theta), atol=1e-12)
    online_dpo = -problem.sail_gradient(theta, score_weight=0.0)
    assert_allclose(sail.terms(problem, theta, "dpr").gradient(0.0), online_dpo, atol=1e-13)


@everywhere
@given(seeds, st.floats(0.0, 0.6))
def test_dpr_under_the_worst_oracle_is_minus_the_robust_loss(seed, rho):
    problem, theta = random_problem(seed)
    worst = problem.worst_case_preferences(theta, rho)
    against = FiniteProblem(problem.features, worst, problem.beta, problem.prompt_probs, problem.theta_ref)
    assert_allclose(sail.objective(against, theta, "dpr"), -problem.robust_loss(theta, rho), rtol=1e-12)
    assert_allclose(
        sail.gradient(against, theta, "dpr"), -problem.robust_subgradient(theta, rho), rtol=0, atol=1e-12
    )


@everywhere
@given(seeds)
def test_a_dataset_drawn_from_the_policy_gives_the_policys_value_without_its_response_term(seed):
    problem, theta = random_problem(seed)
    pairs = pair_law(problem.log_probs(theta), problem.prompt_probs)
    for frozen, moving in (("offline", "dpr"), ("ddp", "dpp")):
        one, other = (sail.terms(problem, theta, setting, pairs) for setting in (frozen, moving))
        assert_allclose(one.value, other.value, rtol=1e-13)
        assert_allclose(one.gradient(), other.gradient(response_weight=0.0), rtol=0, atol=1e-14)
        assert np.all(one.response == 0)


@everywhere
@given(seeds)
def test_a_constant_in_the_response_term_changes_nothing(seed):
    """E S = 0: one baseline for all pairs leaves the response term as it is."""
    problem, theta = random_problem(seed)
    law = pair_law(problem.log_probs(theta), problem.prompt_probs)
    assert_allclose(problem.chain(theta, 2.0 * law.sum(axis=-1)), 0, atol=1e-13)


@everywhere
@given(seeds)
def test_at_the_reference(seed):
    """All pairs cost log 2 there: no response term, and own labels say nothing."""
    problem, _ = random_problem(seed)
    theta, pairs = problem.theta_ref, random_pairs(problem, seed)
    for setting in SETTINGS:
        assert_allclose(sail.objective(problem, theta, setting, pairs), -np.log(2.0), rtol=1e-13)
        assert_allclose(sail.terms(problem, theta, setting, pairs).response, 0, atol=1e-13)
    for setting in ("ddp", "dpp"):
        assert_allclose(sail.gradient(problem, theta, setting, pairs), 0, atol=1e-13)
        values = np.linalg.eigvalsh(sail.hessian(problem, theta, setting, pairs))
        assert values.min() >= -1e-12  # the worst place of all for J: its minimum


def test_the_true_reward_makes_the_path_term_vanish_and_not_the_response_term():
    problem = FiniteProblem.from_rewards(np.eye(3)[None], [[1.0, 0.0, -1.0]], beta=0.5)
    best = np.array([1.0, 0.0, -1.0]) / problem.beta
    found = sail.terms(problem, best, "dpr")
    assert_allclose(found.path, 0, atol=1e-15)
    assert np.linalg.norm(found.response) > 0.02
    # With the label's own entropy as the pair's baseline nothing is left: E[F] + H = -KL(P, belief) = 0.
    values, _, _ = sail.label_mean(problem.pair_scores(best), problem.preferences, problem.beta, "dpr")
    table = problem.preferences
    assert_allclose(values - (table * np.log(table) + (1 - table) * np.log1p(-table)), 0, atol=1e-14)


@pytest.mark.parametrize("weight", [0.1, 0.2, 0.5, 1.0, 3.0])
def test_the_weight_of_a_labeled_pair_changes_sign_at_the_flip_margin(weight):
    at = sail.flip_margin(weight)
    assert_allclose(at, -np.log(np.expm1(1 / weight)), rtol=1e-12)
    assert_allclose(sail.pair_weight(at, weight), 0, atol=1e-13)
    assert sail.pair_weight(at - 1e-3, weight) < 0 < sail.pair_weight(at + 1e-3, weight)


class TestMixture:
    def test_without_shares_it_is_offline_dpo(self):
        problem, pairs = four_responses()
        direction = sail.mixture_direction(problem, THETA, Mixture(), pairs)
        assert np.array_equal(direction, sail.terms(problem, THETA, "offline", pairs).path)
        assert Mixture().parts() == {"offline": (1.0, 0.0)}

    @everywhere
    @given(seeds, st.floats(0.0, 0.4), st.floats(0.0, 0.3), st.floats(0.0, 0.3))
    def test_undamped_directions_are_gradients_of_the_mixed_objective(self, seed, ddp, dpp, dpr):
        problem, theta = random_problem(seed)
        pairs, mixture = random_pairs(problem, seed), Mixture(ddp=ddp, dpp=dpp, dpr=dpr)
        slope = central_difference(lambda x: sail.mixture_objective(problem, x, mixture, pairs), theta)
        assert_allclose(sail.mixture_direction(problem, theta, mixture, pairs), slope, rtol=1e-6, atol=1e-9)

    @everywhere
    @given(seeds, st.floats(0.0, 1.0))
    def test_damping_scales_ddp_and_dpp(self, seed, weight):
        problem, theta = random_problem(seed)
        pairs = random_pairs(problem, seed)
        for name in ("ddp", "dpp"):
            mixture = Mixture(**{name: 1.0, f"{name}_weight": weight})
            expected = weight * sail.gradient(problem, theta, name, pairs)
            assert_allclose(sail.mixture_direction(problem, theta, mixture, pairs), expected, atol=1e-13)

    def test_a_damped_dpr_is_the_gradient_of_nothing(self):
        problem, _ = four_responses()

        def twist(weight):
            """Largest entry of the antisymmetric part of the direction's Jacobian: 0 for a gradient."""
            mixture = Mixture(dpr=1.0, dpr_weight=weight)
            rows = [
                central_difference(lambda x, k=k: sail.mixture_direction(problem, x, mixture)[k], THETA)
                for k in range(4)
            ]
            return np.abs(np.array(rows) - np.transpose(rows)).max()

        assert twist(1.0) < 1e-8 and twist(0.3) > 1e-3 and twist(0.0) > 1e-3

    @pytest.mark.parametrize("bad", [{"ddp": -0.1}, {"dpp": 0.6, "dpr": 0.6}, {"dpr_weight": float("nan")}])
    def test_bad_shares_are_named(self, bad):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Mixture(**bad)


class TestTables:
    @everywhere
    @given(seeds)
    def test_any_normalized_table_will_do(self, seed):
        """The coefficients are those of `losses.log_prob_gradient`, which no parametrization enters; up to a constant

        per prompt times pi, which no derivative of a normalized policy sees.
        """
        problem, theta = random_problem(seed)
        tables = problem.log_probs(theta), problem.ref_log_probs, problem.preferences
        given_ = {"beta": problem.beta, "prompt_probs": problem.prompt_probs}
        found = sail.table_terms(*tables, "dpr", **given_)
        assert_allclose(found.value, -expected_loss(*tables, **given_), rtol=1e-13)
        gap = found.gradient() + log_prob_gradient(*tables, rho=0.0, **given_)
        share = gap / (np.exp(tables[0]) * problem.prompt_probs[:, None])
        assert_allclose(share, share[:, :1] + np.zeros_like(share), atol=1e-11)

    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            (None, "pair_probs must be given"),
            (np.full((1, 4, 4), 0.1), "sum"),
            (np.full((1, 3, 3), 1 / 9), r"pair_probs.shape"),
            (np.where(np.eye(4) > 0, -0.25, 2 / 12)[None], "probabilities"),
        ],
    )
    def test_bad_datasets_are_named(self, pairs, message):
        problem, _ = four_responses()
        with pytest.raises(ValueError, match=message):
            sail.terms(problem, THETA, "ddp", pairs)

    def test_an_unknown_setting_is_named(self):
        problem, pairs = four_responses()
        for function in (sail.terms, sail.hessian):
            with pytest.raises(ValueError, match="ddp, dpp, dpr, offline, got 'pdd'"):
                function(problem, THETA, "pdd", pairs)


class TestReleasedResponseTerm:
    def test_it_is_the_enumerated_mean_of_the_hook(self):
        """sum over pairs and labels of F / log pi(y) grad log pi(y), written out."""
        problem, pairs = four_responses()
        for setting in ("dpp", "dpr"):
            log_probs, scores = problem.log_probs(THETA)[0], problem.pair_scores(THETA)[0]
            probs, total = np.exp(log_probs), np.zeros(4)
            for i in range(4):
                for j in range(4):
                    margin = problem.beta * scores[i, j]
                    first = expit(margin) if setting == "dpp" else problem.preferences[0, i, j]
                    gain = first * log_expit(margin) + (1 - first) * log_expit(-margin)
                    for y in (i, j):
                        total += probs[i] * probs[j] * gain / log_probs[y] * (np.eye(4)[y] - probs)
            found = sail.released_response(problem, THETA, setting, pairs)
            assert_allclose(found, total, rtol=0, atol=1e-14)
            assert_allclose(
                sail.released_response(problem, THETA, setting, pairs, pairs=8), 8 * total, atol=1e-13
            )

    def test_for_long_texts_it_is_minus_the_exact_term_over_their_length(self):
        problem, _ = four_responses()
        exact = sail.terms(problem, THETA, "dpr").response
        for nats in (1e4, 1e6):
            found = sail.released_response(problem, THETA, "dpr", extra_nats=nats)
            assert_allclose(-nats * found, exact, rtol=0, atol=20 / nats)

    def test_at_the_reference_it_does_not_vanish(self):
        problem, _ = four_responses()
        found = sail.released_response(problem, problem.theta_ref, "dpr")
        assert np.linalg.norm(found) > 0.01
        assert_allclose(sail.terms(problem, problem.theta_ref, "dpr").response, 0, atol=1e-14)

    def test_settings_with_a_dataset_have_none(self):
        problem, pairs = four_responses()
        assert np.all(sail.released_response(problem, THETA, "ddp", pairs) == 0)

    @pytest.mark.parametrize("bad", [{"pairs": 0}, {"pairs": 1.5}, {"extra_nats": -1.0}])
    def test_bad_arguments_are_named(self, bad):
        problem, _ = four_responses()
        with pytest.raises(ValueError, match=next(iter(bad))):
            sail.released_response(problem, THETA, "dpr", **bad)
