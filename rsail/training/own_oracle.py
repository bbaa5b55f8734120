"""An oracle of the user's own: a function of texts, asked pair by pair, and known again when a run goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable

import numpy as np

from rsail.checks import finite, require
from rsail.files import text_digest
from rsail.oracles import OracleConfig
from rsail.tasks import Task
from rsail.training.measures import decode

# oracle(prompts, first, second): the probability, (N,), that the first response is preferred to the second.
Oracle = Callable[[list[str], list[str], list[str]], np.ndarray]


def oracle_identity(config, oracle: Oracle | None) -> str | None:
    """The name of `oracle` and the digest of what it does; None for None.

    That is the text `digest` of the object if it has one, else the SHA-256 of the source of a function. What a function
    reads from elsewhere (a file, a model, variables around it) is not in its source: an object with a `digest` is for
    this. Raises ValueError for anything else, which would not be known again, and if `config` names an oracle, too.
    """
    if oracle is None:
        return None
    default = OracleConfig()
    require(
        config.oracle == default, "config.oracle", config.oracle, "the default, with an oracle of one's own"
    )
    require(callable(oracle), "oracle", oracle, "a function of prompts, first and second responses")
    named = oracle if inspect.isfunction(oracle) else type(oracle)
    digest = getattr(oracle, "digest", None)
    if digest is None and inspect.isfunction(oracle):
        require(
            oracle.__closure__ is None, "oracle", named.__qualname__, "without variables of other functions"
        )
        with contextlib.suppress(OSError):  # made by exec, or typed at a prompt
            digest = text_digest([inspect.getsource(oracle)])
    known = isinstance(digest, str) and digest
    require(bool(known), "oracle", oracle, "a function of a file, or an object with a text `digest`")
    return f"{named.__qualname__} {digest}"


def with_oracle(task: Task, oracle: Oracle | None) -> Task:
    """`task` with `oracle`, which then takes the place of whatever the task's own comparisons are made by."""
    return task if oracle is None else dataclasses.replace(task, oracle=oracle, learned=None)


def own_preferences(oracle: Oracle, tokenizer, prompts: list[str], drawn: list[tuple]) -> np.ndarray:
    """What `oracle` answers about all pairs of K responses to each of X prompts, (X, K, K) with P + P^T = 1.

    `drawn` has (samples, count): X count rows each, and K is the sum of the counts. Every pair is asked about once, the
    first response first; no response is compared with itself.
    """
    texts = np.concatenate(
        [np.array(decode(tokenizer, s), dtype=object).reshape(-1, count) for s, count in drawn], axis=1
    )
    first, second = np.triu_indices(texts.shape[1], 1)
    asked = [prompt for prompt in prompts for _ in first]
    said = finite(
        "oracle", oracle(asked, texts[:, first].ravel().tolist(), texts[:, second].ravel().tolist())
    )
    require(said.shape == (len(asked),), "oracle", said.shape, f"a function that gives {len(asked)} numbers")
    outside = said[(said < 0) | (said > 1)]
    require(not outside.size, "oracle", outside[:3], "a function that gives probabilities")
    preferences = np.full((len(texts), texts.shape[1], texts.shape[1]), 0.5)
    preferences[:, first, second] = said.reshape(len(texts), -1)
    preferences[:, second, first] = 1 - preferences[:, first, second]
    return preferences
