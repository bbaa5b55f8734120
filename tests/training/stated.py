"""What each method says it minimizes, written down again in NumPy, and its derivative.

Losses at a label, reweightings, terms, from the methods' formulas and without the code of the trainer; derivatives by
central differences, at frozen laws and in the laws.
"""

import itertools

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from rsail.training.options import POLICY_GRADIENTS, loss_kind, stored_count

from .enumerated import STEP, independent, log_odds, pair_law, response_law, scores_of


def softplus(x):
    return np.logaddexp(0, x)


def pair_loss(config, h, label):
    """Loss of a pair score h at the label (a number in [0, 1], for most 0 or 1)."""
    beta, options = config.beta, config.loss_options
    u = beta * h
    dpo = label * softplus(-u) + (1 - label) * softplus(u)
    signed = np.where(label > 0.5, u, -u)
    if config.loss == "dpo":
        return dpo
    if config.loss == "robust_sail":
        soft = (
            config.labels == "probability"
        )  # a label is not doubted beyond 0 or 1, and so not clipped against
        room = np.minimum(config.rho, np.where(h > 0, label, 1 - label)) if soft else config.rho
        return dpo + room * np.abs(u)
    if config.loss == "cdpo":
        return dpo + options["smoothing"] * signed
    if config.loss == "rdpo":
        return dpo - options["flip_rate"] / (1 - 2 * options["flip_rate"]) * signed
    if config.loss == "ipo":
        return (np.where(label > 0.5, h, -h) - 1 / (2 * beta)) ** 2
    if config.loss == "slic":
        return np.maximum(0, 1 - signed)
    if config.loss == "ropo":
        a = options["alpha"]
        return 4 * a / (1 + a) ** 2 * (softplus(-signed) + a / (1 + np.exp(signed)))
    if config.loss == "tv_robust":
        return dpo + options["radius"] * np.maximum(signed, 0)
    assert config.loss == "dpo_pro"
    shift = np.sqrt(options["radius"] * label * (1 - label))
    return dpo + np.minimum(shift, np.where(u > 0, label, 1 - label)) * np.abs(u)


def label_law(labels, config, world, own):
    """[(label, its probability)] of each pair, tables (X, Y, Y)."""
    truth_ = world.preferences
    if labels == "probability":
        return [(truth_, np.ones_like(truth_))]
    if labels == "hard":
        return [(np.where(truth_ == 0.5, 0.5, truth_ > 0.5), np.ones_like(truth_))]
    if labels == "policy":
        ratio = own - world.ref
        truth_ = 1 / (1 + np.exp(-config.beta * (ratio[:, :, None] - ratio[:, None, :])))
    return [(np.ones_like(truth_), truth_), (np.zeros_like(truth_), 1 - truth_)]


def response_sources(config, world, law_of):
    """[(law of the compared responses, their labels)]: of the scheme, and with the oracle's labels of the set."""
    stored = stored_count(config) / config.prompts_per_step
    sources = []
    if stored < 1:
        sources.append(((1 - stored) * response_law(config, world, law_of), config.labels))
    if stored > 0:
        kept = "drawn" if config.labels == "policy" else config.labels
        sources.append((stored * independent(np.exp(world.first), config.responses_per_prompt), kept))
    return sources


def pair_sources(config, world, law_of, label_of):
    """[(law of a pair and its label, label)], both (X, Y, Y); the laws sum to 1 for each prompt."""
    return [
        (pair_law(law) * chance, label)
        for law, labels in response_sources(config, world, law_of)
        for label, chance in label_law(labels, config, world, label_of)
    ]


def loss_tables(config, world, own, label):
    """Loss of each pair of responses at a label, (X, Y, Y)."""
    ratio = own - world.ref
    h = ratio[:, :, None] - ratio[:, None, :]
    if config.loss == "chi_po":
        link = np.exp(ratio) + ratio
        margin = config.beta * (link[:, :, None] - link[:, None, :])
        bound = 2 * config.loss_options.get("reward_bound", np.inf)
        margin = np.clip(margin, -bound, bound)
        return label * softplus(-margin) + (1 - label) * softplus(margin)
    if config.loss == "rebel":
        assert config.responses_per_prompt == 2  # else the oracle's scores are those of a list
        return (config.beta * h - log_odds(world.preferences)) ** 2
    if config.addition.term == "pessimism":
        gap = world.uncertainty[:, :, None] - world.uncertainty[:, None, :]
        h = h + config.addition.term_weight * gap / config.beta
    return pair_loss(config, h, label)


