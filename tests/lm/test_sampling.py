"""The law that is sampled is the law that is scored, and the draws depend on the generator alone."""

import itertools
import math

import pytest
import torch

from rsail import language
from rsail.lm import encode_prompts, response_log_probs, sample, sampling
from rsail.lm.sampling import inverse_transform

from .small_models import EOS, PAD, left_padded, small_model

PROMPTS = [[2, 5, 7, 3], [2, 4], [2, 9, 9, 8, 6, 3, 5]]


def draw(model, prompts=PROMPTS, *, seed=0, count=3, longest=8, width=None, temperature=1.0):
    return sample(
        model,
        *left_padded(prompts, width),
        responses_per_prompt=count,
        max_new_tokens=longest,
        eos_token_id=EOS,
        pad_token_id=PAD,
        generator=torch.Generator().manual_seed(seed),
        temperature=temperature,
    )


def texts(samples) -> list[list[int]]:
    """The drawn ids of each row, without padding."""
    return [r[m.bool()].tolist() for r, m in zip(samples.response_ids, samples.response_mask, strict=True)]


@torch.no_grad()
def without_cache(model, prompt: list[int], uniforms: torch.Tensor) -> list[int]:
    """The same sampling law, the slow way: a full forward pass of one unpadded row for every token."""
    ids = list(prompt)
    for u in uniforms:
        probs = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].softmax(-1)
        ids.append(int((probs.cumsum(-1) <= u).sum()))
        if ids[-1] == EOS:
            break
    return ids[len(prompt) :]


