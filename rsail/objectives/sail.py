"""The SAIL family: pair losses whose labels, or whose responses, come from the policy itself.

With F = log sigma(beta h(w, l)) the objective is J = E F over response pairs from a data set or from pi, and labels
from an oracle or from pi's own preference p = sigma(beta h). The exact gradient of the loss -J is (1 + c F) d(-F) for
labels of pi's own (c = 1), plus the score term of `score_surrogate` for responses of pi's own. SAIL calls the settings

======== ========= ======== ==================== =====================
setting  responses labels   preference_weight c  weight of the score
======== ========= ======== ==================== =====================
dpo      data set  oracle   0                    0
ddp      data set  policy   1                    0
dpp      policy    policy   1                    1
dpr      policy    oracle   0                    1
======== ========= ======== ==================== =====================

where 1 is exact and the published runs take 0.2 to 0.3.
"""

from __future__ import annotations

import torch

from rsail.checks import nonnegative
from rsail.objectives.arguments import comparison, floating
from rsail.objectives.estimators import score_surrogate
from rsail.objectives.losses import dpo_loss


def preference_surrogate(
    pair_score: torch.Tensor, preference, *, beta: float, weight: float = 1.0
) -> torch.Tensor:
    """-F - (weight / 2) F^2 per pair: the gradient is (1 + weight F) d(-F), that of labels drawn from the policy.

    For a label drawn from sigma(beta h); on a probability it is the mean over both labels, with the probability held
    fixed. Where F < -1 / weight the sign of the pair turns over.
    """
    weight = nonnegative("weight", weight)
    pair_score, preference, beta = comparison(pair_score, preference, beta)
    first, second = dpo_loss(pair_score, 1.0, beta=beta), dpo_loss(pair_score, 0.0, beta=beta)
    correction = preference * first**2 + (1 - preference) * second**2
    return preference * first + (1 - preference) * second - weight / 2 * correction


def self_preference_loss(pair_score: torch.Tensor, *, beta: float) -> torch.Tensor:
    """Binary entropy of sigma(beta h) per pair, in nats.

    Its gradient is the mean gradient of `preference_surrogate` over the policy's labels (its value is not the mean
    value): the Rao-Blackwell form of DDP and of the preference part of DPP. No labels are drawn, and the gradient is
    -beta^2 sigma(beta h) sigma(-beta h) h dh. It only sharpens the ranking the policy has: mix it with real labels.
    """
    own = torch.sigmoid(beta * floating("pair_score", pair_score))
    return dpo_loss(pair_score, own, beta=beta)


def sail_surrogate(
    pair_score: torch.Tensor,
    preference,
    log_prob_1: torch.Tensor,
    log_prob_2: torch.Tensor,
    *,
    beta: float,
    preference_weight: float,
    score_weight: float,
    baseline: float | tuple[torch.Tensor, torch.Tensor] = 0.0,
) -> torch.Tensor:
    """Per pair, all terms of one setting of the table above; the gradient is (1 + c F) d(-F) + weight (-F - b) S.

    The score multiplies -F alone, without the correction of the preference part. Arguments as in
    `preference_surrogate` and `score_surrogate`; both weights zero is DPO.
    """
    loss = dpo_loss(pair_score, preference, beta=beta)
    extra = preference_surrogate(pair_score, preference, beta=beta, weight=preference_weight) - loss
    surrogate = score_surrogate(loss, log_prob_1, log_prob_2, baseline=baseline, weight=score_weight)
    return surrogate + extra if preference_weight > 0 else surrogate
