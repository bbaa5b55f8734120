"""The plan of the study on real text, as data: written and committed before the first recorded run.

**Task.** Prompts are the first 2 to 8 tokens of IMDb reviews; a response completes the sentence (`rsail.imdb`). The
gold reward is a naive-Bayes classifier of sentiment from one half of the test split, the oracle compares by a second
one from the other half, plus a bias: it favors the response with more words by `BIAS` in probability. On half of the
prompts, marked "Notes:", neither classifier has a say (our construction): the truth is 1/2 for every pair, and the
oracle's answer is its bias alone. The policy is a Llama of about 1 M parameters, pretrained on sentences of the
reviews, in which both marks stand before whatever sentence.

**Questions.** Each is a difference with one number per seed, tested by a t test over the seeds, two-sided; Holm's
correction over all of them, at 5 %. An answer is reported whichever way it goes.

1. Does nominal SAIL over-optimize the biased oracle on real text? Responses to open prompts become longer
   (`excess_nominal`); on sentiment prompts the oracle's preference for the policy over the reference grows above the
   truth's (`gap_nominal`). And does it learn sentiment at all (`gain_nominal`)?
2. Does rho, at the size of the bias, stop it? Smaller distance of the length from the reference's on open prompts
   (`excess_robust`), smaller gap on sentiment prompts (`gap_robust`); what it costs in gold reward (`gain_robust`). The
   first and the last for online DPO, too (`excess_online`, `gain_online`).
3. Is it matched by a larger beta at equal KL? The distance on open prompts and the gold reward of robust SAIL, minus
   those of nominal SAIL at another beta with the same KL: between the runs of one seed with beta 0.1 and larger, and
   the reference at KL 0, values are interpolated linearly in KL (`excess_equal_kl`, `gain_equal_kl`).

**Tuning.** `TUNING` lists the runs of nominal SAIL that chose the learning rate, on a seed that no reported run has;
they are in `data/results/imdb_tuning`. Of the rates the largest is taken at which the policy keeps half of the
reference's entropy and stays within 10 nats of it.

The other values of rho, and everything else in the result files, are description, not tests.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from rsail.lm.pretraining import PretrainConfig
from rsail.oracles import OracleConfig
from rsail.study.sweeps import Cell
from rsail.tasks import TaskConfig
from rsail.training import OnlineConfig

STUDY = "imdb"
BIAS = 0.15
ATTRIBUTE = "length"
LEARNING_RATE = 5e-4  # by the rule above, from the tuning runs
QUESTIONS = (
    "excess_nominal", "gap_nominal", "gain_nominal", "excess_robust", "gap_robust", "gain_robust", "excess_online",
    "gain_online", "excess_equal_kl", "gain_equal_kl",
)  # fmt: skip

# What each method changes of nominal SAIL (beta 0.1, rho 0, full score term, the oracle's probabilities).
METHODS: dict[str, dict] = {
    "nominal": {},
    "rho_half": {"rho": BIAS / 2},
    "robust": {"rho": BIAS},
    "rho_double": {"rho": 2 * BIAS},
    "beta_0.3": {"beta": 0.3},
    "beta_1": {"beta": 1.0},
    "online": {"score_weight": 0.0},
    "online_robust": {"score_weight": 0.0, "rho": BIAS},
}
# From small to large KL, with the reference (KL 0) before them.
BETA_FAMILY = ("beta_1", "beta_0.3", "nominal")
TUNING = tuple((f"nominal_{rate:g}", {"learning_rate": rate}) for rate in (5e-4, 1e-3, 2e-3))
LLAMA = PretrainConfig(
    hidden_size=128,
    intermediate_size=512,
    layers=2,
    heads=4,
    max_length=36,
    steps=1500,
    batch_size=32,
    learning_rate=3e-3,
)


@dataclass(frozen=True)
class Size:
    """How large the study is."""

    rows: int = 6000  # reviews of each split
    texts: int = 48_000  # sentences to pretrain on
    vocabulary: int = 4000
    pretraining: PretrainConfig = LLAMA
    train_prompts: int = 2048
    evaluation_prompts: int = 96
    prompts_per_step: int = 16
    max_new_tokens: int = 24
    steps: int = 80
    evaluate_every: int = 20
    seeds: tuple[int, ...] = (10, 11, 12, 13, 14)
    tuning_seeds: tuple[int, ...] = (100,)


FULL = Size()
TINY = Size(
    rows=400,
    texts=300,
    vocabulary=300,
    pretraining=PretrainConfig(
        hidden_size=16, intermediate_size=16, layers=1, heads=2, max_length=24, steps=5, batch_size=8
    ),
    train_prompts=16,
    evaluation_prompts=8,
    prompts_per_step=4,
    max_new_tokens=6,
    steps=2,
    evaluate_every=1,
    seeds=(10, 11),
)


def task(size: Size, data: str) -> TaskConfig:
    """The task, on reviews from `data`: a hub name or a folder."""
    return TaskConfig(
        kind="imdb", data=data, rows=size.rows, open_share=0.5, train_prompts=size.train_prompts
    )


def run_config(size: Size, data: str, model: str, output_dir: str, seed: int, changes: dict) -> OnlineConfig:
    """One run: nominal SAIL with `changes`, the learning rate among them."""
    config = OnlineConfig(
        output_dir=output_dir,
        model=model,
        task=task(size, data),
        oracle=OracleConfig(kind="bias", strength=BIAS, attribute=ATTRIBUTE),
        prompts_per_step=size.prompts_per_step,
        max_new_tokens=size.max_new_tokens,
        steps=size.steps,
        seed=seed,
        checkpoint_every=size.steps,
        evaluate_every=size.evaluate_every,
        evaluation_prompts=size.evaluation_prompts,
    )
    return replace(config, **changes)


def cells(size: Size, identity: dict[str, str], *, tuning: bool = False) -> list[Cell]:
    """Every run, seed by seed, after the measurement of the reference.

    `identity` says what all runs share besides the plan, by content and not by place: ``data`` (a hub name or
    digests) and ``model_sha256``. A run's file has its resolved configuration in the history.
    """
    settings, seeds = (TUNING, size.tuning_seeds) if tuning else (tuple(METHODS.items()), size.seeds)
    scale = asdict(size)
    del scale["seeds"], scale["tuning_seeds"]
    shared = {"bias": BIAS, "attribute": ATTRIBUTE, "size": scale} | identity
    plan = [
        Cell(
            f"{name}_seed{seed}",
            {"changes": {"learning_rate": LEARNING_RATE} | changes} | shared,
            {"run": seed},
        )
        for seed in seeds
        for name, changes in settings
    ]
    return plan if tuning else [Cell("reference", shared), *plan]
