"""A causal language model that reads one token per row at a time, with a cache.

`Reader` drives any model of transformers that takes a cache, `WholeReader` any other. `LlamaReader` takes the steps of
a plain Llama in float32 itself: the model's own modules, with the checks, hooks and masks that they build for every
token left out, and a cache whose memory is laid out once. With few rows of a small model those take longer than the
arithmetic.
"""

from __future__ import annotations

import inspect

import torch
from torch.nn import functional
from transformers import DynamicCache
from transformers.models.llama import modeling_llama as llama

from rsail.lm.scoring import has_hooks, positions


def make_reader(
    model: torch.nn.Module,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    responses_per_prompt: int,
    max_new_tokens: int,
) -> Reader:
    """The fastest reader that reads as `model` does, for K copies of each prompt (X, P), padded on the left."""
    kind = LlamaReader if is_plain_llama(model) else Reader if takes_cache(model) else WholeReader
    return kind(model, prompt_ids, prompt_mask, responses_per_prompt, max_new_tokens)


def takes_cache(model: torch.nn.Module) -> bool:
    """Whether all that `model` remembers of the tokens before is in the cache that it is given.

    Others (Mamba, RWKV, xLSTM) take the argument without a word and read the next token as if it were the first.
    """
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    elsewhere = model.config.model_type == "recurrent_gemma"  # its modules keep a state themselves
    return "past_key_values" in inspect.signature(model.forward).parameters and not elsewhere


