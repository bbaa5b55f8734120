"""How little is known about a response: features of the initial model and the second moments of what was compared.

The bonus of linear rewards, |phi|_{Sigma^-1} (GSHF, arXiv 2312.11456; COPO, arXiv 2501.12735, in its linear form). The
features phi(x, y) are the mean last hidden state of the response's tokens, from the initial model, so that they stay
what they are while the policy learns; divided by the square root of their number they are of norm about 1.
"""

from __future__ import annotations

import torch

from rsail.checks import require
from rsail.lm import Samples
from rsail.lm.scoring import positions


@torch.no_grad()
def response_features(model: torch.nn.Module, samples: Samples) -> torch.Tensor:
    """phi(x, y) of each response, (N, d) in float64; what follows the end of a response plays no part."""
    prompt_ids, prompt_mask, response_ids, response_mask = samples
    attention = torch.cat([prompt_mask, response_mask], dim=1)
    hidden = model(
        input_ids=torch.cat([prompt_ids, response_ids], dim=1),
        attention_mask=attention,
        position_ids=positions(attention),
        use_cache=False,
        output_hidden_states=True,
        logits_to_keep=1,
    ).hidden_states[-1][:, prompt_ids.shape[1] :]
    weight = response_mask.double().unsqueeze(-1)
    return (hidden.double() * weight).sum(1) / weight.sum(1) / hidden.shape[-1] ** 0.5


def no_observations(dimension: int) -> torch.Tensor:
    """Sigma of a run that has seen nothing: the identity (d, d), in float64."""
    return torch.eye(dimension, dtype=torch.float64)


def observe(moments: torch.Tensor, rows: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """Sigma + share * sum of z z^T over the rows z of (..., d)."""
    rows = rows.reshape(-1, rows.shape[-1]).double().to(moments.device)
    return moments + share * rows.T @ rows


def uncertainty(moments: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """|z|_{Sigma^-1} of each direction z, (...), for directions (..., d)."""
    require(
        directions.shape[-1] == len(moments),
        "directions.shape",
        tuple(directions.shape),
        f"(..., {len(moments)})",
    )
    rows = directions.reshape(-1, len(moments)).double().to(moments.device)
    solved = torch.linalg.solve(moments, rows.T).T
    return (rows * solved).sum(-1).clamp_min(0).sqrt().view(directions.shape[:-1])
