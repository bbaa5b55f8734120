"""What a method adds to its mean pair loss from OTHER samples, and the losses that need more than log-ratios.

Each function in TERMS returns one value per sample, in the shape of its first argument: add the mean over the samples
(or the sum weighted with their law) to the loss. `log_prob` = log pi(y|x) and `log_ratio` = log pi(y|x) -
log pi_ref(y|x) are sums over response tokens with graph. Which law the samples come from is part of the method:

================ ============================================= ==================================================
term             samples y                                     sign of its push on log pi(y)
================ ============================================= ==================================================
vpo              a calibration law c (pi_ref, behaviour)       sign 1 (online): down; sign -1 (offline): up
xpo              pi_ref, the response of the pair drawn there  down (optimism)
selm             pi_ref, the last round's policy               down (optimism)
copo             the policy of the round                       up, most where visits were rare
hypo             pi, k responses per prompt                    toward smaller KL(pi || pi_ref)
spac_anchored    pi_t, and an anchor                           own sample down, anchor up
spac_smoothed    pi_t, with the pair                           own sample down, both of the pair up, bounded
spac_unanchored  pi_t                                          down; marked: unbounded without its floor
reference_kl     pi_ref                                        up: its mean is KL(pi_ref || pi)
aihf             demonstrations                                up
================ ============================================= ==================================================

In SPAC log_ratio is against the round's pi_t. Several sources could not be read in full: see each docstring.

Raises
------
rsail.objectives.NotFinite (a `ValueError` and a `FloatingPointError`)
    A log-probability or log-ratio that is NaN or infinite (looked at on a CPU only).
ValueError
    beta <= 0, a weight that is no finite number >= 0, shapes that differ.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid

from rsail.checks import nonnegative, number, positive, require
from rsail.objectives.arguments import alike, floating, probability

COUNT_SCALE = 0.1  # of the bonus of COPO, as in its code


def vpo(log_ratio: torch.Tensor, *, beta: float, weight: float, sign: int) -> torch.Tensor:
    """sign weight beta log_ratio: reward-biased fitting with J*(r) as the bias (VPO, arXiv 2405.19320).

    `sign` 1 is optimism, for online data, -1 pessimism, for offline data. beta log(pi / pi_ref) is the reward less
    beta log Z; with the reward's mean under the calibration law fixed at 0, the mean of this term is -sign weight J*.
    """
    beta, weight = positive("beta", beta), nonnegative("weight", weight)
    require(number(sign) in (-1.0, 1.0), "sign", sign, "1 (online) or -1 (offline)")
    return sign * weight * beta * floating("log_ratio", log_ratio)


def xpo(log_prob: torch.Tensor, *, weight: float) -> torch.Tensor:
    """weight log pi(y) of the pair's response drawn from the fixed reference (XPO, arXiv 2405.21046).

    Unbounded below, and log pi is a sum over tokens: weights in use are about 1e-5.
    """
    return nonnegative("weight", weight) * floating("log_prob", log_prob)


def selm(log_ratio: torch.Tensor, *, beta: float, weight: float) -> torch.Tensor:
    """weight beta log_ratio for y from pi_ref, the last round's policy: SELM (arXiv 2405.19332) as in its code.

    The algorithm printed in the paper has the weight without beta.
    """
    beta, weight = positive("beta", beta), nonnegative("weight", weight)
    return weight * beta * floating("log_ratio", log_ratio)


def count_bonus(coins: torch.Tensor, *, scale: float = COUNT_SCALE) -> torch.Tensor:
    """scale sqrt(mean_k f_k^2), about scale / sqrt(visits): COPO's bonus from a coin-flip network's output (..., k)."""
    return nonnegative("scale", scale) * floating("coins", coins).square().mean(-1).sqrt()


def copo(
    log_prob: torch.Tensor, log_ratio: torch.Tensor, bonus, *, weight: float, clip: float = 5.0
) -> torch.Tensor:
    """-weight min(pi / pi_ref, clip) bonus log pi(y), all but log pi held fixed (COPO, arXiv 2501.12735).

    `bonus` is one number or of the shape of `log_prob`, as from `count_bonus`.
    """
    weight, clip = nonnegative("weight", weight), positive("clip", clip)
    log_prob = floating("log_prob", log_prob)
    log_ratio = alike("log_ratio", log_ratio, "log_prob", log_prob)
    bonus = alike("bonus", bonus, "log_prob", log_prob)
    return -weight * (log_ratio.exp().clamp(max=clip) * bonus).detach() * log_prob


def hypo(log_prob: torch.Tensor, log_ratio: torch.Tensor, *, weight: float) -> torch.Tensor:
    """weight KL(pi || pi_ref) from k own samples per prompt, shapes (X, k) (HyPO, arXiv 2406.01462).

    The value is weight log_ratio; the gradient weight (log_ratio - b) grad log pi with b the mean log-ratio of the
    prompt's other samples (none for k = 1): unbiased, and without the gradient through log_ratio, whose mean is zero.
    """
    weight = nonnegative("weight", weight)
    log_prob = floating("log_prob", log_prob)
    require(log_prob.ndim == 2 and log_prob.shape[1] >= 1, "log_prob.shape", tuple(log_prob.shape), "(X, k)")
    ratio = alike("log_ratio", log_ratio, "log_prob", log_prob).detach()
    count = log_prob.shape[1]
    others = (ratio.sum(1, keepdim=True) - ratio) / max(count - 1, 1)
    return weight * (ratio + (ratio - others) * (log_prob - log_prob.detach()))


def spac_anchored(log_ratio: torch.Tensor, log_ratio_anchor: torch.Tensor, *, weight: float) -> torch.Tensor:
    """weight (log_ratio of y ~ pi_t minus that of an anchor): the critic's mean under pi_t, on average pessimistic.

    SPAC (arXiv 2406.04274) with the shift of the critic fixed on the anchors (chosen responses, or samples of
    pi_ref), so that log Z cancels; the paper's own anchor could not be read. Ratios are against the round's pi_t.
    """
    weight = nonnegative("weight", weight)
    log_ratio = floating("log_ratio", log_ratio)
    return weight * (log_ratio - alike("log_ratio_anchor", log_ratio_anchor, "log_ratio", log_ratio))


def spac_smoothed(
    log_ratio: torch.Tensor,
    log_ratio_1: torch.Tensor,
    log_ratio_2: torch.Tensor,
    *,
    beta: float,
    weight: float,
) -> torch.Tensor:
    """-(weight / 2) sum over both responses a of the pair of log sigma(beta (log_ratio_a - log_ratio)), y ~ pi_t.

    A bounded form of `spac_anchored` on chosen AND rejected responses, as SPAC is reported to use; the exact loss of
    the paper's algorithm could not be read. Ratios are against the round's pi_t.
    """
    beta, weight = positive("beta", beta), nonnegative("weight", weight)
    own = floating("log_ratio", log_ratio)
    first = alike("log_ratio_1", log_ratio_1, "log_ratio", own)
    second = alike("log_ratio_2", log_ratio_2, "log_ratio", own)
    return -weight / 2 * (logsigmoid(beta * (first - own)) + logsigmoid(beta * (second - own)))


def spac_unanchored(log_ratio: torch.Tensor, *, weight: float, floor: float) -> torch.Tensor:
    """weight max(log_ratio, -floor) for y ~ pi_t: SPAC's linear form as second-hand notes print it. FOR COMPARISON.

    Its mean without the floor is -weight KL(pi_t || pi), which is unbounded below and what others call optimism:
    dropping log Z changes what the term means. So a floor > 0 must be given; below it the gradient is zero.
    """
    weight, floor = nonnegative("weight", weight), positive("floor", floor)
    return weight * floating("log_ratio", log_ratio).clamp(min=-floor)


def reference_kl(log_ratio: torch.Tensor, *, weight: float) -> torch.Tensor:
    """-weight log_ratio for y ~ pi_ref: its mean is weight KL(pi_ref || pi), and its gradient that of a likelihood.

    The penalty of SAIL-RevKL, which calls this direction the reverse one. On other tokens than samples of pi_ref, as
    in the published code, it is a plain likelihood term, no KL.
    """
    return -nonnegative("weight", weight) * floating("log_ratio", log_ratio)


def aihf(log_prob: torch.Tensor, *, weight: float) -> torch.Tensor:
    """-weight log pi(y) of demonstrations: AIHF (arXiv 2406.06874) with the reward beta log(pi / pi_0) put in.

    `weight` is the paper's w1 / w2, of the demonstrations relative to the preference loss.
    """
    return -nonnegative("weight", weight) * floating("log_prob", log_prob)


TERMS: dict[str, Callable[..., torch.Tensor]] = {
    "vpo": vpo,
    "xpo": xpo,
    "selm": selm,
    "copo": copo,
    "hypo": hypo,
    "spac_anchored": spac_anchored,
    "spac_smoothed": spac_smoothed,
    "spac_unanchored": spac_unanchored,
    "reference_kl": reference_kl,
    "aihf": aihf,
}


def pessimistic_score(pair_score: torch.Tensor, uncertainty_gap, *, beta: float) -> torch.Tensor:
    """h + (Gamma_1 - Gamma_2) / beta, to be put into a pair loss for h (GSHF, arXiv 2312.11456, direct form).

    With `dpo_loss` it is -log sigma(beta h + Gamma_w - Gamma_l): an uncertain winner has its margin for free, and the
    policy is pushed less toward it. `uncertainty_gap` is Gamma_1 - Gamma_2 in units of the reward.
    """
    beta = positive("beta", beta)
    pair_score = floating("pair_score", pair_score)
    return pair_score + alike("uncertainty_gap", uncertainty_gap, "pair_score", pair_score) / beta


def fpo_loss(
    log_ratio_1: torch.Tensor,
    log_ratio_2: torch.Tensor,
    preference,
    *,
    lengths: tuple,
    distances: tuple,
    beta: float,
    weight: float,
) -> torch.Tensor:
    """FPO (arXiv 2411.07618) per pair: -log sigma(beta (log_ratio_w / |w| - log_ratio_l / |l|) - delta).

    delta = weight beta (D_l - D_w) with D_w held fixed, where D is the squared distance of the sparse features of
    policy and reference, and with graph. The features (a sparse autoencoder) are the caller's. A probability means
    the mean over both labels; the winner, whose D is fixed, is another one in each.

    Parameters
    ----------
    log_ratio_1, log_ratio_2 : tensors of one shape, sums over response tokens
    lengths : pair of the responses' numbers of tokens, numbers or tensors
    distances : pair of D(x, y1), D(x, y2), numbers or tensors with graph
    weight : float >= 0, the paper's alpha
    """
    beta, weight = positive("beta", beta), nonnegative("weight", weight)
    first = floating("log_ratio_1", log_ratio_1)
    second = alike("log_ratio_2", log_ratio_2, "log_ratio_1", first)
    preference = probability("preference", preference, "log_ratio_1", first)
    for name, pair in (("lengths", lengths), ("distances", distances)):
        require(isinstance(pair, tuple) and len(pair) == 2, name, pair, "a pair")
    length_1, length_2 = (alike("lengths", length, "log_ratio_1", first) for length in lengths)
    for length in (length_1, length_2):
        if length.device.type == "cpu":
            require(bool((length >= 1).all()), "lengths", length.min().item(), ">= 1")
    distance_1, distance_2 = (alike("distances", distance, "log_ratio_1", first) for distance in distances)
    margin = beta * (first / length_1 - second / length_2)
    won = margin - weight * beta * (distance_2 - distance_1.detach())
    lost = -margin - weight * beta * (distance_1 - distance_2.detach())
    return -preference * logsigmoid(won) - (1 - preference) * logsigmoid(lost)
