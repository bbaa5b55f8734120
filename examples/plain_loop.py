"""The losses in a training loop of your own: plain PyTorch, nothing of rsail's trainer.

    .venv/bin/python examples/plain_loop.py
    .venv/bin/python examples/plain_loop.py --model PATH_OR_HUB_NAME --prompts FILE --steps 100 --new-tokens 128

The oracle prefers the shorter response, whatever the language: `reward` is the place for yours.
Online DPO made oracle-robust takes two calls: `robust_sail_loss` in place of the DPO loss, and `score_surrogate`, which
adds the gradient of the law that the responses are drawn from (left out, this is online DPO with a penalty).
"""

import argparse
import copy
import sys
from pathlib import Path

import torch

from rsail.language import LanguageConfig, format_prompt, request_prompts
from rsail.lm import load_model
from rsail.objectives import baseline, robust_sail_loss, score_surrogate
from rsail.study.paths import DATA_DIR

SMALL = DATA_DIR / "models" / "preference_language"


def log_prob(model, ids: torch.Tensor, mask: torch.Tensor, start: int) -> torch.Tensor:
    """log pi(y|x) of each row, (N,): the tokens of `ids` from column `start` on, as far as `mask` goes."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(ids, attention_mask=mask, position_ids=positions).logits[:, start - 1 : -1]
    tokens = logits.log_softmax(-1).gather(-1, ids[:, start:, None])[..., 0]
    return (tokens * mask[:, start:]).sum(1)


@torch.no_grad()
def draw(model, tokenizer, prompts: list[str], new_tokens: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Two responses to each prompt, from the law that is scored: temperature 1, no top-k, no top-p.

    Returns ids and mask (2 X, L), rows 2 x and 2 x + 1 for prompt x, and the column at which the responses begin. The
    token that ends a response counts, what comes behind it does not.
    """
    given = tokenizer(
        prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
    )
    ids = model.generate(
        **{k: given[k] for k in ("input_ids", "attention_mask")}, max_new_tokens=new_tokens, num_return_sequences=2,
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    start = given["input_ids"].shape[1]
    ended = (ids[:, start:] == tokenizer.eos_token_id).long()
    mask = torch.cat(
        [given["attention_mask"].repeat_interleave(2, 0), (ended.cumsum(1) - ended < 1).long()], 1
    )
    return ids, mask, start


def robust_loss(log_probs, ref_log_probs, preference, *, beta: float, rho: float) -> torch.Tensor:
    """Robust SAIL on X pairs: log_probs and ref_log_probs (X, 2), P(first is preferred) in `preference` (X,)."""
    pair_score = (log_probs - ref_log_probs) @ log_probs.new_tensor([1.0, -1.0])  # h, without beta
    loss = robust_sail_loss(
        pair_score, preference, beta=beta, rho=rho, drawn=False
    )  # not labels: probabilities
    of_first, of_second = baseline(loss[:, None], "other_prompts", 2)  # of other prompts: so it is unbiased
    loss = score_surrogate(loss, *log_probs.T, baseline=(of_first[:, 0], of_second[:, 0]))
    return loss.mean()


def reward(responses: list[str]) -> list[float]:
    """The fewer words, the better. Put yours here."""
    return [-float(len(response.split())) for response in responses]


def oracle(responses: list[str]) -> torch.Tensor:
    """P(first of each two responses is preferred), (X,): Bradley-Terry with `reward`."""
    rewards = torch.tensor(reward(responses)).view(-1, 2)
    return torch.sigmoid(rewards[:, 0] - rewards[:, 1])


def radius(text: str) -> float:
    """rho of the command line: what the oracle's probabilities may be off by."""
    if not 0 <= float(text) < 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1), got {text}")
    return float(text)


def options(description: str) -> argparse.ArgumentParser:
    """The options that this program and examples/in_trl.py share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder or hub name, with --prompts (default: the small model)")
    parser.add_argument(
        "--prompts", type=Path, help="text file, one prompt per line (default: the small model's own)"
    )
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument(
        "--new-tokens", type=int, default=16, help="longest response; a model that needs more never ends one"
    )
    parser.add_argument("--rho", type=radius, default=0.15, help="how wrong the oracle may be, in [0, 1)")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    return parser


def read_prompts(given: argparse.Namespace, count: int) -> list[str]:
    """The lines of --prompts, or `count` of the synthetic language, which no other model speaks."""
    if given.prompts:
        prompts = [line for line in given.prompts.read_text(encoding="utf-8").splitlines() if line.strip()]
        if len(prompts) < 2:  # the baseline of a prompt is the mean loss of the others
            raise ValueError(f"--prompts must have at least 2 lines, got {len(prompts)} in {given.prompts}")
        return prompts
    if given.model:
        raise ValueError(
            "--model needs --prompts: those made here are of the small model's synthetic language"
        )
    return [format_prompt(prompt.text) for prompt in request_prompts(LanguageConfig(), count, "train")]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=16, help="prompts per step, at least 2")
    given = parser.parse_args()
    if given.batch < 2:
        parser.error(f"--batch must be at least 2, got {given.batch}")
    prompts = read_prompts(given, 16)
    torch.manual_seed(0)
    policy, tokenizer = load_model(given.model or SMALL)  # without dropout: one law is drawn and scored
    reference = copy.deepcopy(policy).requires_grad_(False)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=given.learning_rate, weight_decay=0.0)

    for step in range(1, given.steps + 1):
        batch = [prompts[k] for k in torch.randperm(len(prompts))[: given.batch]]
        ids, mask, start = draw(policy, tokenizer, batch, given.new_tokens)
        responses = tokenizer.batch_decode(ids[:, start:], skip_special_tokens=True)
        with torch.no_grad():
            ref_log_probs = log_prob(reference, ids, mask, start).view(-1, 2)
        log_probs = log_prob(policy, ids, mask, start).view(-1, 2)
        preference = oracle(responses)
        loss = robust_loss(log_probs, ref_log_probs, preference, beta=given.beta, rho=given.rho)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        gap = (log_probs - ref_log_probs).detach() @ torch.tensor([1.0, -1.0])
        margin = given.beta * (gap * (2 * preference - 1).sign()).mean()
        mean = sum(reward(responses)) / len(responses)
        print(f"step {step}: loss {loss.item():.4f}, reward {mean:.3f}, margin {margin.item():.4f}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # of what was given: one line
        sys.exit(f"{Path(__file__).name}: {' '.join(str(error).split())}")
