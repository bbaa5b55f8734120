"""The short way through a plain Llama reads what the model reads; whatever is not one goes the long way."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from rsail.lm import reader, sample
from rsail.lm.reader import LlamaReader, Reader, WholeReader, is_plain_llama, make_reader

from .small_models import EOS, PAD, left_padded, small_model
from .test_sampling import PROMPTS, draw, texts

VARIANTS = {
    "plain": {},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "shared keys": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "tied, wide heads": {"tie_word_embeddings": True, "head_dim": 12},
    "scaled angles": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}},
    "other activation": {"hidden_act": "gelu"},
}


def llama(**changes) -> LlamaForCausalLM:
    torch.manual_seed(0)
    settings = {
        "vocab_size": 11, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 32, "initializer_range": 0.4, "bos_token_id": 2,
        "eos_token_id": EOS, "pad_token_id": PAD,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**settings | changes)).eval()
    with (
        torch.no_grad()
    ):  # transformers begins with ones and zeros, which would hide a bias or norm that is left out
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(0.3 * torch.randn_like(weight))
    return model


@torch.no_grad()
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_logits_are_those_of_the_model_also_for_fewer_rows(changes):
    model = llama(**changes)
    assert is_plain_llama(model)
    short, long = (kind(model, *left_padded(PROMPTS, 9), 2, 6) for kind in (LlamaReader, Reader))
    tokens = torch.randint(2, 11, (6, 6), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(short.read(None), long.read(None))
    for t in range(3):
        torch.testing.assert_close(short.read(tokens[:, t]), long.read(tokens[:, t]), rtol=0, atol=2e-5)
    rows = torch.tensor([0, 3, 4])
    for one in (short, long):
        one.keep(rows)
    for t in range(3, 5):
        torch.testing.assert_close(short.read(tokens[rows, t]), long.read(tokens[rows, t]), rtol=0, atol=2e-5)


@pytest.mark.parametrize("width", [None, 9])
def test_both_ways_sample_the_same_tokens(monkeypatch, width):
    model = llama()
    assert isinstance(make_reader(model, *left_padded(PROMPTS), 2, 4), LlamaReader)
    short = texts(draw(model, count=20, width=width))
    monkeypatch.setattr(reader, "is_plain_llama", lambda model: False)
    assert type(make_reader(model, *left_padded(PROMPTS), 2, 4)) is Reader
    assert texts(draw(model, count=20, width=width)) == short
    assert len({len(row) for row in short}) > 3  # rows ended at different times


@torch.no_grad()
@pytest.mark.parametrize("name", ["mamba", "recurrent_gemma", "lfm2", "falcon_h1", "gemma3_text"])
def test_logits_are_those_of_whole_rows_whatever_a_model_remembers(name):
    """No usual cache in two of them, a state in some layers, in all of them; windows shorter than the prompts."""
    torch.manual_seed(0)
    settings = {
        "vocab_size": 11, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "head_dim": 8,
        "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.4, "sliding_window": 4,
        "state_size": 4, "mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_state": 4,
        "lru_width": 16, "block_types": ["recurrent", "attention"], "attention_window_size": 16,
        "bos_token_id": 2, "eos_token_id": EOS, "pad_token_id": PAD,
    }  # fmt: skip
    settings |= {"layer_types": ["conv", "full_attention"]} if name == "lfm2" else {}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **settings)).float().eval()
    one = make_reader(model, *left_padded(PROMPTS, 9), 2, 5)
    assert isinstance(one, WholeReader) == (name in ("mamba", "recurrent_gemma"))
    tokens, rows = torch.randint(2, 11, (6, 5), generator=torch.Generator().manual_seed(1)), torch.arange(6)
    last = None
    for t in range(6):
        found = one.read(last)
        for logits, n in zip(found, rows.tolist(), strict=True):
            ids = torch.tensor([PROMPTS[n // 2] + tokens[n, :t].tolist()])
            torch.testing.assert_close(
                logits, model(input_ids=ids, use_cache=False).logits[0, -1], rtol=0, atol=1e-4
            )
        if t == 2:
            rows = rows[[0, 3, 4]]
            one.keep(rows)
        last = tokens[rows, t] if t < 5 else None


def test_what_is_not_plain_is_read_by_the_model():
    assert not is_plain_llama(small_model("gpt2", torch.float32))
    assert not is_plain_llama(llama().to(torch.bfloat16))
    assert not is_plain_llama(llama(attention_dropout=0.1).train())
    assert not is_plain_llama(
        llama(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4})
    )
    hooked, replaced, inherited, eager = (llama() for _ in range(4))
    hooked.model.layers[1].mlp.register_forward_hook(lambda module, inputs, output: 2 * output)
    replaced.model.norm = torch.nn.RMSNorm(16)
    inherited.__class__ = type("Changed", (LlamaForCausalLM,), {})
    eager.set_attn_implementation("eager")
    assert not any(map(is_plain_llama, (hooked, replaced, inherited, eager)))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_plain_llama(llama())


def test_a_hook_changes_what_is_sampled():
    model = llama()
    before = texts(draw(model))
    model.model.layers[0].register_forward_hook(lambda module, inputs, output: -output)
    assert texts(draw(model)) != before


def test_samples_can_be_learned_from():
    """Token ids come without the marks that a tensor of an inference mode would carry."""
    model = llama()
    samples = sample(
        model, *left_padded(PROMPTS), responses_per_prompt=2, max_new_tokens=4, eos_token_id=EOS, pad_token_id=PAD,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    model(input_ids=samples.response_ids).logits.sum().backward()
    assert model.lm_head.weight.grad.abs().sum() > 0
