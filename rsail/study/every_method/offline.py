"""Methods that learn from fixed data, pairs of different responses of the reference, and SAIL's, from their own.

Every solver takes a setting and the method's options and returns the stationary point that a descent from the
reference reaches. Expectations over pairs, labels and responses are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import torch

from rsail.objectives import (
    LIST_LOSSES,
    LOSSES,
    RATIO_LOSSES,
    REWEIGHTINGS,
    TERMS,
    group_robust,
    group_weights,
    pessimistic_score,
    self_preference_loss,
    wasserstein_penalty,
)
from rsail.study.every_method.setting import Setting
from rsail.study.every_method.solver import SHORT, WIDTHS, Solution, minimize, smooth_kinks

DEMONSTRATION_TEMPERATURE = (
    0.5  # demonstrations are drawn from pi_ref exp(r* / 0.5): good answers, not the best
)
LISTS, LIST_LENGTH = ((0, 1, 3), (0, 4, 9), (0, 2, 8)), 3
GROUP_STEP, GROUP_ROUNDS = 200.0, 200


def pair_loss(name: str, *, kinks=(), on_policy: bool = False) -> Callable[..., Solution]:
    """Solver of the mean of LOSSES[name] over pairs; `kinks` are the margins at which the loss has one.

    Its `start`, log-ratios (X, Y), is the reference by default.
    """

    def solve(setting: Setting, *, beta: float | None = None, start=None, **options) -> Solution:
        beta = setting.beta if beta is None else beta
        loss = smooth_kinks(LOSSES[name], setting.preference, beta, kinks, **options)
        objective = setting.on_policy(loss) if on_policy else setting.offline(loss)
        return minimize(
            objective,
            setting.ref_log_probs,
            beta,
            start=start,
            widths=WIDTHS if kinks else (0.0,),
            reach=SHORT if on_policy or name == "ropo" else 3.0,
        )

    return solve


def _dpo(setting: Setting) -> Callable:
    return lambda score, width: LOSSES["dpo"](score, setting.preference, beta=setting.beta)


def solve_dpo(setting: Setting) -> Solution:
    return minimize(setting.offline(_dpo(setting)), setting.ref_log_probs, setting.beta)


def fitted_reward(setting: Setting) -> torch.Tensor:
    """The Bradley-Terry reward (X, Y) that fits the oracle's answers to the offline pairs best, mean 0 per prompt.

    DPO is this fit followed by the Gibbs policy: the reward is beta times its log-ratio.
    """
    reward = setting.beta * torch.tensor(solve_dpo(setting).log_ratio)
    return reward - reward.mean(dim=1, keepdim=True)


def solve_chi_po(setting: Setting, *, beta: float) -> Solution:
    first, second = setting.pairs
    law = setting.offline_law

    def objective(log_ratio, width):
        losses = RATIO_LOSSES["chi_po"](
            log_ratio[:, first], log_ratio[:, second], setting.preference, beta=beta
        )
        return (law * losses).sum(dim=1).mean()

    return minimize(objective, setting.ref_log_probs, beta, reach=SHORT)


def reweighted(name: str) -> Callable[..., Solution]:
    """Solver of REWEIGHTINGS[name] of DPO's losses of drawn labels, over the whole law of pairs and labels."""

    def solve(setting: Setting, **option) -> Solution:
        labels, probs = setting.labelled()

        def objective(log_ratio, width):
            scores = setting.scores(log_ratio).flatten().repeat(2)
            losses = LOSSES["dpo"](scores, labels, beta=setting.beta)
            return REWEIGHTINGS[name](losses, probs=probs, **option)

        return minimize(objective, setting.ref_log_probs, setting.beta, curvature="full", reach=1.0)

    return solve


def moves(setting: Setting) -> torch.Tensor:
    """psi(first) - psi(second) of every pair, (X M, X Y): the tabular policy is log-linear with one-hot features."""
    prompts, responses = setting.shape
    first, second = setting.pairs
    block = (
        torch.eye(responses, dtype=torch.float64)[first] - torch.eye(responses, dtype=torch.float64)[second]
    )
    return torch.block_diag(*[block] * prompts)


