"""Claims of notebook 02 about a transformer whose every response can be listed: nothing is read, all is computed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import chi2

from rsail.exact import log_prob_gradient
from rsail.lm import Samples, enumeration
from rsail.objectives import BASELINES
from rsail.oracles import truth
from rsail.study import gradient_check as gradients
from rsail.study import numerical_check
from rsail.study.claims.claim import Claim, Finding

NOTEBOOK = "02_numerical_check"
TOKENS = ("pad", "a", "b", "c", "end")
PROMPTS = ("a", "b c", "c a b")
BETA, RHO, RADII = 0.3, 0.15, (0.05, 0.15, 0.5)
TOLERANCE = 1e-10
RESPONSES, DIRECTIONS = 4, 24  # per prompt of a batch; along which gradients are compared
LEVEL = 1e-3  # below which an estimator's p-value counts as a bias


class Enumerated(NamedTuple):
    """The notebook's transformer; `tables` are log-probabilities and the reference's (X, Y), and P (X, Y, Y)."""

    policy: torch.nn.Module
    responses: Samples
    with_graph: torch.Tensor
    tables: tuple[np.ndarray, np.ndarray, np.ndarray]
    directions: np.ndarray  # (D, parameters), of length 1


@cache
def transformer() -> Enumerated:
    """The transformer of sections 4 and 5: the same random numbers in the same order as there."""
    torch.set_num_threads(1)
    rows = [[TOKENS.index(word) for word in text.split()] for text in PROMPTS]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    ends = {"eos_token_id": TOKENS.index("end"), "pad_token_id": TOKENS.index("pad")}
    responses = enumeration.enumerate_responses(ids, mask, vocab_size=len(TOKENS), max_new_tokens=4, **ends)
    rng = np.random.default_rng(2)
    reference = enumeration.tiny_llama(len(TOKENS), rng, scale=1.5)
    size = sum(weight.numel() for weight in reference.parameters())
    policy = enumeration.moved(reference, torch.from_numpy(rng.normal(size=size)), 0.08)
    with_graph = enumeration.enumerated_log_probs(policy, responses)
    before = enumeration.enumerated_log_probs(reference, responses).detach().numpy()
    preferences = truth(rng.uniform(0.0, 1.5, size=before.shape))
    directions = rng.normal(size=(DIRECTIONS, size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Enumerated(
        policy, responses, with_graph, (with_graph.detach().numpy(), before, preferences), directions
    )


def decomposition(_: Path) -> Finding:
    """The robust loss by every route of section 4, at three radii."""
    tables = transformer().tables
    found = [numerical_check.table_routes(*tables, beta=BETA, rho=rho) for rho in RADII]
    gap = max(abs(value - routes["closed form"]) for routes in found for value in routes.values())
    prompts, responses = tables[0].shape
    numbers = {
        "responses": str(responses),
        "prompts": str(prompts),
        "tolerance": f"{TOLERANCE:g}",
        "low": f"{min(RADII):g}",
        "high": f"{max(RADII):g}",
    }
    return Finding(gap <= TOLERANCE, numbers, gap <= TOLERANCE)


def unbiased_estimators(_: Path) -> Finding:
    """Hotelling's test of every baseline and of drawn labels against the enumerated gradient (section 5)."""
    made = transformer()
    exact = np.einsum("xy,dxy->d", log_prob_gradient(*made.tables, beta=BETA, rho=RHO), _derivatives())
    rng, p_values = np.random.default_rng(3), []
    estimators = [gradients.Estimator(kind, kind) for kind in BASELINES]
    for estimator in (*estimators, gradients.Estimator("labels drawn", labels="drawn")):
        drawn = gradients.draw_responses(made.tables[0], gradients.BATCHES, RESPONSES, rng)
        c = gradients.estimate_coefficients(estimator, drawn, made.tables, beta=BETA, rho=RHO, rng=rng)
        distance = gradients.hotelling(gradients.project(c, drawn, _derivatives()), exact)
        p_values.append(float(chi2.sf(distance, DIRECTIONS)))
    numbers = {
        "estimators": str(len(p_values)),
        "n": f"{gradients.BATCHES:,}",
        "directions": str(DIRECTIONS),
        "p": f"{min(p_values):.2f}",
    }
    return Finding(min(p_values) > LEVEL, numbers, min(p_values) > LEVEL)


def dropped_score_term(_: Path) -> Finding:
    """The exact gradient with and without the score term, over all parameters of the transformer."""
    made = transformer()
    full, path = (
        gradients.chain(
            made.with_graph,
            log_prob_gradient(*made.tables, beta=BETA, rho=RHO, score_weight=weight),
            list(made.policy.parameters()),
        )
        for weight in (1.0, 0.0)
    )
    error = gradients.relative_error(path, full)
    numbers = {"error": f"{error:.3f}", "cosine": f"{gradients.cosine(path, full):.3f}"}
    return Finding(error > 0.1, numbers, error > 0.1)


@cache
def _derivatives() -> np.ndarray:
    made = transformer()
    directions = torch.from_numpy(made.directions)
    return enumeration.directional_derivatives(made.policy, made.responses, directions).numpy()


CLAIMS = (
    Claim(
        "On a transformer whose {responses} responses to each of {prompts} prompts are listed, a linear program over "
        "oracles, the endpoint oracle, and the loss used in training all give the closed form of the worst case to "
        "{tolerance}, at radii from {low} to {high}",
        "to tolerance", NOTEBOOK, decomposition, "Q1",
        prediction="equal (the proof asks for no log-linear policy)", key=True,
    ),
    Claim(
        "With the score term the minibatch gradients are unbiased: all {estimators} estimators, the trainer's "
        "baselines and drawn labels, agree with the enumerated gradient along {directions} directions over {n} "
        "batches each (Hotelling's test, smallest p-value {p})",
        "statistical", NOTEBOOK, unbiased_estimators, "Q2", prediction="unbiased", key=True,
    ),
    Claim(
        "Without the score term the expected gradient of the same transformer is wrong by {error} of its length "
        "(cosine {cosine}), whatever the number of samples",
        "exact", NOTEBOOK, dropped_score_term, "Q2", prediction="biased",
    ),
)  # fmt: skip
