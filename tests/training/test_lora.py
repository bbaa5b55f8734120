"""LoRA: the adapter alone is trained and saved; switched off, what is left is the base model to the last bit."""

import json
import re
import shutil

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from rsail.lm import encode_prompts, fingerprint, load_model, response_log_probs, sample
from rsail.lm.adapters import WithoutAdapter, add_adapter
from rsail.training import OnlineConfig, evaluate, loop, train
from rsail.training.checkpoint import checkpoints, read_log
from rsail.training.config import build
from tests.lm.architectures import TEXTS, save

LORA = {"lora_rank": 3, "lora_alpha": 6.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "qwen3", "qwen3")


@pytest.fixture
def run(settings, folder):
    """Trains with an adapter; returns the folder."""

    def start(name: str = "run", *, resume: bool = False, **changes):
        values = {"model": str(folder), "max_new_tokens": 6, "policy": LORA, "labels": "drawn", **changes}
        values = settings(name, **values)
        return train(build(OnlineConfig, values), resume=resume, progress=False)

    return start


def adapted(folder, **changes):
    model, tokenizer = load_model(folder)
    settings = {"rank": 3, "alpha": 6.0, "targets": [], "seed": 0, **changes}
    return add_adapter(model, **settings), tokenizer


def draw(model, tokenizer):
    return sample(
        model, *encode_prompts(tokenizer, TEXTS), responses_per_prompt=2, max_new_tokens=6,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def shifted(policy):
    """The adapter as if it had been trained."""
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(1))
    return policy


@torch.no_grad()
def test_the_reference_is_the_base_model_bit_by_bit_and_holds_no_weights_of_its_own(folder):
    base, _ = load_model(folder)
    policy, tokenizer = adapted(folder)
    reference = WithoutAdapter(policy)
    samples = draw(base, tokenizer)
    wanted = response_log_probs(base, *samples)
    assert torch.equal(response_log_probs(policy, *samples), wanted)  # B begins at zero
    shifted(policy)
    assert (response_log_probs(policy, *samples) - wanted).abs().max() > 0.1
    assert torch.equal(response_log_probs(reference, *samples), wanted)
    assert torch.equal(draw(reference, tokenizer).response_ids, samples.response_ids)
    assert fingerprint(reference) == fingerprint(base)
    kept = {weight.data_ptr() for weight in policy.parameters()}
    assert {weight.data_ptr() for weight in reference.state_dict().values()} <= kept | {
        buffer.data_ptr() for buffer in policy.buffers()
    }


def test_the_matrices_alone_have_gradients_scaled_by_alpha_over_rank(folder):
    policy, tokenizer = adapted(folder)
    trained = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    assert not any("lm_head" in name or "embed" in name for name in trained)
    samples = draw(policy, tokenizer)
    found = []
    for alpha in (6.0, 12.0):
        policy, _ = adapted(folder, alpha=alpha)
        response_log_probs(policy, *samples).sum().backward()
        found.append({name: weight.grad for name, weight in policy.named_parameters() if "lora_B" in name})
    for name, gradient in found[0].items():
        torch.testing.assert_close(2 * gradient, found[1][name], rtol=1e-4, atol=1e-5)
    assert sum(gradient.abs().sum() for gradient in found[0].values()) > 0


def test_the_gradient_is_that_of_the_merged_weights(folder):
    """d/dA and d/dB by the chain rule from the gradient at W + (alpha / rank) B A, of a layer in the middle."""
    policy, tokenizer = adapted(folder)
    samples = draw(shifted(policy), tokenizer)
    response_log_probs(policy, *samples).sum().backward()
    merged, _ = load_model(folder)
    layers = [(name, layer) for name, layer in policy.named_modules() if hasattr(layer, "base_layer")]
    with torch.no_grad():
        for name, layer in layers:
            plain = merged.get_submodule(name.removeprefix("base_model.model."))
            plain.weight += 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    response_log_probs(merged, *samples).sum().backward()
    assert len(layers) == 2 * 7
    for name, layer in layers:
        slope = merged.get_submodule(name.removeprefix("base_model.model.")).weight.grad
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        for found, wanted in ((a.grad, 2.0 * b.T @ slope), (b.grad, 2.0 * slope @ a.T)):
            assert (found - wanted).norm() <= 1e-4 * wanted.norm() + 1e-6, name


def test_a_run_trains_the_adapter_saves_it_and_both_peft_and_evaluate_read_it(run, folder):
    out = run(steps=3)
    base, tokenizer = load_model(folder)
    record = json.loads((out / "run.json").read_text())
    assert record["reference"] == fingerprint(base)
    assert {row["reference"] for row in read_log(out / "rounds.jsonl")} == {record["reference"]}
    assert (out / "model" / "adapter_model.safetensors").is_file()
    assert not (out / "model" / "model.safetensors").exists()
    assert not list(checkpoints(out)[-1].glob("model*.safetensors"))
    last = read_log(out / "evaluations.jsonl")[-1]
    assert last["objective/kl_k3"] > 0
    assert {"step": 3, **evaluate(out)} == last
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), out / "model").eval()
    samples = draw(base, tokenizer)
    with torch.no_grad():
        gap = response_log_probs(loaded, *samples) - response_log_probs(base, *samples)
    assert gap.abs().max() > 1e-4


