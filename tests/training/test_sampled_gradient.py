"""The gradient of a step that draws everything itself, as a run does: on average the derivative of what is stated.

`test_method_gradients` gives the objective a whole law with its probabilities. Here `online_step` collects, asks the
oracle, scores and differentiates, on models whose responses can be listed, many times over; its mean gradient is held
against the derivative of `stated` by its own standard error. Every method is here (the first step of multi-step RSO is
RSO's): COPO and the enhancer with the features of the initial model and nothing seen before, pessimism with the
uncertainty that a large offline set leaves, Wasserstein balls with the penalty of the whole law. (Features of the
policy would choose nearly the same pairs here: `test_collection` tells which model they are of.) Left out are variants
that draw as another case does and differ in a number of the objective alone (`SAME_DRAWS`).
"""

import numpy as np
import pytest

from rsail.study.gradient_check import cosine
from rsail.training import loop, method_config
from rsail.training.collection import collect_set
from rsail.training.state import begin_run
from rsail.training.uncertainty import response_features

from .cases import CASES, SETTINGS, WASSERSTEIN
from .enumerated import LONGEST, World
from .runs import judged, make_state
from .stated import derivative
from .whole_law import embedded_derivative

SAME_DRAWS = {
    "multi_step_rso", "another temperature", "another weight of a term", "list of another radius", "soft labels",
    "one sample of hypo", "another share", "bounded chi_po", "chi2_ball that cuts", "kl_ball", "tv_robust",
    "reweighted lists", "list without its score term", "hard labels",
}  # fmt: skip
# What only samples show: oracles, more responses, baselines.
BIAS = {"kind": "bias", "strength": 0.3, "attribute": "charm"}
SAMPLED = {
    "best and worst, biased oracle": ("iterative_dpo", {"collection": {"candidates": 3}, "oracle": BIAS}),
    "rejection, biased oracle": ("rso", {"collection": {"candidates": 3}, "oracle": BIAS}),
    "offline, careless oracle": ("ipo", {"oracle": {"kind": "flip", "strength": 0.3}}),
    "rewards of a biased oracle": ("rebel", {"oracle": BIAS}),
    "lists of a biased oracle": ("listwise_pl", {"responses_per_prompt": 3, "oracle": BIAS}),
    "worst-case oracle": ("robust_sail", {"oracle": {"kind": "worst_case", "strength": 0.3}}),
    "groups of three responses": (
        "group_robust", {"responses_per_prompt": 3, "addition": {"reweighting_strength": 0.8}},
    ),
    "four responses, disjoint baseline": (
        "robust_sail", {"responses_per_prompt": 4, "baseline": "disjoint"},
    ),
    "three responses, baseline per response": (
        "sail_dpr", {"responses_per_prompt": 3, "baseline": "per_response"},
    ),
    "rloo, four responses, biased oracle": ("rloo", {"oracle": BIAS}),
    "rloo, two responses, worst-case oracle": (
        "rloo", {"responses_per_prompt": 2, "oracle": {"kind": "worst_case", "strength": 0.3}},
    ),
    "grpo, biased oracle": ("grpo", {"responses_per_prompt": 3, "oracle": BIAS}),
    "baseline log2": ("robust_sail", {"baseline": "log2"}),
    "copo": ("copo", {"addition": {"term_weight": 20.0}}),
    "gshf_offline": ("gshf_offline", {"addition": {"term_weight": 10.0}}),
    **{name: (name, {"addition": {"wasserstein": 0.8}}) for name in WASSERSTEIN},
}  # fmt: skip
ALL = {name: case for name, case in {**CASES, **SAMPLED}.items() if name not in SAME_DRAWS}
STEPS = 10
# Prompts of a step, so that the standard errors are within the bounds of the test; 500 for others.
SIZES = {
    200: {
        "sail_revkl", "ipo", "kldpo", "wdpo", "w_rebel", "kl_rebel", "iterative_dpo", "vpo_offline",
        "selm", "hypo", "tv_ball", "spac_anchored", "exact label law", "spac_anchored with a share",
        "rloo", "grpo", "rloo with a term", "grpo with a term", "rloo, four responses, biased oracle",
        "grpo, biased oracle", "best and worst, biased oracle", "offline, careless oracle", "groups of three responses",
    },
    800: {
        "sail", "sail_dpr", "offline_dpo", "cdpo", "rdpo", "rebel", "listwise_pl", "osp", "gshf_offline",
        "rso", "exact SAIL-PP", "robust, drawn labels", "robust, hard labels", "robust, labels of the policy",
        "lists with a share", "spac with a share", "rewards of a biased oracle", "lists of a biased oracle",
    },
    1200: {
        "sail_ddp", "sail_dpp", "online_dpo", "copo", "gshf_hybrid", "rebel with the score term",
        "lists with a term",
    },
}  # fmt: skip
PROMPTS = {case: 500 for case in ALL} | {case: size for size, cases in SIZES.items() for case in cases}


