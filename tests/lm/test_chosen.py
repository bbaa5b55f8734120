"""Log-probabilities a few rows at a time: values and gradients of those from all logits."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config

from rsail.lm import chosen, response_log_probs, scoring
from rsail.lm.chosen import chosen_log_probs

from .small_models import left_padded, right_padded, small_model
from .test_scoring import PROMPTS, RESPONSES


@pytest.fixture
def small_chunks(monkeypatch):
    """Three rows of eleven logits at a time, in every case."""
    monkeypatch.setattr(chosen, "CHUNK", {"cpu": 33})
    monkeypatch.setattr(scoring, "FEW_LOGITS", 0)


def arguments(dtype=torch.float64, bias=True):
    draw = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 4, generator=draw, dtype=dtype, requires_grad=True) for n in (7, 11))
    offset = torch.randn(11, generator=draw, dtype=dtype, requires_grad=True) if bias else None
    return hidden, weight, offset, torch.randint(11, (7,), generator=draw)


def dense(hidden, weight, bias, ids, temperature=1.0):
    logits = torch.nn.functional.linear(hidden, weight, bias) / temperature
    return logits.log_softmax(-1)[torch.arange(len(ids)), ids]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients(small_chunks, bias, temperature):
    hidden, weight, offset, ids = arguments(bias=bias)
    inputs = [part for part in (hidden, weight, offset) if part is not None]
    upstream = torch.linspace(-1, 2, 7, dtype=torch.float64)
    ours, theirs = (
        function(hidden, weight, offset, ids, temperature) for function in (chosen_log_probs, dense)
    )
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(theirs, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_second_derivatives(small_chunks):
    hidden, weight, offset, ids = arguments()
    assert torch.autograd.gradgradcheck(lambda *x: chosen_log_probs(*x, ids), (hidden, weight, offset))


def test_only_what_is_asked_for_is_differentiated(small_chunks):
    hidden, weight, offset, ids = arguments()
    chosen_log_probs(hidden, weight.detach(), offset, ids).sum().backward()
    assert weight.grad is None and hidden.grad.abs().sum() > 0 and offset.grad.abs().sum() > 0


def test_autocast_lowers_the_product_alone(small_chunks):
    hidden, weight, offset, ids = arguments(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = chosen_log_probs(hidden, weight, offset, ids)
        logits = torch.nn.functional.linear(hidden, weight, offset).float()
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, logits.log_softmax(-1)[torch.arange(7), ids])
    ours.sum().backward()
    assert hidden.grad.dtype == weight.grad.dtype == torch.float32
    exact = torch.autograd.grad(dense(hidden, weight, offset, ids).sum(), (hidden, weight))
    for low, full in zip((hidden.grad, weight.grad), exact, strict=True):
        assert 0 < (low - full).abs().max() < 0.02 * full.abs().max()


def both_ways(model, monkeypatch, few: int):
    """Log-probabilities and gradients of a model's responses."""
    monkeypatch.setattr(scoring, "FEW_LOGITS", few)
    model.zero_grad()
    log_probs = response_log_probs(model, *left_padded(PROMPTS), *right_padded(RESPONSES), temperature=0.8)
    log_probs.sum(-1).square().sum().backward()
    return log_probs.detach(), [p.grad.clone() for p in model.parameters()]


def test_a_model_is_scored_alike_either_way(kind, monkeypatch, small_chunks):
    model = small_model(kind)
    few, gradients_few = both_ways(model, monkeypatch, 0)
    many, gradients_many = both_ways(model, monkeypatch, 10**9)
    torch.testing.assert_close(few, many, rtol=0, atol=1e-12)
    for a, b in zip(gradients_few, gradients_many, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert "forward" not in model.get_output_embeddings().__dict__


def test_the_output_layer_is_not_called_where_rows_are_taken_one_by_one(kind, small_chunks):
    model, calls = small_model(kind), []
    inner = type(model.get_output_embeddings()).forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Linear, "forward", lambda self, x: calls.append(self) or inner(self, x))
        response_log_probs(model, *left_padded(PROMPTS), *right_padded(RESPONSES))
    assert model.get_output_embeddings() not in calls


def test_a_soft_cap_on_the_logits_is_respected(monkeypatch, small_chunks):
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=11, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5, max_position_embeddings=32, pad_token_id=0,
        bos_token_id=2, eos_token_id=1, attn_implementation="eager",
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    few, _ = both_ways(model, monkeypatch, 0)
    again, _ = both_ways(model, monkeypatch, 0)  # now it is known
    many, _ = both_ways(model, monkeypatch, 10**9)
    torch.testing.assert_close(few, many, rtol=0, atol=0)
    torch.testing.assert_close(again, many, rtol=0, atol=0)


def test_a_hook_on_the_output_layer_is_respected(kind, monkeypatch, small_chunks):
    model = small_model(kind)
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: 2 * output)
    few, _ = both_ways(model, monkeypatch, 0)
    many, _ = both_ways(model, monkeypatch, 10**9)
    torch.testing.assert_close(few, many, rtol=0, atol=0)
