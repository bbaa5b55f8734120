"""The study behind notebook 08: nominal against robust SAIL when the oracle favors filler words.

Every run of `plan` leaves one result file, also one that fails; claims are computed from the files alone.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm

from rsail.checks import require
from rsail.lm import encode_prompts, load_model, sample
from rsail.oracles import OracleConfig
from rsail.study.paths import BUILD_DIR, DATA_DIR, RESULTS_DIR
from rsail.study.profiles import Profile
from rsail.study.results import ResultError, commit, read_result, write_result
from rsail.study.statistics import Interval, mean_interval, paired_difference
from rsail.tasks import load_task
from rsail.training import OnlineConfig, evaluate, train
from rsail.training.checkpoint import exclusive, read_log
from rsail.training.measures import decode

NAME = "biased_oracle"
RESULTS = RESULTS_DIR / NAME
MODEL = DATA_DIR / "models" / "preference_language"
BIAS = 0.15
METHODS = {"nominal": 0.0, "robust": BIAS}  # rho of each
GOLD, SPURIOUS = "gold/reward/request", "attribute/filler/open"
TUNING = RESULTS_DIR / f"{NAME}_tuning"
FIRST_SEED = 10
SHOWN_PROMPTS = 6
HISTORY_EVERY = 5  # steps between the training metrics that a result file keeps


def base_config(output_dir: str | Path, *, steps: int, seed: int, rho: float) -> OnlineConfig:
    """The setting of the study: beta 0.1, full score term, the oracle's probabilities, filler bias 0.15."""
    return OnlineConfig(
        output_dir=str(output_dir),
        model=str(MODEL),
        oracle=OracleConfig(kind="bias", strength=BIAS, attribute="filler"),
        rho=rho,
        steps=steps,
        seed=seed,
        evaluation_prompts=256,
    )


def plan(profile: Profile) -> list[tuple[str, int]]:
    """Every (method, seed) of the study, in the order in which they run.

    Seeds below FIRST_SEED and seed 100 were used to choose the setting; their runs are in TUNING.
    """
    return [(method, seed) for seed in range(FIRST_SEED, FIRST_SEED + profile.seeds) for method in METHODS]


def run_study(folder: Path, profile: Profile, *, resume: bool = False, progress: bool = False) -> None:
    """Make the result file of every planned run again; with `resume`, of those not yet made by this code.

    A file counts as made by this code if it is of the same configuration and commit, and the package was unchanged.
    A run that ends with numbers that are not finite is a result, too: its file says so in ``metrics.error``.
    """
    torch.set_num_threads(1)
    for method, seed in tqdm(plan(profile), disable=not progress, desc=NAME):
        path = folder / f"{method}_seed{seed}.json"
        config = base_config(
            BUILD_DIR / NAME / path.stem, steps=profile.training_steps, seed=seed, rho=METHODS[method]
        )
        if not (resume and _is_made(path, config)):
            run_one(config, path, seed)


def _is_made(path: Path, config: OnlineConfig) -> bool:
    if not path.exists():
        return False
    result = read_result(path)
    same_code = result["provenance"]["commit"] == commit() and not commit().endswith(("-dirty", "unknown"))
    return same_code and result["config"] == recorded(config)


def run_one(config: OnlineConfig, path: Path, seed: int) -> dict:
    """Train and evaluate one configuration in its output folder, from nothing; write and return its result."""
    run = Path(config.output_dir)
    _empty(run)
    started = time.perf_counter()
    try:
        train(config, progress=False)
        metrics, texts = evaluate(run) | performance(config, run), sample_texts(config)
    except FloatingPointError as error:
        metrics, texts = {"error": str(error)}, []
    history = {
        "evaluations": read_log(run / "evaluations.jsonl"),
        "steps": [row for row in read_log(run / "metrics.jsonl") if row["step"] % HISTORY_EVERY in (0, 1)],
        "texts": texts,
    }
    result = write_result(
        path,
        study=NAME,
        config=recorded(config),
        metrics=metrics,
        history=history,
        seeds={"run": seed, "task": config.task.seed},
        wall_time=time.perf_counter() - started,
        overwrite=True,
    )
    _empty(run)
    run.rmdir()
    return result


