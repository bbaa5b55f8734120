"""The expected gradient of the code that trains is the gradient of the exact engine, by enumeration.

A small transformer in float64 whose responses can all be listed; policy and reference differ, so every part of the
gradient is there: the path, the penalty and the score of the sampling law.
"""

import itertools
import types

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from rsail.exact.losses import log_prob_gradient
from rsail.lm import Samples, frozen_copy, response_log_probs
from rsail.oracles import OracleConfig, truth
from rsail.tasks import Task
from rsail.training import OnlineConfig, collection, loop
from rsail.training.checkpoint import make_generators
from rsail.training.state import State

PAD, EOS = 0, 1
WORDS = {"<pad>": PAD, "<eos>": EOS, "good": 2}
PROMPTS = ["good", "good good"]
BETA, RHO = 0.7, 0.1


def config(**changes) -> OnlineConfig:
    return OnlineConfig(
        **{
            "output_dir": "unused",
            "beta": BETA,
            "rho": RHO,
            "prompts_per_step": 2,
            "optimizer": "sgd",
            "learning_rate": 1.0,
            "max_grad_norm": 1e9,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def models():
    """Policy and reference over three words: one layer, width 8, weights of standard deviation 0.5.

    GPT-2, because its arithmetic is float64 throughout; Llama's norms go through float32.
    """
    torch.manual_seed(0)
    policy = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(WORDS), n_positions=8, n_embd=8, n_layer=1, n_head=2, initializer_range=0.5,
            bos_token_id=EOS, eos_token_id=EOS, pad_token_id=PAD,
        )
    ).double().eval()  # fmt: skip
    reference = frozen_copy(policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return policy, reference


@pytest.fixture(scope="module")
def tokenizer():
    backend = Tokenizer(WordLevel(WORDS, unk_token="<pad>"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")


def all_responses(longest: int) -> list[list[int]]:
    """Every response of at most `longest` tokens: ended, or cut off."""
    rows = []
    for length in range(1, longest + 1):
        for row in itertools.product(range(len(WORDS)), repeat=length):
            if EOS not in row[:-1] and (row[-1] == EOS or length == longest):
                rows.append(list(row))
    return rows


def table(model, prompts: list[list[int]], responses: list[list[int]]) -> torch.Tensor:
    """log pi(y|x) of all responses to all prompts, (X, Y)."""
    width, longest = max(map(len, prompts)), max(map(len, responses))
    ids = torch.tensor([[PAD] * (width - len(p)) + p for p in prompts for _ in responses])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts for _ in responses])
    out = torch.tensor([r + [PAD] * (longest - len(r)) for _ in prompts for r in responses])
    out_mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for _ in prompts for r in responses])
    return response_log_probs(model, ids, mask, out, out_mask).sum(-1).view(len(prompts), len(responses))


def preferences_of(prompts: int, responses: int) -> np.ndarray:
    """Bradley-Terry preferences between 0.2 and 0.8, so that rho = 0.1 is never clipped."""
    return truth(np.random.default_rng(0).uniform(-0.7, 0.7, size=(prompts, responses)))


def exact_gradient(policy, reference, prompts, responses, preferences, score_weight, rho=RHO) -> torch.Tensor:
    """Gradient of the exact engine with respect to all parameters of the policy, one flat vector."""
    own = table(policy, prompts, responses)
    coefficients = log_prob_gradient(
        own.detach().numpy(), table(reference, prompts, responses).numpy(), preferences,
        beta=BETA, rho=rho, score_weight=score_weight,
    )  # fmt: skip
    return flat(torch.autograd.grad((torch.from_numpy(coefficients) * own).sum(), list(policy.parameters())))


def flat(tensors) -> torch.Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


