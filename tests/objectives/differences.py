"""Gradients against central differences in double precision."""

import torch


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def gradients(function, *at: torch.Tensor) -> list[torch.Tensor]:
    """Gradient of sum(function(*at)) in each argument; zeros where there is none."""
    leaves = [tensor(value).clone().requires_grad_() for value in at]
    found = torch.autograd.grad(function(*leaves).sum(), leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]


def differences(function, *at: torch.Tensor, step: float = 1e-5) -> list[torch.Tensor]:
    """The same by central differences."""
    at = [tensor(value).clone() for value in at]
    result = []
    for value in at:
        slopes, flat = torch.empty_like(value), value.view(-1)
        for k in range(flat.numel()):
            kept = flat[k].item()
            flat[k] = kept + step
            up = function(*at).sum().item()
            flat[k] = kept - step
            down = function(*at).sum().item()
            flat[k] = kept
            slopes.view(-1)[k] = (up - down) / (2 * step)
        result.append(slopes)
    return result


def assert_gradient(function, *at: torch.Tensor) -> None:
    """The gradient in every argument is that of finite differences to 1e-6 of its largest entry, and not zero."""
    for found, wanted in zip(gradients(function, *at), differences(function, *at), strict=True):
        size = wanted.abs().max().item()
        assert size > 1e-6
        assert (found - wanted).abs().max().item() <= 1e-6 * size
