"""Reweightings of a vector of losses: what replaces its mean, all callable as ``f(losses, <option>, probs=None)``.

`losses` (n,) is a floating-point tensor with graph, `probs` (n,) their base law P, 1/n each by default: a batch, or an
enumeration of pairs with their probabilities. Each returns a scalar: its value is exact, and its gradient is that of
sum_i q_i l_i with q = `weights(...)` held fixed (Danskin's theorem). Weights that are differentiated, too, would push
the losses of easy pairs up. dr_dpo trusts SMALL losses; kl_penalty and the balls fear LARGE ones.

Mini-batches: except for the mean, the value of a batch is not unbiased for that of the whole law, and the mean over
micro-batches is another objective than that of the batch.

Raises
------
rsail.objectives.NotFinite (a `ValueError` and a `FloatingPointError`)
    A loss that is NaN or infinite.
ValueError
    Losses that are no vector, an option out of range, a base law of another shape, with negative entries, or of a sum
    other than 1. Values of tensors are looked at on a CPU only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from rsail.checks import nonnegative, number, one_of, positive, require
from rsail.objectives.arguments import base_law, floating

BISECTIONS = 100  # halvings of log t over some 90 units: below the spacing of doubles


def mean(losses: torch.Tensor, *, probs=None) -> torch.Tensor:
    """E_P l."""
    losses, probs = base_law(losses, probs)
    return probs @ losses


def dr_dpo(losses: torch.Tensor, *, temperature: float, probs=None) -> torch.Tensor:
    """min over Q of E_Q l + t KL(Q || P) = -t log E_P exp(-l / t), t = `temperature` > 0 (Dr. DPO, arXiv 2407.07880).

    A soft minimum: pairs with large losses are taken for wrong ones. t -> infinity is the mean.
    """
    temperature = positive("temperature", temperature)
    losses, probs = base_law(losses, probs)
    return -temperature * torch.logsumexp(probs.log() - losses / temperature, 0)


def kl_penalty(losses: torch.Tensor, *, temperature: float, probs=None) -> torch.Tensor:
    """max over Q of E_Q l - t KL(Q || P) = t log E_P exp(l / t), t = `temperature` > 0.

    The weights exp(l / t), normalized, are those of KLDPO (arXiv 2502.01930) and KL-REBEL (arXiv 2509.19104). It is
    no ball of a known radius: the radius in use is `kl_radius(weights(...))`. t -> infinity is the mean.
    """
    temperature = positive("temperature", temperature)
    losses, probs = base_law(losses, probs)
    return temperature * torch.logsumexp(probs.log() + losses / temperature, 0)


def kl_ball(losses: torch.Tensor, *, radius: float, probs=None) -> torch.Tensor:
    """max of E_Q l over KL(Q || P) <= `radius`, in nats; 0 is the mean.

    Its weights are those of `kl_penalty` at the temperature that uses up the radius; from -log P(largest losses) on,
    all of them are on the largest losses.
    """
    return weights("kl_ball", losses, radius, probs) @ floating("losses", losses)


def chi2_ball(losses: torch.Tensor, *, radius: float, probs=None) -> torch.Tensor:
    """max of E_Q l over (1/2) E_P (dQ/dP - 1)^2 <= `radius`, exact in O(n log n); 0 is the mean.

    Its dual is min over eta of eta + sqrt(1 + 2 radius) sqrt(E_P [l - eta]_+^2), with weights P [l - eta]_+,
    normalized. Where none is cut to zero the value is the mean plus sqrt(2 radius variance). Without the factor 1/2
    the radius is twice as large.
    """
    return weights("chi2_ball", losses, radius, probs) @ floating("losses", losses)


def tv_ball(losses: torch.Tensor, *, radius: float, probs=None) -> torch.Tensor:
    """max of E_Q l over total variations (half the L1 distance) <= `radius` in [0, 1]; 0 is the mean.

    Mass `radius` moves from the smallest losses to the largest one of the list, whatever that one's probability: the
    only reweighting here under which Q may leave the support of P. Equal losses give and take in proportion to their
    probabilities (the largest in equal parts where they have none), so that the order of the list does not matter.
    """
    return weights("tv_ball", losses, radius, probs) @ floating("losses", losses)


REWEIGHTINGS: dict[str, Callable[..., torch.Tensor]] = {
    "mean": mean,
    "dr_dpo": dr_dpo,
    "kl_penalty": kl_penalty,
    "kl_ball": kl_ball,
    "chi2_ball": chi2_ball,
    "tv_ball": tv_ball,
}


def weights(name: str, losses: torch.Tensor, option: float | None = None, probs=None) -> torch.Tensor:
    """The law Q (n,), without graph, that the reweighting `name` puts on the losses; `option` is its only one."""
    one_of("name", name, REWEIGHTINGS)
    losses, probs = base_law(losses, probs)
    if name == "mean":
        require(option is None, "option", option, "None for 'mean'")
        return probs
    if name in ("dr_dpo", "kl_penalty"):
        temperature = positive("temperature", option) * (-1 if name == "dr_dpo" else 1)
        return torch.softmax(probs.log() + losses.detach() / temperature, 0)
    radius = nonnegative("radius", option)
    if radius == 0:
        return probs
    worst = {"kl_ball": _kl_ball, "chi2_ball": _chi2_ball, "tv_ball": _tv_ball}[name]
    return worst(losses.detach().double(), probs.double(), radius).to(losses.dtype)


def kl_radius(weights: torch.Tensor, probs=None) -> torch.Tensor:
    """KL(Q || P) in nats, a scalar, of weights Q (n,) relative to the base law P: the radius a temperature used."""
    return _divergence(*base_law(weights, probs, name="weights"))


def group_means(losses: torch.Tensor, groups, count: int, *, probs=None) -> torch.Tensor:
    """Mean loss of each of `count` groups, (count,), of losses (n,) in groups `groups` (n,); 0 for an absent one."""
    losses, probs = base_law(losses, probs)
    require(count >= 1, "count", count, ">= 1")
    groups = torch.as_tensor(groups, device=losses.device)
    require(groups.shape == losses.shape, "groups.shape", tuple(groups.shape), f"{tuple(losses.shape)}")
    if groups.device.type == "cpu":
        known = (groups >= 0) & (groups < count)
        require(bool(known.all()), "groups", groups[~known].tolist()[:1], f"in 0 ... {count - 1}")
    member = torch.nn.functional.one_hot(groups, count).to(losses.dtype)
    mass = probs @ member
    return (probs * losses) @ member / torch.where(mass > 0, mass, 1)


def group_weights(weights: torch.Tensor, group_losses: torch.Tensor, step_size: float) -> torch.Tensor:
    """One exponentiated-gradient step of group-robust optimization (arXiv 2405.20304): a_g exp(step l_g), normalized.

    `weights` a and `group_losses` l are of shape (G,). The published step updates a first and descends
    sum_g a_g l_g with the new a, held fixed: the result has no graph.
    """
    step_size = nonnegative("step_size", step_size)
    group_losses, weights = base_law(group_losses, weights, name="group_losses", law="weights")
    return torch.softmax(weights.log() + step_size * group_losses.detach(), 0)


def group_robust(
    group_losses: torch.Tensor, weights: torch.Tensor, *, trade_off: float = 1.0
) -> torch.Tensor:
    """sum_g ((1 - c) / G + c a_g) l_g, c = `trade_off` in [0, 1], with the weights a (G,) held fixed; 0 is the mean."""
    require(0 <= number(trade_off) <= 1, "trade_off", trade_off, "in [0, 1]")
    group_losses, weights = base_law(group_losses, weights, name="group_losses", law="weights")
    return ((1 - trade_off) / len(weights) + trade_off * weights) @ group_losses


def _gaps(losses: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    """Losses less the largest of the support; zero off the support."""
    return torch.where(probs > 0, losses - torch.where(probs > 0, losses, -math.inf).max(), 0)


def _divergence(weights: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    return torch.special.xlogy(weights, weights / torch.where(weights > 0, probs, 1)).sum()


def _kl_ball(losses: torch.Tensor, probs: torch.Tensor, radius: float) -> torch.Tensor:
    gaps = _gaps(losses, probs)
    scale = torch.where(gaps.min() < 0, -gaps.min(), 1)
    low, high = scale.log() - 46.0, scale.log() + 46.0  # of log t, past all that rounding resolves
    for _ in range(BISECTIONS):  # KL falls in t
        middle = (low + high) / 2
        tilted = torch.softmax(probs.log() + gaps / middle.exp(), 0)
        too_far = _divergence(tilted, probs) > radius
        low, high = torch.where(too_far, middle, low), torch.where(too_far, high, middle)
    return torch.softmax(
        probs.log() + gaps / high.exp(), 0
    )  # past -log P(largest losses) at the lowest t: on them


def _chi2_ball(losses: torch.Tensor, probs: torch.Tensor, radius: float) -> torch.Tensor:
    """Weights P [l - eta]_+ / E_P [l - eta]_+ with E_P [l - eta]_+^2 = (1 + 2 radius) (E_P [l - eta]_+)^2.

    The quotient of both moments rises with eta to 1 / P(largest losses), so that a loss is cut if and only if the
    quotient at it is within the radius. The largest are never cut; alone they keep their base law.
    """
    gaps = _gaps(losses, probs)
    values, order = gaps.sort()
    step = values.diff()
    above = probs[order].flip(0).cumsum(0).flip(0)[1:]  # mass above each step
    # E [l - v]_+ and E [l - v]_+^2 at every loss v, summed from the top: all terms >= 0, so nothing cancels.
    zero = gaps.new_zeros(1)
    first = torch.cat([(step * above).flip(0).cumsum(0).flip(0), zero])
    second = torch.cat([(2 * step * first[1:] + step**2 * above).flip(0).cumsum(0).flip(0), zero])
    cut = (first > 0) & (second <= (1 + 2 * radius) * first**2)
    kept = torch.ones_like(cut).scatter(0, order, ~cut).to(probs.dtype) * probs
    mass = kept.sum()
    center = kept @ gaps / mass
    variance = kept @ (gaps - center) ** 2 / mass
    room = (2 * radius * mass - (probs - kept).sum()).clamp(min=0)  # (1 + 2 radius) mass - 1, for a sum of 1
    slope = (room / torch.where(variance > 0, variance, 1)).sqrt()
    tilted = kept * (1 + slope * (gaps - center)).clamp(min=0)
    return tilted / tilted.sum()


def _tv_ball(losses: torch.Tensor, probs: torch.Tensor, radius: float) -> torch.Tensor:
    require(radius <= 1, "radius", radius, "in [0, 1]")
    values, order = losses.sort()
    mass = torch.cat([probs.new_zeros(1), probs[order].cumsum(0)])
    below = mass[torch.searchsorted(values, losses)]  # of the smaller losses
    equal = mass[torch.searchsorted(values, losses, right=True)] - below
    largest = losses == values[-1]
    share = ((radius - below) / torch.where(equal > 0, equal, 1)).clamp(0, 1)
    taken = torch.where(largest, 0, share * probs)
    base = torch.where(largest, probs, 0)
    base = torch.where(base.sum() > 0, base, largest.to(probs.dtype))
    return probs - taken + taken.sum() * base / base.sum()