RANKINGS = list(itertools.permutations(range(3)))


def plackett_luce(scores, ranking):
    """Loss of a ranking of scores (..., 3)."""
    ordered = scores[..., list(ranking)]
    return sum(np.log(np.exp(ordered[..., k:]).sum(-1)) - ordered[..., k] for k in range(3))


def ranking_law(labels, scores):
    """Probability of each of RANKINGS, (6, ...), of scores (..., 3)."""
    if labels == "hard":
        first = np.argsort(-scores, axis=-1, kind="stable")
        return np.stack([(first == ranking).all(-1).astype(float) for ranking in RANKINGS])
    return np.stack([np.exp(-plackett_luce(scores, ranking)) for ranking in RANKINGS])


def lists(world):
    return list(itertools.product(range(world.own.shape[1]), repeat=3))


def list_scores(world):
    """What the oracle makes of the responses of every list of three, (X, Y^3, 3)."""
    if "scores" not in world.laws:
        rows = [[scores_of(table, chosen) for chosen in lists(world)] for table in world.preferences]
        world.laws["scores"] = np.array(rows)
    return world.laws["scores"]


def list_law(law, labels, scores):
    """(6, X, Y^3), the law of a list of three and its ranking, where the list has `law` (X, Y, Y, Y)."""
    return law.reshape(len(law), -1) * ranking_law(labels, scores)


def list_losses(config, world, own):
    """Losses (6, X, Y^3) of all lists of three and their rankings."""
    scores = config.beta * (own - world.ref)[:, np.array(lists(world))]
    nominal = np.stack([plackett_luce(scores, ranking) for ranking in RANKINGS])
    return (1 - config.rho) * nominal + config.rho * nominal.max(0)


def group_losses(config, world, own):
    """GRPO's losses (X, Y^3) of all lists of three, drawn from the policy as it is."""
    now, old, ref = (world.tokens(torch.from_numpy(table)).numpy() for table in (own, world.own, world.ref))
    mask = world.responses.response_mask[: own.shape[1]].numpy()
    ratio = (np.exp(now - old) * mask).sum(-1) / mask.sum(-1)
    penalty = (np.exp(ref - now) - 1 - (ref - now)).sum(-1) / mask.sum(-1)
    scores, chosen = list_scores(world), np.array(lists(world))
    advantage = scores - scores.mean(-1, keepdims=True)
    advantage /= scores.std(-1, ddof=1, keepdims=True) + 1e-4
    return -(ratio[:, chosen] * advantage - config.beta * penalty[:, chosen]).mean(-1)


def policy_gradient_atoms(config, world, own, law_of):
    """Of RLOO one response: the policy's mean log-odds against the present policy, less the KL. Of GRPO lists."""
    if config.loss == "grpo":
        assert config.responses_per_prompt == 3
        law = np.exp(world.own[:, np.array(lists(world))].sum(-1))
        return law, group_losses(config, world, own)
    reward = np.einsum("xyz,xz->xy", log_odds(world.preferences), np.exp(world.own))
    return np.exp(law_of), config.beta * (own - world.ref) - reward


def atoms(config, world, own, law_of, label_of):
    """All that a pair or list may be: probabilities, losses, prompts; laws from other tables than the losses."""
    if loss_kind(config.loss) in POLICY_GRADIENTS:
        laws, losses = (table[None] for table in policy_gradient_atoms(config, world, own, law_of))
    elif loss_kind(config.loss) == "list":
        assert config.responses_per_prompt == 3
        scores, losses = list_scores(world), list_losses(config, world, own)
        laws = sum(list_law(*source, scores) for source in response_sources(config, world, law_of))
    else:
        sources = pair_sources(config, world, law_of, label_of)
        laws = np.stack([law for law, _ in sources])
        losses = np.stack([loss_tables(config, world, own, label) for _, label in sources])
    prompts = np.arange(len(own)).reshape(1, -1, *[1] * (laws.ndim - 2))
    return laws.ravel() / len(own), losses.ravel(), np.broadcast_to(prompts, losses.shape).ravel()


