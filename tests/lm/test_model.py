"""Loading, saving, freezing and identifying models; every way a model folder can be wrong is named."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from rsail import language
from rsail.files import SUMS
from rsail.lm import fingerprint, frozen_copy, load_model, response_log_probs, save_model

from .small_models import left_padded, right_padded, small_model

BATCH = (*left_padded([[2, 5, 7], [3]]), *right_padded([[4, 1], [6, 8, 9]]))


@pytest.fixture(scope="module")
def tokenizer():
    return language.build_tokenizer(language.LanguageConfig())


@pytest.fixture
def folder(kind, tokenizer, tmp_path):
    save_model(small_model(kind, torch.float32, len(tokenizer)), tokenizer, tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_loads_with_the_same_weights_and_tokenizer(kind, folder, tokenizer):
    model, loaded = load_model(folder)
    assert fingerprint(model) == fingerprint(small_model(kind, torch.float32, len(tokenizer)))
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert (loaded.pad_token_id, loaded.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)


def test_the_fingerprint_changes_with_the_smallest_change_of_one_weight(kind):
    model = small_model(kind, torch.float32)
    before = fingerprint(model)
    assert fingerprint(frozen_copy(model)) == before
    weight = list(model.parameters())[3]
    with torch.no_grad():
        flat = weight.view(-1)
        flat[-1] = torch.nextafter(flat[-1], torch.tensor(torch.inf))
    assert fingerprint(model) != before


def test_the_fingerprint_tells_a_precision_from_another(kind):
    assert fingerprint(small_model(kind, torch.float32)) != fingerprint(small_model(kind, torch.float64))
    assert len(fingerprint(small_model(kind, torch.bfloat16))) == 64


def test_dropout_is_off_even_in_training_mode(folder):
    model, _ = load_model(folder)
    assert not model.training
    model.train()
    first, second = (response_log_probs(model, *BATCH) for _ in range(2))
    assert torch.equal(first, second)


def test_a_frozen_copy_takes_no_gradient_and_does_not_follow_the_policy(kind):
    model = small_model(kind)
    reference = frozen_copy(model)
    before = response_log_probs(reference, *BATCH)
    assert not before.requires_grad
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(response_log_probs(reference, *BATCH), before)
    assert next(model.parameters()).requires_grad


def test_tied_embeddings_are_still_tied_after_saving(tokenizer, tmp_path):
    model = small_model("gpt2", torch.float32, len(tokenizer))
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    save_model(model, tokenizer, tmp_path)
    loaded, _ = load_model(tmp_path)
    assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight


def test_precision_is_chosen_when_loading(folder):
    model, _ = load_model(folder, dtype=torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def without(folder, name: str) -> None:
    (folder / name).unlink()


def no_special_token(folder, name: str) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop(f"{name}_token")
    path.write_text(json.dumps(settings))


def drop_a_tensor(folder, _) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut(folder, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


def not_finite(folder, value: str) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[3] = float(value)
    save_file(tensors, path, metadata={"format": "pt"})


def empty_object(folder, name: str) -> None:
    (folder / name).write_text("{}")


DAMAGE = {
    "no tokenizer": (
        lambda folder, _: [(folder / n).unlink() for n in ("tokenizer.json", "tokenizer_config.json")],
        "",
        FileNotFoundError,
        "holds a tokenizer",
    ),
    "no pad token": (no_special_token, "pad", ValueError, "tokenizer with a pad token"),
    "no eos token": (no_special_token, "eos", ValueError, "tokenizer with a eos token"),
    "no weights": (without, "model.safetensors", FileNotFoundError, "holds model weights"),
    "no configuration": (without, "config.json", FileNotFoundError, "holds config.json"),
    "a missing tensor": (drop_a_tensor, "", ValueError, "must be complete"),
    "a weight that is NaN": (not_finite, "nan", ValueError, "must have finite weights"),
    "a weight that is infinite": (not_finite, "inf", ValueError, "must have finite weights"),
    "an empty tokenizer": (empty_object, "tokenizer.json", ValueError, "tokenizer must be readable"),
    "an empty configuration": (empty_object, "config.json", ValueError, "must be readable"),
    "half of the weights": (cut, "model.safetensors", ValueError, "model must be readable"),
    "half of the configuration": (cut, "config.json", ValueError, "must be readable"),
    "half of the tokenizer": (cut, "tokenizer.json", ValueError, "tokenizer must be readable"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_by_name(folder, damage):
    act, name, error, message = DAMAGE[damage]
    (folder / SUMS).unlink()  # a folder of another program
    act(folder, name)
    with pytest.raises(error, match=message) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_the_cause_of_an_unreadable_file_is_kept(folder):
    (folder / SUMS).unlink()
    empty_object(folder, "tokenizer.json")
    with pytest.raises(ValueError) as caught:
        load_model(folder)
    assert caught.value.__cause__ is not None and type(caught.value.__cause__).__name__ in str(caught.value)


def test_a_model_with_fewer_rows_than_tokens_is_refused(tokenizer, tmp_path):
    save_model(small_model("llama", torch.float32, 50), tokenizer, tmp_path)
    with pytest.raises(ValueError, match=f"each of the tokenizer's {len(tokenizer)} tokens, got 50 rows"):
        load_model(tmp_path)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="model must be a folder"):
        load_model(tmp_path / "nothing")


def test_a_hub_name_that_cannot_be_had_is_named():
    with pytest.raises(ValueError, match="got nobody/no-such-model"):
        load_model("nobody/no-such-model")


# What load_model checks of a folder that it has written itself, and what it never does.


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_saved_file_with_one_wrong_bit_or_cut_anywhere_is_named(tokenizer, tmp_path, name):
    save_model(small_model("gpt2", torch.float32, len(tokenizer)), tokenizer, tmp_path / "model")
    path = tmp_path / "model" / name
    content = path.read_bytes()
    for at in range(0, len(content), max(1, (len(content) - 1) // 7)):
        for damaged in (content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :], content[:at]):
            path.write_bytes(damaged)
            with pytest.raises(
                ValueError, match=f"got {tmp_path / 'model'} with another {name} than SHA256SUMS"
            ):
                load_model(tmp_path / "model")
    path.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=f"another {name} than|holds"):
        load_model(tmp_path / "model")
    path.write_bytes(content)
    load_model(tmp_path / "model")


def test_damaged_sums_are_named(folder):
    (folder / SUMS).write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match=r"with another .* than SHA256SUMS"):
        load_model(folder)


def test_code_that_comes_with_a_model_is_not_run(folder, monkeypatch):
    """Nor does anything wait for an answer: transformers would ask on standard input."""
    (folder / SUMS).unlink()
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(folder / 'was here')!r})\nclass Own: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ValueError, match="contains custom code which must be executed"):
        load_model(folder)
    assert not (folder / "was here").exists()


def test_weights_in_a_pickle_are_refused(folder):
    (folder / SUMS).unlink()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds model weights, got .* without model\.safetensors"):
        load_model(folder)
