"""Algorithm 1: unbiased estimates, exact moments, projection, a uniform output, and descent."""

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose

from rsail.exact import FiniteProblem, rscgd
from rsail.exact.moreau import prox_residual, snap, solve_prox
from rsail.exact.rscgd import (
    batch_gradients,
    certified_prox,
    count_triples,
    inexact_prox,
    moments,
    stochastic_gradients,
    triple_gradients,
    triples,
)
from tests.exact.problems import random_problem, reference_problem, seeds

few = settings(deadline=None, derandomize=True, max_examples=30)
RUN = {"theta_radius": 1.0, "step_size": 0.05, "steps": 40, "batch": 4, "seeds": range(6)}


@few
@given(seeds)
def test_the_estimates_are_unbiased_by_enumeration_with_any_constant_baselines(seed):
    problem, theta = random_problem(seed)
    for baselines in ({}, {"loss_baseline": 0.0, "penalty_baseline": 1.7}):
        exact = moments(problem, theta, 0.1, **baselines)
        assert_allclose(exact.sail_mean, problem.sail_gradient(theta), atol=1e-11)
        assert_allclose(exact.penalty_mean, _penalty_subgradient(problem, theta), atol=1e-11)


def _penalty_subgradient(problem, theta):
    # Central differences would straddle kinks; sign(0) differs from rounding where features repeat.
    law, (_, penalty) = triples(problem, theta).law, triple_gradients(problem, theta, penalty_baseline=0.3)
    mean = np.einsum("xij,xijd->d", law, penalty)
    assert_allclose(mean, problem.penalty_subgradient(theta), atol=1e-11)
    return mean


def test_a_baseline_takes_its_multiple_of_the_score_away():
    """With value v and baseline b the score part is (v - b) S; the loss's baselines 0 and 1 differ by S itself."""
    problem, theta = reference_problem()

    def gradients(function, loss_baseline, penalty_baseline):
        baselines = {"loss_baseline": loss_baseline, "penalty_baseline": penalty_baseline}
        if function is triple_gradients:
            return function(problem, theta, **baselines)
        return function(problem, theta, 8, np.random.default_rng(0), **baselines)

    for function in (triple_gradients, stochastic_gradients):
        (sail, penalty), (sail_less, penalty_less) = (
            gradients(function, 0.0, 0.0),
            gradients(function, 1.0, 0.3),
        )
        score = sail - sail_less
        assert np.abs(score).max() > 0.1
        assert_allclose(penalty - penalty_less, 0.3 * score, atol=1e-14)


def test_large_logits_do_not_overflow():
    problem, _ = reference_problem()
    theta = np.full(problem.theta_ref.shape, 2e3)
    assert_allclose(triples(problem, theta).probs, np.exp(problem.log_probs(theta)), atol=1e-15)


def test_the_largest_pull_is_the_largest_jump_and_the_gradient():
    """One pair, beta = 2, P = 0.7, rho = 0.1, at the reference: h = 0, slopes from -0.2 to 0.2, weight 2/4.

    The jump is 0.4 / 2 = 0.2; the gradient is the weight times beta (1/2 - P), of length 0.2.
    """
    problem = FiniteProblem([[[1.0], [0.0]]], [[[0.5, 0.7], [0.3, 0.5]]], beta=2.0)
    assert_allclose(rscgd.largest_pull(problem, [0.0], 0.1), 0.4, atol=1e-15)


def test_without_the_score_term_they_would_be_biased():
    problem, theta = reference_problem()
    law, at = triples(problem, theta).law, triples(problem, theta)
    moves = problem.features[:, :, None] - problem.features[:, None, :]
    path = np.einsum("xij,xij,xijd->d", law, at.slopes, moves)
    assert np.linalg.norm(path - problem.sail_gradient(theta)) > 1e-3


@few
@given(seeds)
def test_a_batch_gives_the_mean_of_its_triples(seed):
    problem, theta = random_problem(seed)
    points = theta + np.random.default_rng(seed).normal(size=(3, len(theta)))
    law = triples(problem, points).law
    flat = law.reshape(3, -1)
    counts = (
        np.random.default_rng(7).multinomial(5, flat / flat.sum(axis=1, keepdims=True)).reshape(law.shape)
    )
    expected = [np.einsum("sxij,sxijd->sd", counts / 5, g) for g in triple_gradients(problem, points)]
    assert_allclose(stochastic_gradients(problem, points, 5, np.random.default_rng(7)), expected, atol=1e-12)


