"""Asking an oracle by configuration: the answer, its measured deviation, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from rsail.oracles import OracleConfig, ask, bias, flatten, flip, truth, worst_case

RNG = np.random.default_rng(0)
REWARDS = RNG.uniform(0, 1.5, (6, 5))
FILLER = RNG.integers(0, 3, (6, 5)).astype(float)
LENGTH = RNG.integers(6, 20, (6, 5)).astype(float)
SCORES = LENGTH[:, :, None] - LENGTH[:, None, :]


def answer(**choices):
    return ask(
        OracleConfig(**choices),
        REWARDS,
        attributes={"filler": FILLER, "length": LENGTH},
        pair_scores=SCORES,
    )


@pytest.mark.parametrize(
    ("choices", "expected", "deviation"),
    [
        ({"kind": "truth"}, truth(REWARDS), 0.0),
        ({"kind": "flip", "strength": 0.1}, flip(truth(REWARDS), 0.1), None),
        ({"kind": "bias", "strength": 0.15}, bias(truth(REWARDS), FILLER, 0.15), 0.15),
        ({"kind": "bias", "strength": 0.1, "attribute": "length"}, bias(truth(REWARDS), LENGTH, 0.1), 0.1),
        ({"kind": "worst_case", "strength": 0.15}, worst_case(truth(REWARDS), SCORES, 0.15), 0.15),
        ({"kind": "flatten", "strength": 0.5}, flatten(truth(REWARDS), 0.5), None),
    ],
)
def test_the_answer_is_the_stated_perturbation_with_its_measured_deviation(choices, expected, deviation):
    found = answer(**choices)
    assert np.array_equal(found.preferences, expected) and np.array_equal(found.truth, truth(REWARDS))
    pairs = ~np.eye(5, dtype=bool)
    assert found.deviation == np.abs(expected - truth(REWARDS))[:, pairs].max()
    if deviation is not None:  # within delta of Assumption 1 nothing is clipped: the strength is attained
        assert found.deviation == pytest.approx(deviation, abs=1e-15)


def test_the_deviation_is_what_was_seen_and_not_what_was_configured():
    tied = ask(OracleConfig("bias", 0.15), REWARDS, attributes={"filler": np.ones((6, 5))})
    assert tied.deviation == 0.0
    assert answer(kind="flip", strength=0.3).deviation < 0.3


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"kind": "lie"}, "kind must be one of bias, flatten, flip, truth, worst_case, got 'lie'"),
        ({"kind": "bias", "strength": -0.1}, "strength must be a number in [0, 1], got -0.1"),
        ({"kind": "bias", "strength": float("nan")}, "strength must be a number in [0, 1], got nan"),
        ({"kind": "truth", "strength": 0.1}, "strength must be 0 for an oracle of kind truth, got 0.1"),
        ({"kind": "bias", "attribute": ""}, "attribute must be the name of an attribute"),
        ({"kind": "bias", "attribute": "rhyme"}, "attribute must be one of filler, length, got 'rhyme'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(choices, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        answer(**choices)


@pytest.mark.parametrize(("kind", "missing"), [("bias", "attributes"), ("worst_case", "pair_scores")])
def test_an_oracle_says_what_it_lacks(kind, missing):
    with pytest.raises(ValueError, match=f"{missing} must be .* for kind {kind}, got None"):
        ask(OracleConfig(kind, 0.1), REWARDS)


@pytest.mark.parametrize("kind", ["truth", "flip", "bias", "worst_case", "flatten"])
def test_an_oracle_with_rewards_of_its_own_is_wrong_by_these_too(kind):
    own = RNG.uniform(0, 1.5, REWARDS.shape)
    config = OracleConfig(kind, 0.0 if kind == "truth" else 0.1)
    details = {"attributes": {"filler": FILLER}, "pair_scores": SCORES}
    found = ask(config, REWARDS, oracle_rewards=own, **details)
    np.testing.assert_array_equal(found.preferences, ask(config, own, **details).preferences)
    np.testing.assert_array_equal(found.truth, truth(REWARDS))
    assert found.deviation == np.abs(found.preferences - truth(REWARDS)).max() > 0.1


def test_rewards_of_the_oracle_are_as_many_as_the_true_ones():
    with pytest.raises(ValueError, match=r"oracle_rewards\.shape must be \(6, 5\), got \(6, 4\)"):
        ask(OracleConfig(), REWARDS, oracle_rewards=REWARDS[:, :4])


def test_the_configuration_is_frozen():
    with pytest.raises(AttributeError):
        OracleConfig().strength = 0.2


@pytest.mark.parametrize("strength", [True, False, np.True_, None, "0.1", np.array([0.1])], ids=repr)
def test_a_strength_that_is_no_number_is_refused(strength):
    with pytest.raises(ValueError, match=r"strength must be a number in \[0, 1\], got "):
        OracleConfig("bias", strength)


def test_a_strength_from_numpy_is_kept_as_a_plain_number():
    for strength in (np.float32(0.25), np.float64(0.25), np.array(0.25)):
        config = OracleConfig("bias", strength)
        assert config == OracleConfig("bias", 0.25) and type(config.strength) is float


def test_oracles_and_language_import_no_torch():
    code = "import sys; import rsail.language, rsail.oracles; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
