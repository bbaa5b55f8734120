"""The losses in a training loop of your own: plain PyTorch, nothing of rsail's trainer.

    .venv/bin/python examples/plain_loop.py
    .venv/bin/python examples/plain_loop.py --model PATH_OR_HUB_NAME --steps 100 --rho 0.15

Online DPO made oracle-robust takes two calls: `robust_sail_loss` in place of the DPO loss, and `score_surrogate`, which
adds the gradient of the law that the responses are drawn from (left out, this is online DPO with a penalty).
"""

import argparse
import copy
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rsail.language import LanguageConfig, attributes, format_prompt, request_prompts
from rsail.objectives import baseline, robust_sail_loss, score_surrogate


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


def oracle(responses: list[str]) -> torch.Tensor:
    """P(first of each two responses is preferred), (X,): this one likes filler words. Put yours here."""
    filler = torch.as_tensor(attributes(responses)["filler"], dtype=torch.float32).view(-1, 2)
    return torch.sigmoid(filler[:, 0] - filler[:, 1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="data/models/preference_language", help="folder or hub name")
    parser.add_argument(
        "--prompts", type=Path, help="text file, one prompt per line (default: the small model's own)"
    )
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rho", type=float, default=0.15, help="how wrong the oracle may be, in probability")
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    given = parser.parse_args()
    torch.manual_seed(0)
    if given.prompts:
        prompts = given.prompts.read_text().splitlines()
    else:
        prompts = [format_prompt(prompt.text) for prompt in request_prompts(LanguageConfig(), 16, "train")]
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    policy = AutoModelForCausalLM.from_pretrained(
        given.model
    ).eval()  # no dropout: one law is drawn and scored
    reference = copy.deepcopy(policy).requires_grad_(False)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=given.learning_rate, weight_decay=0.0)

    for step in range(1, given.steps + 1):
        ids, mask, start = draw(policy, tokenizer, prompts, new_tokens=16)
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
        print(f"step {step}: loss {loss.item():.4f}, margin of the preferred response {margin.item():.4f}")


if __name__ == "__main__":
    main()
