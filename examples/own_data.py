"""Data of your own: prompts in a file, and a reward model by name or path.

    .venv/bin/python examples/own_data.py
    .venv/bin/python examples/own_data.py --prompts my_prompts.jsonl --reward-model PATH_OR_HUB_NAME \
        --output build/own_data model=PATH_OR_HUB_NAME steps=200

`--prompts` is json, jsonl, csv or parquet (also as .gz), a folder of such files, or a data set's hub name, with a
column "prompt" (task.prompts.column=NAME for another). The reward model is a sequence classifier with one output: the
truth that `oracle.*` makes wrong. Without these options both are made now, tiny, to stand for yours.
The same as a file of settings: examples/own_data.yaml, for `python -m rsail train --config`.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig

from rsail.language import LanguageConfig, format_prompt, request_prompts
from rsail.study.paths import DATA_DIR
from rsail.training import load_config, train
from rsail.training.checkpoint import read_log

SMALL = DATA_DIR / "models" / "preference_language"


def write_prompts(path: Path) -> Path:
    """One JSON object per line; a reader needs no more than the column "prompt"."""
    prompts = request_prompts(LanguageConfig(), 60, "train")
    path.write_text("".join(json.dumps({"prompt": format_prompt(prompt.text)}) + "\n" for prompt in prompts))
    return path


def make_tiny_reward_model(folder: Path) -> Path:
    """A classifier of random weights: its taste means nothing, but it is always the same."""
    tokenizer = AutoTokenizer.from_pretrained(SMALL)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        num_labels=1,
        **sizes,
        initializer_range=0.5,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", help="file, folder or hub name (default: a file made now)")
    parser.add_argument("--reward-model", help="folder or hub name (default: a tiny one made now)")
    parser.add_argument("--output", type=Path, help="folder of the run (default: a new temporary one)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the run")
    given = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    data = given.prompts or write_prompts(scratch / "prompts.jsonl")
    reward_model = given.reward_model or make_tiny_reward_model(scratch / "reward_model")

    task = ["task.kind=prompts", f"task.data={data}", f"task.prompts.reward_model={reward_model}"]
    small = [
        f"model={SMALL}",
        "task.train_prompts=32",
        "evaluation_prompts=16",
        "steps=12",
        "prompts_per_step=16",
        "learning_rate=0.001",
    ]
    output = given.output or scratch / "run"
    run = train(load_config(None, [*task, *small, *given.settings, f"output_dir={output}"]))

    before, *_, after = read_log(run / "evaluations.jsonl")
    print(f"gold/reward: {before['gold/reward']:.4f} before, {after['gold/reward']:.4f} after")
    print(f"against the reference: preferred with probability {after['gold/preference']:.3f}")
    print(run)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # of what was given: one line
        sys.exit(f"{Path(__file__).name}: {' '.join(str(error).split())}")
