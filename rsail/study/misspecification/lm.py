"""One planned run on a language model: train, keep the numbers that a claim may need, throw the rest away."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import torch

from rsail.study.biased_oracle import performance, settings_of
from rsail.study.misspecification.models import model_folder
from rsail.study.paths import BUILD_DIR
from rsail.study.sweeps import Cell, Outcome
from rsail.training import OnlineConfig, train
from rsail.training.checkpoint import read_log
from rsail.training.config import build

STEPS_EVERY = 20
# Everything is measured in the end; along the way what figures and equal-KL comparisons read.
OF_EVALUATIONS = (
    "step", "gold/reward", "gold/reward/request", "gold/preference", "gold/win_rate/request", "proxy/preference",
    "attribute/filler/open", "attribute/filler/request", "attribute/flattery/open", "attribute/length/open",
    "objective/kl", "objective/kl/open", "objective/kl/request", "objective/kl_k3", "objective/entropy",
    "robust/identical_pairs", "robust/sail_loss_true", "robust/sail_loss_observed", "robust/loss",
    "robust/certificate_gap", "oracle/deviation",
)  # fmt: skip
OF_STEPS = ("step", "loss", "grad_norm", "objective/kl", "robust/penalty", "robust/identical_pairs")


def run_cell(cell: Cell) -> Outcome:
    """Train the configuration of `cell` from nothing on one thread; metrics of the trained policy and the history."""
    torch.set_num_threads(1)
    values = {key: value for key, value in settings_of(cell.config).items() if key != "recipe"}
    model = model_folder(cell.config["model"])
    BUILD_DIR.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD_DIR, prefix="run-") as scratch:
        run = Path(scratch) / "run"
        config = build(OnlineConfig, values | {"model": str(model), "output_dir": str(run)})
        train(config, progress=False)
        evaluations = read_log(run / "evaluations.jsonl")
        steps = [row for row in read_log(run / "metrics.jsonl") if row["step"] % STEPS_EVERY in (0, 1)]
        metrics = evaluations[-1] | performance(config, run)
    metrics |= {"model_sha256": hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()}
    history = {
        "evaluations": [{name: row[name] for name in OF_EVALUATIONS if name in row} for row in evaluations],
        "steps": [{name: row[name] for name in OF_STEPS if name in row} for row in steps],
    }
    return metrics, history
