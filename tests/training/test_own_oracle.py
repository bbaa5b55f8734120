"""An oracle of the user's own is asked wherever one is asked, checked, and known again when a run goes on."""

import functools

import numpy as np
import pytest
from scipy.special import expit

from rsail.language import gold_reward
from rsail.oracles import OracleConfig, ask, truth
from rsail.training import OnlineConfig, evaluate, loop, train
from rsail.training.checkpoint import read_log
from rsail.training.config import build
from rsail.training.own_oracle import oracle_identity, own_preferences

REWARDS = np.array([[0.0, 1.0, 0.5]])


def tells_the_truth(prompts, first, second):
    return expit(gold_reward(prompts, first) - gold_reward(prompts, second))


def likes_length(prompts, first, second):
    return [float(len(one) > len(other)) for one, other in zip(first, second, strict=True)]


class Judge:
    """An object is known by its digest, whatever it reads."""

    def __init__(self, digest: str = "1"):
        self.digest = digest

    def __call__(self, prompts, first, second):
        return likes_length(prompts, first, second)


class Texts:
    """A tokenizer that finds the samples to be texts."""

    def batch_decode(self, ids, skip_special_tokens):
        return ids


class Drawn:
    def __init__(self, texts):
        self.response_ids = texts


ONE = [(Drawn(["a", "bbb", "cc", "d"]), 2), (Drawn(["ee", "f"]), 1)]  # two prompts, 2 + 1 responses


def config_of(settings, name: str = "run", **changes):
    return build(
        OnlineConfig, settings(name, **{"oracle": {"kind": "truth"}, "rho": 0.0, "steps": 2, **changes})
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"collection": {"scheme": "best_worst", "candidates": 3}, "score_weight": 0.0},
        {"collection": {"scheme": "offline", "stored_prompts": 4}, "score_weight": 0.0},
    ],
    ids=["step", "candidates", "stored"],
)
def test_one_that_tells_the_truth_makes_the_run_of_the_truth(settings, changes):
    asked = train(config_of(settings, "own", **changes), oracle=tells_the_truth, progress=False)
    plain = train(config_of(settings, "plain", **changes), progress=False)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        for one, other in zip(read_log(asked / name), read_log(plain / name), strict=True):
            assert one.keys() == other.keys()
            for key, value in one.items():
                assert value == pytest.approx(other[key], rel=1e-5, abs=1e-6), (name, key)


def test_a_resumed_run_equals_an_uninterrupted_one_and_evaluates_by_the_same_oracle(settings, monkeypatch):
    changes = {"steps": 3, "checkpoint_every": 1}
    whole = train(config_of(settings, "whole", **changes), oracle=likes_length, progress=False)
    step, calls = loop.online_step, iter(range(3))

    def stop(*arguments):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "online_step", stop)
        train(config_of(settings, "parts", **changes), oracle=likes_length, progress=False)
    for other in (None, tells_the_truth, Judge()):
        with pytest.raises(ValueError, match=r"different there: oracle \('likes_length "):
            train(config_of(settings, "parts", **changes), oracle=other, resume=True)
    parts = train(config_of(settings, "parts", **changes), oracle=likes_length, resume=True, progress=False)
    for name in ("metrics.jsonl", "evaluations.jsonl", "model/model.safetensors"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    *_, last = read_log(whole / "evaluations.jsonl")
    assert evaluate(whole, oracle=likes_length)["proxy/preference"] == last["proxy/preference"]
    with pytest.raises(ValueError, match=r"oracle must be that of the run, likes_length .*, got None"):
        evaluate(whole)


def test_every_pair_is_asked_about_once_with_its_prompt():
    asked = []

    def oracle(prompts, first, second):
        asked.extend(zip(prompts, first, second, strict=True))
        return np.arange(6) / 10

    found = own_preferences(oracle, Texts(), ["x", "y"], ONE)
    assert asked == [
        ("x", "a", "bbb"), ("x", "a", "ee"), ("x", "bbb", "ee"), ("y", "cc", "d"), ("y", "cc", "f"), ("y", "d", "f"),
    ]  # fmt: skip
    assert found[0, 0].tolist() == [0.5, 0.0, 0.1] and found[1, 1].tolist() == [0.7, 0.5, 0.5]
    np.testing.assert_allclose(found + found.transpose(0, 2, 1), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([0.5] * 5, r"oracle must be a function that gives 6 numbers, got \(5,\)"),
        ([0.5] * 5 + [1.2], r"oracle must be a function that gives probabilities, got array\(\[1.2\]\)"),
        ([0.5] * 5 + [-0.1], "a function that gives probabilities"),
        ([0.5] * 5 + [np.nan], "oracle must be finite"),
        (None, "oracle must be"),
    ],
)
def test_what_is_no_probability_for_each_pair_is_refused(answer, message):
    with pytest.raises(ValueError, match=message):
        own_preferences(lambda *texts: answer, Texts(), ["x", "y"], ONE)


def test_a_function_is_known_by_its_source_and_an_object_by_its_digest():
    config = OnlineConfig()
    assert oracle_identity(config, None) is None
    known = {oracle_identity(config, one) for one in (likes_length, tells_the_truth, Judge(), Judge("2"))}
    assert len(known) == 4 and {"Judge 1", "Judge 2"} < known
    assert oracle_identity(config, likes_length) == oracle_identity(config, likes_length)


def test_what_would_not_be_known_again_is_refused_before_any_work(settings, tmp_path):
    threshold = 3
    names = {}
    exec("def typed(prompts, first, second): return [0.5 for _ in prompts]", names)
    strange = [
        functools.partial(likes_length), np.subtract, "likes_length", Judge(""), names["typed"],
        lambda prompts, first, second: [len(one) > threshold for one in first],
    ]  # fmt: skip
    for oracle in strange:
        with pytest.raises(ValueError, match="oracle must be"):
            train(config_of(settings, "never"), oracle=oracle)
    with pytest.raises(ValueError, match=r"config\.oracle must be the default, with an oracle of one's own"):
        train(config_of(settings, "never", oracle={"kind": "bias", "strength": 0.1}), oracle=likes_length)
    assert not (tmp_path / "never").exists()


def test_an_answer_from_outside_replaces_the_kind_and_is_measured_against_the_truth():
    own = np.array([[[0.5, 0.2, 0.2], [0.8, 0.5, 0.9], [0.8, 0.1, 0.5]]])
    answer = ask(OracleConfig(), REWARDS, answered=own)
    assert np.array_equal(answer.preferences, own) and np.array_equal(answer.truth, truth(REWARDS))
    assert answer.deviation == pytest.approx(abs(own - truth(REWARDS)).max())
    with pytest.raises(ValueError, match=r"answered\.shape must be \(1, 3, 3\)"):
        ask(OracleConfig(), REWARDS, answered=own[:, :2])
