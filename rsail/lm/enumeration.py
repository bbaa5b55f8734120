"""A small transformer whose responses can all be listed: expectations over its samples become finite sums.

A response is a sequence over the vocabulary that ends with the first end-of-sequence token or is cut at
`max_new_tokens`. With V tokens and length T there are 1 + (V-1) + ... + (V-1)^T of them, and under any causal
language model their probabilities sum to 1. **Padding is not special**: `rsail.lm.sample` may draw every id of
the vocabulary, so a pad token that was drawn is a token like the others (mask 1); as filling behind the end it
has mask 0.
"""

from __future__ import annotations

import copy
from itertools import product

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from rsail.checks import require
from rsail.lm.sampling import Samples, sample
from rsail.lm.scoring import response_log_probs

LARGEST = 500  # responses per prompt: all pairs of them still fit a linear program of a second


def count_responses(vocab_size: int, max_new_tokens: int) -> int:
    """How many responses there are: 1 + (V-1) + ... + (V-1)^T."""
    require(vocab_size >= 2, "vocab_size", vocab_size, ">= 2")
    require(max_new_tokens >= 1, "max_new_tokens", max_new_tokens, ">= 1")
    return sum((vocab_size - 1) ** length for length in range(max_new_tokens + 1))


def enumerate_responses(
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    *,
    vocab_size: int,
    max_new_tokens: int,
    eos_token_id: int,
    pad_token_id: int,
) -> Samples:
    """Every response to each of X prompts, in the layout of `rsail.lm.sample`; row n = prompt n // Y.

    Prompts (X, P) are padded on the left. The Y responses are the same for each prompt: shortest first, in
    the order of their ids; responses that were cut come last.

    Raises
    ------
    ValueError
        If there are more than 500 responses per prompt, or an id lies outside the vocabulary.
    """
    count = count_responses(vocab_size, max_new_tokens)
    require(
        count <= LARGEST,
        "max_new_tokens", max_new_tokens,
        f"so small that there are at most {LARGEST} responses per prompt; "
        f"with {vocab_size} tokens there are {count}",
    )  # fmt: skip
    for name, value in (("eos_token_id", eos_token_id), ("pad_token_id", pad_token_id)):
        require(0 <= value < vocab_size, name, value, f"in 0 ... {vocab_size - 1}")
    going = [token for token in range(vocab_size) if token != eos_token_id]
    ended = [
        (*head, eos_token_id) for length in range(max_new_tokens) for head in product(going, repeat=length)
    ]
    responses = ended + list(product(going, repeat=max_new_tokens))
    lengths = torch.tensor([len(response) for response in responses])
    ids = torch.tensor(
        [[*response, *[pad_token_id] * (max_new_tokens - len(response))] for response in responses]
    )
    mask = (torch.arange(max_new_tokens) < lengths[:, None]).long()
    prompts = len(prompt_ids)
    return Samples(
        prompt_ids.repeat_interleave(count, dim=0),
        prompt_mask.repeat_interleave(count, dim=0),
        ids.repeat(prompts, 1),
        mask.repeat(prompts, 1),
    )


def enumerated_log_probs(model: torch.nn.Module, responses: Samples) -> torch.Tensor:
    """log pi(y|x) of every response, (X, Y) in float64 and differentiable; exp sums to 1 over Y.

    `responses` come from `enumerate_responses`. Sums are as exact as the model: see `in_double_precision`.
    """
    tokens = response_log_probs(model, *responses)
    return tokens.double().sum(-1).view(_prompts(responses), -1)


def _prompts(responses: Samples) -> int:
    """Number of prompts: the first response occurs once for each."""
    keys = _keys(responses, int(responses.response_ids.max()) + 2, responses.response_ids.shape[1])
    return int((keys == keys[0]).sum())


def _keys(samples: Samples, base: int, length: int) -> torch.Tensor:
    """One integer per response, (N,): its ids plus one as digits, zero behind its end."""
    digits = (samples.response_ids + 1) * samples.response_mask
    powers = base ** torch.arange(length - 1, -1, -1)[: digits.shape[1]]
    return (digits.cpu() * powers).sum(-1)


