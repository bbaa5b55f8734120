"""Small models whose responses can all be listed, what a step may draw, and what each method says it minimizes.

Everything here is NumPy on tables of log-probabilities, written down from the methods' formulas, without the code of
the trainer: laws of the compared responses, losses at a label, reweightings, terms; and their derivatives by central
differences, at frozen laws and in the laws.
"""

import itertools

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from rsail.lm.enumeration import (
    directional_derivatives,
    enumerate_responses,
    enumerated_log_probs,
    moved,
    tiny_llama,
)
from rsail.oracles import truth
from rsail.training.options import loss_kind, stored_count

VOCABULARY, LONGEST, DIRECTIONS, STEP = 3, 2, 24, 1e-4
PROMPTS = [[0, 2], [2, 2]]


class World:
    """Policy, reference and initial model over seven responses to each of two prompts; tables (X, Y)."""

    def __init__(self):
        rng = np.random.default_rng(7)
        self.policy = tiny_llama(VOCABULARY, rng, hidden_size=8, layers=1)
        size = sum(weight.numel() for weight in self.policy.parameters())
        away = torch.from_numpy(rng.normal(size=(2, size)))
        self.reference, self.initial = moved(self.policy, away[0], 0.15), moved(self.policy, away[1], 0.15)
        self.directions = torch.from_numpy(rng.normal(size=(DIRECTIONS, size)) / np.sqrt(size))
        prompts = torch.tensor(PROMPTS)
        self.responses = enumerate_responses(
            prompts, torch.ones_like(prompts), vocab_size=VOCABULARY, max_new_tokens=LONGEST, eos_token_id=1,
            pad_token_id=0,
        )  # fmt: skip
        with torch.no_grad():
            self.own, self.ref, self.first = (
                enumerated_log_probs(model, self.responses).numpy()
                for model in (self.policy, self.reference, self.initial)
            )
            self.forward, self.backward = (
                [
                    enumerated_log_probs(moved(self.policy, d, s), self.responses).numpy()
                    for d in self.directions
                ]
                for s in (STEP, -STEP)
            )
        self.slopes = directional_derivatives(self.policy, self.responses, self.directions).numpy()
        self.rewards = rng.normal(size=self.own.shape)
        self.preferences = truth(self.rewards)
        self.uncertainty, self.bonus = rng.uniform(0.1, 1.0, size=(2, *self.own.shape))
        self.features = rng.normal(size=(*self.own.shape, 3))
        self.laws = {}


# Laws of what is compared: (X, Y, ..., Y) for each prompt, from tables of log-probabilities.


def ordered_pair_law(candidates: int, law: np.ndarray, choose) -> np.ndarray:
    """Law (Y, Y) of the pair that `choose` takes from i.i.d. candidates: lists of (probability, first, second)."""
    result = np.zeros((len(law), len(law)))
    for drawn in itertools.product(range(len(law)), repeat=candidates):
        for probability, first, second in choose(drawn):
            result[first, second] += np.prod(law[list(drawn)]) * probability
    return result


def best_and_worst(scores):
    def choose(drawn):
        ordered = sorted(drawn, key=lambda y: -scores[y])
        yield 1.0, ordered[0], ordered[-1]

    return choose


def farthest(features):
    """With nothing seen yet the bonus is the distance of the features."""

    def choose(drawn):
        distances = [np.linalg.norm(features[y] - features[drawn[0]]) for y in drawn[1:]]
        yield 1.0, drawn[0], drawn[1 + int(np.argmax(distances))]

    return choose


def accepted(scores, beta):
    """Rejection sampling of two: who is accepted in each pass, with the probabilities of all outcomes."""

    def passes(left, chosen, probability):
        if len(chosen) >= 2:
            yield probability, chosen[0], chosen[1]
            return
        top = max(scores[y] for y in left)
        chances = [np.exp((scores[y] - top) / beta) for y in left]
        for outcome in itertools.product([True, False], repeat=len(left)):
            p = np.prod([c if taken else 1 - c for c, taken in zip(chances, outcome, strict=True)])
            if p > 0:
                rest = [y for y, taken in zip(left, outcome, strict=True) if not taken]
                now = [y for y, taken in zip(left, outcome, strict=True) if taken]
                yield from passes(rest, chosen + now, probability * p)

    def choose(drawn):
        yield from passes(list(drawn), [], 1.0)

    return choose


def response_law(config, world, own: np.ndarray) -> np.ndarray:
    """(X, Y, ...) the law of the compared responses if the policy's log-probabilities are `own`."""
    key = (config.collection.scheme, config.collection.candidates, config.responses_per_prompt, own.tobytes())
    if key not in world.laws:
        world.laws[key] = _response_law(config, world, own)
    return world.laws[key]


