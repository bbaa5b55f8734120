"""Llama, Qwen2, Qwen3 and GPT-2 from a folder: sampled and scored by one law, trained, saved, evaluated."""

import json

import pytest
import torch

from rsail.lm import encode_prompts, load_model, response_log_probs, sample
from rsail.lm.reader import Reader, make_reader
from rsail.lm.recomputing import checkpointed
from rsail.training import OnlineConfig, evaluate, train
from rsail.training.checkpoint import read_log
from rsail.training.config import build
from tests.lm.architectures import CONFIGS, TEXTS, save


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request, tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / request.param, request.param)


def draw(model, tokenizer, count: int = 3):
    return sample(
        model, *encode_prompts(tokenizer, TEXTS), responses_per_prompt=count, max_new_tokens=8,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


@torch.no_grad()
def test_every_sampled_token_is_scored_as_it_was_drawn(folder):
    """The cache's laws and those of one pass over prompt and response, of several lengths; no dropout in either."""
    model, tokenizer = load_model(folder)
    samples = draw(model, tokenizer)
    scored = response_log_probs(model, *samples)
    reader = make_reader(model, samples.prompt_ids, samples.prompt_mask, 1, samples.response_ids.shape[1])
    last = None
    for t, tokens in enumerate(samples.response_ids.T):
        law, last = reader.read(last).log_softmax(-1), tokens
        alive = samples.response_mask[:, t].bool()
        drawn = law.gather(-1, tokens[:, None])[:, 0]
        torch.testing.assert_close(drawn[alive], scored[alive, t], rtol=0, atol=2e-5)


def gradients(model, samples, again: bool) -> torch.Tensor:
    model.zero_grad()
    with checkpointed(model, again):
        log_probs = response_log_probs(model, *samples)
    log_probs.sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_gradient_checkpointing_keeps_less_and_changes_nothing(folder):
    model, tokenizer = load_model(folder)
    samples, kept = draw(model, tokenizer), {}

    def graph(again: bool) -> int:
        sizes: list[int] = []
        with (
            checkpointed(model, again),
            torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x),
        ):
            response_log_probs(model, *samples)
        return sum(sizes)

    kept = {again: graph(again) for again in (False, True)}
    assert kept[True] < 0.8 * kept[False]
    assert torch.equal(gradients(model, samples, True), gradients(model, samples, False))
    # Sampling afterwards has its cache and its law.
    assert not any(module.training for module in model.modules())
    reader = Reader(model, samples.prompt_ids, samples.prompt_mask, 1, 4)
    reader.read(None)
    reader.read(samples.response_ids[:, 0])
    assert reader.cache.get_seq_length() == samples.prompt_ids.shape[1] + 1


@pytest.mark.parametrize(
    "policy", [{}, {"lora_rank": 2, "gradient_checkpointing": "layers"}], ids=["full", "lora"]
)
def test_it_is_trained_saved_and_evaluated(folder, settings, policy):
    values = settings(
        model=str(folder), steps=2, evaluate_every=0, max_new_tokens=6, policy=policy, labels="drawn"
    )
    run = train(build(OnlineConfig, values), progress=False)
    rows = read_log(run / "metrics.jsonl")
    assert rows[0]["objective/kl"] == rows[0]["robust/penalty"] == 0.0 and rows[0]["grad_norm"] > 0
    assert rows[1]["robust/penalty"] > 0
    assert {"step": 2, **evaluate(run)} == read_log(run / "evaluations.jsonl")[-1]
    assert json.loads((run / "evaluation.json").read_text())["objective/kl_k3"] > 0
