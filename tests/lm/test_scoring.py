"""One log-probability, whatever the padding, the batch or the order; for learned and for rotary positions."""

import pytest
import torch
from transformers import BartConfig, BartForCausalLM, LlamaConfig, LlamaForCausalLM

from rsail.lm import response_log_probs
from rsail.lm.scoring import check_padding, positions

from .small_models import left_padded, right_padded, small_model

PROMPTS = [[2, 5, 7, 3], [2, 4], [2, 9, 9, 8, 6, 3, 5]]
RESPONSES = [
    [4, 6, 1],
    [10, 3, 0, 7, 8],
    [5],
]  # one ended, one cut off that holds a drawn pad, one of one token
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def by_hand(model, prompt: list[int], response: list[int], temperature: float = 1.0) -> torch.Tensor:
    """log pi of each token of one response, without padding, mask or position ids."""
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0] / temperature
    log_probs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return log_probs[torch.arange(len(response)), torch.tensor(response)]


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


@torch.no_grad()
@pytest.mark.parametrize(("left", "right"), [(7, 5), (8, 5), (7, 6), (15, 12)])
def test_padding_changes_nothing(kind, dtype, left, right):
    model = small_model(kind, dtype)
    batch = response_log_probs(model, *left_padded(PROMPTS, left), *right_padded(RESPONSES, right))
    for row, prompt, response in zip(batch, PROMPTS, RESPONSES, strict=True):
        wanted = by_hand(model, prompt, response)
        torch.testing.assert_close(row[: len(response)], wanted, rtol=0, atol=TOLERANCE[dtype])
        assert (row[len(response) :] == 0).all()


@torch.no_grad()
def test_what_stands_under_the_padding_changes_nothing(kind):
    model = small_model(kind)
    (ids, mask), (out, out_mask) = left_padded(PROMPTS, 9), right_padded(RESPONSES, 8)
    clean = response_log_probs(model, ids, mask, out, out_mask)
    dirty = response_log_probs(
        model, torch.where(mask == 1, ids, 7), mask, torch.where(out_mask == 1, out, 4), out_mask
    )
    torch.testing.assert_close(dirty, clean, rtol=0, atol=1e-10)


@torch.no_grad()
def test_batch_size_and_order_change_nothing(kind, dtype):
    model = small_model(kind, dtype)
    inputs = (*left_padded(PROMPTS), *right_padded(RESPONSES))
    whole = response_log_probs(model, *inputs)
    order = torch.tensor([2, 0, 1])
    reordered = response_log_probs(model, *(x[order] for x in inputs))
    torch.testing.assert_close(reordered, whole[order], rtol=0, atol=TOLERANCE[dtype])
    for n in range(3):
        alone = response_log_probs(model, *(x[n : n + 1] for x in inputs))
        torch.testing.assert_close(alone[0], whole[n], rtol=0, atol=TOLERANCE[dtype])


@torch.no_grad()
def test_position_ids_matter_for_learned_positions_so_the_test_above_can_fail():
    model = small_model("gpt2")
    (ids, mask), (out, out_mask) = left_padded(PROMPTS, 9), right_padded(RESPONSES)
    careless = model(
        input_ids=torch.cat([ids, out], 1),
        attention_mask=torch.cat([mask, out_mask], 1),
        position_ids=torch.arange(9 + out.shape[1])[None],
    ).logits[:, 8:-1]
    careless = careless.log_softmax(-1).gather(-1, out[..., None])[..., 0] * out_mask
    assert (careless - response_log_probs(model, ids, mask, out, out_mask)).abs().max() > 0.1


@torch.no_grad()
def test_temperature_divides_the_logits(kind):
    model = small_model(kind)
    scored = response_log_probs(model, *left_padded(PROMPTS), *right_padded(RESPONSES), temperature=0.7)
    for row, prompt, response in zip(scored, PROMPTS, RESPONSES, strict=True):
        torch.testing.assert_close(row[: len(response)], by_hand(model, prompt, response, 0.7))


@torch.no_grad()
def test_low_precision_logits_are_normalized_in_float32(kind):
    model = small_model(kind, torch.bfloat16)
    scored = response_log_probs(model, *left_padded(PROMPTS), *right_padded(RESPONSES))
    assert scored.dtype == torch.float32


def test_gradient_does_not_flow_through_masked_tokens(kind):
    model = small_model(kind)
    inputs = (*left_padded(PROMPTS[:1]), *right_padded(RESPONSES[:1], 6))
    response_log_probs(model, *inputs).sum().backward()
    padded = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    by_hand(model, PROMPTS[0], RESPONSES[0]).sum().backward()
    for with_padding, parameter in zip(padded, model.parameters(), strict=True):
        torch.testing.assert_close(with_padding, parameter.grad, rtol=0, atol=1e-10)


def test_positions_count_from_the_first_real_token():
    assert positions(torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])).tolist() == [
        [0, 0, 0, 1, 2],
        [0, 1, 2, 2, 2],
    ]


def test_bad_arguments_are_named(kind):
    model = small_model(kind)
    prompts, (ids, mask) = left_padded(PROMPTS), right_padded(RESPONSES)
    with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
        response_log_probs(model, *prompts, ids, mask, temperature=0)
    with pytest.raises(ValueError, match=r"response_ids.shape must be \(3, 4\).*got \(3, 5\)"):
        response_log_probs(model, *prompts, ids, mask[:, :4])
    with pytest.raises(ValueError, match="one row per prompt row"):
        response_log_probs(model, *prompts, ids[:2], mask[:2])


def test_a_model_that_does_not_see_the_padding_is_refused():
    sizes = {"d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16}
    blind = BartForCausalLM(BartConfig(vocab_size=20, is_decoder=True, **sizes)).eval()
    seeing = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
        )
    )
    ids = torch.tensor([[4, 5, 6, 7]])
    check_padding(seeing.eval(), ids, torch.ones_like(ids))
    with pytest.raises(
        ValueError, match=r"model must be one whose log-probabilities .* 3 pads .* 'BartForCausalLM'"
    ):
        check_padding(blind, ids, torch.ones_like(ids))
