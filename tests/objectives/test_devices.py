"""No objective looks at the values of tensors that are not on a CPU: tensors without values, on `meta`, show it."""

import pytest
import torch

from rsail.objectives import (
    LIST_LOSSES,
    LOSSES,
    RATIO_LOSSES,
    REWARD_LOSSES,
    REWEIGHTINGS,
    SEQUENCE_LOSSES,
    TERMS,
    TOKEN_LOSSES,
    fpo_loss,
    group_means,
    group_robust,
    group_weights,
    kl_radius,
    pessimistic_score,
    preference_surrogate,
    self_preference_loss,
    w_rebel_loss,
    wasserstein_penalty,
    weights,
)
from rsail.objectives.released import chi2_without_one, kldpo_weights, sail_response_hook

from .test_losses import OPTIONS
from .test_reweighting import OPTION

V = torch.zeros(4, device="meta", requires_grad=True)
RANKING = torch.zeros(4, dtype=torch.int64, device="meta")
CALLS = {
    **{f"LOSSES {n}": lambda f=f, n=n: f(V, 0.3, beta=0.1, **OPTIONS.get(n, {})) for n, f in LOSSES.items()},
    **{f"RATIO {n}": lambda f=f: f(V, V, 0.3, beta=0.1, reward_bound=1.0) for n, f in RATIO_LOSSES.items()},
    **{f"REWARD {n}": lambda f=f: f(V, V, beta=0.1) for n, f in REWARD_LOSSES.items()},
    **{f"LIST {n}": lambda f=f: f(V, RANKING, beta=0.1, rho=0.1) for n, f in LIST_LOSSES.items()},
    **{f"SEQUENCE {n}": lambda f=f: f(V, V, V, beta=0.1) for n, f in SEQUENCE_LOSSES.items()},
    **{
        f"TOKEN {n}": lambda f=f: f(V[:, None], V[:, None], V[:, None], V, beta=0.1)
        for n, f in TOKEN_LOSSES.items()
    },
    **{f"REWEIGHT {n}": lambda f=f, n=n: f(V, probs=V, **OPTION[n]) for n, f in REWEIGHTINGS.items()},
    "vpo": lambda: TERMS["vpo"](V, beta=0.1, weight=0.1, sign=1),
    "xpo": lambda: TERMS["xpo"](V, weight=0.1),
    "selm": lambda: TERMS["selm"](V, beta=0.1, weight=0.1),
    "copo": lambda: TERMS["copo"](V, V, V, weight=0.1),
    "hypo": lambda: TERMS["hypo"](V[None], V[None], weight=0.1),
    "spac_anchored": lambda: TERMS["spac_anchored"](V, V, weight=0.1),
    "spac_smoothed": lambda: TERMS["spac_smoothed"](V, V, V, beta=0.1, weight=0.1),
    "spac_unanchored": lambda: TERMS["spac_unanchored"](V, weight=0.1, floor=1.0),
    "reference_kl": lambda: TERMS["reference_kl"](V, weight=0.1),
    "aihf": lambda: TERMS["aihf"](V, weight=0.1),
    "fpo_loss": lambda: fpo_loss(V, V, 0.5, lengths=(V, V), distances=(V, V), beta=0.1, weight=0.1),
    "pessimistic_score": lambda: pessimistic_score(V, V, beta=0.1),
    "group_means": lambda: group_means(V, RANKING, 3),
    "group_robust": lambda: group_robust(V, V),
    "group_weights": lambda: group_weights(V, V, 0.1),
    "kl_radius": lambda: kl_radius(V),
    "weights": lambda: weights("chi2_ball", V, 0.1),
    "preference_surrogate": lambda: preference_surrogate(V, 1.0, beta=0.1),
    "self_preference_loss": lambda: self_preference_loss(V, beta=0.1),
    "w_rebel_loss": lambda: w_rebel_loss(V, V, radius=0.1),
    "wasserstein_penalty": lambda: wasserstein_penalty(V**2, V, radius=0.1),
    "sail_response_hook": lambda: sail_response_hook(V, V, V, weight=0.1),
    "kldpo_weights": lambda: kldpo_weights(V, temperature=0.1),
    "chi2_without_one": lambda: chi2_without_one(V, radius=0.1)[2],
}


def test_every_term_is_among_them():
    assert set(TERMS) <= set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_no_value_is_looked_at(name):
    assert CALLS[name]().device.type == "meta"
