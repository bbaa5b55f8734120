"""A model of your own, with LoRA: a hub name, or a local folder in Hugging Face format (safetensors).

    .venv/bin/python examples/own_model.py
    .venv/bin/python examples/own_model.py --model Qwen/Qwen3-0.6B steps=200 policy.lora_rank=16

Without --model a tiny Qwen3 with random weights is made to stand for yours. Prompts and oracle are the package's;
examples/own_data.py and examples/own_oracle.py replace them, data/configurations/own_model.yaml sets all in one file.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

from rsail.study.paths import DATA_DIR
from rsail.training import load_config, train
from rsail.training.checkpoint import read_log

SMALL = DATA_DIR / "models" / "preference_language"


def make_tiny_model(folder: Path) -> Path:
    """A Qwen3 of 10,000 parameters, with the tokenizer of the small model."""
    tokenizer = AutoTokenizer.from_pretrained(SMALL)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen3Config(
        vocab_size=len(tokenizer), **sizes, num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
        initializer_range=0.2, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="hub name or folder (default: a tiny model made now)")
    parser.add_argument("--output", type=Path, help="folder of the run (default: a new temporary one)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the run")
    given = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    model = given.model or make_tiny_model(scratch / "model")

    # lora_rank 0 would train all weights. With LoRA the reference is the model with the adapter off: no second copy.
    small = [
        "policy.lora_rank=4",
        "steps=10",
        "prompts_per_step=16",
        "evaluation_prompts=16",
        "learning_rate=0.01",
    ]
    wrong = [
        "oracle.kind=bias",
        "oracle.strength=0.15",
        "rho=0.15",
    ]  # it likes filler words; the radius covers that
    config = load_config(
        None,
        [*small, *wrong, *given.settings, f"model={model}", f"output_dir={given.output or scratch / 'run'}"],
    )
    run = train(config)

    before, *_, after = read_log(run / "evaluations.jsonl")
    for name in ("objective/kl", "gold/reward", "attribute/filler"):
        print(f"{name}: {before[name]:.4f} before, {after[name]:.4f} after")
    # model/ holds what was trained, for any other program: an adapter, which peft puts on the base model, or the model.
    if config.policy.lora_rank:
        trained = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), run / "model")
        weights = [weight for name, weight in trained.named_parameters() if "lora_" in name]
    else:
        weights = list(AutoModelForCausalLM.from_pretrained(run / "model").parameters())
    print(f"trained parameters: {sum(weight.numel() for weight in weights)}")
    print(run)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # of what was given: one line
        sys.exit(f"{Path(__file__).name}: {' '.join(str(error).split())}")