@pytest.mark.parametrize("score_weight", [1.0, 0.5, 0.0])
@pytest.mark.parametrize(
    ("baseline", "count", "prompts", "longest"),
    [
        ("other_prompts", 2, [[2], [2, 2]], 1),
        ("other_prompts", 3, [[2], [2, 2]], 1),
        ("log2", 2, [[2], [2, 2]], 1),
        ("log2", 2, [[2, 2]], 2),
        ("per_response", 3, [[2, 2]], 2),
        ("disjoint", 4, [[2, 2]], 1),
    ],
)
def test_expected_minibatch_gradient_is_the_exact_one(
    models, baseline, count, prompts, longest, score_weight
):
    policy, reference = models
    responses = all_responses(longest)
    preferences = preferences_of(len(prompts), len(responses))
    settings = config(responses_per_prompt=count, baseline=baseline, score_weight=score_weight)
    own, ref = table(policy, prompts, responses), table(reference, prompts, responses)
    leaf, rows = own.detach().requires_grad_(), torch.arange(len(prompts))[:, None]
    observed = torch.from_numpy(preferences)

    total = 0.0
    for drawn in itertools.product(range(len(responses)), repeat=len(prompts) * count):
        y = torch.tensor(drawn).view(len(prompts), count)
        loss = loop.online_loss(
            settings, leaf[rows, y], ref[rows, y], observed[rows[..., None], y[:, :, None], y[:, None, :]]
        )
        total = total + own[rows, y].detach().sum().exp() * loss
    coefficients = torch.autograd.grad(total, leaf)[0]
    expected = flat(torch.autograd.grad((coefficients * own).sum(), list(policy.parameters())))

    wanted = exact_gradient(policy, reference, prompts, responses, preferences, score_weight)
    torch.testing.assert_close(expected, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prompts", [[[2], [2, 2]], [[2, 2]]])
def test_score_and_penalty_weigh_enough_for_the_tests_here_to_miss_them(models, prompts):
    responses = all_responses(1)
    preferences = preferences_of(len(prompts), len(responses))

    def gradient(score_weight: float, rho: float) -> torch.Tensor:
        return exact_gradient(*models, prompts, responses, preferences, score_weight, rho)

    full = gradient(1.0, RHO)
    assert (full - gradient(0.0, RHO)).abs().max() > 1e-3
    assert (full - gradient(1.0, 0.0)).abs().max() > 1e-3


@pytest.mark.parametrize("score_weight", [1.0, 0.0])
def test_expected_update_of_a_whole_step_is_the_exact_gradient(models, tokenizer, monkeypatch, score_weight):
    """All of `online_step`, from token ids over texts and oracle to the optimizer; only the draw is enumerated."""
    policy, reference = models
    responses, ids = all_responses(1), [[2], [2, 2]]
    settings = config(score_weight=score_weight, max_new_tokens=1, oracle=OracleConfig("flip", 0.2))
    values = np.array([[0.0, 0.0, 0.6 * len(prompt)] for prompt in ids])  # <pad>, <eos>, good
    preferences = 0.8 * truth(values) + 0.2 * (1 - truth(values))
    task = Task(
        PROMPTS,
        PROMPTS,
        lambda prompts, answers: np.array(
            [0.6 * len(p.split()) * (a == "good") for p, a in zip(prompts, answers, strict=True)]
        ),
        lambda answers: {},
        lambda prompts: {},
    )

    drawn = types.SimpleNamespace()

    def enumerated(model, prompt_ids, prompt_mask, *, responses_per_prompt, **_):
        prompt_ids, prompt_mask = (x.repeat_interleave(2, dim=0) for x in (prompt_ids, prompt_mask))
        tokens = torch.tensor([responses[k] for k in drawn.now])
        samples = Samples(prompt_ids, prompt_mask, tokens, torch.ones_like(tokens))
        with torch.no_grad():
            drawn.probability = response_log_probs(model, *samples).sum().exp()
        return samples

    monkeypatch.setattr(collection, "sample", enumerated)
    initial = [p.detach().clone() for p in policy.parameters()]
    accelerator, mean_update = Accelerator(cpu=True), 0.0
    optimizer = loop.make_optimizer(settings, policy)
    in_order = types.SimpleNamespace(choice=lambda *_, **__: np.array([0, 1]))
    generators = {**make_generators(0), "prompts": in_order}
    state = State(accelerator, policy, reference, reference, tokenizer, task, optimizer, generators)
    probability = 0.0
    for drawn.now in itertools.product(range(len(responses)), repeat=4):
        loop.online_step(settings, state)
        update = flat([p.detach() - q for p, q in zip(policy.parameters(), initial, strict=True)])
        with torch.no_grad():
            for parameter, value in zip(policy.parameters(), initial, strict=True):
                parameter.copy_(value)
        mean_update = mean_update + drawn.probability * update
        probability += drawn.probability.item()

    assert probability == pytest.approx(1, abs=1e-12)
    wanted = exact_gradient(policy, reference, ids, responses, preferences, score_weight)
    torch.testing.assert_close(-mean_update, wanted, rtol=0, atol=1e-12)
