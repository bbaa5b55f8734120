"""A fixed amount of work: a Llama with random weights, prompts, and responses of a known length."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rsail.checks import require
from rsail.lm import frozen_copy
from rsail.tasks import Task
from rsail.training import OnlineConfig
from rsail.training.checkpoint import make_generators
from rsail.training.loop import make_optimizer
from rsail.training.state import State

PAD = 0
PROMPT_WORDS = (6, 10)  # shortest and longest


@dataclass(frozen=True)
class Workload:
    """Sizes of a step in float32. No response ends before `new_tokens`: the end has an id that no model draws."""

    vocabulary: int = 512
    new_tokens: int = 32
    prompts: int = 8
    responses: int = 2
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    threads: int = 1

    def __post_init__(self):
        for name, value in asdict(self).items():
            require(value >= 1, name, value, ">= 1")
        require(self.hidden % self.heads == 0, "hidden", self.hidden, f"a multiple of heads = {self.heads}")

    @property
    def rows(self) -> int:
        return self.prompts * self.responses


def build_tokenizer(workload: Workload) -> PreTrainedTokenizerFast:
    """One word per token; the end-of-sequence token stands behind the model's vocabulary, so that it is never drawn."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{k}": k for k in range(1, workload.vocabulary)}
    backend = Tokenizer(
        models.WordLevel({"<pad>": PAD, **words, "<eos>": workload.vocabulary}, unk_token="<pad>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def build_model(workload: Workload, seed: int = 0) -> LlamaForCausalLM:
    """Llama with tied embeddings and random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=workload.vocabulary,
        hidden_size=workload.hidden,
        intermediate_size=4 * workload.hidden,
        num_hidden_layers=workload.layers,
        num_attention_heads=workload.heads,
        num_key_value_heads=workload.heads,
        max_position_embeddings=1024,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def prompt_texts(workload: Workload, count: int = 64, seed: int = 1) -> list[str]:
    """Prompts of 6 to 10 words."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(PROMPT_WORDS[0], PROMPT_WORDS[1] + 1, size=count)
    return [" ".join(f"w{k}" for k in rng.integers(1, workload.vocabulary, size=n)) for n in lengths]


def distinct_words(texts: list[str]) -> np.ndarray:
    """The judge of these measurements, (N,): cheap, and the same for every trainer."""
    return np.array([len(set(text.split())) for text in texts], dtype=np.float64)


def build_task(workload: Workload) -> Task:
    prompts = prompt_texts(workload)
    return Task(
        prompts,
        prompts[:1],
        lambda asked, texts: distinct_words(texts) / workload.new_tokens,
        lambda texts: {"length": np.array([len(text.split()) for text in texts], dtype=np.float64)},
        lambda asked: {"all": np.ones(len(asked), dtype=bool)},
    )


def stage(workload: Workload, seed: int = 0, **settings) -> tuple[OnlineConfig, State]:
    """Configuration and state of a run of `workload`; `settings` win. Sets the number of threads."""
    torch.set_num_threads(workload.threads)
    values = {"rho": 0.15, "score_weight": 1.0, "learning_rate": 1e-4} | settings
    config = OnlineConfig(
        output_dir="unused",
        prompts_per_step=workload.prompts,
        responses_per_prompt=workload.responses,
        max_new_tokens=workload.new_tokens,
        **values,
    )
    policy = build_model(workload)
    reference = frozen_copy(policy)
    accelerator = Accelerator(mixed_precision="no")
    policy, optimizer = accelerator.prepare(policy, make_optimizer(config, policy))
    reference = reference.to(accelerator.device)
    state = State(
        accelerator, policy, reference, reference, build_tokenizer(workload), build_task(workload), optimizer,
        make_generators(seed),
    )  # fmt: skip
    return config, state
