"""What a step learns from: each scheme samples its law, sets are stored and used again, labels are what they say."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from rsail.lm import Samples
from rsail.oracles import truth
from rsail.study.gradient_check import chi_square
from rsail.training import OnlineConfig, collection, method_config
from rsail.training.checkpoint import make_generators
from rsail.training.collection import (
    Batch,
    accept,
    batch_targets,
    collect,
    collect_set,
    digest,
    join,
    make_targets,
)
from rsail.training.config import build
from rsail.training.context import batch_context, group_indices
from rsail.training.options import EXTRA_FROM
from rsail.training.state import begin_run
from rsail.training.uncertainty import no_observations, observe, response_features, uncertainty

from .enumerated import LONGEST, World, response_law
from .runs import TEXTS, indices, judged, make_state, prompt_of

DRAWS = 4000  # pairs per prompt


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture
def state(world, monkeypatch):
    judged(monkeypatch, world)
    return make_state(world, seed=3)


def config_of(**changes) -> OnlineConfig:
    base = {"loss": "dpo", "beta": 0.7, "score_weight": 0.0, "prompts_per_step": 8, "max_new_tokens": LONGEST}
    return build(OnlineConfig, {**base, **changes})


def p_value(drawn, law) -> float:
    """Of lists of responses, as their number in the law (Y, ..., Y), against it."""
    statistic, freedom = chi_square(drawn[None], np.log(np.maximum(law.ravel(), 1e-300))[None])
    return float(stats.chi2.sf(statistic, freedom))


def numbers(drawn, size: int) -> np.ndarray:
    """Lists (..., K) of responses as numbers in a law (Y, ..., Y)."""
    return np.ravel_multi_index(np.moveaxis(drawn, -1, 0), [size] * drawn.shape[-1])


SCHEMES = {
    "on_policy": {},
    "hybrid": {},
    "best_worst": {"candidates": 3},
    "enhancer": {"candidates": 2},
    "rejection": {"candidates": 3},
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_draws_pairs_from_its_law_and_from_no_other(state, world, monkeypatch, scheme):
    config = config_of(collection={"scheme": scheme, **SCHEMES[scheme]})
    if scheme == "enhancer":  # features of the table, and nothing seen yet

        def features(model, samples):
            return torch.from_numpy(world.features[prompt_of(samples), indices(world, samples)])

        monkeypatch.setattr(collection, "response_features", features)
        state.memory["moments"] = no_observations(3)
    prompts = [text for text in TEXTS for _ in range(DRAWS)]
    drawn = indices(world, collection.draw(config, state, prompts)).reshape(2, DRAWS, 2)
    drawn = numbers(drawn, world.own.shape[1])
    configs = {other: config_of(collection={"scheme": other, **SCHEMES[other]}) for other in SCHEMES}
    for x in range(2):
        laws = {other: response_law(configs[other], world, world.own)[x] for other in SCHEMES}
        p = {other: p_value(drawn[x], law) for other, law in laws.items()}
        assert p.pop(scheme) > 1e-3
        assert max(p.values()) < 1e-6


@pytest.mark.parametrize(
    ("scheme", "candidates", "count"), [("best_worst", 3, 2), ("rejection", 3, 2), ("rejection", 4, 3)]
)
def test_candidates_are_chosen_by_the_oracle_of_the_run_and_not_by_the_truth(
    state, world, scheme, candidates, count
):
    config = config_of(
        collection={"scheme": scheme, "candidates": candidates}, responses_per_prompt=count,
        oracle={"kind": "bias", "strength": 0.4, "attribute": "charm"}, beta=1.5,
    )  # fmt: skip
    prompts = [text for text in TEXTS for _ in range(DRAWS)]
    drawn = indices(world, collection.draw(config, state, prompts)).reshape(2, DRAWS, count)
    drawn = numbers(drawn, world.own.shape[1])
    asked, true = (response_law(config, w, world.own) for w in (world.asked(config.oracle), world.having()))
    for x in range(2):
        assert p_value(drawn[x], asked[x]) > 1e-3
        assert p_value(drawn[x], true[x]) < 1e-6


def test_three_responses_of_the_policy_are_independent(state, world):
    config = config_of(responses_per_prompt=3)
    drawn = indices(world, collection.draw(config, state, TEXTS[:1] * DRAWS)).reshape(DRAWS, 3)
    law = response_law(config, world, world.own)[0]
    assert p_value(numbers(drawn, world.own.shape[1]), law) > 1e-3


def test_many_candidates_accepted_follow_the_gibbs_law(world):
    """The first accepted of many from pi_ref: pi_ref exp(s / beta) / Z."""
    rng, law, scores, beta = np.random.default_rng(0), np.exp(world.ref[0]), world.rewards[0], 0.7
    chosen = rng.choice(len(law), size=(3000, 60), p=law / law.sum())
    first = np.array([row[accept(scores[row], beta, 1, rng)[0]] for row in chosen])
    gibbs = law * np.exp(scores / beta)
    seen = np.bincount(first, minlength=len(law)) / len(first)
    assert np.abs(seen - gibbs / gibbs.sum()).sum() / 2 < 0.03
    assert np.abs(seen - law).sum() / 2 > 0.2


def test_accepted_candidates_are_distinct_and_the_best_of_a_pass_is_among_them():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(200, 6))
    for row in scores:
        for count in (1, 2, 6):
            kept = accept(row, 0.05, count, rng)
            assert len(set(kept)) == count
        assert row.argmax() in kept
    with pytest.raises(ValueError, match="count must be at most the 6 candidates, got 7"):
        accept(scores[0], 1.0, 7, rng)


@pytest.mark.parametrize(("seen", "wanted"), [(0.0, 1), (1000.0, 2)])
def test_the_second_response_of_the_enhancer_avoids_what_was_compared_before(
    state, monkeypatch, seen, wanted
):
    """A direction that was seen a thousand times tells little: the other one is chosen, however short."""
    config = config_of(collection={"scheme": "enhancer", "candidates": 3}, prompts_per_step=1)
    features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.3], [0.9, 0.0]], dtype=torch.float64)
    monkeypatch.setattr(collection, "response_features", lambda model, samples: features)
    monkeypatch.setattr(collection, "pick", lambda samples, rows, count: rows)
    before = observe(no_observations(2), torch.tensor([[1.0, 0.0]]), seen)
    state.memory["moments"] = before.clone()
    assert collection.draw(config, state, TEXTS[:1]).tolist() == [0, wanted]
    gap = (features[wanted] - features[0])[:, None]
    torch.testing.assert_close(state.memory["moments"], before + gap @ gap.T)


def test_the_moments_of_the_enhancer_are_of_the_initial_model_and_means_over_prompts(state, world):
    """The policy is another model by now; its hidden states are no features."""
    config = config_of(collection={"scheme": "enhancer", "candidates": 2})
    state.memory["moments"] = no_observations(8)
    pairs = collection.draw(config, state, TEXTS * 3)
    features = response_features(world.initial, pairs).numpy()
    other = response_features(world.policy, pairs).numpy()
    moments, with_others = (
        np.eye(8) + sum(np.outer(z, z) for z in table[1::2] - table[::2]) / 6 for table in (features, other)
    )
    np.testing.assert_allclose(state.memory["moments"].numpy(), moments, atol=1e-12)
    assert np.abs(moments - with_others).max() > 1e-3


# Uncertainty.


def test_uncertainty_is_the_norm_in_the_inverse_moments():
    """The vector of the enhancer's test case: Sigma = diag(1.5625, 1.01)."""
    rows = torch.tensor([[1.0, 0], [1, 0], [0.5, 0], [0, 0.2]], dtype=torch.float64)
    moments = observe(no_observations(2), rows, 1 / 4)
    torch.testing.assert_close(moments, torch.diag(torch.tensor([1.5625, 1.01], dtype=torch.float64)))
    found = uncertainty(moments, torch.eye(2, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), [0.8, 0.99504], atol=1e-5)
    with pytest.raises(ValueError, match=r"directions.shape must be \(..., 2\), got \(2, 3\)"):
        uncertainty(moments, torch.zeros(2, 3))


