"""Causal language models as policies: load, sample with a KV cache, score what was sampled."""

from rsail.lm.decoding import aligned_logits, sample_aligned
from rsail.lm.model import fingerprint, frozen_copy, load_model, save_model
from rsail.lm.sampling import Samples, Share, check_prompts, encode_prompts, sample
from rsail.lm.scoring import response_log_probs

__all__ = [
    "Samples",
    "Share",
    "aligned_logits",
    "check_prompts",
    "encode_prompts",
    "fingerprint",
    "frozen_copy",
    "load_model",
    "response_log_probs",
    "sample",
    "sample_aligned",
    "save_model",
]
