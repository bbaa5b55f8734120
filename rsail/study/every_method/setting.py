"""What a method is given of a problem, as tensors: pairs, the laws of pairs, and the expectations it minimizes.

Pairs are the M = Y(Y-1)/2 unordered pairs of different responses. Where labels are drawn, the loss is averaged over
the label: all losses are then functions of pair score and preference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from rsail.study.every_method.problem import BETA, Testbed, group_preferences, preferences


@dataclass(frozen=True, eq=False)
class Setting:
    """An oracle's answers to one problem.

    `preference` (X, M) is P(first > second); `group_preference` (G, X, M) that of each group of annotators, with
    shares `group_probs` (G,); `rewards` (X, Y) are the true ones, seen by no method except through demonstrations.
    """

    ref_log_probs: torch.Tensor  # (X, Y)
    preference: torch.Tensor
    group_preference: torch.Tensor
    group_probs: torch.Tensor
    rewards: torch.Tensor
    table: np.ndarray  # (X, Y, Y), the same preferences
    beta: float = BETA

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.ref_log_probs.shape)

    @property
    def pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices (M,) of first and second response."""
        first, second = torch.triu_indices(self.shape[1], self.shape[1], offset=1)
        return first, second

    def scores(self, log_ratio: torch.Tensor) -> torch.Tensor:
        """h (X, M)."""
        first, second = self.pairs
        return log_ratio[:, first] - log_ratio[:, second]

    def law(self, first_probs: torch.Tensor, second_probs: torch.Tensor | None = None) -> torch.Tensor:
        """Probability (X, M) that two draws are this pair, in either order; a prompt's rest is twins."""
        second_probs = first_probs if second_probs is None else second_probs
        i, j = self.pairs
        return first_probs[:, i] * second_probs[:, j] + first_probs[:, j] * second_probs[:, i]

    @property
    def offline_law(self) -> torch.Tensor:
        """The law (X, M) of a data set: two different responses of the reference; each prompt sums to 1."""
        law = self.law(self.ref_log_probs.exp())
        return law / law.sum(dim=1, keepdim=True)

    def offline(self, pair_loss: Callable, *, law: torch.Tensor | None = None) -> Callable:
        """The mean of `pair_loss(pair_score, width)` over a fixed law of pairs, as an objective."""
        law = self.offline_law if law is None else law

        def objective(log_ratio: torch.Tensor, width: float) -> torch.Tensor:
            return (law * pair_loss(self.scores(log_ratio), width)).sum(dim=1).mean()

        return objective

    def on_policy(self, pair_loss: Callable) -> Callable:
        """The mean over the policy's own pairs, whose law has a gradient, too; twins cost log 2 (eq. 1, 9)."""

        def objective(log_ratio: torch.Tensor, width: float) -> torch.Tensor:
            probs = (log_ratio + self.ref_log_probs).exp()
            pairs = (self.law(probs) * pair_loss(self.scores(log_ratio), width)).sum(dim=1)
            return (pairs + math.log(2) * probs.square().sum(dim=1)).mean()

        return objective

    def labelled(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The offline law of pair and drawn label: labels (2 X M,), 1 then 0, and their probabilities, sum 1."""
        law = (self.offline_law / self.shape[0]).flatten()
        chance = self.preference.flatten()
        labels = torch.cat([torch.ones_like(chance), torch.zeros_like(chance)])
        return labels, torch.cat([law * chance, law * (1 - chance)])

    def chosen(self) -> torch.Tensor:
        """The law (X, Y) of the preferred response of an offline pair."""
        return self._side(self.offline_law * self.preference, self.offline_law * (1 - self.preference))

    def _side(self, first_mass: torch.Tensor, second_mass: torch.Tensor) -> torch.Tensor:
        i, j = self.pairs
        result = torch.zeros_like(self.ref_log_probs)
        return result.index_add(1, i, first_mass).index_add(1, j, second_mass)


def make_setting(testbed: Testbed, oracle: str) -> Setting:
    """The setting of a problem under the named oracle."""
    table = preferences(testbed, oracle)
    groups, shares = group_preferences(testbed, oracle)
    first, second = np.triu_indices(table.shape[1], k=1)
    return Setting(
        ref_log_probs=torch.tensor(testbed.ref_log_probs),
        preference=torch.tensor(table[:, first, second]),
        group_preference=torch.tensor(groups[:, :, first, second]),
        group_probs=torch.tensor(shares),
        rewards=torch.tensor(testbed.rewards),
        table=table,
    )
