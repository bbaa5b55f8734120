"""A reward model in Hugging Face format: a sequence classifier with one output that judges prompt and response."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rsail.checks import require
from rsail.lm.model import fingerprint, named_errors, no_progress_bar
from rsail.prompts import messages


class RewardModel:
    """r*(x, y) of texts, (N,) float64: the logit of a classifier, in float32, on the device of this process.

    The classifier has a tokenizer of its own: texts, not token ids, go from one model to the other. With a chat
    template it reads prompt and response as turns, without one the two texts joined.
    """

    def __init__(self, name_or_path: str, *, batch: int = 16):
        """Load from the hub or from a folder, from safetensors alone and without running code that comes with it.

        Raises `FileNotFoundError` for a folder that is not there, `ValueError` naming what is missing or damaged: a
        tokenizer with a pad token, one output, all weights, finite.
        """
        self.name, self.batch = str(name_or_path), batch
        if self.name.startswith((".", "/")) and not Path(self.name).is_dir():
            raise FileNotFoundError(
                f"task.prompts.reward_model must be a folder in Hugging Face format or a hub name, got {self.name}"
            )
        with named_errors("task.prompts.reward_model's tokenizer", self.name):
            self.tokenizer = AutoTokenizer.from_pretrained(self.name, trust_remote_code=False)
        with no_progress_bar(), named_errors("task.prompts.reward_model", self.name):
            model, report = AutoModelForSequenceClassification.from_pretrained(
                self.name,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        missing, outputs = sorted(report["missing_keys"]), model.config.num_labels
        bad = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
        for wrong, expected in (
            (
                missing,
                f"complete, it lacks {missing[:3]}",
            ),  # as every language model that is no classifier does
            (outputs != 1, f"a classifier with one output, it has {outputs}"),
            (bad, f"of finite weights, NaN or infinity is in {bad[:3]}"),
            (self.tokenizer.pad_token_id is None, "one with a pad token, set tokenizer.pad_token"),
        ):
            require(not wrong, "task.prompts.reward_model", self.name, expected)
        model.config.pad_token_id = (
            self.tokenizer.pad_token_id
        )  # where a decoder finds the last token of a row
        self.model = model.eval().requires_grad_(False).to(PartialState().device)
        self.digest = fingerprint(model)

    @torch.no_grad()
    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        texts = [self.text(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        order = sorted(range(len(texts)), key=lambda k: len(texts[k]))  # little padding
        rewards = np.empty(len(texts))
        for start in range(0, len(texts), self.batch):
            rows = order[start : start + self.batch]
            rewards[rows] = self._logits([texts[k] for k in rows])
        return rewards

    def text(self, prompt: str, response: str) -> str:
        """What the classifier reads of one prompt and response."""
        if self.tokenizer.chat_template is None:
            return prompt + response
        return self.tokenizer.apply_chat_template(messages(prompt, response), tokenize=False)

    def _logits(self, texts: list[str]) -> np.ndarray:
        encoded = self.tokenizer(
            texts,
            padding=True,
            padding_side="right",  # a causal model's last real token does not see what stands behind it
            add_special_tokens=self.tokenizer.chat_template is None,  # a template brings its own
            return_tensors="pt",
        )
        longest, limit = (
            encoded["input_ids"].shape[1],
            getattr(self.model.config, "max_position_embeddings", None),
        )
        require(
            limit is None or longest <= limit,
            "task.prompts.longest", f"prompts and responses of up to {longest} tokens",
            f"so small that they fit the {limit} positions of the reward model",
        )  # fmt: skip
        device = self.model.device
        inputs = {name: encoded[name].to(device) for name in ("input_ids", "attention_mask")}
        with torch.autocast(device.type, enabled=False):
            logits = self.model(**inputs).logits
        return logits.squeeze(-1).double().cpu().numpy()