def response_indices(responses: Samples, samples: Samples) -> torch.Tensor:
    """Where in the enumeration each sampled response stands, (N,): a number in 0 ... Y - 1.

    Raises
    ------
    ValueError
        If a sample is no response of the enumeration.
    """
    base, length = int(responses.response_ids.max()) + 2, responses.response_ids.shape[1]
    known = _keys(responses, base, length)[: len(responses.response_ids) // _prompts(responses)]
    require(
        samples.response_ids.shape[1] <= length,
        "samples.response_ids.shape", tuple(samples.response_ids.shape), f"(N, at most {length})",
    )  # fmt: skip
    ordered, order = known.sort()
    keys = _keys(samples, base, length)
    found = torch.searchsorted(ordered, keys).clamp_max(len(ordered) - 1)
    strange = ordered[found] != keys
    require(not strange.any(), "samples", samples.response_ids[strange].tolist()[:1], "in the enumeration")
    return order[found]


def sample_indices(
    model: torch.nn.Module,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    responses: Samples,
    count: int,
    *,
    seed: int,
    **settings,
) -> np.ndarray:
    """`count` draws of `rsail.lm.sample` for each prompt, (X, count), as indices into the enumeration."""
    samples = sample(
        model,
        prompt_ids,
        prompt_mask,
        responses_per_prompt=count,
        generator=torch.Generator().manual_seed(seed),
        **settings,
    )
    return response_indices(responses, samples).view(len(prompt_ids), count).numpy()


def tiny_llama(
    vocab_size: int, rng: np.random.Generator, *, hidden_size: int = 16, layers: int = 2, scale: float = 1.0
) -> LlamaForCausalLM:
    """A Llama-architecture model in double precision with random weights: N(0, scale^2 / inputs), norms 1.

    The weights come from a NumPy generator, so that every machine makes the same model.
    """
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = in_double_precision(LlamaForCausalLM(config).eval())
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                values = rng.normal(size=tuple(weight.shape)) * scale / np.sqrt(weight.shape[1])
                weight.copy_(torch.as_tensor(values))
    return model


def in_double_precision(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a Llama-architecture model that computes in float64 throughout.

    `model.double()` alone does not: transformers' RMSNorm and rotary embedding go through float32 whatever the
    dtype of the weights, which leaves errors of 1e-7 and makes finite differences useless.
    """
    model = copy.deepcopy(model).double()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                setattr(parent, name, _double_norm(child))
            elif type(child).__name__.endswith("RotaryEmbedding"):
                setattr(parent, name, _DoubleRotary(child))
    return model


def _double_norm(norm: torch.nn.Module) -> torch.nn.RMSNorm:
    double = torch.nn.RMSNorm(len(norm.weight), eps=norm.variance_epsilon, dtype=torch.float64)
    double.weight = norm.weight
    return double


class _DoubleRotary(torch.nn.Module):
    """cos and sin of the positions' angles, as transformers' plain rotary embedding but in float64."""

    def __init__(self, rotary: torch.nn.Module):
        super().__init__()
        require(rotary.rope_type == "default", "rope_type", rotary.rope_type, "'default'")
        theta, size = rotary.config.rope_parameters["rope_theta"], 2 * len(rotary.inv_freq)
        self.frequencies = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)

    def forward(self, hidden: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = position_ids[..., None].double() * self.frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)


def moved(model: PreTrainedModel, direction: torch.Tensor, step: float = 1.0) -> PreTrainedModel:
    """A copy of `model` whose parameters, as one vector (d,), are moved by step * direction."""
    model = copy.deepcopy(model)
    vector = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    torch.nn.utils.vector_to_parameters(vector + step * direction, model.parameters())
    return model


def directional_derivatives(
    model: PreTrainedModel, responses: Samples, directions: torch.Tensor
) -> torch.Tensor:
    """d log pi(y|x) along each of D parameter vectors (D, d), exactly (forward mode); (D, X, Y)."""
    parameters = dict(model.named_parameters())
    sizes = [weight.numel() for weight in parameters.values()]
    require(
        directions.ndim == 2 and directions.shape[1] == sum(sizes),
        "directions.shape", tuple(directions.shape), f"(D, {sum(sizes)})",
    )  # fmt: skip

    def log_probs(weights):
        return enumerated_log_probs(_Functional(model, weights), responses)

    columns = []
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward-mode derivative
        for direction in directions:
            pieces = direction.split(sizes)
            tangent = {n: p.view_as(w) for (n, w), p in zip(parameters.items(), pieces, strict=True)}
            columns.append(torch.func.jvp(log_probs, (parameters,), (tangent,))[1].detach())
    return torch.stack(columns)


class _Functional:
    """`model` called with other weights than its own."""

    def __init__(self, model, weights):
        self.model, self.weights = model, weights

    def __call__(self, **inputs):
        return torch.func.functional_call(self.model, self.weights, kwargs=inputs)
