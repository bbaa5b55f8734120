"""The check of the constants: its problems are what they claim, and a constant that is too small is noticed."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsail.study import constants_check, problem_batch, worst_problems
from rsail.study.constants_check import (
    CONFIG,
    KINDS,
    MEASURED,
    PATH,
    TOLERANCE,
    collect,
    count,
    join,
    largest,
    random_batches,
    require_kept,
    searches,
)
from rsail.study.problem_batch import measure, random_batch, ratios
from rsail.study.results import read_result
from rsail.study.worst_problems import (
    FIVE_POINTS,
    curvature_problem,
    extremal_points,
    search,
    two_point_problem,
)


@pytest.fixture(scope="module")
def random_ratios():
    return collect(random_batches(seed=5, per_shape=60))


def test_all_constants_hold_on_random_problems(random_ratios):
    assert count(random_ratios) == 36 * 60
    require_kept(random_ratios)


def test_all_constants_hold_on_optimized_problems():
    sizes = {"starts": 4, "steps": 60, "theta_radius": (0.03, 3.0), "beta": (0.1,)}
    found = join([ratios(batch) for _, batch in searches(3, **sizes)])
    assert count(found) == 5 * 3 * 2 * 4
    require_kept(found)


def test_a_violation_is_named(random_ratios):
    top = largest(random_ratios)["sharp"]["penalty_slope"]
    too_large = random_ratios | {
        "sharp": random_ratios["sharp"]
        | {"penalty_slope": random_ratios["sharp"]["penalty_slope"] / top * 1.01}
    }
    with pytest.raises(AssertionError, match=r"sharp penalty_slope.*1\.01"):
        require_kept(too_large)


@pytest.mark.parametrize(
    ("share", "radius", "beta", "preference", "quantity", "kind"),
    [
        (0.5, 1e3, 1.0, 0.5, "penalty_curvature", "sharp"),  # the term 2 D B^3
        (0.5, 1e-4, 1.0, 0.5, "penalty_slope", "sharp"),  # the term B
        ((1 - 3**-0.5) / 2, 1e5, 1.0, 0.5, "penalty_slope", "refined"),  # the term with SLOPE_STAR
        (0.5, 1e-3, 1e6, 1.0, "sail_slope", "sharp"),  # the term beta B
        (0.5, 1e-7, 1e4, 0.5, "sail_smoothness", "sharp"),  # the term beta^2 B^2 / 2
        (0.5, 1e5, 1.0, 1.0, "curvature", "refined"),  # the term 2 beta D B^3
    ],
)
def test_two_responses_reach_a_term_of_a_constant(share, radius, beta, preference, quantity, kind):
    batch = two_point_problem(share, radius, beta, preference)
    assert 0.995 < ratios(batch)[kind][quantity][0] <= 1 + TOLERANCE


def test_c_star_is_reached_by_log_linear_problems():
    laws = (FIVE_POINTS, extremal_points(3), extremal_points(30))
    batches = [curvature_problem(*law, 1e-7) for law in laws]
    values = [measure(batch)["penalty_curvature"][0] for batch in batches]
    assert values[:2] == pytest.approx([1.541018, 1.541007], abs=2e-6)
    assert values[2] == pytest.approx(worst_problems.extremal_law()["value"], abs=2e-6)
    assert max(ratios(batch)["sharp"]["penalty_curvature"][0] for batch in batches) <= 1


def test_extremal_points_are_a_law_on_the_interval():
    points, probs = extremal_points(7)
    assert_allclose(probs.sum(), 1)
    assert len(points) == 9 and points[0] == -1 and points[-1] == 1 and np.all(np.diff(points) > 0)


def test_the_search_improves_and_reaches_most_of_the_constant():
    settings = {"prompts": 1, "theta_radius": 0.01, "beta": 0.1, "starts": 8, "seed": 0}
    few, many = (
        ratios(search("penalty_curvature", steps=steps, **settings))["sharp"]["penalty_curvature"].max()
        for steps in (1, 250)
    )
    assert few < many and many > 0.97


def test_the_shape_feature_gives_the_policy_that_was_asked_for():
    rng = np.random.default_rng(0)
    disk, move, logits = (
        rng.normal(size=(3, 2, 4, 2)),
        rng.normal(size=(3, 2)),
        5 * rng.normal(size=(3, 2, 4)),
    )
    half, mu = np.full((3, 2, 4, 4), 0.5), np.full((3, 2), 0.5)
    batch = worst_problems.from_policy(disk, move, logits, half, mu, beta=0.1, rho=0.1)
    for index in range(3):
        policy = batch.problem(index).log_probs(batch.theta[index])
        expected = logits[index] - np.log(np.exp(logits[index]).sum(-1, keepdims=True))
        assert_allclose(policy, expected, rtol=1e-8)
    assert_allclose(batch.theta_radius, np.linalg.norm(move, axis=1), rtol=1e-9)


def test_measured_values_are_those_of_the_problem():
    batch = random_batch(np.random.default_rng(2), 20, 2, 3, 2)
    measured = measure(batch)
    for index in range(20):
        problem, theta, rho = batch.problem(index), batch.theta[index], float(batch.rho[index])
        hessian, robust = problem.sail_hessian(theta), problem.robust_hessian(theta, rho)
        slope = np.linalg.norm(problem.robust_subgradient(theta, rho))
        assert_allclose(measured["sail_smoothness"][index], np.linalg.norm(hessian, 2), rtol=1e-9)
        assert_allclose(measured["curvature"][index], max(-np.linalg.eigvalsh(robust)[0], 0), atol=1e-11)
        assert_allclose(measured["slope"][index], slope, rtol=1e-9, atol=1e-12)
        paper = problem.constants(float(batch.theta_radius[index]), rho, "paper")
        bound = problem_batch.bounds(batch.__class__(*(v[index : index + 1] for v in batch)))["paper"]
        assert_allclose(bound["curvature"][0], paper.curvature, rtol=1e-12)


def test_the_committed_result_is_of_this_configuration_and_large_enough():
    result = read_result(PATH)
    assert result["config"] == {k: _plain(v) for k, v in CONFIG.items()}
    random, optimized = result["metrics"]["random"], result["metrics"]["optimized"]
    assert random["count"] >= 10_000 and optimized["count"] >= 200
    assert {row["prompts"] for row in result["history"]} == {1, 3, 8}
    for family in (random, optimized):
        for kind in KINDS:
            assert max(family["largest"][kind][name] for name in MEASURED) <= 1 + TOLERANCE


def _plain(value):
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def test_the_command_writes_a_result(tmp_path, monkeypatch):
    monkeypatch.setattr(constants_check, "PATH", tmp_path / "check.json")
    small = CONFIG | {
        "random_per_shape": 2, "shapes": ((1, 2, 1),), "theta_radius": (1.0,), "starts": 2, "steps": 3
    }  # fmt: skip
    content = constants_check.run(seed=1, config=small)
    assert read_result(tmp_path / "check.json") == content
    assert content["metrics"]["optimized"]["count"] == 2 * len(content["history"])
