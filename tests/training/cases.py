"""Every method, and settings that no method has, in a size in which each part of an objective can be seen."""

from rsail.training import METHODS, method_config

SETTINGS = {"beta": 0.7, "baseline": "log2", "prompts_per_step": 8}
# What is changed so that every term weighs enough to be missed, and settings that no method has.
STRONG = {"addition": {"term_weight": 0.6}}
THREE = {"responses_per_prompt": 3, "baseline": "other_prompts"}  # of a policy gradient
CHANGES = {
    "sail_revkl": STRONG, "xpo": STRONG, "selm": STRONG, "vpo": STRONG, "vpo_offline": STRONG,
    "hypo": STRONG, "gshf_offline": STRONG, "group_robust": {"addition": {"reweighting_strength": 0.8}},
    "listwise_pl": {"responses_per_prompt": 3},
    "rloo": THREE, "grpo": THREE,
    "chi2_rebel": {"addition": {"reweighting_strength": 0.3}},
    "copo": {"addition": {"term_weight": 6.0}},
    "kldpo": {"addition": {"reweighting_strength": 0.5}}, "kl_rebel": {"addition": {"reweighting_strength": 4.0}},
    "iterative_dpo": {"collection": {"candidates": 3}}, "gshf_online": {"collection": {"candidates": 2}},
    "rso": {"collection": {"candidates": 3}}, "multi_step_rso": {"collection": {"candidates": 3}},
}  # fmt: skip
EXTRA = {
    "chi2_ball that cuts": ("offline_dpo", {"addition": {"reweighting": "chi2_ball", "reweighting_strength": 2.0}}),
    "kl_ball": ("offline_dpo", {"addition": {"reweighting": "kl_ball", "reweighting_strength": 0.2}}),
    "tv_ball": ("offline_dpo", {"addition": {"reweighting": "tv_ball", "reweighting_strength": 0.2}}),
    "another temperature": ("dr_dpo", {"addition": {"reweighting_strength": 0.3}}),
    "spac_anchored": ("spac", {"addition": {"term": "spac_anchored", "term_weight": 0.5}}),
    "another weight of a term": ("spac", {"addition": {"term_weight": 1.5}}),
    "hard labels": ("online_dpo", {"labels": "hard"}),
    "soft labels": ("offline_dpo", {"labels": "probability"}),
    "exact label law": ("sail_ddp", {"addition": {"preference_weight": 1.0}, "collection": {"offline_share": 0.0}}),
    "exact SAIL-PP": (
        "sail_dpp",
        {"score_weight": 1.0, "addition": {"preference_weight": 1.0}, "collection": {"offline_share": 0.0}},
    ),
    "another share": ("sail_dpr", {"collection": {"offline_share": 0.25}}),
    "score term of chi_po": ("chi_po", {"score_weight": 1.0, "collection": {"scheme": "on_policy"}}),
    "bounded chi_po": ("chi_po", {"loss_options": {"reward_bound": 0.4}}),
    "rebel with the score term": (
        "rebel",
        {
            "score_weight": 1.0, "beta": 0.7,
            "collection": {"reference": "initial", "collected": "step", "steps_per_round": 0},
        },
    ),
    "list by score": ("listwise_pl", {"responses_per_prompt": 3, "labels": "hard"}),
    "list without its score term": ("listwise_pl", {"responses_per_prompt": 3, "score_weight": 0.0}),
    "list of another radius": ("listwise_pl", {"responses_per_prompt": 3, "rho": 0.4}),
    "tv_robust": ("offline_dpo", {"loss": "tv_robust", "loss_options": {"radius": 0.2}}),
    "one sample of hypo": ("hypo", {"addition": {"term_weight": 0.6, "term_samples": 1}}),
    # Labels that are not doubted beyond 0 or 1: a ball around them is not clipped.
    "robust, drawn labels": ("robust_sail", {"labels": "drawn", "rho": 0.3}),
    "robust, hard labels": ("robust_sail", {"labels": "hard", "rho": 0.3}),
    "robust, labels of the policy": ("robust_sail", {"labels": "policy", "rho": 0.3}),
    "robust where it is clipped": ("robust_sail", {"rho": 0.4}),
    "lists with a share": ("listwise_pl", {"responses_per_prompt": 3, "collection": {"offline_share": 0.25}}),
    "lists with a term": (
        "listwise_pl", {"responses_per_prompt": 3, "addition": {"term": "vpo_online", "term_weight": 0.6}},
    ),
    "reweighted lists": (
        "listwise_pl",
        {
            "responses_per_prompt": 3, "score_weight": 0.0,
            "addition": {"reweighting": "kl_penalty", "reweighting_strength": 0.5},
        },
    ),
    "rloo with a term": ("rloo", {**THREE, "addition": {"term": "vpo_online", "term_weight": 0.6}}),
    "grpo with a term": ("grpo", {**THREE, "addition": {"term": "reference_kl", "term_weight": 0.6}}),
    "spac with a share": (
        "spac",
        {
            "collection": {"scheme": "on_policy", "offline_share": 0.25},
        },
    ),
    "spac_anchored with a share": (
        "spac",
        {
            "collection": {"scheme": "on_policy", "offline_share": 0.5},
            "addition": {"term": "spac_anchored", "term_weight": 0.5},
        },
    ),
}  # fmt: skip
CASES = {name: (name, CHANGES.get(name, {})) for name in METHODS} | EXTRA
WASSERSTEIN = ("wdpo", "w_rebel")  # need the embedded tokens: below


def config_of(case: str):
    method, changes = CASES[case]
    return method_config(method, **{**SETTINGS, **changes})