@pytest.fixture(scope="module")
def world():
    return World()


def sampled_config(case):
    method, changes = ALL[case]
    prompts = PROMPTS[case]
    size = {"prompts_per_step": prompts, "max_new_tokens": LONGEST}
    changes = {**SETTINGS, "baseline": "other_prompts", **changes, **size}
    group = {**changes.pop("collection", {}), "stored_prompts": prompts}
    return method_config(method, **changes, collection=group)


def with_features(config, world):
    """The world with what the features of the initial model make of each response, before the first step."""
    features = response_features(world.initial, world.responses).numpy().reshape(*world.own.shape, -1)
    law = np.exp(world.first) / len(world.own)
    center = np.einsum("xy,xyd->d", law, features)
    gaps = features[:, :, None] - features[:, None, :]
    moments = np.einsum("xy,xz,xyzd,xyze->de", law, np.exp(world.first), gaps, gaps)
    inverse = np.linalg.inv(np.eye(len(center)) + config.collection.stored_prompts * moments)
    away = features - center
    return world.having(
        features=features,
        bonus=0.1 * np.linalg.norm(features, axis=-1),
        uncertainty=np.sqrt(np.einsum("xyd,de,xye->xy", away, inverse, away)),
    )


def gradients(config, world) -> np.ndarray:
    """Along each direction, of independent first steps of a run, (STEPS, directions)."""
    found = []
    for seed in range(STEPS):
        state = make_state(world, seed)
        begin_run(config, state)
        if (
            config.collection.collected == "round"
        ):  # in the middle of a round: the reference is not the policy
            state.pool = collect_set(config, state, offline=False)
        loop.online_step(config, state)
        found.append((world.directions @ state.accelerator.gradients[0]).numpy())
    return np.array(found)


@pytest.mark.parametrize("case", ALL)
def test_the_mean_gradient_of_sampled_steps_is_the_derivative_of_the_stated_objective(
    world, monkeypatch, case
):
    config = sampled_config(case)
    world = with_features(config, world.asked(config.oracle))
    judged(monkeypatch, world)
    monkeypatch.setattr(loop, "step_metrics", lambda *_: {})
    found = gradients(config, world)
    wanted = derivative(config, world)
    if case in WASSERSTEIN:
        found, wanted = found[:, :8], embedded_derivative(config, world, world.directions[:8])
    length, mean = np.linalg.norm(wanted), found.mean(0)
    # Standard errors of the mean, relative to what is wanted: of all directions together, and of the part along it.
    # They are themselves estimates from few steps: five of them, and 2 %, is what chance does not reach.
    error = np.sqrt(found.var(0, ddof=1).sum() / STEPS) / length
    along = found @ wanted / length**2
    error_along = along.std(ddof=1) / np.sqrt(STEPS)
    assert error < 0.13 and error_along < 0.06  # or nothing would be seen
    assert abs(along.mean() - 1) < 5 * error_along + 0.02
    assert cosine(mean, wanted) > np.sqrt(1 - (4 * error) ** 2) - 1e-6
