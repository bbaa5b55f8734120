"""A preference oracle of your own: any function of texts.

    .venv/bin/python examples/own_oracle.py
    .venv/bin/python examples/own_oracle.py --output build/own_oracle model=PATH_OR_HUB_NAME steps=200 rho=0.15

The oracle here prefers the shorter response. Yours may ask a person, a program or another model: it gets N prompts and
two responses to each, and gives N probabilities that the first is the better one. Every pair is asked about once.
Further arguments are settings of the run, as of `python -m rsail train` (its --help lists them).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from rsail.study.paths import DATA_DIR
from rsail.training import evaluate, load_config, train
from rsail.training.checkpoint import read_log

SMALL = DATA_DIR / "models" / "preference_language"


def prefers_shorter(prompts: list[str], first: list[str], second: list[str]) -> np.ndarray:
    """P(first is preferred), (N,): Bradley-Terry with the number of missing words as the reward."""
    words = np.array([[len(text.split()) for text in texts] for texts in (first, second)])
    return 1 / (1 + np.exp(np.clip(words[0] - words[1], -20, 20)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default=None, help="folder of the run (default: a new temporary one)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the run")
    given = parser.parse_args()

    # Small enough for a minute on a CPU. The oracle of the configuration stays the default: ours is in its place.
    small = ["steps=12", "prompts_per_step=16", "evaluation_prompts=32", "learning_rate=0.001", "rho=0.1"]
    output = given.output or tempfile.mkdtemp()
    config = load_config(None, [f"model={SMALL}", *small, *given.settings, f"output_dir={output}"])

    # run.json keeps the function's name and the digest of its source: --resume with another oracle is refused. What a
    # function reads from elsewhere is not in its source; an object with __call__ and a text `digest` may be given then.
    run = train(config, oracle=prefers_shorter, resume=given.resume)

    before, *_, after = read_log(run / "evaluations.jsonl")
    for name in ("length", "proxy/preference", "gold/reward"):
        print(f"{name}: {before[name]:.3f} before, {after[name]:.3f} after")
    print(f"proxy/preference again: {evaluate(run, oracle=prefers_shorter)['proxy/preference']:.3f}")
    print(run)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # of what was given: one line
        sys.exit(f"{Path(__file__).name}: {' '.join(str(error).split())}")