def test_mean_and_variance_of_batches_are_the_exact_ones():
    problem, theta = reference_problem()
    batch, draws = 8, 20_000
    exact = moments(problem, theta, 0.1)
    rng = np.random.default_rng(3)
    sail, penalty = stochastic_gradients(problem, np.tile(theta, (draws, 1)), batch, rng)
    for drawn, mean, variance in (
        (sail, exact.sail_mean, exact.sail_variance),
        (penalty, exact.penalty_mean, exact.penalty_variance),
    ):
        assert np.all(np.abs(drawn.mean(axis=0) - mean) < 4 * np.sqrt(variance / batch / draws))
        assert_allclose(np.sum((drawn - mean) ** 2, axis=1).mean(), variance / batch, rtol=0.03)
    lam = 0.1 * problem.beta
    second = np.sum((sail + lam * penalty) ** 2, axis=1).mean()
    assert_allclose(exact.second_moment(lam, batch), second, rtol=0.03)


@few
@given(seeds)
def test_lemma_b4_bounds_the_second_moment_for_every_set_of_constants(seed):
    problem, _ = random_problem(seed)
    rng = np.random.default_rng(seed)
    rho, radius = float(rng.uniform(0, 1)), float(rng.uniform(0.1, 3))
    direction = rng.normal(size=len(problem.theta_ref))
    theta = problem.theta_ref + radius * rng.uniform() * direction / np.linalg.norm(direction)
    exact = moments(problem, theta, rho)
    noise = {"sail_noise": exact.sail_variance**0.5, "penalty_noise": exact.penalty_variance**0.5}
    for kind in ("paper", "sharp", "refined"):
        constants = problem.constants(radius, rho, kind)
        bound = constants.total_second_moment(**noise, batch=2)
        assert exact.second_moment(constants.lam, 2) <= bound * (1 + 1e-12) + 1e-15


def test_the_path_stays_in_the_ball_and_starts_where_it_should():
    problem, _ = reference_problem()
    run = rscgd.rscgd(problem, 0.1, **RUN | {"step_size": 20.0, "theta_radius": 0.3}, record_every=1)
    lengths = np.linalg.norm(run.path - problem.theta_ref, axis=-1)
    assert run.path.shape == (40, 6, 2) and np.all(lengths <= 0.3 * (1 + 1e-12)) and lengths.max() > 0.299
    assert_allclose(run.path[0], np.tile(problem.theta_ref, (6, 1)))
    far = rscgd.rscgd(problem, 0.1, **RUN, start=[9.0, 0.0], record_every=1)
    assert_allclose(np.linalg.norm(far.path[0] - problem.theta_ref, axis=-1), 1.0)


def test_one_step_is_the_formula():
    problem, theta = reference_problem()
    run = rscgd.rscgd(problem, 0.1, **RUN | {"steps": 1, "theta_radius": 9.0}, start=theta)
    rngs = [np.random.default_rng(seed) for seed in range(6)]
    for rng in rngs:
        rng.integers(1, size=1)  # the output's index
    at = triples(problem, np.tile(theta, (6, 1)))
    counts = count_triples(at.law, np.array([rng.random(4) for rng in rngs]))
    sail, penalty = batch_gradients(problem, at, counts)
    assert_allclose(run.last, theta - 0.05 * (sail + 0.1 * problem.beta * penalty), atol=1e-15)