def parameters(log_ratio: torch.Tensor) -> torch.Tensor:
    """theta - theta_ref (X Y,) of the tabular policy, of least norm."""
    return (log_ratio - log_ratio.mean(dim=1, keepdim=True)).flatten()


def solve_wdpo(setting: Setting, *, radius: float) -> Solution:
    """WDPO: z is the pair's feature difference, so the penalty is the size of the slope in theta (double backward)."""
    labels, probs = setting.labelled()
    inputs = torch.cat([moves(setting).repeat(2, 1), torch.zeros(1, setting.ref_log_probs.numel())])
    inputs.requires_grad_()

    def objective(log_ratio, width):
        losses = LOSSES["dpo"](inputs[:-1] @ parameters(log_ratio), labels, beta=setting.beta)
        # One more loss, of slope 1 and weight width^2: the norm of the slopes becomes a hyperbola.
        atoms = torch.cat([losses, inputs[-1:, 0]])
        law = torch.cat([(1 - width**2) * probs, torch.tensor([width**2], dtype=torch.float64)])
        return probs @ losses + wasserstein_penalty(atoms, inputs, radius=radius, probs=law)

    return minimize(objective, setting.ref_log_probs, setting.beta, widths=WIDTHS, curvature="none")


def solve_group_robust(setting: Setting) -> Solution:
    """Group-robust DPO: exponentiated-gradient steps on the groups' weights, the policy optimal in between.

    The step is halved when the weights turn round and grows otherwise, so that an interior saddle point is found, too.
    """
    weights, law = setting.group_probs, setting.offline_law
    found, start, change, step = None, None, torch.zeros_like(weights), GROUP_STEP

    def group_losses(log_ratio):
        scores = setting.scores(log_ratio)
        return torch.stack(
            [
                (law * LOSSES["dpo"](scores, preference, beta=setting.beta)).sum(dim=1).mean()
                for preference in setting.group_preference
            ]
        )

    for rounds in range(1, GROUP_ROUNDS + 1):
        found = minimize(
            lambda log_ratio, width, weights=weights: group_robust(group_losses(log_ratio), weights),
            setting.ref_log_probs,
            setting.beta,
            start=start,
        )
        start, before = found.log_ratio, change
        updated = group_weights(weights, group_losses(torch.tensor(start)), step)
        change = updated - weights
        if change.abs().max() < 1e-8:
            return replace(found, rounds=rounds)
        weights, step = updated, step * (0.5 if change @ before < 0 else 1.2)
    return replace(found, converged=False, rounds=GROUP_ROUNDS)


def with_term(term: Callable[[Setting, torch.Tensor, float], torch.Tensor]) -> Callable[..., Solution]:
    """Solver of offline DPO plus `term(setting, log-ratios, weight)`, a scalar."""

    def solve(setting: Setting, *, weight: float) -> Solution:
        dpo = setting.offline(_dpo(setting))
        return minimize(
            lambda log_ratio, width: dpo(log_ratio, width) + term(setting, log_ratio, weight),
            setting.ref_log_probs,
            setting.beta,
        )

    return solve


def vpo_offline(setting, log_ratio, weight):
    """Pessimism with the chosen responses as the calibration law: DPO plus a likelihood of what was chosen."""
    return (
        (setting.chosen() * TERMS["vpo"](log_ratio, beta=setting.beta, weight=weight, sign=-1)).sum(1).mean()
    )


def hypo(setting, log_ratio, weight):
    """weight KL(pi || pi_ref): the mean of TERMS["hypo"] over the policy's samples."""
    return weight * ((log_ratio + setting.ref_log_probs).exp() * log_ratio).sum(dim=1).mean()


