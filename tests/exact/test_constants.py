"""Constants: formulas, their order, and that no constant can be halved (each is nearly attained somewhere)."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rsail.exact import (
    C_STAR,
    Constants,
    FiniteProblem,
    centered_feature_bound,
    feature_bound,
    paper_constants,
    refined_constants,
    sharp_constants,
)
from rsail.exact.constants import CROSS, SCORE_STAR, SLOPE_STAR, softplus_chord

from .problems import random_problem, reference_problem, seeds

sizes = st.tuples(*[st.floats(1e-3, 1e3)] * 3, st.floats(0.0, 1.0))
BOUNDS = [f.name for f in fields(Constants) if f.name not in ("feature_bound", "theta_radius", "beta", "rho")]


@pytest.mark.parametrize("kind", [paper_constants, sharp_constants, refined_constants])
@pytest.mark.parametrize("name", BOUNDS)
def test_values_at_two_three_a_tenth_and_a_fifth(kind, name):
    """B = 2, D = 3, beta = 0.1, rho = 0.2: every term by hand, T = 1.2."""
    belief, chord = 1 / (1 + np.exp(-1.2)), (np.log1p(np.exp(1.2)) - np.log(2)) / 1.2
    smooth, curvature, cross = 0.02 + 0.4 * C_STAR + 14.4, 0.4 * belief * C_STAR + 4.8, 1.2 * CROSS * chord
    table = {
        paper_constants: (160, 100, 0.4 + 8 * np.log(2) + 9.6, smooth),
        sharp_constants: (4 * C_STAR + 48, 2 + 12 * np.sqrt(2), 2.6, smooth),
        refined_constants: (
            4 * C_STAR + 48, 2 + 12 * SLOPE_STAR, 0.2 * belief + min(1.2 * SCORE_STAR, cross), 0.02 + curvature
        ),
    }  # fmt: skip
    values = dict(zip(BOUNDS, table[kind], strict=False))
    total = kind is not refined_constants
    values["curvature"] = (
        values["sail_smoothness"] + 0.02 * values["penalty_curvature"] if total else curvature
    )
    values["slope"] = values["sail_slope"] + total * 0.02 * values["penalty_slope"]
    assert_allclose(getattr(kind(2.0, 3.0, 0.1, 0.2), name), values[name], rtol=1e-12)


def test_what_they_were_made_from_is_kept():
    found = sharp_constants(2.0, 3.0, 0.1, 0.2)
    assert (found.feature_bound, found.theta_radius, found.beta, found.rho) == (2.0, 3.0, 0.1, 0.2)


def test_the_numbers_in_the_constants_are_maxima_over_two_point_laws():
    """a on {-1, 1} - m: the largest E|a1 + a2|, and the largest covariance of a with a mean distance."""
    q = np.linspace(0, 0.5, 200_001)
    sums = 4 * q * (1 - q) * (1 + np.abs(1 - 2 * q))
    assert_allclose(SCORE_STAR, sums.max(), rtol=1e-9)
    assert_allclose(SLOPE_STAR, (8 * q * (1 - q) * (1 - 2 * q)).max(), rtol=1e-9)
    assert_allclose(CROSS**2, 1 + (1.541047961857601 / 2) ** 2, rtol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(seeds, st.sampled_from([2, 4, 8]))
def test_the_products_behind_the_slopes_are_bounded(seed, size):
    """E|s1 - s2||a1 + a2| <= CROSS, E|a1 + a2| <= SCORE_STAR, E[|s1 - s2|(a1 + a2)] <= SLOPE_STAR in the unit disk."""
    rng = np.random.default_rng(seed)
    disk = rng.normal(size=(size, 2))
    disk /= np.maximum(np.linalg.norm(disk, axis=1, keepdims=True), 1.0)
    probs, angle = rng.dirichlet(np.full(size, 0.5)), rng.uniform(0, np.pi)
    b, s = disk[:, 0], disk @ [np.cos(angle), np.sin(angle)]
    sums, gaps = np.add.outer(b, b) - 2 * probs @ b, np.abs(np.subtract.outer(s, s))
    assert probs @ np.abs(sums) @ probs <= SCORE_STAR + 1e-12
    assert abs(probs @ (gaps * sums) @ probs) <= SLOPE_STAR + 1e-12
    assert probs @ (gaps * np.abs(sums)) @ probs <= CROSS + 1e-12
    squares = sums**2
    assert probs @ np.abs(squares - probs @ squares @ probs) @ probs <= 2 + 1e-12


def test_the_second_moment_of_lemma_b4_in_the_units_of_the_paper():
    paper, sharp = paper_constants(1, 1, 0.1, 0.1), sharp_constants(1, 1, 0.1, 0.1)
    assert_allclose(paper.lam, 0.01)
    assert_allclose(paper.total_second_moment(), 56.97, atol=5e-3)
    assert_allclose(sharp.total_second_moment(), 0.362, atol=5e-4)
    with_noise = sharp.total_second_moment(sail_noise=2.0, penalty_noise=30.0, batch=4)
    assert_allclose(with_noise - sharp.total_second_moment(), 4 * (4 + 0.01**2 * 900) / 4)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(sizes)
def test_each_set_is_at_least_as_sharp_as_the_one_before(size):
    sets = [kind(*size) for kind in (paper_constants, sharp_constants, refined_constants)]
    for name in BOUNDS:
        looser, sharper, sharpest = (getattr(constants, name) for constants in sets)
        assert sharpest <= sharper * (1 + 1e-12) and sharper <= looser * (1 + 1e-12)


def test_a_smoothness_of_ones_own_enters_the_papers_curvature():
    constants = paper_constants(1.0, 1.0, 0.1, 0.1, sail_smoothness=5.0)
    assert constants.sail_smoothness == 5.0
    assert_allclose(constants.curvature, 5.0 + 0.01 * 20)


def test_the_chord_of_softplus_is_stable_and_between_a_half_and_one():
    margins = np.array([0.0, 1e-12, 1e-6, 0.999999, 1.000001, 5.0, 1e3])
    chords = np.array([softplus_chord(margin) for margin in margins])
    assert_allclose(chords[:3], 0.5 + margins[:3] / 8, rtol=1e-12)
    assert_allclose(chords[3], chords[4], rtol=1e-6)
    assert np.all(np.diff(chords) >= 0) and chords[-1] < 1


def test_feature_bounds():
    features = np.array([[[3.0, 4.0], [3.0, 2.0]], [[0.0, 0.0], [1.0, 0.0]]])
    assert feature_bound(features) == 5.0
    assert_allclose(centered_feature_bound(features), 1.0)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seeds)
def test_a_shift_per_prompt_leaves_the_centered_bound(seed):
    problem, _ = random_problem(seed)
    shift = 10 * np.random.default_rng(seed).normal(
        size=(len(problem.features), 1, problem.features.shape[-1])
    )
    before, after = (centered_feature_bound(psi) for psi in (problem.features, problem.features + shift))
    assert_allclose(after, before, rtol=1e-9)
    assert before <= feature_bound(problem.features) * (1 + 1e-12)


def test_a_problem_gives_every_kind_with_its_own_bounds():
    problem, _ = reference_problem()
    paper, sharp, refined = (problem.constants(2.0, 0.1, kind) for kind in ("paper", "sharp", "refined"))
    assert paper.feature_bound == feature_bound(problem.features)
    assert sharp.feature_bound == refined.feature_bound == centered_feature_bound(problem.features)
    assert sharp == sharp_constants(sharp.feature_bound, 2.0, 0.5, 0.1) == problem.constants(2.0, 0.1)
    assert refined == refined_constants(sharp.feature_bound, 2.0, 0.5, 0.1)
    assert paper == paper_constants(paper.feature_bound, 2.0, 0.5, 0.1, sail_smoothness=sharp.sail_smoothness)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_bound": -1.0}, "feature_bound"),
        ({"theta_radius": np.inf}, "theta_radius"),
        ({"beta": 0.0}, "beta"),
        ({"rho": np.nan}, "rho"),
    ],
)
@pytest.mark.parametrize("kind", [paper_constants, sharp_constants, refined_constants])
def test_bad_sizes_are_named(kind, change, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"feature_bound": 1.0, "theta_radius": 1.0, "beta": 0.1, "rho": 0.1} | change)


def test_bad_kinds_and_batches_are_named():
    problem = FiniteProblem.from_rewards(np.eye(2)[None], [[1.0, 0.0]], beta=0.1)
    with pytest.raises(ValueError, match="kind"):
        problem.constants(1.0, 0.1, kind="ours")
    with pytest.raises(ValueError, match="batch"):
        problem.constants(1.0, 0.1).total_second_moment(batch=0)
