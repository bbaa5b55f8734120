"""Unbiasedness of the gradient estimators by full enumeration: every tuple of samples, weighted by its probability."""

import itertools
import math

import numpy as np
import pytest
import torch

from rsail.exact.losses import log_prob_gradient
from rsail.objectives import BASELINES, baseline, pair_indices, robust_sail_loss, score_surrogate

BETA, RHO = 0.7, 0.12


class Problem:
    """A tabular softmax policy: X prompts, Y responses, theta = the logits (X, Y)."""

    def __init__(self, prompts: int, responses: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.theta = torch.tensor(rng.normal(size=(prompts, responses)), requires_grad=True)
        self.reference = torch.tensor(rng.normal(size=(prompts, responses))).log_softmax(-1)
        rewards = rng.normal(size=(prompts, responses))
        self.preferences = torch.tensor(1 / (1 + np.exp(rewards[:, None, :] - rewards[:, :, None])))

    def log_probs(self) -> torch.Tensor:
        return self.theta.log_softmax(-1)

    def exact_gradient(self, score_weight: float) -> torch.Tensor:
        """Sum of c[x, y] d log pi(y|x) / d theta with the coefficients of the exact engine."""
        log_probs = self.log_probs()
        coefficients = log_prob_gradient(
            log_probs.detach().numpy(), self.reference.numpy(), self.preferences.numpy(),
            beta=BETA, rho=RHO, score_weight=score_weight,
        )  # fmt: skip
        return torch.autograd.grad((torch.from_numpy(coefficients) * log_probs).sum(), self.theta)[0]

    def expected_gradient(self, count: int, score_weight: float, baseline_of) -> torch.Tensor:
        """Mean gradient of the surrogate over all Y^(X K) tuples of samples."""
        prompts, responses = self.theta.shape
        log_probs, first_second = self.log_probs(), pair_indices(count)
        rows, total = torch.arange(prompts)[:, None], 0.0
        for drawn in itertools.product(range(responses), repeat=prompts * count):
            y = torch.tensor(drawn).view(prompts, count)
            own, ref = log_probs[rows, y], self.reference[rows, y]
            i, j = first_second
            score = (own - ref)[:, i] - (own - ref)[:, j]
            loss = robust_sail_loss(score, self.preferences[rows, y[:, i], y[:, j]], beta=BETA, rho=RHO)
            surrogate = score_surrogate(
                loss, own[:, i], own[:, j], baseline=baseline_of(loss), weight=score_weight
            )
            total = total + own.detach().sum().exp() * surrogate.mean()
        return torch.autograd.grad(total, self.theta)[0]


def leave_one_out(losses: torch.Tensor) -> torch.Tensor:
    """The tempting baseline: the mean over all other pairs of the same samples, which share responses."""
    losses = losses.detach()
    return (losses.sum(1, keepdim=True) - losses) / (losses.shape[1] - 1)


CASES = [  # (baseline, K, X, Y): few enough tuples, Y^(X K), to go through all of them
    ("log2", 2, 2, 3),
    ("log2", 3, 1, 4),
    ("log2", 4, 1, 3),
    ("other_prompts", 2, 2, 4),
    ("other_prompts", 3, 2, 2),
    ("other_prompts", 4, 2, 2),
    ("per_response", 3, 1, 4),
    ("per_response", 4, 1, 3),
    ("disjoint", 4, 1, 4),
]


@pytest.mark.parametrize("score_weight", [1.0, 0.5, 0.0])
@pytest.mark.parametrize(("kind", "count", "prompts", "responses"), CASES)
def test_expected_gradient_is_the_exact_gradient(kind, count, prompts, responses, score_weight):
    problem = Problem(prompts, responses)
    expected = problem.expected_gradient(count, score_weight, lambda loss: baseline(loss, kind, count))
    torch.testing.assert_close(expected, problem.exact_gradient(score_weight), rtol=0, atol=1e-12)


def test_every_baseline_is_enumerated():
    assert {kind for kind, *_ in CASES} == set(BASELINES)


def test_the_constant_baseline_is_the_loss_at_the_reference():
    losses = torch.full((2, 3), 0.3, dtype=torch.float64)
    for value in baseline(losses, "log2", 3):
        assert torch.equal(value, torch.full_like(losses, math.log(2)))


def test_dropping_the_score_term_gives_another_gradient():
    problem = Problem(2, 3)
    difference = problem.exact_gradient(1.0) - problem.exact_gradient(0.0)
    assert difference.abs().max() > 1e-2


@pytest.mark.parametrize("count", [3, 4])
def test_leave_one_out_over_all_other_pairs_shrinks_the_score_term(count):
    problem = Problem(1, 3)
    path, full = problem.exact_gradient(0.0), problem.exact_gradient(1.0)
    naive = problem.expected_gradient(count, 1.0, lambda loss: (leave_one_out(loss),) * 2)
    shrunk = path + (count - 1) / (count + 1) * (full - path)
    torch.testing.assert_close(naive, shrunk, rtol=0, atol=1e-12)
    assert (naive - full).abs().max() > 1e-3


def test_the_plain_mean_shrinks_the_score_term_even_more():
    problem, count = Problem(1, 3), 3
    path, full = problem.exact_gradient(0.0), problem.exact_gradient(1.0)
    naive = problem.expected_gradient(
        count, 1.0, lambda loss: (loss.detach().mean(1, keepdim=True).expand_as(loss),) * 2
    )
    torch.testing.assert_close(naive, path + (1 - 2 / count) * (full - path), rtol=0, atol=1e-12)


def test_a_prompt_of_its_own_baseline_is_the_mean_over_the_other_prompts():
    losses = torch.arange(6.0, dtype=torch.float64).view(3, 2).repeat_interleave(3, 1)[:, :3]
    of_first, of_second = baseline(losses, "other_prompts", 3)
    for row in range(3):
        others = torch.cat([losses[:row], losses[row + 1 :]]).mean()
        assert torch.allclose(of_first[row], others) and torch.allclose(of_second[row], others)


@pytest.mark.parametrize("kind", ["disjoint", "per_response"])
@pytest.mark.parametrize("count", [4, 5])
def test_baselines_within_a_prompt_average_exactly_the_pairs_they_name(kind, count):
    pairs = list(zip(*(index.tolist() for index in pair_indices(count)), strict=True))
    losses = torch.from_numpy(np.random.default_rng(1).normal(size=(2, len(pairs))))
    of_first, of_second = baseline(losses, kind, count)
    for m, (i, j) in enumerate(pairs):
        for value, own in ((of_first, i), (of_second, j)):
            banned = {i, j} if kind == "disjoint" else {own}
            kept = [k for k, pair in enumerate(pairs) if not banned & set(pair)]
            torch.testing.assert_close(value[:, m], losses[:, kept].mean(1))


def test_pairs_are_listed_once_each_in_order():
    assert [index.tolist() for index in pair_indices(3)] == [[0, 0, 1], [1, 2, 2]]


def test_surrogate_has_the_value_of_the_loss_and_sends_no_gradient_through_the_baseline():
    loss = torch.tensor([0.3, 0.9], requires_grad=True)
    of_1, of_2 = (
        torch.tensor([-1.0, -2.0], requires_grad=True),
        torch.tensor([-3.0, -4.0], requires_grad=True),
    )
    b = baseline(loss[:, None].expand(2, 1), "other_prompts", 2)
    surrogate = score_surrogate(loss, of_1, of_2, baseline=(b[0][:, 0], b[1][:, 0]), weight=0.5)
    assert torch.equal(surrogate.detach(), loss.detach())
    surrogate.sum().backward()
    assert loss.grad.tolist() == [1.0, 1.0]
    assert of_1.grad.tolist() == pytest.approx([0.5 * (0.3 - 0.9), 0.5 * (0.9 - 0.3)])
    assert of_2.grad.tolist() == of_1.grad.tolist()


def test_weight_zero_returns_the_loss_itself():
    loss = torch.tensor([0.3])
    assert score_surrogate(loss, torch.tensor([-1.0]), torch.tensor([-1.0]), weight=0) is loss


@pytest.mark.parametrize(
    ("kind", "prompts", "count", "message"),
    [
        ("other_prompts", 1, 4, "prompts_per_step must be at least 2 for baseline 'other_prompts', got 1"),
        ("disjoint", 5, 3, "responses_per_prompt must be at least 4 for baseline 'disjoint', got 3"),
        ("per_response", 5, 2, "responses_per_prompt must be at least 3 for baseline 'per_response', got 2"),
        ("mean", 5, 4, "baseline must be one of disjoint, log2, other_prompts, per_response, got 'mean'"),
    ],
)
def test_a_batch_that_leaves_no_pair_for_the_baseline_is_refused(kind, prompts, count, message):
    losses = torch.ones(prompts, count * (count - 1) // 2)
    with pytest.raises(ValueError, match=message):
        baseline(losses, kind, count)


def test_losses_that_are_not_all_pairs_are_refused():
    with pytest.raises(ValueError, match=r"pair_losses.shape must be \(X, 6\) .* got \(2, 5\)"):
        baseline(torch.ones(2, 5), "disjoint", 4)


def test_shapes_that_differ_are_refused():
    with pytest.raises(
        ValueError, match=r"log_prob shapes must be \(2,\), as pair_loss, got \(\(2,\), \(3,\)\)"
    ):
        score_surrogate(torch.ones(2), torch.ones(2), torch.ones(3))


def test_one_response_makes_no_pair():
    with pytest.raises(ValueError, match="responses_per_prompt must be >= 2, got 1"):
        pair_indices(1)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0, None])