def test_the_output_is_an_iterate_drawn_uniformly():
    problem, _ = reference_problem()
    run = rscgd.rscgd(problem, 0.1, **RUN | {"seeds": range(40)}, draws=200, record_every=1)
    drawn = np.empty(run.outputs.shape[:2], dtype=int)
    for k in range(40):
        same = np.all(run.outputs[k][:, None] == run.path[None, :, k], axis=-1)
        assert np.all(same.any(axis=1))
        drawn[k] = same.argmax(axis=1)
    counts = np.bincount(drawn.ravel(), minlength=40)
    assert np.sum((counts - 200) ** 2 / 200) < 72.1  # chi-square with 39 degrees of freedom, 99.9 %


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    problem, _ = reference_problem()
    one, two, other = (rscgd.rscgd(problem, 0.1, **RUN | {"seeds": [seed]}) for seed in (0, 0, 1))
    assert np.array_equal(one.outputs, two.outputs) and np.array_equal(one.last, two.last)
    assert not np.array_equal(one.last, other.last)


def test_a_run_is_that_of_its_seed_and_step_size_whichever_others_are_made_beside_it():
    problem, _ = reference_problem()
    together = rscgd.rscgd(problem, 0.1, **RUN | {"step_size": [0.05, 0.1, 0.2], "seeds": [3, 9, 7]}, draws=5)
    for k, (size, seed) in enumerate(((0.05, 3), (0.1, 9), (0.2, 7))):
        alone = rscgd.rscgd(problem, 0.1, **RUN | {"step_size": size, "seeds": [seed]}, draws=5)
        assert_allclose(together.outputs[k], alone.outputs[0], atol=1e-12)
        assert_allclose(together.last[k], alone.last[0], atol=1e-12)


@few
@given(seeds)
def test_triples_are_counted_where_the_uniforms_meet_their_runs_distribution_function(seed):
    problem, theta = random_problem(seed)
    rng = np.random.default_rng(seed)
    law = triples(problem, theta + rng.normal(size=(3, len(theta)))).law
    uniforms = rng.random((3, 50))
    uniforms[:, :2] = 0.0, 1.0 - 2.0**-53
    counts = count_triples(law, uniforms)
    assert counts.shape == law.shape
    for one, drawn, found in zip(law, uniforms, counts, strict=True):
        ends = np.cumsum(one.ravel()) / one.sum()
        where = np.minimum(np.searchsorted(ends, drawn, side="right"), one.size - 1)
        # An end that rounding moves past a uniform changes two counts by one; it must not happen twice.
        assert np.abs(np.bincount(where, minlength=one.size) - found.ravel()).sum() <= 2


@pytest.mark.parametrize("block", [100, 1])  # four steps of six runs with batches of four; less than one step
def test_blocks_of_uniforms_continue_one_stream(block, monkeypatch):
    problem, _ = reference_problem()
    whole = rscgd.rscgd(problem, 0.1, **RUN)
    monkeypatch.setattr(rscgd, "BLOCK", block)
    assert np.array_equal(whole.last, rscgd.rscgd(problem, 0.1, **RUN).last)


def test_it_goes_down_to_a_stationary_point():
    problem, _ = reference_problem()
    constants = problem.constants(1.0, 0.1)
    smoothing = 0.25 / constants.curvature

    def size(theta):
        found = solve_prox(problem, theta, 0.1, smoothing, theta_radius=1.0, curvature=constants.curvature)
        return float(np.sum(found.gradient**2))

    start = problem.theta_ref + np.array([0.6, 0.8])
    run = rscgd.rscgd(problem, 0.1, **RUN | {"steps": 600, "step_size": 0.3, "batch": 64}, start=start)
    assert np.mean([size(theta) for theta in run.last]) < 0.05 * size(start)


def test_inexact_prox_comes_near_and_its_residual_is_small_once_it_is_on_the_kinks():
    problem, _ = reference_problem()
    rho, radius = problem.local_critical_radius() + 0.02, 1.0
    curvature = problem.constants(radius, rho).curvature
    smoothing = 0.5 / curvature
    theta = problem.theta_ref + np.array([2e-3, -1e-3])
    setting = {"theta_radius": radius, "curvature": curvature}
    exact = solve_prox(problem, theta, rho, smoothing, **setting).point
    near = inexact_prox(problem, theta, rho, smoothing, theta_radius=radius, steps=1000, step_size=1e-3)
    assert np.linalg.norm(near - exact) < 1e-4
    residual = prox_residual(problem, near, theta, rho, smoothing, **setting).residual
    snapped = snap(problem, near, distance=1e-4)
    on_kinks = prox_residual(problem, snapped, theta, rho, smoothing, **setting)
    assert residual > 1e-3 and on_kinks.residual < 1e-12 and on_kinks.error < 1e-12


