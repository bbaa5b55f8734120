"""The one log-probability function: masked, position-aware, temperature-aware."""

from __future__ import annotations

import torch

from rsail.checks import require


def positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Position of each token counted from its row's first real token, (N, L): left padding must not shift it."""
    return (attention_mask.cumsum(-1) - 1).clamp_min(0)


def response_log_probs(
    model: torch.nn.Module,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    response_ids: torch.Tensor,
    response_mask: torch.Tensor,
    *,
    temperature: float = 1.0,
) -> torch.Tensor:
    """log pi(y_t | x, y_<t) of each response token, (N, T), in at least float32; zero where the mask is zero.

    Prompts (N, P) are padded on the left, responses (N, T) on the right, masks are 1 on real tokens. Sum over the
    last axis for log pi(y|x). The result does not depend on the padding (up to rounding), for models with
    learned positions (GPT-2) as for those with rotary ones.
    """
    require(temperature > 0, "temperature", temperature, "> 0")
    require(
        response_ids.shape == response_mask.shape and len(response_ids) == len(prompt_ids),
        "response_ids.shape", tuple(response_ids.shape), f"{tuple(response_mask.shape)} with one row per prompt row",
    )  # fmt: skip
    length = response_ids.shape[1]
    attention = torch.cat([prompt_mask, response_mask], dim=1)
    logits = model(
        input_ids=torch.cat([prompt_ids, response_ids], dim=1),
        attention_mask=attention,
        position_ids=positions(attention),
        use_cache=False,
        logits_to_keep=length + 1,
    ).logits[:, -length - 1 : -1]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    chosen = logits.gather(-1, response_ids.unsqueeze(-1)).squeeze(-1)
    return (chosen - logits.logsumexp(-1)) * response_mask
