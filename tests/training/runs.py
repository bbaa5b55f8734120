"""A run on the enumerable models: its state before a step, and a task whose rewards are those of the table."""

from types import SimpleNamespace

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from rsail.lm.enumeration import response_indices
from rsail.training import collection, loop
from rsail.training.checkpoint import make_generators
from rsail.training.state import State

TEXTS = ["a b", "b b"]  # the prompts of enumerated.py


def tokenizer():
    backend = Tokenizer(WordLevel({"a": 0, "<eos>": 1, "b": 2}, unk_token="a"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="a", eos_token="<eos>")


def judged(monkeypatch, world) -> None:
    """Rewards and the attribute are the world's, whatever the texts: its tokens have none of their own."""

    def judge(task, tokenizer, prompts, samples, count):
        x = np.array([TEXTS.index(prompt) for prompt in prompts])[:, None]
        chosen = indices(world, samples).reshape(-1, count)
        return world.rewards[x, chosen], {"charm": world.attribute[x, chosen]}

    for module in (collection, loop):
        monkeypatch.setattr(module, "judge", judge)


class Recorder:
    """In place of accelerator and optimizer: keeps the gradient of each step, in float64, and moves nothing."""

    device = torch.device("cpu")

    def __init__(self):
        self.gradients = []

    def unwrap_model(self, model):
        return model

    def backward(self, loss):
        loss.backward()

    def clip_grad_norm_(self, parameters, norm):
        parameters = list(parameters)
        self.gradients.append(torch.cat([p.grad.flatten().double() for p in parameters]))
        for p in parameters:
            p.grad = None
        return 0.0

    def step(self):
        pass

    def zero_grad(self):
        pass


def make_state(world, seed: int) -> State:
    """Before the first step; the two prompts are two groups."""

    def groups(prompts):
        return {text: np.array([prompt == text for prompt in prompts]) for text in TEXTS}

    recorder, task = Recorder(), SimpleNamespace(train_prompts=TEXTS, groups=groups, learned=None)
    models = (world.policy, world.reference, world.initial)
    return State(recorder, *models, tokenizer(), task, recorder, make_generators(seed))


def indices(world, samples) -> np.ndarray:
    return response_indices(world.responses, samples).numpy()


def prompt_of(samples) -> np.ndarray:
    return (samples.prompt_ids[:, 0] == 2).long().numpy()
