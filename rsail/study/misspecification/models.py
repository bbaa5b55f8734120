"""Reference models of the study: the committed one, two other sizes, and two that differ by their seed alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rsail.checks import one_of
from rsail.lm.pretraining import PretrainConfig, pretrain
from rsail.study.biased_oracle import MODEL
from rsail.study.paths import BUILD_DIR
from rsail.tasks import TaskConfig, pretraining_texts

BASE = MODEL.name
TEXTS = 20_000  # of the corpus, as for the committed model
# Small and large change the width, the depth and nothing else of the committed model's recipe.
RECIPES = {
    "small": PretrainConfig(hidden_size=32, intermediate_size=64, layers=1, heads=2),
    BASE: PretrainConfig(),
    "large": PretrainConfig(hidden_size=128, intermediate_size=256, layers=3, heads=4),
    "other_1": PretrainConfig(seed=1),
    "other_2": PretrainConfig(seed=2),
}


def recipe(name: str) -> dict:
    """What makes the model `name`, as plain data."""
    one_of("model", name, RECIPES)
    return {**asdict(RECIPES[name]), "texts": TEXTS}


def model_folder(name: str) -> Path:
    """The folder of the model `name`, pretrained there first if it is not the committed one (minutes)."""
    one_of("model", name, RECIPES)
    if name == BASE:
        return MODEL
    corpus, tokenizer = pretraining_texts(TaskConfig(), TEXTS)
    return pretrain(corpus, tokenizer, RECIPES[name], BUILD_DIR / "models" / name)
