"""Asking an oracle by configuration: the answer, its measured deviation, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from rsail.oracles import (
    KINDS,
    OracleConfig,
    annotator_groups,
    ask,
    bias,
    cyclic,
    drift,
    flatten,
    flip,
    grouped_bias,
    truth,
    worst_case,
)

RNG = np.random.default_rng(0)
REWARDS = RNG.uniform(0, 1.5, (6, 5))
FILLER = RNG.integers(0, 3, (6, 5)).astype(float)
LENGTH = RNG.integers(6, 20, (6, 5)).astype(float)
SCORES = LENGTH[:, :, None] - LENGTH[:, None, :]
PROMPTS = ["some birds", "some tools", "anything", "a few gems", "many fish", "something"]
GROUPS = annotator_groups(PROMPTS, 3)
LEARNED = RNG.normal(size=(6, 5))


def answer(**choices):
    return ask(
        OracleConfig(**choices),
        REWARDS,
        attributes={"filler": FILLER, "length": LENGTH},
        pair_scores=SCORES,
        prompts=PROMPTS,
        progress=0.5,
        learned=LEARNED if choices.get("kind") == "reward_model" else None,
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
        (
            {"kind": "groups", "strength": 0.15, "groups": 3},
            grouped_bias(truth(REWARDS), FILLER, GROUPS, count=3, strength=0.15),
            0.15,
        ),
        ({"kind": "drift", "strength": 0.1}, drift(truth(REWARDS), FILLER, 0.1, 0.5), 0.05),
        ({"kind": "cyclic", "strength": 0.15}, cyclic(truth(REWARDS), FILLER, 0.15), 0.15),
        ({"kind": "reward_model"}, truth(LEARNED), None),
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
        (
            {"kind": "lie"},
            f"kind must be one of {', '.join(sorted(KINDS))}, got 'lie'",
        ),
        ({"kind": "bias", "strength": -0.1}, "strength must be a number in [0, 1], got -0.1"),
        ({"kind": "bias", "strength": float("nan")}, "strength must be a number in [0, 1], got nan"),
        ({"kind": "truth", "strength": 0.1}, "strength must be 0 for an oracle of kind truth, got 0.1"),
        ({"kind": "bias", "attribute": ""}, "attribute must be the name of an attribute"),
        ({"kind": "bias", "attribute": "rhyme"}, "attribute must be one of filler, length, got 'rhyme'"),
        ({"kind": "cyclic", "attribute": "rhyme"}, "attribute must be one of filler, length, got 'rhyme'"),
        ({"kind": "groups", "groups": 1}, "groups must be a whole number of at least 2, got 1"),
        ({"kind": "groups", "groups": 2.0}, "groups must be a whole number of at least 2, got 2.0"),
        ({"kind": "bias", "groups": 3}, "groups must be 2 for an oracle of kind bias, got 3"),
        ({"kind": "truth", "pairs": 10}, "pairs must be 4096 for an oracle of kind truth, got 10"),
        (
            {"kind": "groups", "label_bias": 0.1},
            "label_bias must be 0.0 for an oracle of kind groups, got 0.1",
        ),
        ({"kind": "reward_model", "pairs": 0}, "pairs must be a whole number of at least 1, got 0"),
        ({"kind": "reward_model", "members": True}, "members must be a whole number of at least 1, got True"),
        ({"kind": "reward_model", "seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"kind": "reward_model", "l2": 0.0}, "l2 must be a finite number > 0, got 0.0"),
        ({"kind": "reward_model", "label_bias": 1.5}, "label_bias must be a number in [0, 1], got 1.5"),
        (
            {"kind": "reward_model", "aggregate": "best"},
            "aggregate must be one of deviation, minimum, variance",
        ),
        ({"kind": "reward_model", "strength": 0.5}, "strength must be 0 for one member, got 0.5"),
        ({"kind": "reward_model", "aggregate": "minimum"}, "aggregate must be 'deviation' for one member"),
        (
            {"kind": "reward_model", "members": 3, "aggregate": "minimum", "strength": 0.5},
            "strength must be 0 for the minimum, got 0.5",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(choices, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        answer(**choices)


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("bias", "attributes"), ("groups", "attributes"), ("drift", "attributes"), ("cyclic", "attributes"),
        ("worst_case", "pair_scores"), ("reward_model", "learned"),
    ],
)  # fmt: skip
def test_an_oracle_says_what_it_lacks(kind, missing):
    with pytest.raises(ValueError, match=f"{missing} must be .* for kind {kind}, got None"):
        ask(OracleConfig(kind, 0.1 * (kind != "reward_model")), REWARDS)


def test_groups_need_prompts_and_a_reward_model_fits_the_responses():
    with pytest.raises(ValueError, match="prompts must be X texts for kind groups, got None"):
        ask(OracleConfig("groups", 0.1), REWARDS, attributes={"filler": FILLER})
    with pytest.raises(ValueError, match=r"truth.shape must be \(6, 4, 4\), got \(6, 5, 5\)"):
        ask(OracleConfig("reward_model"), REWARDS, learned=LEARNED[:, :4])


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_a_drift_is_the_truth_at_first_and_the_bias_at_last(progress):
    found = ask(OracleConfig("drift", 0.15), REWARDS, attributes={"filler": FILLER}, progress=progress)
    assert np.array_equal(found.preferences, bias(truth(REWARDS), FILLER, 0.15 * progress))
    assert found.deviation == pytest.approx(0.15 * progress, abs=1e-15)


def test_an_oracle_that_is_not_told_the_progress_is_at_its_end():
    found = ask(OracleConfig("drift", 0.15), REWARDS, attributes={"filler": FILLER})
    assert found.deviation == pytest.approx(0.15, abs=1e-15)


def test_settings_of_other_kinds_are_unread():
    fits = {"pairs", "members", "aggregate", "label_bias", "l2", "seed"}
    assert OracleConfig("bias").unread == fits | {"groups"}
    assert OracleConfig("groups").unread == fits
    assert OracleConfig("reward_model").unread == {"groups"}
    reading = [kind for kind in KINDS if OracleConfig(kind).reads_attribute]
    assert reading == ["bias", "groups", "drift", "cyclic"]
    assert OracleConfig("reward_model", label_bias=0.1).reads_attribute


@pytest.mark.parametrize("kind", ["truth", "flip", "bias", "worst_case", "flatten"])
def test_an_oracle_with_rewards_of_its_own_is_wrong_by_these_too(kind):
    own = RNG.uniform(0, 1.5, REWARDS.shape)
    config = OracleConfig(kind, 0.0 if kind == "truth" else 0.1)
    details = {"attributes": {"filler": FILLER}, "pair_scores": SCORES}
    found = ask(config, REWARDS, learned=own, **details)
    np.testing.assert_array_equal(found.preferences, ask(config, own, **details).preferences)
    np.testing.assert_array_equal(found.truth, truth(REWARDS))
    assert found.deviation == np.abs(found.preferences - truth(REWARDS)).max() > 0.1


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
