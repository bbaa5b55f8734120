"""Checks that the objectives share. Values of tensors are looked at on a CPU only: a GPU would be waited for."""

from __future__ import annotations

import torch

from rsail.checks import finite, positive, require


class NotFinite(ValueError, FloatingPointError):
    """A pair score or another input that is NaN or infinite: a wrong argument, and the end of a run that diverged."""


def floating(name: str, value) -> torch.Tensor:
    """`value` as a floating-point tensor; numbers, lists and NumPy arrays count as float64."""
    if not isinstance(value, torch.Tensor):
        value = torch.tensor(finite(name, value))
    require(
        value.is_floating_point(),
        f"{name}.dtype", value.dtype, "a floating-point type (integers would cut preferences to 0 or 1)",
    )  # fmt: skip
    if value.device.type == "cpu":
        whole = value.isfinite()
        if not whole.all():
            raise NotFinite(f"{name} must be finite, got {value[~whole].flatten()[0].item()}")
    return value


def alike(name: str, value, other: str, like: torch.Tensor) -> torch.Tensor:
    """`value`, finite, in the type and on the device of the tensor `like` (named `other`); of its shape or a number."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    require(
        value.shape in (like.shape, torch.Size([])),
        f"{name}.shape", tuple(value.shape), f"that of {other}, {tuple(like.shape)}",
    )  # fmt: skip
    return floating(name, value)


def probability(name: str, value, other: str, like: torch.Tensor) -> torch.Tensor:
    """`value` in [0, 1], in the type and on the device of the tensor `like`; of its shape or a number."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    require(
        value.shape in (like.shape, torch.Size([])),
        f"{name}.shape", tuple(value.shape), f"that of {other}, {tuple(like.shape)}",
    )  # fmt: skip
    if value.device.type == "cpu":
        inside = (value >= 0) & (value <= 1)  # false for NaN, too
        if not inside.all():
            raise ValueError(f"{name} must be in [0, 1], got {value[~inside].flatten()[0].item()}")
    return value


def comparison(pair_score, preference, beta: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    """The arguments of a pair loss, checked."""
    beta = positive("beta", beta)
    pair_score = floating("pair_score", pair_score)
    return pair_score, probability("preference", preference, "pair_score", pair_score), beta


def base_law(losses, probs, *, name: str = "losses", law: str = "probs") -> tuple[torch.Tensor, torch.Tensor]:
    """A vector of losses (n,) and its base law (n,): `probs`, or 1/n each. The names are those of both arguments."""
    losses = floating(name, losses)
    require(losses.ndim == 1 and len(losses) >= 1, f"{name}.shape", tuple(losses.shape), "(n,) with n >= 1")
    if probs is None:
        return losses, losses.new_full(losses.shape, 1 / len(losses))
    single = losses.dtype != torch.float64 or getattr(probs, "dtype", None) == torch.float32
    probs = torch.as_tensor(probs, dtype=losses.dtype, device=losses.device).detach()
    require(probs.shape == losses.shape, f"{law}.shape", tuple(probs.shape), f"{tuple(losses.shape)}")
    if probs.device.type == "cpu":
        total, slack = float(probs.double().sum()), 1e-5 if single else 1e-9
        require(bool((probs >= 0).all()), law, probs.min().item(), "probabilities >= 0")
        require(abs(total - 1) <= slack, f"{law}.sum()", total, "1")
    return losses, probs
