"""Small models whose responses can all be listed, an oracle on them, and the laws of what a step may compare.

Everything here is NumPy on tables of log-probabilities, written down from the methods' formulas, without the code of
the trainer. `stated` has the objectives on these laws.
"""

import copy
import itertools

import numpy as np
import torch

from rsail.lm.enumeration import (
    directional_derivatives,
    enumerate_responses,
    enumerated_log_probs,
    moved,
    tiny_llama,
)
from rsail.oracles import truth

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
        self.attribute = rng.integers(0, 3, size=self.own.shape).astype(float)
        self.laws = {}

    def tokens(self, table: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the tokens (X, Y, T) from those of all responses (X, Y): what begins as they do."""
        ids, mask = (part[: table.shape[1]] for part in self.responses[2:])
        begun = [table.new_zeros(table.shape)]
        for t in range(1, LONGEST + 1):
            same = (ids[:, None, :t] == ids[None, :, :t]).all(-1) & (
                mask[:, None, t - 1] * mask[None, :, t - 1] > 0
            )
            same = same | torch.eye(len(ids), dtype=torch.bool)
            begun.append(torch.where(same, table[:, None, :], -torch.inf).logsumexp(-1))
        return torch.stack(begun, -1).diff(dim=-1) * mask

    def asked(self, oracle) -> "World":
        """The same world with the preferences of this oracle, which a worst case bends against the policy."""
        ratio, strength = self.own - self.ref, oracle.strength
        against = {
            "bias": self.attribute[:, :, None] - self.attribute[:, None, :],
            "worst_case": ratio[:, None, :] - ratio[:, :, None],
        }
        true = truth(self.rewards)
        bent = true + strength * (1 - 2 * true) if oracle.kind == "flip" else true
        if oracle.kind in against:
            bent = np.clip(true + strength * np.sign(against[oracle.kind]), 0, 1)
        return self.having(preferences=bent)

    def having(self, **tables) -> "World":
        """A copy with other tables; laws of what is compared are made anew."""
        other = copy.copy(self)
        vars(other).update(laws={}, **tables)
        return other


def log_odds(preferences):
    clipped = np.clip(preferences, 1e-6, 1 - 1e-6)
    return np.log(clipped) - np.log(1 - clipped)


def scores_of(preferences, chosen):
    """What an oracle makes of a list of responses: each one's mean log-odds against all of it; (Y, Y) to (n,)."""
    chosen = list(chosen)
    return log_odds(preferences[np.ix_(chosen, chosen)]).mean(1)


# Laws of what is compared: (X, Y, ..., Y) for each prompt, from tables of log-probabilities.


def chosen_law(candidates: int, law: np.ndarray, count: int, choose) -> np.ndarray:
    """Law (Y, ..., Y) of what `choose` takes from i.i.d. candidates: lists of (probability, responses)."""
    result = np.zeros([len(law)] * count)
    for drawn in itertools.product(range(len(law)), repeat=candidates):
        for probability, taken in choose(drawn):
            result[taken] += np.prod(law[list(drawn)]) * probability
    return result


def best_and_worst(preferences):
    def choose(drawn):
        order = np.argsort(-scores_of(preferences, drawn), kind="stable")
        yield 1.0, (drawn[order[0]], drawn[order[-1]])

    return choose


def farthest(features):
    """With nothing seen yet the bonus is the distance of the features."""

    def choose(drawn):
        distances = [np.linalg.norm(features[y] - features[drawn[0]]) for y in drawn[1:]]
        yield 1.0, (drawn[0], drawn[1 + int(np.argmax(distances))])

    return choose


def accepted(preferences, beta, count):
    """Rejection sampling: who is accepted in each pass, with the probabilities of all outcomes."""

    def passes(left, scores, chosen, probability):
        if len(chosen) >= count:
            yield probability, tuple(chosen[:count])
            return
        top = max(scores)
        chances = [np.exp((score - top) / beta) for score in scores]
        for outcome in itertools.product([True, False], repeat=len(left)):
            p = np.prod([c if taken else 1 - c for c, taken in zip(chances, outcome, strict=True)])
            if p > 0:
                rest = [k for k, taken in enumerate(outcome) if not taken]
                now = [y for y, taken in zip(left, outcome, strict=True) if taken]
                yield from passes(
                    [left[k] for k in rest], [scores[k] for k in rest], chosen + now, probability * p
                )

    def choose(drawn):
        yield from passes(list(drawn), list(scores_of(preferences, drawn)), [], 1.0)

    return choose


def response_law(config, world, own: np.ndarray) -> np.ndarray:
    """(X, Y, ...) the law of the compared responses if the policy's log-probabilities are `own`."""
    key = (config.collection.scheme, config.collection.candidates, config.responses_per_prompt, own.tobytes())
    if key not in world.laws:
        world.laws[key] = _response_law(config, world, own)
    return world.laws[key]


def _response_law(config, world, own):
    scheme, n, k = config.collection.scheme, config.collection.candidates, config.responses_per_prompt
    policy, reference, initial = np.exp(own), np.exp(world.ref), np.exp(world.first)
    if scheme in ("on_policy", "offline"):
        table = policy if scheme == "on_policy" else initial
        return independent(table, k)
    if scheme == "hybrid":
        return policy[:, :, None] * initial[:, None, :]
    rules = {
        "best_worst": lambda x: chosen_law(n, policy[x], k, best_and_worst(world.preferences[x])),
        "enhancer": lambda x: chosen_law(1 + n, policy[x], k, farthest(world.features[x])),
        "rejection": lambda x: chosen_law(n, reference[x], k, accepted(world.preferences[x], config.beta, k)),
    }
    return np.stack([rules[scheme](x) for x in range(len(policy))])


def independent(table: np.ndarray, count: int) -> np.ndarray:
    """(X, Y, ..., Y), the law of `count` independent responses of (X, Y)."""
    joint = table
    for _ in range(count - 1):
        joint = joint[..., None] * table.reshape(len(table), *[1] * (joint.ndim - 1), -1)
    return joint


def pair_law(law: np.ndarray) -> np.ndarray:
    """(X, Y, Y), the mean law of the pairs, in their order, of lists of the law (X, Y, ..., Y)."""
    axes = range(1, law.ndim)
    pairs = list(itertools.combinations(axes, 2))
    return sum(law.sum(tuple(set(axes) - set(pair))) for pair in pairs) / len(pairs)