def reduce(config, probabilities, losses, prompts, frozen):
    """One number from a law of losses."""
    name, strength = config.addition.reweighting, config.addition.reweighting_strength
    if name == "mean":
        return probabilities @ losses
    if name == "dr_dpo":
        return -strength * np.log(probabilities @ np.exp(-losses / strength))
    if name == "kl_penalty":
        return strength * np.log(probabilities @ np.exp(losses / strength))
    if name == "group_robust":  # weights start equal; they move by the frozen losses and are then held
        means = np.array([2 * probabilities[prompts == g] @ losses[prompts == g] for g in (0, 1)])
        held = np.array([2 * probabilities[prompts == g] @ frozen[prompts == g] for g in (0, 1)])
        weights = np.exp(strength * held)
        return weights @ means / weights.sum()
    if name == "tv_ball":  # the share of the smallest losses gives way to the largest
        order = np.argsort(losses)
        kept = np.maximum(np.cumsum(probabilities[order]) - strength, 0)
        kept = np.diff(kept, prepend=0)
        return kept @ losses[order] + strength * losses.max()
    if name == "kl_ball":

        def dual(log_t):
            t = np.exp(log_t)
            top = losses.max()
            return t * strength + top + t * np.log(probabilities @ np.exp((losses - top) / t))

        return minimize_scalar(dual, bounds=(-8, 8), method="bounded", options={"xatol": 1e-12}).fun
    assert name == "chi2_ball"

    def dual(eta):
        above = np.maximum(losses - eta, 0)
        return eta + np.sqrt(1 + 2 * strength) * np.sqrt(probabilities @ above**2)

    bounds = (losses.min() - 20, losses.max())
    return minimize_scalar(dual, bounds=bounds, method="bounded", options={"xatol": 1e-12}).fun


def term_value(config, world, own, law_of):
    """What the term adds, with the laws of its samples at `law_of` where they are the policy's."""
    name, weight, beta = config.addition.term, config.addition.term_weight, config.beta
    ratio, reference = own - world.ref, np.exp(world.ref)
    of_reference = (reference * ratio).sum(1).mean()
    if name in ("none", "pessimism"):
        return 0.0
    if name == "xpo":
        return weight * (np.exp(world.first) * own).sum(1).mean()
    if name in ("vpo_online", "vpo_offline", "selm"):
        return (-1 if name == "vpo_offline" else 1) * weight * beta * of_reference
    if name == "reference_kl":
        return -weight * of_reference
    if name == "copo":
        held = np.minimum(np.exp(world.own - world.ref), 5) * world.bonus
        return -weight * (reference * held * own).sum(1).mean()
    if name == "hypo":
        return weight * (np.exp(own) * ratio).sum(1).mean()
    total = 0.0  # of each pair against each sample of the reference
    for law, label in pair_sources(config, world, law_of, law_of):
        for y in range(own.shape[1]):
            sample, first, second = ratio[:, y, None, None], ratio[:, :, None], ratio[:, None, :]
            if name == "spac_anchored":
                value = sample - (label * first + (1 - label) * second)
            else:
                value = (softplus(beta * (sample - first)) + softplus(beta * (sample - second))) / 2
            total += (reference[:, y, None, None] * law * value).sum((1, 2)).mean()
    return weight * total


def value(config, world, own, law_of, label_of):
    probabilities, losses, prompts = atoms(config, world, own, law_of, label_of)
    frozen = None
    if config.addition.reweighting == "group_robust":
        frozen = atoms(config, world, world.own, world.own, world.own)[1]
    return reduce(config, probabilities, losses, prompts, frozen) + term_value(config, world, own, world.own)


def derivative(config, world) -> np.ndarray:
    """Along each direction: at frozen laws, plus the score weight times that in the law of the responses, plus the
    preference weight times that in the law of the labels."""
    base = world.own

    def along(change):
        pairs = zip(world.forward, world.backward, strict=True)
        return np.array([(change(up) - change(down)) / (2 * STEP) for up, down in pairs])

    total = along(lambda t: value(config, world, t, base, base))
    if config.score_weight:
        total = total + config.score_weight * along(lambda t: value(config, world, base, t, base))
    if config.addition.preference_weight:
        total = total + config.addition.preference_weight * along(
            lambda t: value(config, world, base, base, t)
        )
    return total