def _response_law(config, world, own):
    scheme, n = config.collection.scheme, config.collection.candidates
    policy, reference, initial = np.exp(own), np.exp(world.ref), np.exp(world.first)
    if scheme in ("on_policy", "offline"):
        table = policy if scheme == "on_policy" else initial
        laws = []
        for law in table:
            joint = law
            for _ in range(config.responses_per_prompt - 1):
                joint = joint[..., None] * law
            laws.append(joint)
        return np.stack(laws)
    if scheme == "hybrid":
        return policy[:, :, None] * initial[:, None, :]
    rules = {
        "best_worst": lambda x: ordered_pair_law(n, policy[x], best_and_worst(world.rewards[x])),
        "enhancer": lambda x: ordered_pair_law(1 + n, policy[x], farthest(world.features[x])),
        "rejection": lambda x: ordered_pair_law(n, reference[x], accepted(world.rewards[x], config.beta)),
    }
    return np.stack([rules[scheme](x) for x in range(len(policy))])


# The objective, written down again.


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
        room = np.minimum(config.rho, np.where(h > 0, label, 1 - label))
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


def label_law(config, world, own):
    """[(label, its probability)] of each pair, tables (X, Y, Y)."""
    truth_ = world.preferences
    if config.labels == "probability":
        return [(truth_, np.ones_like(truth_))]
    if config.labels == "hard":
        return [(np.where(truth_ == 0.5, 0.5, truth_ > 0.5), np.ones_like(truth_))]
    if config.labels == "policy":
        ratio = own - world.ref
        truth_ = 1 / (1 + np.exp(-config.beta * (ratio[:, :, None] - ratio[:, None, :])))
    return [(np.ones_like(truth_), truth_), (np.zeros_like(truth_), 1 - truth_)]


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
        return (config.beta * h - (world.rewards[:, :, None] - world.rewards[:, None, :])) ** 2
    if config.addition.term == "pessimism":
        gap = world.uncertainty[:, :, None] - world.uncertainty[:, None, :]
        h = h + config.addition.term_weight * gap / config.beta
    return pair_loss(config, h, label)


RANKINGS = list(itertools.permutations(range(3)))


def plackett_luce(scores, ranking):
    """Loss of a ranking of scores (..., 3)."""
    ordered = scores[..., list(ranking)]
    return sum(np.log(np.exp(ordered[..., k:]).sum(-1)) - ordered[..., k] for k in range(3))


def ranking_law(config, rewards):
    """Probability of each of RANKINGS, (6, ...), of rewards (..., 3)."""
    if config.labels == "hard":
        first = np.argsort(-rewards, axis=-1, kind="stable")
        return np.stack([(first == ranking).all(-1).astype(float) for ranking in RANKINGS])
    return np.stack([np.exp(-plackett_luce(rewards, ranking)) for ranking in RANKINGS])


def every_list(table):
    """Values (X, Y^3, 3) of the responses of every list of three."""
    chosen = np.array(list(itertools.product(range(table.shape[1]), repeat=3)))
    return table[:, chosen]


def list_atoms(config, world, own, law_of):
    """Probabilities and losses of all lists of three and their rankings."""
    scores = config.beta * every_list(own - world.ref)
    nominal = np.stack([plackett_luce(scores, ranking) for ranking in RANKINGS])
    losses = (1 - config.rho) * nominal + config.rho * nominal.max(0)
    law = response_law(config, world, law_of).reshape(len(own), -1) / len(own)
    return (law * ranking_law(config, every_list(world.rewards))).ravel(), losses.ravel()


def atoms(config, world, own, law_of, label_of):
    """All that a pair may be: probabilities, losses, prompts; laws from other tables than the losses."""
    laws, stored = response_law(config, world, law_of), stored_count(config) / config.prompts_per_step
    parts = []
    if stored < 1:
        labels = label_law(config, world, label_of)
        parts += [((1 - stored) * laws * p, loss_tables(config, world, own, label)) for label, p in labels]
    if stored > 0:  # pairs of the initial model with the oracle's labels
        offline = np.exp(world.first[:, :, None] + world.first[:, None, :])
        kept = "drawn" if config.labels == "policy" else config.labels
        labels = label_law(type("", (), {"labels": kept}), world, None)
        parts += [(stored * offline * p, loss_tables(config, world, own, label)) for label, p in labels]
    probabilities, losses = (np.stack(part) for part in zip(*parts, strict=True))
    prompts = np.broadcast_to(np.arange(len(own))[None, :, None, None], losses.shape)
    return probabilities.ravel() / len(own), losses.ravel(), prompts.ravel()


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
    laws = response_law(config, world, law_of)
    total = 0.0
    for label, chance in label_law(config, world, law_of):
        pairs = laws * chance
        for y in range(own.shape[1]):
            sample, first, second = ratio[:, y, None, None], ratio[:, :, None], ratio[:, None, :]
            if name == "spac_anchored":
                value = sample - (label * first + (1 - label) * second)
            else:
                value = (softplus(beta * (sample - first)) + softplus(beta * (sample - second))) / 2
            total += (reference[:, y, None, None] * pairs * value).sum((1, 2)).mean()
    return weight * total


def value(config, world, own, law_of, label_of):
    if loss_kind(config.loss) == "list":
        probabilities, losses = list_atoms(config, world, own, law_of)
        return probabilities @ losses
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