def test_features_are_the_mean_hidden_state_of_the_response_whatever_the_padding(world):
    short = Samples(*(part[:3] for part in world.responses))
    features = response_features(world.initial, short)
    wider = Samples(
        torch.nn.functional.pad(short.prompt_ids, (2, 0)), torch.nn.functional.pad(short.prompt_mask, (2, 0)),
        torch.nn.functional.pad(short.response_ids, (0, 3)), torch.nn.functional.pad(short.response_mask, (0, 3)),
    )  # fmt: skip
    torch.testing.assert_close(response_features(world.initial, wider), features, rtol=0, atol=1e-12)
    ids = torch.cat([short.prompt_ids[1:2], short.response_ids[1:2, :2]], 1)
    hidden = world.initial(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, 2:]
    torch.testing.assert_close(features[1], hidden.mean(0) / 8**0.5)


def by_hand(moments: np.ndarray, direction: np.ndarray) -> float:
    return float(np.sqrt(direction @ np.linalg.inv(moments) @ direction))


def test_pessimism_measures_responses_by_the_offline_set(state, world):
    """Gamma = |phi - v| in Sigma^-1, Sigma = 1 + sum over the pairs of z z^T, v the mean feature of the set."""
    config = method_config("gshf_offline", max_new_tokens=LONGEST, collection={"stored_prompts": 5})
    begin_run(config, state)
    features = response_features(world.initial, state.offline.samples).numpy()
    gaps = features[::2] - features[1::2]
    moments = np.eye(8) + sum(np.outer(z, z) for z in gaps)
    np.testing.assert_allclose(state.memory["moments"].numpy(), moments, atol=1e-12)
    batch = Batch(TEXTS[:1] * 5, np.arange(5), state.offline.samples, state.offline.targets)
    empty = torch.zeros(5, 0, dtype=torch.float64)
    context = batch_context(config, state, batch, empty, empty, [])
    wanted = [by_hand(moments, phi - features.mean(0)) for phi in features]
    np.testing.assert_allclose(context.uncertainty.numpy().ravel(), wanted, atol=1e-9)
    assert context.fresh == 0 and context.further is None