def aihf(setting, log_ratio, weight):
    """The likelihood of demonstrations, drawn from a Gibbs policy of the TRUE reward."""
    demonstrations = torch.softmax(setting.ref_log_probs + setting.rewards / DEMONSTRATION_TEMPERATURE, dim=1)
    log_prob = log_ratio + setting.ref_log_probs
    return (demonstrations * TERMS["aihf"](log_prob, weight=weight)).sum(dim=1).mean()


def solve_pessimistic(setting: Setting, *, scale: float) -> Solution:
    """GSHF's pessimistic margin with a count-based uncertainty, scale / sqrt(pi_ref / (1/Y))."""
    uncertainty = scale * (-0.5 * setting.ref_log_probs).exp() / setting.shape[1] ** 0.5
    gap = setting.scores(uncertainty)

    def loss(score, width):
        shifted = pessimistic_score(score, gap, beta=setting.beta)
        lost = pessimistic_score(score, -gap, beta=setting.beta)
        win, loss = setting.preference, 1 - setting.preference
        return win * LOSSES["dpo"](shifted, 1.0, beta=setting.beta) + loss * LOSSES["dpo"](
            lost, 0.0, beta=setting.beta
        )

    return minimize(setting.offline(loss), setting.ref_log_probs, setting.beta)


def sail_mixture(own: str) -> Callable[..., Solution]:
    """Solver of (1 - share) DPO on the data + share of SAIL's setting `own`: "ddp", "dpp" or "dpr"."""

    def solve(setting: Setting, *, share: float) -> Solution:
        data = setting.offline(_dpo(setting))
        oneself = lambda score, width: self_preference_loss(score, beta=setting.beta)  # noqa: E731
        route = {
            "ddp": setting.offline(oneself),
            "dpp": setting.on_policy(oneself),
            "dpr": setting.on_policy(_dpo(setting)),
        }[own]
        return minimize(
            lambda log_ratio, width: (1 - share) * data(log_ratio, width) + share * route(log_ratio, width),
            setting.ref_log_probs,
            setting.beta,
            reach=SHORT,
        )

    return solve


def solve_sail_revkl(setting: Setting, *, weight: float) -> Solution:
    """SAIL plus weight KL(pi_ref || pi)."""
    sail, ref = setting.on_policy(_dpo(setting)), setting.ref_log_probs.exp()

    def objective(log_ratio, width):
        penalty = (ref * TERMS["reference_kl"](log_ratio, weight=weight)).sum(dim=1).mean()
        return sail(log_ratio, width) + penalty

    return minimize(objective, setting.ref_log_probs, setting.beta, reach=SHORT)


def solve_plackett_luce(setting: Setting, *, rho: float) -> Solution:
    """Lists of three responses, ranked by a Plackett-Luce draw from the fitted reward.

    LISTS turned by every place: 36 lists per prompt, in which each pair of responses meets, with the probability that
    three draws of the reference give them.

    The worst ranking is a maximum over rankings; its kinks are smoothed as a log-sum-exp at temperature `width`.
    """
    turns = torch.arange(setting.shape[1])[:, None]
    lists = torch.cat([(torch.tensor(places) + turns) % setting.shape[1] for places in LISTS])
    orders = torch.tensor(list(permutations(range(LIST_LENGTH))))
    law = setting.ref_log_probs[:, lists].sum(dim=-1).softmax(dim=1)
    rank = LIST_LOSSES["plackett_luce"]

    def all_losses(values, beta):
        shape = (*values.shape[:1], len(lists), len(orders), LIST_LENGTH)
        return rank(values[:, lists][:, :, None].expand(shape), orders.expand(shape), beta=beta)

    chances = (-all_losses(fitted_reward(setting), 1.0)).exp()

    def objective(log_ratio, width):
        losses = all_losses(log_ratio, setting.beta)
        worst = width * torch.logsumexp(losses / width, dim=-1)
        return (law * ((1 - rho) * (chances * losses).sum(dim=-1) + rho * worst)).sum(dim=1).mean()

    return minimize(objective, setting.ref_log_probs, setting.beta, widths=WIDTHS)