def _empty(run: Path) -> None:
    """Remove what `run` holds, unless another process trains there now: a `ValueError` then names it."""
    with exclusive(run):
        for path in run.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def performance(config: OnlineConfig, run: Path) -> dict[str, float]:
    """Median seconds per phase and per step, and sampled tokens per second; the first steps warm up."""
    timings = read_log(run / "timings.jsonl")
    warm = [row for row in timings if row["step"] > min(5, len(timings) - 1)]
    phases = [name for name in warm[0] if name != "step"]
    seconds = {f"seconds/{name}": float(np.median([row[name] for row in warm])) for name in phases}
    step = float(np.median([sum(row[name] for name in phases) for row in warm]))
    length = np.mean([row["length"] for row in read_log(run / "metrics.jsonl")])
    tokens = length * config.prompts_per_step * config.responses_per_prompt
    return {**seconds, "seconds/step": step, "tokens_per_second": float(tokens / step)}


def recorded(config: OnlineConfig) -> dict:
    """What a result file keeps of a configuration: not where a run was written, but which weights it began with.

    Settings that change nothing, and settings that the oracle does not read, are left out: result files that
    are older than they stay those of the run. The arithmetic stands by itself, as it has always been in them.
    """
    values = config.to_dict()
    del values["output_dir"]
    if config.task.open_share == 0:
        del values["task"]["open_share"]
    values["precision"] = values["policy"].pop("precision")
    for kept, owner, group in (
        (values, config, "collection"),
        (values, config, "addition"),
        (values["task"], config.task, "prompts"),
    ):
        if getattr(owner, group) == type(getattr(owner, group))():
            del kept[group]
    if config.policy == type(config.policy)(precision=values["precision"]):
        del values["policy"]
    for name in config.oracle.unread:
        del values["oracle"][name]
    weights = Path(config.model) / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return values | {"model": Path(config.model).name, "model_sha256": digest}


def settings_of(values: dict) -> dict:
    """The settings of `OnlineConfig` that `recorded` kept, but those of its folders and its model."""
    values = {key: value for key, value in values.items() if key not in ("model", "model_sha256")}
    precision = values.pop("precision")
    return values | {"policy": {**values.get("policy", {}), "precision": precision}}


def sample_texts(config: OnlineConfig) -> list[dict]:
    """One response of the reference and one of the trained policy to each of a few held-out prompts."""
    task = load_task(config.task, eval_prompts=config.evaluation_prompts)
    prompts, texts = task.eval_prompts[:SHOWN_PROMPTS], {}
    for who, folder in (("reference", config.model), ("policy", Path(config.output_dir) / "model")):
        model, tokenizer = load_model(folder)
        samples = sample(
            model.to(Accelerator().device),
            *encode_prompts(tokenizer, prompts),
            responses_per_prompt=1,
            max_new_tokens=config.max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            generator=torch.Generator().manual_seed(0),
        )
        texts[who] = decode(tokenizer, samples)
    return [
        {"prompt": prompt, "reference": before, "policy": after}
        for prompt, before, after in zip(prompts, texts["reference"], texts["policy"], strict=True)
    ]


@dataclass(frozen=True)
class Study:
    """Results of all runs, in the order of `seeds`; `missing` names planned runs without a file."""

    seeds: list[int]
    runs: dict[str, list[dict]]

    def final(self, method: str, metric: str) -> np.ndarray:
        """One number per seed: the metric of the trained policy."""
        return np.array([run["metrics"][metric] for run in self.runs[method]])

    def reference(self, metric: str) -> float:
        """The metric before training, the same in every run."""
        values = {run["history"]["evaluations"][0][metric] for runs in self.runs.values() for run in runs}
        require(len(values) == 1, metric, sorted(values), "the same before training in every run")
        return values.pop()

    def curve(self, method: str, metric: str, log: str = "evaluations") -> tuple[np.ndarray, np.ndarray]:
        """Steps (T,) and the metric over them, (seeds, T)."""
        rows = [run["history"][log] for run in self.runs[method]]
        steps = np.array([row["step"] for row in rows[0]])
        return steps, np.array([[row[metric] for row in run] for run in rows])

    def smooth_curve(self, method: str, metric: str, *, width: int = 25) -> tuple[np.ndarray, np.ndarray]:
        """A training metric averaged over windows of `width` steps: their middles (T,), the means (seeds, T)."""
        steps, values = self.curve(method, metric, "steps")
        window = (steps - 1) // width
        middles = np.array([steps[window == w].mean() for w in np.unique(window)])
        return middles, np.stack([values[:, window == w].mean(1) for w in np.unique(window)], axis=1)