def test_the_bonus_of_copo_is_that_before_the_visit(state, world):
    config = method_config("copo", prompts_per_step=3, max_new_tokens=LONGEST)
    begin_run(config, state)
    moments = np.eye(8)
    log_probs = torch.zeros(3, 1, dtype=torch.float64)
    for _ in range(2):
        batch = collect(config, state)
        features = response_features(world.initial, Samples(*(part[6:] for part in batch.samples))).numpy()
        context = batch_context(config, state, batch, log_probs, log_probs - 1.0, [])
        wanted = [0.1 * by_hand(moments, phi) for phi in features]
        np.testing.assert_allclose(context.further.bonus.numpy().ravel(), wanted, atol=1e-9)
        assert (context.further.log_ratio == 1.0).all() and context.fresh is None
        moments = moments + sum(np.outer(phi, phi) for phi in features) / 3


def test_a_prompt_belongs_to_one_group():
    task = SimpleNamespace(groups=lambda prompts: {"a": np.array([1, 0, 0]), "b": np.array([0, 1, 1])})
    assert group_indices(task, ["x", "y", "z"]).tolist() == [0, 1, 1]
    task.groups = lambda prompts: {"a": np.array([1, 0, 0]), "b": np.array([1, 1, 1])}
    with pytest.raises(ValueError, match=r"task.groups must be a partition .*, got \['x'\]"):
        group_indices(task, ["x", "y", "z"])


# Batches.


