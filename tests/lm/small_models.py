"""Small models with weights large enough that positions, order and every token matter."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

PAD, EOS = 0, 1


def small_model(kind: str, dtype=torch.float64, vocabulary: int = 11, seed: int = 0):
    """A GPT-2 (learned positions) or Llama (rotary ones) of one or two layers, standard deviation 0.4."""
    torch.manual_seed(seed)
    shared = {
        "vocab_size": vocabulary,
        "initializer_range": 0.4,
        "bos_token_id": 2,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_positions=32, n_embd=16, n_layer=2, n_head=2, **shared))
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=32,
                tie_word_embeddings=False,
                **shared,
            )
        )
    return model.to(dtype).eval()


def left_padded(rows: list[list[int]], width: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompt ids and mask, padded on the left."""
    width = width or max(map(len, rows))
    ids = torch.tensor([[PAD] * (width - len(r)) + r for r in rows])
    mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
    return ids, mask


def right_padded(rows: list[list[int]], width: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Response ids and mask, padded on the right."""
    width = width or max(map(len, rows))
    ids = torch.tensor([r + [PAD] * (width - len(r)) for r in rows])
    mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])
    return ids, mask
