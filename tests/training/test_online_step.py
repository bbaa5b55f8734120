"""What a step hands on: log-ratios with their sign, groups of its pairs, the reference of its round."""

import copy

import numpy as np
import pytest
import torch

from rsail.lm import fingerprint
from rsail.training import loop, method_config
from rsail.training.context import Context
from rsail.training.objective import online_loss
from rsail.training.state import begin_round, begin_run

from .enumerated import LONGEST, World
from .runs import indices, judged, make_state, prompt_of


@pytest.fixture(scope="module")
def world():
    return World()


def step(world, monkeypatch, config):
    """Prompts (X,) and responses (X, K) of one step, as numbers, and its targets."""
    judged(monkeypatch, world)
    monkeypatch.setattr(loop, "step_metrics", lambda *_: {})
    batches, targets = [], []
    collect = loop.collect
    monkeypatch.setattr(loop, "collect", lambda *a: batches.append(collect(*a)) or batches[-1])
    monkeypatch.setattr(loop, "online_loss", lambda *a: targets.append(a[3]) or online_loss(*a))
    state = make_state(world, 0)
    begin_run(config, state)
    loop.online_step(config, state)
    samples = batches[0].samples
    chosen = indices(world, samples).reshape(-1, config.responses_per_prompt)
    return prompt_of(samples)[:: config.responses_per_prompt], chosen, targets[0].numpy()


def config_of(**changes):
    return method_config("online_dpo", beta=1.5, prompts_per_step=2000, max_new_tokens=LONGEST, **changes)


def test_the_worst_case_is_against_what_the_policy_prefers(world, monkeypatch):
    config = config_of(labels="probability", oracle={"kind": "worst_case", "strength": 0.2})
    x, chosen, targets = step(world, monkeypatch, config)
    true = 1 / (1 + np.exp(-np.subtract(*world.rewards[x[:, None], chosen].T)))
    h = np.subtract(*(world.own - world.ref)[x[:, None], chosen].T)
    np.testing.assert_allclose(targets[:, 0, 1], np.clip(true - 0.2 * np.sign(h), 0, 1), atol=1e-6)
    assert (h > 0.1).any() and (h < -0.1).any()


def test_labels_of_the_policy_follow_its_log_ratios(world, monkeypatch):
    config = config_of(labels="policy", addition={"preference_weight": 1.0})
    x, chosen, targets = step(world, monkeypatch, config)
    h = np.subtract(*(world.own - world.ref)[x[:, None], chosen].T)
    law, labels = 1 / (1 + np.exp(-1.5 * h)), targets[:, 0, 1]
    # The covariance of labels and h, in standard errors around the law's and around that of the reversed law.
    error = np.sqrt((h**2 * law * (1 - law)).sum())
    assert abs((h * (labels - law)).sum()) < 4 * error < 8 * error < (h * (labels - 1 + law)).sum()


def test_each_pair_of_three_responses_belongs_to_the_group_of_its_prompt():
    """Losses of the first group are large: its weight grows, and the value is the weighted mean of both."""
    config = method_config("group_robust", responses_per_prompt=3, addition={"reweighting_strength": 0.5})
    rng = np.random.default_rng(0)
    log_probs = torch.from_numpy(rng.normal(size=(4, 3)) * [[9.0], [0.1], [9.0], [0.1]])
    memory = {"group_weights": torch.full((2,), 0.5, dtype=torch.float64)}
    context = Context(groups=torch.tensor([0, 1, 0, 1]), memory=memory)
    targets = torch.full((4, 3, 3), 0.5, dtype=torch.float64)
    value = online_loss(config, log_probs, torch.zeros(4, 3, dtype=torch.float64), targets, context)
    h = np.stack([log_probs[:, i] - log_probs[:, j] for i, j in ((0, 1), (0, 2), (1, 2))], 1)
    losses = ((h - 1 / (2 * config.beta)) ** 2 + (h + 1 / (2 * config.beta)) ** 2) / 2
    means = np.array([losses[::2].mean(), losses[1::2].mean()])
    weights = np.exp(0.5 * means) / np.exp(0.5 * means).sum()
    np.testing.assert_allclose(memory["group_weights"].numpy(), weights, atol=1e-12)
    assert value.item() == pytest.approx(weights @ means, abs=1e-9)


def test_the_pairs_of_a_round_are_collected_after_its_reference_has_moved(world, monkeypatch):
    config = method_config(
        "multi_step_rso", max_new_tokens=LONGEST, collection={"collected": "round", "stored_prompts": 4}
    )
    state = make_state(world, 0)
    state.reference = copy.deepcopy(world.reference)
    judged(monkeypatch, world)
    seen = []
    monkeypatch.setattr(
        "rsail.training.state.collect_set",
        lambda config, state, offline: seen.append(fingerprint(state.reference)),
    )
    begin_round(config, state)
    assert seen == [fingerprint(world.policy)] != [fingerprint(world.reference)]