def test_rows_are_joined_prompt_by_prompt_with_padding_on_the_outer_sides():
    one = Samples(torch.tensor([[5]]), torch.tensor([[1]]), torch.tensor([[6, 7]]), torch.tensor([[1, 1]]))
    other = Samples(torch.tensor([[3, 4]]), torch.tensor([[1, 1]]), torch.tensor([[8]]), torch.tensor([[1]]))
    both = join([one, other], 9)
    assert [part.tolist() for part in both] == [
        [[9, 5], [3, 4]], [[0, 1], [1, 1]], [[6, 7], [8, 9]], [[1, 1], [1, 0]]
    ]  # fmt: skip
    assert join([one], 9) is one


def test_a_share_of_the_prompts_comes_from_the_offline_set_with_its_labels(state, world):
    config = config_of(labels="drawn", collection={"offline_share": 0.25, "stored_prompts": 40})
    begin_run(config, state)
    responses = indices(world, state.offline.samples).reshape(-1, 2)
    first = state.offline.targets[:, 0, 1]
    kept = set(zip(state.offline.prompts.tolist(), *responses.T.tolist(), first.tolist(), strict=True))
    batch = collect(config, state)
    assert len(batch.prompts) == 8 and batch.stored.shape == (2, 2, 2)
    found = indices(world, batch.samples).reshape(-1, 2)
    assert [TEXTS[int(token == 2)] for token in batch.samples.prompt_ids[::2, 0]] == batch.prompts
    for row, target in zip(range(6, 8), batch.stored, strict=True):
        assert (TEXTS.index(batch.prompts[row]), *found[row].tolist(), target[0, 1].item()) in kept
        assert target[0, 1] in (0, 1) and target[0, 1] + target[1, 0] == 1
    targets = batch_targets(config, state, batch, np.full((8, 2, 2), 0.5), np.zeros((8, 2, 2)))
    assert (targets[6:] == batch.stored.numpy()).all() and set(targets[:6, 0, 1]) <= {0.0, 1.0}


def test_the_offline_set_is_of_the_initial_model_and_the_same_for_the_same_seed(state, world):
    config = config_of(labels="drawn", collection={"scheme": "offline", "stored_prompts": 2 * DRAWS})
    pairs = collect_set(config, state, offline=True)
    x = pairs.prompts.numpy()
    drawn = indices(world, pairs.samples).reshape(-1, 2)
    flat = numbers(drawn, world.own.shape[1])
    for prompt in range(2):
        law, other = (np.exp(t[prompt][:, None] + t[prompt][None]) for t in (world.first, world.own))
        own = flat[x == prompt]
        assert p_value(own, law) > 1e-3 > p_value(own, other)
    wins, chances = pairs.targets[:, 0, 1].numpy(), world.preferences[x, drawn[:, 0], drawn[:, 1]]
    error = (wins - chances).mean() / np.sqrt((chances * (1 - chances)).mean() / len(wins))
    assert abs(error) < 4 and set(wins) == {0.0, 1.0}
    small = config_of(labels="drawn", collection={"scheme": "offline", "stored_prompts": 8})
    made = []
    for seed in (5, 5, 6):
        state.generators = make_generators(seed)
        made.append(digest(collect_set(small, state, offline=True)))
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("field", ["prompts", "prompt_ids", "response_ids", "response_mask", "targets"])
def test_the_digest_of_a_set_covers_all_of_it(state, field):
    pairs = collect_set(config_of(collection={"scheme": "offline", "stored_prompts": 4}), state, offline=True)
    before = digest(pairs)
    tensor = getattr(pairs, field) if field in ("prompts", "targets") else getattr(pairs.samples, field)
    tensor.view(-1)[0] += 1
    assert digest(pairs) != before