class Reader:
    """Reads K copies of each prompt, once per prompt, and then one more token per row at a time.

    `ids`, `mask` (N, P) are the repeated prompts, N = X K.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        prompt_ids: torch.Tensor,
        prompt_mask: torch.Tensor,
        responses_per_prompt: int,
        max_new_tokens: int,
    ):
        device = next(model.parameters()).device
        self.model, self.copies = model, responses_per_prompt
        self.prompts = prompt_ids.to(device), prompt_mask.to(device)
        self.ids, self.mask = (part.repeat_interleave(self.copies, dim=0) for part in self.prompts)
        self.attention = torch.cat([self.mask, self.mask.new_ones(len(self.mask), max_new_tokens)], dim=1)
        self.positions = positions(self.attention)
        self.cache, self.end = None, 0

    def read(self, tokens: torch.Tensor | None) -> torch.Tensor:
        """Logits (N, V) of the next token, after the prompt for `tokens` None, else after one more token (N,)."""
        if tokens is None:
            return self._read_prompts()
        self.end += 1
        return self._read_tokens(tokens)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows only, their indices in ascending order."""
        self.attention, self.positions = self.attention[rows], self.positions[rows]
        self.cache.reorder_cache(rows)

    def _read_prompts(self) -> torch.Tensor:
        ids, mask = self.prompts
        self.cache = DynamicCache(config=self.model.config)
        logits = self._call(ids, mask, positions(mask))
        rows = torch.arange(len(ids), device=ids.device).repeat_interleave(self.copies)
        # Not batch_repeat_interleave, nor batch_select_indices to keep rows: those leave out state-space layers.
        self.cache.reorder_cache(rows)
        self.end = ids.shape[1]
        return logits[rows]

    def _read_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        places = self.positions[:, self.end - 1 : self.end]
        return self._call(tokens[:, None], self.attention[:, : self.end], places)

    def _call(self, ids: torch.Tensor, attention: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        return self.model(
            input_ids=ids,
            attention_mask=attention,
            position_ids=places,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


class WholeReader(Reader):
    """Reads everything again for each token: slow, for models that `takes_cache` refuses."""

    def _read_prompts(self) -> torch.Tensor:
        self.tokens, self.end = self.ids, self.ids.shape[1]
        return self._read_whole()

    def _read_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        self.tokens = torch.cat([self.tokens, tokens[:, None]], dim=1)
        return self._read_whole()

    def keep(self, rows: torch.Tensor) -> None:
        self.attention, self.positions = self.attention[rows], self.positions[rows]
        self.tokens = self.tokens[rows]

    def _read_whole(self) -> torch.Tensor:
        return self.model(
            input_ids=self.tokens,
            attention_mask=self.attention[:, : self.end],
            position_ids=self.positions[:, : self.end],
            use_cache=False,
            logits_to_keep=1,
        ).logits[:, -1]


_PLAIN = {
    torch.nn.Linear, torch.nn.Embedding, torch.nn.ModuleList, llama.LlamaForCausalLM, llama.LlamaModel,
    llama.LlamaDecoderLayer, llama.LlamaAttention, llama.LlamaMLP, llama.LlamaRMSNorm, llama.LlamaRotaryEmbedding,
}  # fmt: skip
_FIXED_ANGLES = {"default", "linear", "llama3", "yarn"}  # those of the others depend on the length


def is_plain_llama(model: torch.nn.Module) -> bool:
    """Whether `LlamaReader` reads as `model` does: a Llama in float32 in which no module is replaced or hooked."""
    if type(model) is not llama.LlamaForCausalLM:
        return False
    activations = {layer.mlp.act_fn for layer in model.model.layers}
    if any(
        has_hooks(part) or (type(part) not in _PLAIN and part not in activations) for part in model.modules()
    ):
        return False
    return (
        model.config._attn_implementation == "sdpa"
        and model.model.rotary_emb.rope_type in _FIXED_ANGLES
        and not (model.training and model.config.attention_dropout)
        and not torch.is_autocast_enabled(model.device.type)
        and all(parameter.dtype == torch.float32 for parameter in model.parameters())
    )


class LlamaReader(Reader):
    """A `Reader` of a model for which `is_plain_llama` holds."""

    def _read_prompts(self) -> torch.Tensor:
        logits = super()._read_prompts()
        total, length = self.attention.shape[1], self.end
        layers = self.cache.layers
        rows, heads, _, size = layers[0].keys.shape
        # Layer, keys or values, row, head, position, number.
        self.memory = logits.new_empty(len(layers), 2, rows, heads, total, size)
        for own, layer in zip(self.memory, layers, strict=True):
            own[0, :, :, :length], own[1, :, :, :length] = layer.keys, layer.values
        self.cache = None
        cos, sin = self.model.model.rotary_emb(logits, self.positions[:, length:])
        half = size // 2
        # rotate_half of transformers is a roll whose first half changes its sign.
        sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        self.turn = cos.unsqueeze(2), sin.unsqueeze(2)  # (N, T, 1, size)
        self.first = length
        padding = (self.attention == 0)[:, None, None]
        self.bias = (
            logits.new_zeros(padding.shape).masked_fill(padding, -torch.inf) if padding.any() else None
        )
        self.layers = [_Layer(layer) for layer in self.model.model.layers]
        return logits

    def keep(self, rows: torch.Tensor) -> None:
        self.attention, self.positions = self.attention[rows], self.positions[rows]
        self.memory = self.memory[:, :, rows]
        self.turn = tuple(part[rows] for part in self.turn)
        self.bias = None if self.bias is None else self.bias[rows]

    def _read_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        model, end = self.model.model, self.end
        cos, sin = (part[:, end - 1 - self.first] for part in self.turn)
        bias = None if self.bias is None else self.bias[..., :end]
        hidden = functional.embedding(tokens, model.embed_tokens.weight)
        for layer, memory in zip(self.layers, self.memory, strict=True):
            hidden = layer.step(hidden, cos, sin, memory, end, bias)
        norm = model.norm
        hidden = functional.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
        return functional.linear(hidden, self.model.lm_head.weight, self.model.lm_head.bias)


class _Layer:
    """One decoder layer for one token per row; its matrices that read the same input are one matrix."""

    def __init__(self, layer: llama.LlamaDecoderLayer):
        attention, mlp = layer.self_attn, layer.mlp
        self.inner = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.outer = attention.o_proj.weight, attention.o_proj.bias
        self.wide = _joined(mlp.gate_proj, mlp.up_proj)
        self.narrow, self.activation = (mlp.down_proj.weight, mlp.down_proj.bias), mlp.act_fn
        self.norms = [
            (norm.weight.shape, norm.weight, norm.variance_epsilon)
            for norm in (layer.input_layernorm, layer.post_attention_layernorm)
        ]
        self.size, self.scale = attention.head_dim, attention.scaling

    def step(
        self, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, memory: torch.Tensor, end: int, bias
    ) -> torch.Tensor:
        """The layer's output (N, d) for its input (N, d) at position end - 1; writes `memory` (2, N, H, L, size)."""
        rows, heads = memory.shape[1:3]
        mixed = functional.linear(functional.rms_norm(hidden, *self.norms[0]), *self.inner)
        mixed = mixed.view(rows, -1, self.size)
        turned = mixed[:, :-heads]  # queries, then keys
        turned = turned * cos + turned.roll(self.size // 2, -1) * sin
        memory[0, :, :, end - 1], memory[1, :, :, end - 1] = turned[:, -heads:], mixed[:, -heads:]
        # The queries that share keys stand where several positions of one head would.
        queries = turned[:, :-heads].view(rows, heads, -1, self.size)
        keys, values = memory[:, :, :, :end]
        read = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, scale=self.scale
        )
        hidden = hidden + functional.linear(read.reshape(rows, -1), *self.outer)
        gate, up = functional.linear(functional.rms_norm(hidden, *self.norms[1]), *self.wide).chunk(2, -1)
        return hidden + functional.linear(self.activation(gate) * up, *self.narrow)


def _joined(*parts: torch.nn.Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight and bias of the layer whose outputs are those of `parts`, one behind the other."""
    biases = [part.bias for part in parts]
    return torch.cat([part.weight for part in parts]), None if biases[0] is None else torch.cat(biases)