def test_cached_batched_sampling_equals_a_full_forward_per_token(kind):
    model = small_model(kind)
    uniforms = torch.rand(9, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slow = [without_cache(model, PROMPTS[n // 3], uniforms[n]) for n in range(9)]
    assert texts(draw(model)) == slow
    assert len({len(row) for row in slow}) > 2  # ragged, so that finished rows wait for others


def test_same_generator_same_tokens_and_another_one_others(kind):
    model = small_model(kind)
    first, again, other = draw(model), draw(model), draw(model, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert texts(first) != texts(other)


def test_a_row_depends_neither_on_later_rows_nor_on_padding(kind):
    model = small_model(kind)
    whole = texts(draw(model))
    assert texts(draw(model, PROMPTS[:1])) == whole[:3]
    assert texts(draw(model, [PROMPTS[0], [2, 3], [2, 6, 6]]))[:3] == whole[:3]
    assert texts(draw(model, width=14)) == whole


def test_global_random_state_is_neither_used_nor_changed(kind):
    model = small_model(kind)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = texts(draw(model))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert texts(draw(model)) == first


def test_end_of_sequence_is_kept_where_drawn_and_added_nowhere(kind):
    samples = draw(small_model(kind), count=40)
    ended = 0
    for ids, mask, row in zip(samples.response_ids, samples.response_mask, texts(samples), strict=True):
        assert EOS not in row[:-1]
        assert row[-1] == EOS or len(row) == 8
        assert mask.tolist() == [1] * len(row) + [0] * (len(ids) - len(row))
        assert (ids[len(row) :] == PAD).all()
        ended += row[-1] == EOS
    assert 0 < ended < len(samples.response_ids)


@torch.no_grad()
def test_probabilities_of_all_responses_sum_to_one(kind):
    """Only so if the end is scored where it was drawn and truncated responses are scored without one."""
    model, longest = small_model(kind, vocabulary=4), 3
    responses = list(enumerate_responses(4, longest))
    total = sum(response_probabilities(model, [2, 3], responses))
    assert len(responses) == 1 + 3 + 9 * 4
    assert total.item() == pytest.approx(1, abs=1e-12)


def enumerate_responses(vocabulary: int, longest: int):
    """Every response the sampler can draw: ended by EOS, or cut off at `longest` tokens."""
    for length in range(1, longest + 1):
        for row in itertools.product(range(vocabulary), repeat=length):
            if EOS not in row[:-1] and (row[-1] == EOS or length == longest):
                yield list(row)


@torch.no_grad()
def response_probabilities(model, prompt: list[int], responses: list[list[int]]) -> torch.Tensor:
    width = max(map(len, responses))
    ids = torch.tensor([r + [PAD] * (width - len(r)) for r in responses])
    mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in responses])
    prompts = left_padded([prompt] * len(responses))
    return response_log_probs(model, *prompts, ids, mask).sum(-1).exp()


def test_sampled_frequencies_follow_the_scored_probabilities(kind):
    model, count = small_model(kind, vocabulary=4), 20_000
    responses = list(enumerate_responses(4, 2))
    expected = count * response_probabilities(model, [2, 3], responses)
    drawn = texts(draw(model, [[2, 3]], count=count, longest=2))
    observed = torch.tensor([drawn.count(r) for r in responses], dtype=torch.float64)
    assert observed.sum() == count
    kept = expected > 5
    statistic = ((observed - expected) ** 2 / expected)[kept].sum().item()
    freedom = int(kept.sum()) - 1
    # Five standard deviations of a chi-square law; the seed is fixed.
    assert freedom >= 5 and statistic < freedom + 5 * math.sqrt(2 * freedom)


def test_temperature_is_that_of_the_scored_law(kind):
    model, count = small_model(kind, vocabulary=4), 5000
    drawn = texts(draw(model, [[2, 3]], count=count, longest=1, temperature=0.5))
    with torch.no_grad():
        law = (model(input_ids=torch.tensor([[2, 3]])).logits[0, -1] / 0.5).softmax(-1)
    for token, probability in enumerate(law.tolist()):
        spread = math.sqrt(count * probability * (1 - probability))
        assert abs(drawn.count([token]) - count * probability) <= 5 * spread + 1


@torch.no_grad()
def test_log_probabilities_while_sampling_are_those_of_teacher_forcing(kind):
    model = small_model(kind)
    samples = draw(model)
    scored = response_log_probs(model, *samples)
    for n, row in enumerate(texts(samples)):
        prompt = PROMPTS[n // 3]
        for t, token in enumerate(row):
            logits = model(input_ids=torch.tensor([prompt + row[:t]])).logits[0, -1]
            assert scored[n, t].item() == pytest.approx(logits.log_softmax(-1)[token].item(), abs=1e-10)


def test_extreme_uniforms_hit_possible_tokens_only():
    nothing = -math.inf
    logits = torch.tensor(
        [[nothing, 0.0, nothing, 1.0, nothing], [0.3, nothing, nothing, nothing, nothing]],
        dtype=torch.float64,
    )
    almost_one = 1 - 2.0**-53
    assert inverse_transform(logits, torch.zeros(2, dtype=torch.float64)).tolist() == [1, 0]
    assert inverse_transform(logits, torch.full((2,), almost_one, dtype=torch.float64)).tolist() == [3, 0]


def test_no_token_without_probability_is_drawn_in_float32():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 50, generator=generator)
    impossible = torch.rand(200, 50, generator=generator) < 0.5
    impossible[:, 0], impossible[:, -3:] = False, True
    logits[impossible] = -math.inf
    for u in (0.0, 2.0**-53, 0.5, 1 - 2.0**-53):
        tokens = inverse_transform(logits, torch.full((200,), u, dtype=torch.float64))
        assert not impossible[torch.arange(200), tokens].any()


def test_a_grid_of_uniforms_gives_each_token_its_share():
    logits, points = torch.tensor([0.1, -2.0, 1.5, 0.7], dtype=torch.float64), 10_000
    grid = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    counts = torch.bincount(inverse_transform(logits.expand(points, 4), grid), minlength=4)
    assert (counts - points * logits.softmax(-1)).abs().max() <= 1


@pytest.mark.parametrize("vocabulary", [5, 64, 100, 101])
def test_two_searches_find_the_token_of_one(monkeypatch, vocabulary):
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 3 * torch.randn(300, vocabulary, generator=generator)
    logits[torch.rand(300, vocabulary, generator=generator) < 0.3] = -math.inf
    logits[:, 2] = 0.0
    logits[:50, 4:] = -math.inf  # whole blocks without mass
    uniforms = torch.rand(300, generator=generator, dtype=torch.float64)
    uniforms[::7], uniforms[1::7] = 0.0, 1 - 2.0**-53
    once = inverse_transform(logits, uniforms)
    monkeypatch.setattr(sampling, "BLOCK", 4)
    monkeypatch.setattr(sampling, "LARGE", 1)
    assert torch.equal(inverse_transform(logits, uniforms), once)
    assert (logits[torch.arange(300), once] > -math.inf).all()


def test_a_large_vocabulary_is_sampled_by_its_law():
    logits, points = torch.zeros(sampling.LARGE + 300), 2**14
    logits[:7], logits[-5:] = 9.0, 9.5
    grid = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    tokens = torch.cat([inverse_transform(logits.expand(1024, -1), part) for part in grid.split(1024)])
    counts = torch.bincount(tokens, minlength=len(logits))
    assert (counts - points * logits.double().softmax(-1)).abs().max() <= 1


def test_rows_that_ended_are_no_longer_read(kind):
    model, rows = small_model(kind), []
    model.register_forward_pre_hook(
        lambda module, args, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True
    )
    samples = draw(model, count=20, longest=24)
    assert rows[0] == 3  # prompts are read once
    lengths = samples.response_mask.sum(1)
    running = [int((lengths > t).sum()) for t in range(samples.response_ids.shape[1])]
    assert all(left <= read < 2 * left for read, left in zip(rows[1:], running[1:], strict=True))
    assert rows[-1] < 60


def test_bad_arguments_are_named(kind):
    model = small_model(kind)
    with pytest.raises(ValueError, match="responses_per_prompt must be >= 1, got 0"):
        draw(model, count=0)
    with pytest.raises(ValueError, match="max_new_tokens must be >= 1, got 0"):
        draw(model, longest=0)
    with pytest.raises(
        ValueError, match=r"max_new_tokens must be at most 32 positions .* 7 of the prompt, got 26"
    ):
        draw(model, longest=26)


def test_the_last_position_can_be_used_and_padding_uses_none(kind):
    assert draw(small_model(kind), longest=25, width=20).response_ids.shape[1] <= 25


def test_prompts_are_padded_on_the_left():
    tokenizer = language.build_tokenizer(language.LanguageConfig())
    tokenizer.padding_side = "right"
    prompts = [language.format_prompt("please"), language.format_prompt("please mention it now")]
    ids, mask = encode_prompts(tokenizer, prompts)
    assert mask[0].tolist() == [0] * (mask.shape[1] - mask[0].sum()) + [1] * int(mask[0].sum())
    assert ids[0, -1] == ids[1, -1]


@pytest.mark.parametrize("prompts", [[], ["fine", ""]])
def test_prompts_without_a_token_are_refused(prompts):
    tokenizer = language.build_tokenizer(language.LanguageConfig())
    with pytest.raises(ValueError, match="prompts must be"):
        encode_prompts(tokenizer, prompts)