def test_labels_of_the_policy_leave_the_offline_responses_without_stored_ones(state, world):
    config = method_config(
        "sail_ddp", prompts_per_step=5, max_new_tokens=LONGEST, collection={"stored_prompts": 30}
    )
    begin_run(config, state)
    batch = collect(config, state)
    assert len(batch.prompts) == 5 and len(batch.stored) == 3
    known = {tuple(row) for row in indices(world, state.offline.samples).reshape(-1, 2).tolist()}
    assert {tuple(row) for row in indices(world, batch.samples).reshape(-1, 2).tolist()} <= known
    sure = np.array([[0.0, 1e3], [-1e3, 0.0]]) * np.ones((5, 1, 1))
    targets = batch_targets(config, state, batch, np.full((5, 2, 2), 0.5), sure)
    assert (targets[:2, 0, 1] == 1).all() and (targets[2:] == batch.stored.numpy()).all()


# Methods that move their reference call its samples those of the last round's policy.
SOURCES = {
    "vpo_online": "ref", "vpo_offline": "ref", "selm": "ref", "copo": "ref", "reference_kl": "ref",
    "spac_anchored": "ref", "spac_smoothed": "ref", "hypo": "own",
}  # fmt: skip


def test_every_term_that_draws_responses_has_a_source():
    assert set(SOURCES) == set(EXTRA_FROM)


@pytest.mark.parametrize("term", SOURCES)
def test_further_responses_of_a_term_are_of_the_model_it_asks_for(state, world, term):
    source = SOURCES[term]
    config = config_of(
        addition={"term": term, "term_weight": 1.0, "term_samples": 500},
        prompts_per_step=8,
        responses_per_prompt=2,
    )
    batch = collect(config, state)
    assert len(batch.samples.response_ids) == 8 * 2 + 8 * 500
    further = Samples(*(part[16:] for part in batch.samples))
    drawn, x = indices(world, further), prompt_of(further)
    assert [TEXTS[k] for k in x[::500]] == batch.prompts
    laws = {name: getattr(world, name) for name in ("own", "ref", "first")}
    for prompt in range(2):
        p = {}
        for name, law in laws.items():
            statistic, freedom = chi_square(drawn[None, x == prompt], law[None, prompt])
            p[name] = stats.chi2.sf(statistic, freedom)
        assert p.pop(source) > 1e-3 and max(p.values()) < 1e-3


# Labels.


def test_labels_are_probabilities_drawn_preferred_or_the_policys_own():
    rng, config = np.random.default_rng(0), config_of()
    preferences = truth(np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]))
    scores = np.array([[0.0, 5.0], [0.0, 1.0], [3.0, 0.0]])
    h = scores[:, :, None] - scores[:, None, :]
    made = {kind: make_targets(config, preferences, h, rng, labels=kind) for kind in ("probability", "hard")}
    assert made["probability"] is preferences
    np.testing.assert_array_equal(made["hard"][:, 0, 1], [0, 1, 0.5])
    for kind, law in (("drawn", preferences), ("policy", truth(config.beta * scores))):
        draws = np.mean([make_targets(config, preferences, h, rng, labels=kind) for _ in range(4000)], axis=0)
        np.testing.assert_allclose(draws, law, atol=0.03)


def test_targets_of_reward_and_list_losses_are_scores_and_rankings():
    rng, rewards = np.random.default_rng(0), np.array([[0.0, 2.0, 1.0]])
    config = method_config("rebel")
    found = make_targets(config, truth(rewards), None, rng, labels="probability")
    np.testing.assert_allclose(found, rewards - rewards.mean(), atol=1e-12)
    config = method_config("listwise_pl", responses_per_prompt=3)
    assert make_targets(config, truth(rewards), None, rng, labels="hard").tolist() == [[1, 2, 0]]
    seen = [tuple(make_targets(config, truth(rewards), None, rng, labels="drawn")[0]) for _ in range(4000)]
    for ranking in itertools.permutations(range(3)):
        ordered = np.exp(rewards[0, list(ranking)])
        law = np.prod([ordered[k] / ordered[k:].sum() for k in range(3)])
        assert seen.count(ranking) / 4000 == pytest.approx(law, abs=0.03)
