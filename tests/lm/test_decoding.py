"""Linear Alignment: its law, its nucleus, and sampling from one model with two prompts."""

import math

import pytest
import torch

from rsail.lm import aligned_logits, sample, sample_aligned

from .small_models import EOS, PAD, left_padded, small_model
from .test_sampling import texts

PLAIN = [[2, 5, 7, 3], [2, 4]]
PRINCIPLED = [[2, 8, 8, 5, 7, 3], [2, 9, 4]]
GENERATOR = torch.Generator().manual_seed(0)
WITH = torch.randn(5, 7, generator=GENERATOR, dtype=torch.float64)
WITHOUT = torch.randn(5, 7, generator=GENERATOR, dtype=torch.float64)


def draw(model, plain=PLAIN, principled=PRINCIPLED, *, seed=0, count=3, **settings):
    return sample_aligned(
        model,
        *left_padded(plain),
        *left_padded(principled),
        responses_per_prompt=count,
        eos_token_id=EOS,
        pad_token_id=PAD,
        generator=torch.Generator().manual_seed(seed),
        **{"ratio": 1.5, "max_new_tokens": 8, **settings},
    )


def test_the_mixture_is_a_product_of_powers_of_both_laws():
    law = aligned_logits(WITH, WITHOUT, ratio=3.0).softmax(-1)
    product = WITH.softmax(-1) ** 4 / WITHOUT.softmax(-1) ** 3
    torch.testing.assert_close(law, product / product.sum(-1, keepdim=True), rtol=1e-12, atol=0)
    cool = aligned_logits(WITH, WITHOUT, ratio=3.0, temperature=0.5).softmax(-1)
    torch.testing.assert_close(cool, (law**2) / (law**2).sum(-1, keepdim=True), rtol=1e-12, atol=0)
    assert torch.equal(aligned_logits(WITH, WITHOUT, ratio=0.0), WITH)


def test_the_nucleus_is_the_smallest_set_of_that_mass_under_the_principled_prompt_at_the_temperature():
    logits = torch.tensor([[0.5, 0.1, 0.3, 0.1]], dtype=torch.float64).log()
    other = torch.zeros(1, 4, dtype=torch.float64)
    for top_p, kept in (
        (0.3, [0]),
        (0.5 - 1e-9, [0]),
        (0.6, [0, 2]),
        (0.8 + 1e-9, [0, 1, 2]),
        (1.0, [0, 1, 2, 3]),
    ):
        found = aligned_logits(logits, other, ratio=2.0, top_p=top_p)
        assert (found[0] > -math.inf).nonzero().flatten().tolist() == kept
        mixture = aligned_logits(logits, other, ratio=2.0)
        assert torch.equal(found[0, kept], mixture[0, kept])
    cool = aligned_logits(
        logits, other, ratio=2.0, top_p=0.6, temperature=0.5
    )  # 0.25 of 0.36 is in the first
    assert (cool[0] > -math.inf).nonzero().flatten().tolist() == [0]
    # a token the mixture prefers stays out if the principled prompt thinks little of it
    pushed = torch.tensor([[0.0, -50.0, 0.0, 0.0]], dtype=torch.float64)
    assert aligned_logits(logits, pushed, ratio=2.0, top_p=0.6)[0, 1] == -math.inf


@torch.no_grad()
def without_cache(model, plain, principled, uniforms, *, greedy=False, **rule) -> list[int]:
    """The same law, the slow way: two full forward passes of one unpadded row for every token."""
    drawn = []
    for u in uniforms:
        both = [
            model(input_ids=torch.tensor([prompt + drawn]), use_cache=False).logits[0, -1]
            for prompt in (principled, plain)
        ]
        law = aligned_logits(*both, **rule).softmax(-1)
        drawn.append(int(law.argmax()) if greedy else int((law.cumsum(-1) <= u).sum()))
        if drawn[-1] == EOS:
            break
    return drawn


@pytest.mark.parametrize(
    "rule", [{"ratio": 1.5}, {"ratio": 0.7, "temperature": 0.8, "top_p": 0.9}, {"ratio": 2.0, "greedy": True}]
)
def test_cached_batched_sampling_equals_two_full_forwards_per_token(kind, rule):
    model = small_model(kind)
    uniforms = torch.rand(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slow = [without_cache(model, PLAIN[n // 3], PRINCIPLED[n // 3], uniforms[n], **rule) for n in range(6)]
    assert texts(draw(model, **rule)) == slow
    if "greedy" in rule:
        assert slow[0] == slow[1] == slow[2]
    else:
        assert len({tuple(row) for row in slow}) > 3


def test_a_ratio_of_zero_samples_from_the_principled_prompt_and_keeps_the_plain_one(kind):
    model = small_model(kind)
    found = draw(model, ratio=0.0)
    alone = sample(
        model,
        *left_padded(PRINCIPLED),
        responses_per_prompt=3,
        max_new_tokens=8,
        eos_token_id=EOS,
        pad_token_id=PAD,
        generator=torch.Generator().manual_seed(0),
    )
    assert texts(found) == texts(alone)
    plain = left_padded(PLAIN)
    assert torch.equal(found.prompt_ids, plain[0].repeat_interleave(3, 0))
    assert torch.equal(found.prompt_mask, plain[1].repeat_interleave(3, 0))


def test_equal_prompts_cancel_for_any_ratio(kind):
    model = small_model(kind)
    assert texts(draw(model, PLAIN, PLAIN, ratio=4.0)) == texts(draw(model, PLAIN, PLAIN, ratio=0.0))
    assert texts(draw(model, ratio=4.0)) != texts(draw(model, ratio=0.0))


def test_bad_arguments_are_named(kind):
    model = small_model(kind)
    for wrong, message in (
        ({"ratio": -0.1}, "ratio must be a finite number >= 0, got -0.1"),
        ({"temperature": 0.0}, "temperature must be a finite number > 0, got 0.0"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.2}, r"top_p must be in \(0, 1\], got 1.2"),
        ({"count": 0}, "responses_per_prompt must be >= 1, got 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be >= 1, got 0"),
        ({"max_new_tokens": 27}, r"max_new_tokens must be at most 32 positions .* 6 of the prompt, got 27"),
        ({"principled": PRINCIPLED[:1]}, r"len\(principled_ids\) must be 2, the number of prompts, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            draw(model, **wrong)
    with pytest.raises(ValueError, match=r"logits_without.shape must be \(5, 7\), got \(4, 7\)"):
        aligned_logits(WITH, WITHOUT[:4], ratio=1.0)
