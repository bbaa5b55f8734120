"""The losses in TRL: its OnlineDPOTrainer with robust SAIL in place of the DPO loss.

    .venv/bin/pip install trl
    .venv/bin/python examples/in_trl.py
    .venv/bin/python examples/in_trl.py --model PATH_OR_HUB_NAME --prompts FILE --steps 100 --new-tokens 128

TRL is not in the lock; written and run with TRL 1.16. The trainer asks the rewards r of two responses; the oracle's
preference is sigma(r1 - r2), and the loss reads it as a probability instead of a label. The reward here prefers the
shorter response.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import plain_loop  # beside this file
import torch
from datasets import Dataset
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from rsail.lm import load_model


class RobustOnlineDPOTrainer(OnlineDPOTrainer):
    """Samples, scores and asks as TRL does; the loss of the batch is rsail's."""

    def __init__(self, *arguments, rho: float, **options):
        super().__init__(*arguments, **options)
        self.rho = rho
        self.stats = {
            "objective/scores": [],
            "rewards/margins": [],
        }  # what is logged, means over the steps since

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        model.train()
        prompts = inputs["prompt"]
        # Two halves: first the first response to every prompt, then the second.
        *sampled, _ = self._generate(model, prompts)
        ids, mask = sampled[2:]
        log_probs = (self._forward(model, *sampled) * mask).sum(1).view(2, -1).T
        with torch.no_grad():
            ref_log_probs = (self._forward(self.ref_model, *sampled) * mask).sum(1).view(2, -1).T
        texts = self.processing_class.batch_decode(ids, skip_special_tokens=True)
        rewards = self._calculate_rewards_from_functions(2 * prompts, texts, [row.tolist() for row in ids])
        first, second = rewards.view(2, -1)
        preference = torch.sigmoid(first - second)
        # robust_sail_loss and score_surrogate of one batch
        loss = plain_loop.robust_loss(log_probs, ref_log_probs, preference, beta=self.beta, rho=self.rho)
        self.accelerator.backward(loss)
        ratio = (log_probs - ref_log_probs).detach()
        margin = self.beta * (ratio[:, 0] - ratio[:, 1]) * (2 * preference - 1).sign()
        self.stats["objective/scores"].append(rewards.mean().item())
        self.stats["rewards/margins"].append(margin.mean().item())
        return loss.detach()


def reward(prompts, completions, **_) -> list[float]:
    """The fewer words, the better. Put yours here."""
    return plain_loop.reward(completions)


def main() -> None:
    given = plain_loop.options(__doc__).parse_args()
    prompts = plain_loop.read_prompts(given, 64)
    model, tokenizer = load_model(given.model or plain_loop.SMALL)
    with tempfile.TemporaryDirectory() as folder:
        trainer = RobustOnlineDPOTrainer(
            model=model,
            processing_class=tokenizer,
            reward_funcs=reward,
            rho=given.rho,
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            # The law that is sampled must be the one that is scored: temperature 1, no top-k, no top-p.
            args=OnlineDPOConfig(
                output_dir=folder, max_steps=given.steps, per_device_train_batch_size=16,
                max_new_tokens=given.new_tokens,
                temperature=1.0, top_k=0, top_p=1.0, beta=0.1, learning_rate=given.learning_rate,
                lr_scheduler_type="constant", gradient_checkpointing=False, bf16=False, logging_steps=1,
                save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=not torch.cuda.is_available(),
            ),
        )  # fmt: skip
        trainer.train()
        rows = [row for row in trainer.state.log_history if "loss" in row]
    for step, row in enumerate(rows, start=1):
        scores, margin = row["objective/scores"], row["rewards/margins"]
        print(f"step {step}: loss {row['loss']:.4f}, reward {scores:.3f}, margin {margin:.4f}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # of what was given: one line
        sys.exit(f"{Path(__file__).name}: {' '.join(str(error).split())}")
