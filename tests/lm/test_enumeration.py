"""The enumerable transformer: all responses are there, probabilities sum to one, derivatives are exact."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import chi2

from rsail.lm.enumeration import (
    count_responses,
    directional_derivatives,
    enumerate_responses,
    enumerated_log_probs,
    in_double_precision,
    moved,
    response_indices,
    sample_indices,
    tiny_llama,
)
from rsail.study.gradient_check import chi_square

PROMPT_IDS = torch.tensor([[0, 0, 1], [3, 1, 2]])
PROMPT_MASK = torch.tensor([[0, 0, 1], [1, 1, 1]])
LAW = {"max_new_tokens": 3, "eos_token_id": 2, "pad_token_id": 0}


def responses_of(vocab_size=4, **changes):
    return enumerate_responses(PROMPT_IDS, PROMPT_MASK, vocab_size=vocab_size, **LAW | changes)


@pytest.fixture(scope="module")
def model():
    return tiny_llama(4, np.random.default_rng(0), hidden_size=8, layers=1, scale=2.0)


@pytest.fixture(scope="module")
def table(model):
    with torch.no_grad():
        return enumerated_log_probs(model, responses_of())


class TestResponses:
    def test_two_tokens_by_hand(self):
        found = enumerate_responses(
            torch.tensor([[1]]),
            torch.tensor([[1]]),
            vocab_size=2,
            max_new_tokens=2,
            eos_token_id=1,
            pad_token_id=0,
        )
        assert found.response_ids.tolist() == [[1, 0], [0, 1], [0, 0]]
        assert found.response_mask.tolist() == [[1, 0], [1, 1], [1, 1]]

    @pytest.mark.parametrize(("vocab_size", "length"), [(2, 1), (3, 4), (5, 4), (8, 2)])
    def test_their_number_is_that_of_the_formula_and_no_two_are_alike(self, vocab_size, length):
        found = responses_of(max(vocab_size, 3), max_new_tokens=length)
        rows = torch.cat([found.response_ids, found.response_mask], dim=1)[: len(found.response_ids) // 2]
        assert len(rows) == count_responses(max(vocab_size, 3), length) == len(rows.unique(dim=0))

    @pytest.mark.parametrize("pad", [0, 2, 3])
    def test_the_end_comes_last_and_what_follows_is_masked(self, pad):
        found = responses_of(pad_token_id=pad)
        for ids, mask in zip(found.response_ids, found.response_mask, strict=True):
            kept = ids[: mask.sum()].tolist()
            assert mask.tolist() == [1] * len(kept) + [0] * (3 - len(kept))
            assert LAW["eos_token_id"] not in kept[:-1]
            assert kept[-1] == LAW["eos_token_id"] or len(kept) == 3
            assert set(ids[len(kept) :].tolist()) <= {pad}

    def test_too_many_are_refused_with_their_number(self):
        with pytest.raises(ValueError, match=r"max_new_tokens must be .*at most 500.*there are 781, got 4"):
            responses_of(vocab_size=6, max_new_tokens=4)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"eos_token_id": 4}, "eos_token_id must be in 0 ... 3, got 4"),
            ({"pad_token_id": -1}, "pad_token_id must be"),
            ({"max_new_tokens": 0}, "max_new_tokens must be >= 1"),
            ({"vocab_size": 1}, "vocab_size must be >= 2"),
        ],
    )
    def test_bad_input(self, change, message):
        with pytest.raises(ValueError, match=message):
            responses_of(**change)


class TestLogProbs:
    @pytest.mark.parametrize("pad", [0, 2, 3])
    @pytest.mark.parametrize("scale", [0.3, 3.0])
    def test_probabilities_sum_to_one_wherever_the_pad_token_is(self, pad, scale):
        policy = tiny_llama(4, np.random.default_rng(1), hidden_size=8, scale=scale)
        with torch.no_grad():
            found = enumerated_log_probs(policy, responses_of(pad_token_id=pad))
        assert found.shape == (2, 40)
        assert found.dtype == torch.float64
        assert_allclose(found.exp().sum(1).numpy(), 1.0, rtol=0, atol=1e-12)

    def test_single_precision_sums_to_one_up_to_rounding(self, model):
        with torch.no_grad():
            found = enumerated_log_probs(moved(model, torch.zeros(1)).float(), responses_of())
        assert found.dtype == torch.float64
        assert_allclose(found.exp().sum(1).numpy(), 1.0, rtol=0, atol=1e-5)

    def test_each_is_the_product_of_its_conditionals(self, model, table):
        found, row = responses_of(), 17
        prompt = found.prompt_ids[row][found.prompt_mask[row].bool()]
        tokens = found.response_ids[row][found.response_mask[row].bool()]
        ids = torch.cat([prompt, tokens])[None]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0].log_softmax(-1)
        steps = [logits[len(prompt) - 1 + t, token] for t, token in enumerate(tokens)]
        assert_allclose(float(sum(steps)), float(table.flatten()[row]), rtol=0, atol=1e-12)

    def test_a_lost_response_shows_in_the_sum(self, table):
        assert (table[:, 1:].exp().sum(1) < 1 - 1e-6).all()

    def test_they_carry_a_gradient(self, model):
        found = enumerated_log_probs(model, responses_of())
        weights = list(model.parameters())
        assert any(g.abs().max() > 1e-3 for g in torch.autograd.grad(found[0, 3], weights))
        # Probabilities sum to one at every parameter, so the gradient of the sum vanishes.
        total = torch.autograd.grad(enumerated_log_probs(model, responses_of()).exp().sum(), weights)
        assert max(g.abs().max() for g in total) < 1e-12


class TestModel:
    def test_the_same_generator_makes_the_same_model(self, model, table):
        again = tiny_llama(4, np.random.default_rng(0), hidden_size=8, layers=1, scale=2.0)
        with torch.no_grad():
            assert torch.equal(enumerated_log_probs(again, responses_of()), table)

    def test_double_precision_is_the_same_function_to_single_precision(self):
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=4, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            rms_norm_eps=1e-3, rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        )  # fmt: skip
        single = LlamaForCausalLM(config).eval()
        with torch.no_grad():
            for weight in single.parameters():
                weight.mul_(1.5).add_(0.1)
            expected = enumerated_log_probs(single, responses_of())
            found = enumerated_log_probs(in_double_precision(single), responses_of())
        assert next(single.parameters()).dtype == torch.float32
        assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-5)

    def test_double_precision_goes_all_the_way(self, model):
        """A step of 1e-9 moves the table by what the derivative says: nothing in between is rounded to float32."""
        rng = np.random.default_rng(3)
        direction = torch.from_numpy(rng.normal(size=sum(w.numel() for w in model.parameters())))
        slope = directional_derivatives(model, responses_of(), direction[None])[0].numpy()
        with torch.no_grad():
            ends = [
                enumerated_log_probs(moved(model, direction, step), responses_of()) for step in (1e-9, -1e-9)
            ]
        assert_allclose((ends[0] - ends[1]).numpy() / 2e-9, slope, rtol=0, atol=1e-4 * np.abs(slope).max())

    def test_moving_leaves_the_original_alone(self, model, table):
        size = sum(w.numel() for w in model.parameters())
        other = moved(model, torch.ones(size, dtype=torch.float64), 0.1)
        with torch.no_grad():
            assert torch.equal(enumerated_log_probs(model, responses_of()), table)
            assert not torch.allclose(enumerated_log_probs(other, responses_of()), table)


class TestDerivatives:
    def test_they_are_the_gradient_along_the_direction(self, model):
        weights = list(model.parameters())
        rng = np.random.default_rng(4)
        directions = torch.from_numpy(rng.normal(size=(2, sum(w.numel() for w in weights))))
        found = directional_derivatives(model, responses_of(), directions)
        assert found.shape == (2, 2, 40)
        for x, y in ((0, 0), (1, 39)):
            pieces = torch.autograd.grad(enumerated_log_probs(model, responses_of())[x, y], weights)
            gradient = torch.cat([piece.flatten() for piece in pieces])
            assert_allclose(found[:, x, y].numpy(), (directions @ gradient).numpy(), rtol=0, atol=1e-11)

    def test_directions_of_the_wrong_size(self, model):
        with pytest.raises(ValueError, match=r"directions\.shape must be \(D, "):
            directional_derivatives(model, responses_of(), torch.zeros(2, 3))


class TestSamples:
    @pytest.mark.parametrize("pad", [0, 2])
    def test_the_sampler_follows_the_enumerated_law(self, model, pad):
        law, found = LAW | {"pad_token_id": pad}, responses_of(pad_token_id=pad)
        with torch.no_grad():
            table = enumerated_log_probs(model, found).numpy()
        drawn = sample_indices(model, PROMPT_IDS, PROMPT_MASK, found, 5000, seed=0, **law)
        assert drawn.shape == (2, 5000)
        statistic, freedom = chi_square(drawn, table)
        assert 1e-3 < chi2.sf(statistic, freedom) < 1 - 1e-3

    def test_indices_find_every_response_again(self):
        found = responses_of()
        assert response_indices(found, found).tolist() == 2 * list(range(40))

    def test_indices_of_samples_that_all_ended_early(self, model):
        found = responses_of()
        short = found._replace(
            response_ids=found.response_ids[:1, :1], response_mask=found.response_mask[:1, :1]
        )
        assert response_indices(found, short).tolist() == [0]

    def test_a_sample_from_another_enumeration_is_refused(self):
        longer = responses_of(max_new_tokens=4)
        with pytest.raises(ValueError, match="samples"):
            response_indices(responses_of(), longer)
        with pytest.raises(ValueError, match="samples must be in the enumeration"):
            response_indices(responses_of(vocab_size=3), responses_of(vocab_size=4))
