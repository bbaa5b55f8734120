"""The synthetic preference language: prompts, a reference corpus, a tokenizer and a gold reward, from a seed.

A testbed in which the truth is known: `gold_reward` gives r*(x, y), so P* follows exactly; the spurious
`attributes` are unrelated to it in the corpus; and to open prompts every response is equally good.
"""

from rsail.language.corpus import corpus, respond
from rsail.language.prompts import LanguageConfig, Prompt, request_prompts
from rsail.language.reward import (
    ATTRIBUTES,
    DELTA,
    GOLD_MAX,
    attributes,
    follows_request,
    gold_reward,
    is_open,
    requested_topic,
)
from rsail.language.tokenizer import build_tokenizer, format_prompt, format_response

__all__ = [
    "ATTRIBUTES",
    "DELTA",
    "GOLD_MAX",
    "LanguageConfig",
    "Prompt",
    "attributes",
    "build_tokenizer",
    "corpus",
    "follows_request",
    "format_prompt",
    "format_response",
    "gold_reward",
    "is_open",
    "request_prompts",
    "requested_topic",
    "respond",
]
