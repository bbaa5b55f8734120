"""Causal language models as policies: load, sample with a KV cache, score what was sampled."""

from rsail.lm.model import fingerprint, frozen_copy, load_model, save_model
from rsail.lm.sampling import Samples, check_prompts, encode_prompts, sample
from rsail.lm.scoring import response_log_probs

__all__ = [
    "Samples",
    "check_prompts",
    "encode_prompts",
    "fingerprint",
    "frozen_copy",
    "load_model",
    "response_log_probs",
    "sample",
    "save_model",
]