def load_study(folder: str | Path = RESULTS) -> Study:
    """Read all result files of the study; every method must have the same seeds, at least two.

    Raises `ResultError` when a file is missing, damaged, or of a run that failed.
    """
    folder = Path(folder)
    files = {method: sorted(folder.glob(f"{method}_seed*.json")) for method in METHODS}
    runs = {
        method: sorted(map(read_result, paths), key=lambda r: r["seeds"]["run"])
        for method, paths in files.items()
    }
    seeds = {method: [run["seeds"]["run"] for run in found] for method, found in runs.items()}
    first = seeds["nominal"]
    if len(first) < 2 or any(other != first for other in seeds.values()):
        raise ResultError(f"{folder} must hold the same two or more seeds of every method, got {seeds}")
    for found in runs.values():
        for run in found:
            if "error" in run["metrics"]:
                raise ResultError(
                    f"a run of {folder} failed: seed {run['seeds']['run']}: {run['metrics']['error']}"
                )
    return Study(first, runs)


@dataclass(frozen=True)
class Claims:
    """What the study says, each with its 95 % t interval over paired seeds."""

    gold_gain: dict[str, Interval]  # gold reward on requests, trained minus reference
    gold_difference: Interval  # robust minus nominal
    gold_kept: float  # robust gain / nominal gain, of the means
    spurious_excess: dict[str, Interval]  # filler words on open prompts, trained minus reference
    spurious_removed: Interval  # |nominal excess| - |robust excess|
    entropy_ratio: dict[str, float]  # lowest over seeds, trained / reference
    kl: dict[str, float]  # highest over seeds, nats per response

    @property
    def hold(self) -> dict[str, bool]:
        """Each claim of the study and whether the results support it."""
        return {
            "robust SAIL's spurious attribute is nearer to the reference's": self.spurious_removed.low > 0,
            "nominal SAIL gains gold reward": self.gold_gain["nominal"].low > 0,
            "robust SAIL gains gold reward": self.gold_gain["robust"].low > 0,
            "robust SAIL keeps at least 0.8 of nominal's gain": self.gold_kept >= 0.8,
            "no run has lost half of the reference's entropy": min(self.entropy_ratio.values()) >= 0.5,
            "robust SAIL stays within 2 nats of the reference": self.kl["robust"] <= 2,
        }


def compute_claims(study: Study) -> Claims:
    """The claims of notebook 08, from result files alone."""
    gain = {m: study.final(m, GOLD) - study.reference(GOLD) for m in METHODS}
    excess = {m: study.final(m, SPURIOUS) - study.reference(SPURIOUS) for m in METHODS}
    entropy = study.reference("objective/entropy")
    return Claims(
        gold_gain={m: mean_interval(values) for m, values in gain.items()},
        gold_difference=paired_difference(gain["robust"], gain["nominal"]),
        gold_kept=float(gain["robust"].mean() / gain["nominal"].mean()),
        spurious_excess={m: mean_interval(values) for m, values in excess.items()},
        spurious_removed=paired_difference(np.abs(excess["nominal"]), np.abs(excess["robust"])),
        entropy_ratio={m: float(study.final(m, "objective/entropy").min() / entropy) for m in METHODS},
        kl={m: float(study.final(m, "objective/kl").max()) for m in METHODS},
    )