def test_the_seed_decides_the_first_matrices_and_the_global_state_does_not(folder):
    def first(seed: int) -> torch.Tensor:
        return next(w for name, w in adapted(folder, seed=seed)[0].named_parameters() if "lora_A" in name)

    torch.manual_seed(1)
    one = first(0)
    state = torch.random.get_rng_state()
    assert torch.equal(one, first(0)) and not torch.equal(one, first(1))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_resumed_run_equals_an_uninterrupted_one_and_asks_for_the_same_base(
    run, monkeypatch, folder, tmp_path
):
    copy = tmp_path / "base"
    shutil.copytree(folder, copy)
    whole = run("whole", model=str(copy))
    step = loop.online_step
    with monkeypatch.context() as patch:
        calls = iter(range(10))
        patch.setattr(loop, "online_step", lambda *a: step(*a) if next(calls) < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("parts", model=str(copy))
    weights = (copy / "model.safetensors").read_bytes()
    other, _ = load_model(copy)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    other.save_pretrained(copy)
    with pytest.raises(ValueError, match="different there: reference"):
        run("parts", resume=True, model=str(copy))
    (copy / "model.safetensors").write_bytes(weights)
    parts = run("parts", resume=True, model=str(copy))
    for name in ("metrics.jsonl", "evaluations.jsonl", "rounds.jsonl", "model/adapter_model.safetensors"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
    other.save_pretrained(copy)
    with pytest.raises(ValueError, match="model must be the one that the run started from"):
        evaluate(parts)


def test_a_damaged_adapter_is_named(run):
    out = run(steps=1)
    path = out / "model" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"another adapter_model\.safetensors than SHA256SUMS says"):
        evaluate(out)


@pytest.mark.parametrize(
    ("policy", "changes", "message"),
    [
        ({"lora_alpha": 8.0}, {}, "policy.lora_alpha must be 16.0 with policy.lora_rank 0, got 8.0"),
        (
            {"lora_targets": ["q_proj"]},
            {},
            "policy.lora_targets must be [] with policy.lora_rank 0, got ['q_proj']",
        ),
        ({"lora_rank": -1}, {}, "policy.lora_rank: Input should be greater than or equal to 0, got -1"),
        ({"lora_rank": 2, "lora_targets": "q_proj"}, {}, "policy.lora_targets: Input should be a valid list"),
        (
            LORA,
            {"collection": {"reference": "round", "steps_per_round": 2}},
            "policy.lora_rank must be 0 with collection.reference 'round'",
        ),
        (
            {**LORA, "sharding": "fsdp"},
            {},
            "policy.sharding must be 'none' with policy.lora_rank 3, got 'fsdp'",
        ),
        (
            {"sharding": "fsdp"},
            {"score_weight": 0.0, "collection": {"reference": "round", "steps_per_round": 2}},
            "policy.sharding must be 'none' with collection.reference 'round', got 'fsdp'",
        ),
        (
            {"gradient_checkpointing": "layers"},
            {"score_weight": 0.0, "addition": {"wasserstein": 0.1}},
            "policy.gradient_checkpointing must be 'none' with addition.wasserstein > 0, got 'layers'",
        ),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_named(settings, policy, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(OnlineConfig, settings(policy=policy, **changes))


def test_a_layer_that_the_model_does_not_have_is_named(run, tmp_path):
    with pytest.raises(
        ValueError, match=r"policy\.lora_targets must be names of layers .*, got \['c_attn'\]"
    ):
        run(policy={**LORA, "lora_targets": ["q_proj", "c_attn"]})
    assert not (tmp_path / "run").exists()


def test_targets_are_the_layers_that_are_named(folder):
    policy, _ = adapted(folder, targets=["q_proj", "v_proj"])
    layers = {name.split(".")[-1] for name, layer in policy.named_modules() if hasattr(layer, "base_layer")}
    assert layers == {"q_proj", "v_proj"}


def test_an_output_layer_with_an_adapter_is_scored_through_its_logits(folder, monkeypatch):
    """What reads the weight of the last layer by itself would leave the adapter out."""
    from rsail.lm import scoring

    policy, tokenizer = adapted(folder, targets=["lm_head"])
    samples = draw(shifted(policy), tokenizer)
    with torch.no_grad():
        wanted = response_log_probs(policy, *samples)
        monkeypatch.setattr(scoring, "FEW_LOGITS", 0)
        torch.testing.assert_close(response_log_probs(policy, *samples), wanted, rtol=0, atol=1e-5)
        assert (response_log_probs(WithoutAdapter(policy), *samples) - wanted).abs().max() > 0.1


def test_a_wasserstein_ball_reaches_the_inputs_of_a_frozen_model(run):
    changes = {"score_weight": 0.0, "addition": {"wasserstein": 0.1}, "rho": 0.0}
    rows = read_log(run(steps=2, **changes) / "metrics.jsonl")
    assert rows[0]["objective/wasserstein"] > 0 and rows[0]["grad_norm"] > 0
