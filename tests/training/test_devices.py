"""A step and an evaluation keep to one device; what they make the CPU wait for is one number per token."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch

from rsail.lm import encode_prompts, frozen_copy, load_model, response_log_probs, sample
from rsail.study.biased_oracle import MODEL
from rsail.tasks import TaskConfig, load_task
from rsail.training import OnlineConfig
from rsail.training.checkpoint import make_generators
from rsail.training.evaluation import evaluate_policy
from rsail.training.loop import online_step
from rsail.training.state import State

from .elsewhere import ELSEWHERE, Elsewhere, PretendDevice, moved

PROMPTS = 6


@pytest.fixture
def setting():
    task = load_task(TaskConfig(train_prompts=16), eval_prompts=8)
    config = OnlineConfig(prompts_per_step=PROMPTS, rho=0.15, max_new_tokens=12, evaluation_prompts=8)
    return config, *load_model(MODEL), task


class Still:
    """In place of accelerator and optimizer: nothing is differentiated and nothing moves."""

    def __init__(self, device):
        self.device = device

    def unwrap_model(self, model):
        return model

    def backward(self, loss):
        assert loss.device.type == self.device.type

    def clip_grad_norm_(self, parameters, norm):
        return 0.0

    def step(self):
        pass

    zero_grad = step


@contextmanager
def pretended(monkeypatch):
    # Lower precision is not known to the device; it is off.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    with torch.no_grad(), PretendDevice() as mode:
        yield mode


def one_step(config, model, tokenizer, task, device):
    still = Still(device)
    state = State(still, model, model, model, tokenizer, task, still, make_generators(0))
    return online_step(config, state)[0]


def draw(model, tokenizer, prompts):
    return sample(
        model, *encode_prompts(tokenizer, prompts), responses_per_prompt=2, max_new_tokens=12,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


@pytest.mark.parametrize(
    "method", [{}, {"loss": "dpo", "labels": "drawn", "score_weight": 0.0, "rho": 0.0}], ids=str
)
def test_a_step_and_an_evaluation_give_on_one_device_what_they_give_on_another(setting, method, monkeypatch):
    config, model, tokenizer, task = setting
    config = replace(config, **method)
    with torch.no_grad():
        expected = one_step(config, model, tokenizer, task, torch.device("cpu"))
        evaluated = evaluate_policy(config, model, frozen_copy(model), tokenizer, task)
    with pretended(monkeypatch):
        there = moved(model)
        assert one_step(config, there, tokenizer, task, ELSEWHERE) == pytest.approx(
            expected, rel=1e-5, abs=1e-6
        )
        found = evaluate_policy(config, there, there, tokenizer, task)
        assert found == pytest.approx(evaluated, rel=1e-5, abs=1e-6)


def test_sampling_waits_once_per_token(setting, monkeypatch):
    _, model, tokenizer, task = setting
    plain = draw(model, tokenizer, task.train_prompts[:PROMPTS])
    with pretended(monkeypatch) as mode:
        samples = draw(moved(model), tokenizer, task.train_prompts[:PROMPTS])
        assert all(isinstance(part, Elsewhere) and part.device == ELSEWHERE for part in samples)
        length = samples.response_ids.shape[1]
        assert torch.equal(samples.response_ids.cpu(), plain.response_ids)
        waited = sum(mode.waits.values()) - 1  # the comparison above moves a tensor
        scored = mode.operations
        response_log_probs(model, *samples)
    assert length <= waited <= 2 * length + 4
    assert mode.operations - scored < scored


def test_a_tensor_left_on_the_cpu_is_noticed(setting, monkeypatch):
    with (
        pretended(monkeypatch),
        pytest.raises(RuntimeError, match="mul got tensors on the CPU and elsewhere"),
    ):
        torch.ones(3, device=ELSEWHERE) * torch.ones(3)
