"""Reward models: features of texts, the maximum-likelihood fit, ensembles, and what is refused."""

import re
import zlib
from functools import partial

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import expit

from rsail.oracles import RewardModel, fit_reward_model
from rsail.oracles.reward_model import WIDTH, conservative, features, fit_bradley_terry

TOPICS = {"birds": ["robin", "owl", "heron", "wren"], "tools": ["saw", "axe", "drill", "file"]}
WORDS = [word for words in TOPICS.values() for word in words] + ["really", "big", "old", "."]


def written(count: int, seed: int):
    """Prompts and pairs of responses of one to seven words, with the true reward of each, (n,) and (n,)."""
    rng = np.random.default_rng(seed)
    prompts = [f"<bos> name some {topic} <answer>" for topic in rng.choice(list(TOPICS), count)]
    pairs = [[" ".join(rng.choice(WORDS, rng.integers(1, 8))) for _ in prompts] for _ in range(2)]
    return prompts, *pairs


def gold(prompts, responses):
    """2 for each different word on the topic, at most 3 of them, and not linear in the features."""
    return np.array(
        [
            2.0 * min(3, len(set(r.split()) & set(TOPICS[p.split()[3]])))
            for p, r in zip(prompts, responses, strict=True)
        ]
    )


def fitted(count: int, *, seed: int = 0, **options) -> RewardModel:
    prompts, first, second = written(count, seed)
    rng = np.random.default_rng([seed, 1])
    labels = rng.random(count) < expit(gold(prompts, first) - gold(prompts, second))
    return fit_reward_model(prompts, first, second, labels, rng, **options)


def agreement(model, seed: int = 99) -> float:
    """Share of held-out pairs with a truly better response that the model ranks as the truth does."""
    prompts, first, second = written(2000, seed)
    true = gold(prompts, first) - gold(prompts, second)
    said = model(prompts, first) - model(prompts, second)
    return float((said * true > 0)[true != 0].mean())


def column(text: str) -> int:
    return zlib.crc32(text.encode()) % WIDTH


def test_features_count_words_alone_and_with_the_request_over_the_root_of_the_length():
    table = features(["<bos> Name some birds <answer>"], ["Owl , owl ."]).toarray()[0]
    expected = {"owl": 1.0, ",": 0.5, ".": 0.5, "birds\towl": 1.0, "birds\t,": 0.5, "birds\t.": 0.5}
    assert {column(text): value for text, value in expected.items()} == dict(
        zip(np.flatnonzero(table), table[table != 0], strict=True)
    )


def test_empty_texts_have_no_features():
    assert features(["", "<answer>", "a"], ["", "", ""]).nnz == 0
    assert features(["<answer>"], ["owl"]).nnz == 2
    assert features([], []).shape == (0, WIDTH)


def test_one_feature_is_fitted_to_the_known_optimum():
    """n comparisons of one unit difference, k won: sigma(w) - k / n = -l2 w / n."""
    labels = np.array([1.0] * 70 + [0.0] * 30)
    weights = fit_bradley_terry(np.ones((100, 1)), labels, l2=2.0)
    assert expit(weights[0]) == pytest.approx(0.7 - 2.0 * weights[0] / 100, abs=1e-6)
    nearly_free = fit_bradley_terry(np.ones((100, 1)), labels, l2=1e-6)
    assert nearly_free[0] == pytest.approx(np.log(0.7 / 0.3), abs=1e-5)


def objective(weights, table, labels, counts, l2):
    margin = table @ weights
    return counts @ np.logaddexp(0, np.where(labels == 1, -margin, margin)) + l2 / 2 * weights @ weights


def test_the_fit_is_a_minimum_and_counts_are_repetitions():
    rng = np.random.default_rng(0)
    table, labels = rng.normal(size=(40, 5)), rng.integers(0, 2, 40).astype(float)
    table[:, 3] = 0
    counts = rng.integers(0, 3, 40)
    weights = fit_bradley_terry(table, labels, l2=0.7, counts=counts)
    value = partial(objective, table=table, labels=labels, counts=counts, l2=0.7)
    assert check_grad(value, np.zeros_like, weights) < 1e-4
    assert weights[3] == 0
    again = fit_bradley_terry(np.repeat(table, counts, axis=0), np.repeat(labels, counts), l2=0.7)
    assert np.allclose(weights, again, atol=1e-5)


def test_more_comparisons_agree_more_with_the_truth():
    found = [agreement(fitted(count)) for count in (20, 150, 2000)]
    assert found[0] < found[1] - 0.03 < found[2] - 0.06
    assert found[2] > 0.9


def test_labels_turned_round_turn_the_model_round():
    prompts, first, second = written(200, 0)
    labels = np.random.default_rng(0).random(200) < 0.5
    fit = partial(fit_reward_model, prompts, first, second)
    one, other = fit(labels, np.random.default_rng(0)), fit(~labels, np.random.default_rng(0))
    assert np.allclose(one.weights, -other.weights, atol=1e-6)