def test_inexact_prox_with_batches_is_close_to_the_one_with_exact_gradients():
    problem, theta = reference_problem()
    setting = {"theta_radius": 2.0, "steps": 300, "step_size": 0.02}
    exact = inexact_prox(problem, theta, 0.1, 0.5, **setting)
    drawn = inexact_prox(problem, theta, 0.1, 0.5, **setting, batch=256, seed=1)
    assert 0 < np.linalg.norm(drawn - exact) < 0.01
    assert np.array_equal(
        *(inexact_prox(problem, theta, 0.1, 0.5, **setting, batch=8, **s) for s in ({}, {"seed": 0}))
    )
    assert_allclose(inexact_prox(problem, theta, 0.1, 0.5, **setting | {"steps": 0}), theta)
    start = problem.theta_ref + 0.3
    assert_allclose(inexact_prox(problem, theta, 0.1, 0.5, **setting | {"steps": 0}, start=start), start)


def test_certified_prox_stops_on_its_residual_on_and_off_kinks():
    problem, theta = reference_problem()
    for rho, start in ((0.05, theta), (problem.local_critical_radius() + 0.02, problem.theta_ref + 2e-3)):
        curvature = problem.constants(1.5, rho).curvature
        smoothing = 0.5 / curvature
        found = certified_prox(problem, start, rho, smoothing, theta_radius=1.5, accuracy=1e-4)
        exact = solve_prox(problem, start, rho, smoothing, theta_radius=1.5)
        assert found.residual <= 1e-4 and np.linalg.norm(found.point - exact.point) <= found.error
        assert np.linalg.norm(exact.gradient) <= found.gradient_bound
        noisy = certified_prox(problem, start, rho, smoothing, theta_radius=1.5, accuracy=0.05, batch=256)
        assert 1e-9 < np.linalg.norm(noisy.point - exact.point) <= noisy.error or noisy.residual < 1e-9


def test_an_accuracy_out_of_reach_is_an_error_that_says_how_near_it_came():
    problem, theta = reference_problem()
    with pytest.raises(RuntimeError, match=r"the residual is .* after 2 rounds, above 1e-12"):
        certified_prox(problem, theta, 0.1, 0.2, theta_radius=2.0, accuracy=1e-12, rounds=2)
    with pytest.raises(ValueError, match="accuracy"):
        certified_prox(problem, theta, 0.1, 0.2, theta_radius=2.0, accuracy=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"batch": 1.5}, "batch"),
        ({"seeds": []}, "seeds must be at least one"),
        ({"seeds": [4, 5, 4]}, "seeds must be at least one seed, and none twice"),
        ({"step_size": [0.1, 0.2]}, "step_size must be one, or one per seed"),
        ({"step_size": [0.1] * 5 + [np.nan]}, "step_size must be a finite number > 0"),
        ({"draws": 0}, "draws"),
        ({"step_size": 0.0}, "step_size"),
        ({"theta_radius": -1.0}, "theta_radius"),
        ({"rho": 0.9}, "Assumption 1"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    problem, _ = reference_problem()
    arguments = RUN | {"rho": 0.1} | change
    with pytest.raises(ValueError, match=message):
        rscgd.rscgd(problem, arguments.pop("rho"), **arguments)


def test_a_prompt_that_is_never_drawn_limits_neither_rho_nor_the_constants():
    features = np.array([[[1.0], [0.0]], [[9.0], [0.0]]])
    oracle = [[[0.5, 0.7], [0.3, 0.5]], [[0.5, 1.0], [0.0, 0.5]]]
    problem = FiniteProblem(features, oracle, beta=0.5, prompt_probs=[1.0, 0.0])
    alone = FiniteProblem(features[:1], oracle[:1], beta=0.5)
    done = [rscgd.rscgd(p, 0.1, **RUN) for p in (problem, alone)]
    assert_allclose(done[0].last, done[1].last, atol=1e-14)
    for kind in ("paper", "sharp", "refined"):
        assert problem.constants(1.0, 0.1, kind) == alone.constants(1.0, 0.1, kind)