def test_a_weight_that_is_no_finite_number_from_0_is_refused(weight):
    with pytest.raises(ValueError, match=f"weight must be a finite number >= 0, got {weight}"):
        score_surrogate(torch.ones(2), torch.ones(2), torch.ones(2), weight=weight)


SHAPED = torch.zeros(2, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        None, "log2", float("nan"), True, SHAPED, (SHAPED,), (SHAPED, SHAPED, SHAPED), [SHAPED, SHAPED],
        (SHAPED, SHAPED[:, :1]), (SHAPED[0], SHAPED), (SHAPED, None), (0.1, float("inf")),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_baseline_that_is_neither_a_number_nor_a_fitting_pair_is_refused(wrong):
    loss = torch.ones(2, 3)
    for weight in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"baseline must be a finite number or a pair .* \(2, 3\), got"):
            score_surrogate(loss, loss, loss, baseline=wrong, weight=weight)


@pytest.mark.parametrize("fine", [0.5, torch.tensor(0.5), (0.5, torch.tensor(0.5)), (SHAPED + 0.5, 0.5)])
def test_numbers_and_fitting_tensors_are_baselines(fine):
    log_prob = torch.ones(2, 3, requires_grad=True)
    score_surrogate(torch.full((2, 3), 2.0), log_prob, log_prob, baseline=fine).sum().backward()
    assert torch.equal(log_prob.grad, torch.full((2, 3), 2 * (2.0 - 0.5)))
