"""Measures of ragged batches against numbers written down by hand: padding counts nowhere."""

import math
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsail.lm import Samples
from rsail.oracles import Answer, truth
from rsail.training.measures import identical_pairs, pair_losses, sequence_measures, step_metrics, step_table

EOS = 1


def samples(rows: list[list[int]]) -> Samples:
    width = max(map(len, rows))
    ids = torch.tensor([r + [0] * (width - len(r)) for r in rows])
    mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])
    prompts = torch.ones(len(rows), 1, dtype=torch.long)
    return Samples(prompts, prompts, ids, mask)


def ragged(values: list[list[float]]) -> torch.Tensor:
    width = max(map(len, values))
    return torch.tensor([v + [0.0] * (width - len(v)) for v in values], dtype=torch.float64)


ROWS = [[5, EOS], [7, 8, 9], [EOS]]  # ended, cut off, ended at once
OWN = [[-1.0, -0.5], [-2.0, -1.0, -0.25], [-3.0]]
REF = [[-1.5, -0.25], [-2.0, -2.0, -0.5], [-1.0]]


def test_measures_of_a_ragged_batch():
    measures = sequence_measures(samples(ROWS), ragged(OWN), ragged(REF), EOS)
    assert measures["log_prob"].tolist() == [-1.5, -3.25, -3.0]
    assert measures["ref_log_prob"].tolist() == [-1.75, -4.5, -1.0]
    assert measures["kl_k1"].tolist() == [0.25, 1.25, -2.0]
    k3 = [
        sum(math.exp(r - o) - 1 - (r - o) for o, r in zip(*rows, strict=True))
        for rows in zip(OWN, REF, strict=True)
    ]
    assert measures["kl_k3"].tolist() == pytest.approx(k3, abs=1e-12)
    assert measures["length"].tolist() == [2, 3, 1]
    assert measures["ended"].tolist() == [1, 0, 1]


def test_whatever_stands_in_the_padding_changes_nothing():
    clean = sequence_measures(samples(ROWS), ragged(OWN), ragged(REF), EOS)
    batch = samples(ROWS)
    outside = batch.response_mask == 0
    dirty = sequence_measures(
        batch._replace(response_ids=torch.where(outside, EOS, batch.response_ids)),
        ragged(OWN),
        ragged(REF),
        EOS,
    )
    wider = sequence_measures(
        Samples(*(torch.nn.functional.pad(x, (0, 4)) for x in batch)),
        torch.nn.functional.pad(ragged(OWN), (0, 4)),
        torch.nn.functional.pad(ragged(REF), (0, 4)),
        EOS,
    )
    for name, values in clean.items():
        assert values.tolist() == dirty[name].tolist() == wider[name].tolist()


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.tuples(st.floats(-30, 0), st.floats(-30, 0)), min_size=1, max_size=6))
def test_k3_is_never_negative_and_zero_at_the_reference(pairs):
    own, ref = (torch.tensor([values], dtype=torch.float64) for values in zip(*pairs, strict=True))
    batch = samples([[5] * len(pairs)])
    assert sequence_measures(batch, own, ref, EOS)["kl_k3"][0] >= 0
    assert sequence_measures(batch, own, own, EOS)["kl_k3"][0] == 0


def test_both_kl_estimators_are_unbiased_for_one_token():
    own = torch.tensor([0.2, 1.0, -0.5], dtype=torch.float64).log_softmax(-1)
    ref = torch.tensor([0.9, -0.3, 0.0], dtype=torch.float64).log_softmax(-1)
    exact = (own.exp() * (own - ref)).sum().item()
    measures = sequence_measures(samples([[2], [3], [4]]), own[:, None], ref[:, None], EOS)
    for name in ("kl_k1", "kl_k3"):
        assert (own.exp().numpy() * measures[name]).sum() == pytest.approx(exact, abs=1e-12)


def test_identical_pairs_compare_what_was_drawn_and_not_the_padding():
    rows = [[5, EOS], [5, EOS], [5], [0, 5], [0, 5, 0], [7]]
    assert identical_pairs(samples(rows), 2).mean() == pytest.approx(1 / 3)
    # A drawn pad token is a token: [5] and [5, 0] are two responses.
    assert identical_pairs(samples([[5], [5, 0]]), 2).mean() == 0.0
    assert identical_pairs(samples([[5], [5], [6]]), 3).mean() == pytest.approx(1 / 3)


def test_pair_losses_are_the_objective_in_float64():
    score, preference = np.array([[0.3, -2.0]]), np.array([[0.6, 0.2]])
    sail, robust = pair_losses(score, preference, 0.5, 0.1)
    margin = 0.5 * score
    wanted = preference * np.logaddexp(0, -margin) + (1 - preference) * np.logaddexp(0, margin)
    np.testing.assert_allclose(sail, wanted, atol=1e-15)
    np.testing.assert_allclose(robust, wanted + 0.1 * np.abs(margin), atol=1e-15)


def step(rewards: list[float], beta: float = 0.5, rho: float = 0.1) -> dict:
    """Metrics of one prompt with the first two responses above."""
    preferences = truth(np.array([rewards]))
    table = step_table(
        samples(ROWS[:2]), ragged(OWN[:2]), ragged(REF[:2]), np.array([rewards]),
        {"filler": np.array([[1.0, 4.0]])}, EOS, 2,
    )  # fmt: skip
    config = types.SimpleNamespace(beta=beta, rho=rho)
    return step_metrics(config, table, Answer(preferences, preferences, 0.0))


def test_metrics_of_a_step_by_hand():
    found = step([0.0, 1.0])  # the second response is preferred; log-ratios are 0.25 and 1.25
    wanted = {
        "rewards/chosen": 0.5 * 1.25,
        "rewards/rejected": 0.5 * 0.25,
        "rewards/margins": 0.5,
        "rewards/accuracies": 1.0,
        "logps/chosen": -3.25,
        "logps/rejected": -1.5,
        "objective/kl": 0.75,
        "objective/entropy": 2.375,
        "val/contain_eos_token": 0.5,
        "length": 2.5,
        "gold/reward": 0.5,
        "robust/penalty": 1.0,
        "attribute/filler": 2.5,
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)
    assert found["robust/loss"] - found["robust/sail_loss"] == pytest.approx(0.1 * 0.5 * 1.0)


def test_chosen_is_what_the_oracle_prefers():
    first, second = step([1.0, 0.0]), step([0.0, 1.0])
    assert first["rewards/chosen"] == second["rewards/rejected"]
    assert first["rewards/margins"] == -second["rewards/margins"]
    assert (first["rewards/accuracies"], second["rewards/accuracies"]) == (0.0, 1.0)
