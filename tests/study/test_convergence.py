"""The runs of notebook 04: their settings, the committed files, and the fitted exponent."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.exact import rates
from rsail.exact.moreau import solve_prox
from rsail.exact.rscgd import moments
from rsail.study import convergence
from rsail.study.convergence import Rate, load_rates, make_setting
from rsail.study.results import ResultError, read_result


@pytest.fixture(scope="module")
def setting():
    return make_setting("narrow", "sharp")


def test_the_problem_has_feature_bound_one_in_both_senses_and_satisfies_assumption_1():
    problem = convergence.study_problem()
    for kind in convergence.KINDS:
        assert_allclose(problem.constants(1.0, convergence.RHO, kind).feature_bound, 1.0, atol=1e-12)
    assert problem.preferences.min() > convergence.RHO


@pytest.mark.parametrize("name", convergence.PROBLEMS)
def test_the_minimizer_is_one_of_a_finer_grid(name):
    problem, (radius, _) = convergence.study_problem(), convergence.PROBLEMS[name]
    best = problem.robust_loss(convergence.minimizer(problem, radius), convergence.RHO)
    finer = convergence.disk(radius, 80)
    assert best <= min(problem.robust_loss(theta, convergence.RHO) for theta in finer)


def test_the_noise_is_the_largest_on_a_finer_grid_up_to_a_little():
    problem = convergence.study_problem()
    sail, penalty = convergence.largest_noise(problem, 0.25)
    finer = [moments(problem, theta, convergence.RHO) for theta in convergence.disk(0.25, 60)]
    assert max(m.sail_variance for m in finer) <= 1.001 * sail**2
    assert max(m.penalty_variance for m in finer) <= 1.001 * penalty**2


def test_the_gap_and_the_gradient_are_those_of_the_envelope(setting):
    envelope = solve_prox(
        setting.problem, setting.start, 0.1, setting.smoothing, theta_radius=0.25, curvature=setting.curvature
    )
    best = convergence.minimizer(setting.problem, 0.25)
    assert_allclose(setting.gap, envelope.value - setting.problem.robust_loss(best, 0.1), atol=1e-12)
    assert_allclose(setting.squared_gradient(setting.start), np.sum(envelope.gradient**2), rtol=1e-9)
    assert setting.squared_gradient(best) < 1e-20
    assert_allclose(setting.smoothing * setting.curvature, 0.25)
    assert_allclose(np.linalg.norm(setting.start), 0.25)


def test_the_three_sets_of_constants_are_ordered():
    moments_of = [make_setting("narrow", kind) for kind in convergence.KINDS]
    assert moments_of[0].second_moment > 100 * moments_of[1].second_moment
    assert moments_of[1].second_moment > 4 * moments_of[2].second_moment
    assert moments_of[0].curvature > moments_of[1].curvature > moments_of[2].curvature
    assert [one.sharp for one in moments_of] == [False, False, True]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="name must be one of narrow, unit"):
        make_setting("wide", "sharp")
    with pytest.raises(ValueError, match="kind must be one of paper, refined, sharp"):
        make_setting("narrow", "best")


@pytest.mark.parametrize("name", convergence.PROBLEMS)
@pytest.mark.parametrize("kind", convergence.KINDS)
def test_the_committed_runs_are_those_of_the_settings(name, kind):
    stored, setting = load_rates()[name, kind], make_setting(name, kind)
    assert stored.values.shape == (len(convergence.HORIZONS), convergence.RUNS)
    assert convergence.RUNS >= 20 and len(convergence.HORIZONS) >= 4
    bounds = [rates.corollary_bound(setting.gap, int(steps), **setting.theory) for steps in stored.steps]
    assert_allclose(stored.bound, bounds, rtol=1e-6)
    assert_allclose(stored.start_value, setting.squared_gradient(setting.start), rtol=1e-6)
    assert np.all(stored.mean + stored.half_width < stored.bound)  # Theorem 5.2


def test_a_short_run_made_now_agrees_with_the_committed_one(setting):
    steps = convergence.HORIZONS[0]
    seeds = convergence.seeds_of("narrow", "sharp", steps)
    stored = load_rates()["narrow", "sharp"].values[0]
    assert_allclose(convergence.measure([setting], steps, [seeds[:6]])[0], stored[:6], rtol=1e-6)
    others = convergence.measure([setting], steps, [10_000 + np.arange(6)])
    assert_allclose(others.mean(), stored.mean(), rtol=0.1)


def test_every_run_of_the_study_has_a_seed_of_its_own_which_is_recorded():
    used = []
    for name in convergence.PROBLEMS:
        for kind in convergence.KINDS:
            stored = read_result(convergence.RESULTS / f"{name}_{kind}.json")
            for row in stored["history"]:
                assert row["seeds"] == list(convergence.seeds_of(name, kind, row["steps"]))
                assert len(row["seeds"]) == len(row["values"]) == convergence.RUNS
                used += row["seeds"]
            assert stored["seeds"] == [seed for row in stored["history"] for seed in row["seeds"]]
    runs = len(convergence.PROBLEMS) * len(convergence.KINDS) * len(convergence.HORIZONS) * convergence.RUNS
    assert sorted(used) == list(range(runs))


def test_a_run_is_written_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(convergence, "RUNS", 3)
    monkeypatch.setattr(convergence, "DRAWS", 2)
    monkeypatch.setattr(convergence, "HORIZONS", (20, 40))
    for name in convergence.PROBLEMS:
        convergence.run_problem(tmp_path, name, horizons=(20, 40))
    rate = load_rates(tmp_path)["unit", "paper"]
    assert list(rate.steps) == [20, 40] and np.all(rate.values > 0)
    convergence.run_study(tmp_path)  # nothing is missing, so nothing is run
    monkeypatch.setattr(convergence, "HORIZONS", (20, 40, 80))
    with pytest.raises(ResultError, match="must hold the horizons"):
        load_rates(tmp_path)


def test_the_exponent_of_a_power_law_is_found_with_an_interval_around_it():
    steps = np.array([10, 100, 1000, 10000])
    noise = np.random.default_rng(0).lognormal(0, 0.3, size=(4, 50))
    rate = Rate(steps, np.ones(4), 3.0 * steps[:, None] ** -0.5 * noise, 1.0)
    exponent, low, high = rate.exponent()
    assert low < -0.5 < high and low < exponent < high and high - low < 0.1
    exact = Rate(steps, np.ones(4), np.tile(3.0 * steps[:, None] ** -0.25, (1, 5)), 1.0)
    assert_allclose(exact.exponent(first=2), -0.25, atol=1e-12)
    assert_allclose(exact.half_width, 0, atol=1e-12)