@pytest.mark.parametrize("members", [1, 3])
def test_the_fit_is_the_same_each_time_and_centered(members):
    first, again, other = (fitted(100, members=members, seed=seed) for seed in (0, 0, 1))
    assert first.digest() == again.digest() != other.digest()
    prompts, *pairs = written(100, 0)
    scores = first.members(prompts * 2, pairs[0] + pairs[1])
    assert scores.shape == (members, 200)
    assert np.allclose(scores.mean(axis=1), 0, atol=1e-12)


def test_members_differ_and_are_fitted_on_resamples():
    model = fitted(300, members=4)
    assert len({row.tobytes() for row in model.weights}) == 4
    prompts, first, second = written(300, 0)
    rng = np.random.default_rng([0, 1])
    labels = rng.random(300) < expit(gold(prompts, first) - gold(prompts, second))
    counts = rng.multinomial(300, [1 / 300] * 300, size=4)
    rows = np.repeat(np.arange(300), counts[2])
    by_hand = fit_bradley_terry(
        (features(prompts, first) - features(prompts, second))[rows], labels[rows], l2=1.0
    )
    assert np.allclose(model.weights[2], by_hand, atol=1e-5)


SCORES = np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 6.0]])  # means 3, 2; variances 4, 12


@pytest.mark.parametrize(
    ("aggregate", "weight", "expected"),
    [
        ("deviation", 0.5, [3 - 0.5 * 2, 2 - 0.5 * 12**0.5]),
        ("variance", 0.5, [3 - 0.5 * 4, 2 - 0.5 * 12]),
        ("minimum", 0.0, [1, 0]),
        ("deviation", 0.0, [3, 2]),
    ],
)
def test_the_aggregate_is_conservative_as_stated(aggregate, weight, expected):
    assert np.allclose(conservative(SCORES, aggregate, weight), expected, atol=1e-12)
    assert np.array_equal(conservative(SCORES[:1], aggregate, weight), SCORES[0])


def test_an_ensemble_answers_with_its_aggregate():
    model = fitted(200, members=3, aggregate="variance", weight=0.3)
    prompts, first, _ = written(20, 5)
    scores = model.members(prompts, first)
    assert np.allclose(model(prompts, first), scores.mean(0) - 0.3 * scores.var(0, ddof=1), atol=1e-12)


def test_a_model_survives_its_file_and_a_damaged_file_is_refused():
    model = fitted(50, members=2, weight=0.5)
    content = model.to_bytes()
    again = RewardModel.from_bytes(content, "deviation", 0.5)
    prompts, first, _ = written(20, 5)
    assert np.array_equal(again(prompts, first), model(prompts, first)) and again.digest() == model.digest()
    for damaged in (b"", content[:-30], content[:200] + bytes([content[200] ^ 1]) + content[201:]):
        with pytest.raises(ValueError, match="reward model must be as it was saved, it is damaged"):
            RewardModel.from_bytes(damaged, "deviation", 0.5)


def test_one_wrong_bit_in_its_file_is_refused_or_changes_nothing():
    """The archive has bits that nobody reads; others make the library ask for a password, say."""
    model = RewardModel(np.ones((2, 3)), np.zeros(2), "deviation", 0.5)
    content, refused = model.to_bytes(), 0
    for at in range(len(content)):
        damaged = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
        try:
            assert RewardModel.from_bytes(damaged, "deviation", 0.5).digest() == model.digest()
        except ValueError as error:
            assert "it is damaged" in str(error)
            refused += 1
    assert refused > 0.5 * len(content)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: features(["a"], []), "responses must be as many as the 1 prompts, got 0"),
        (lambda: fit_bradley_terry(np.ones((2, 1)), [1.0], l2=1), "labels.shape must be (2,), got (1,)"),
        (
            lambda: fit_bradley_terry(np.ones((1, 1)), [2.0], l2=1),
            "labels must be numbers in [0, 1], got [2.0]",
        ),
        (lambda: fit_bradley_terry(np.ones((1, 1)), [1.0], l2=0), "l2 must be a finite number > 0, got 0"),
        (
            lambda: fit_bradley_terry(np.ones((1, 1)), [1.0], l2=1, counts=[1, 1]),
            "counts.shape must be (1,), got (2,)",
        ),
        (lambda: fitted(1, members=0), "members must be at least 1, got 0"),
        (lambda: fitted(0), "prompts must be at least one comparison, got 0"),
        (lambda: conservative(SCORES, "best", 0.1), "aggregate must be one of deviation, minimum, variance"),
        (lambda: conservative(SCORES, "variance", -1), "weight must be a finite number >= 0, got -1"),
        (lambda: conservative(SCORES * np.nan, "variance", 1), "scores must be finite"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
