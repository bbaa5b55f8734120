"""Reference models of the study: the committed one and two other sizes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rsail.checks import one_of
from rsail.language import LanguageConfig, build_tokenizer
from rsail.lm.pretraining import PretrainConfig, new_model, pretrain
from rsail.study.biased_oracle import MODEL
from rsail.study.paths import BUILD_DIR
from rsail.tasks import TaskConfig, pretraining_texts

BASE = MODEL.name
TEXTS = 20_000  # of the corpus, as for the committed model
# Small and large change the width, the depth and nothing else of the committed model's recipe.
RECIPES = {
    "small": PretrainConfig(hidden_size=32, intermediate_size=64, layers=1, heads=2),
    BASE: PretrainConfig(),
    "large": PretrainConfig(hidden_size=96, intermediate_size=192, layers=3, heads=4),
}


def recipe(name: str) -> dict:
    """What makes the model `name`, as plain data."""
    one_of("model", name, RECIPES)
    return {**asdict(RECIPES[name]), "texts": TEXTS}


def parameters(name: str) -> int:
    """How many numbers the model `name` has."""
    one_of("model", name, RECIPES)
    return sum(p.numel() for p in new_model(build_tokenizer(LanguageConfig()), RECIPES[name]).parameters())


def model_folder(name: str) -> Path:
    """The folder of the model `name`, pretrained there first if it is not the committed one (minutes)."""
    one_of("model", name, RECIPES)
    if name == BASE:
        return MODEL
    corpus, tokenizer = pretraining_texts(TaskConfig(), TEXTS)
    return pretrain(corpus, tokenizer, RECIPES[name], BUILD_DIR / "models" / name)
