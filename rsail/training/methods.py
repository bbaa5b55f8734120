"""Every method as settings of the one trainer: what differs from the defaults of `OnlineConfig`.

``python -m rsail train method=xpo`` and `rsail.training.method_config("xpo")` start from these; whatever else is given
wins. Numbers are those of the sources (papers, or published code) where they are known and have a scale of their own;
"ours" marks the others, and so are all rounds of `ROUND` steps and the 512 prompts of an offline set. beta, learning
rate, batch and length stay those of the run. Offline methods may be tried on pairs of the policy with
``collection.scheme=on_policy``.
"""

from __future__ import annotations

ROUND = 100  # steps of a round, ours: papers have a few rounds of an epoch each
# Online DPO: pairs of the policy, data as far as the gradient is concerned.
ONLINE = {"score_weight": 0.0}
# A fixed set of pairs with one drawn label each.
OFFLINE = {"score_weight": 0.0, "labels": "drawn", "collection": {"scheme": "offline"}}
# Iterations of REBEL: four passes over a batch collected by the policy with which the round began, as published.
REBEL = {
    "loss": "rebel", "beta": 1.0, "score_weight": 0.0,
    "collection": {"reference": "round", "collected": "round", "steps_per_round": 4, "stored_prompts": 32},
}  # fmt: skip

METHODS: dict[str, dict] = {
    # SAIL and its relatives. Settings of the published code: its coefficients (1 is exact) and shares.
    "sail": {},
    "robust_sail": {"rho": 0.15},  # arXiv 2602.20457; the radius is the study's
    "sail_ddp": {
        "loss": "dpo", "labels": "policy", "score_weight": 0.0,
        "collection": {"scheme": "offline", "offline_share": 0.6}, "addition": {"preference_weight": 0.2},
    },
    "sail_dpp": {
        "loss": "dpo", "labels": "policy", "score_weight": 0.2,
        "collection": {"offline_share": 0.7}, "addition": {"preference_weight": 0.2},
    },
    "sail_dpr": {"loss": "dpo", "labels": "drawn", "score_weight": 0.3, "collection": {"offline_share": 0.7}},
    "sail_revkl": {
        "loss": "dpo", "labels": "drawn", "score_weight": 0.3, "collection": {"offline_share": 0.7},
        "addition": {"term": "reference_kl", "term_weight": 1e-3},
    },
    # Losses of pairs on a fixed set.
    "offline_dpo": {**OFFLINE, "loss": "dpo"},
    # Rates as libraries have them.
    "cdpo": {**OFFLINE, "loss": "cdpo", "loss_options": {"smoothing": 0.1}},
    "rdpo": {**OFFLINE, "loss": "rdpo", "loss_options": {"flip_rate": 0.1}},
    "ipo": {**OFFLINE, "loss": "ipo"},
    "slic": {**OFFLINE, "loss": "slic"},
    "ropo": {**OFFLINE, "loss": "ropo", "loss_options": {"alpha": 6.0}},  # ours: its values were not found
    "chi_po": {**OFFLINE, "loss": "chi_po"},
    # Within the range of the paper, 0.01 to 1; the value ours.
    "dpo_pro": {**OFFLINE, "loss": "dpo_pro", "loss_options": {"radius": 0.1}, "labels": "probability"},
    # What acts on all pairs of a batch at once.
    "dr_dpo": {
        **OFFLINE, "loss": "dpo", "addition": {"reweighting": "dr_dpo", "reweighting_strength": 1.0}
    },
    "kldpo": {  # the largest of the published temperatures for language models
        **OFFLINE, "loss": "dpo", "addition": {"reweighting": "kl_penalty", "reweighting_strength": 0.1}
    },
    "wdpo": {**OFFLINE, "loss": "dpo", "addition": {"wasserstein": 0.01, "wasserstein_form": "squared"}},
    "group_robust": {  # arXiv 2405.20304; step size ours
        **OFFLINE, "loss": "ipo", "addition": {"reweighting": "group_robust", "reweighting_strength": 0.01}
    },
    # Regression on rewards.
    "rebel": REBEL,
    "w_rebel": {**REBEL, "addition": {"wasserstein": 0.01}},
    "kl_rebel": {**REBEL, "addition": {"reweighting": "kl_penalty", "reweighting_strength": 0.1}},
    "chi2_rebel": {**REBEL, "addition": {"reweighting": "chi2_ball", "reweighting_strength": 0.01}},
    # Lists of the policy, ranked by the oracle (arXiv 2607.01715; radius and length ours).
    "listwise_pl": {"loss": "plackett_luce", "rho": 0.1, "labels": "drawn", "responses_per_prompt": 4},
    # Policy gradients on the oracle's scores; group size and prompts ours: as many responses in a step as others have.
    "rloo": {"loss": "rloo", "responses_per_prompt": 4, "prompts_per_step": 16},  # arXiv 2402.14740
    "grpo": {"loss": "grpo", "responses_per_prompt": 4, "prompts_per_step": 16},  # arXiv 2402.03300
    # Online and hybrid.
    "online_dpo": {**ONLINE, "loss": "dpo", "labels": "drawn"},  # OAIF, arXiv 2402.04792
    "osp": {**ONLINE, "loss": "dpo"},  # DPO's loss at a soft label, arXiv 2405.14103
    "iterative_dpo": {  # RLHF Workflow, arXiv 2405.07863
        **ONLINE, "loss": "dpo", "labels": "hard",
        "collection": {
            "scheme": "best_worst", "candidates": 8, "collected": "round", "steps_per_round": ROUND
        },
    },
    "xpo": {
        **ONLINE, "loss": "dpo", "labels": "drawn", "collection": {"scheme": "hybrid"},
        "addition": {"term": "xpo", "term_weight": 1e-5},
    },
    "vpo": {  # arXiv 2405.19320; weight ours
        **ONLINE, "loss": "dpo", "labels": "drawn", "addition": {"term": "vpo_online", "term_weight": 0.1}
    },
    "vpo_offline": {**OFFLINE, "loss": "dpo", "addition": {"term": "vpo_offline", "term_weight": 0.1}},
    "selm": {  # candidates ours: three responses are ranked, in the paper two of them from the data set
        **ONLINE, "loss": "dpo", "labels": "hard",
        "collection": {
            "scheme": "best_worst", "candidates": 3, "reference": "round", "steps_per_round": ROUND
        },
        "addition": {"term": "selm", "term_weight": 1e-3},
    },
    # Uncertainty of linear features, times the 0.1 of the bonus, in place of the coin-flip network; candidates ours.
    "copo": {
        **ONLINE, "loss": "dpo", "labels": "hard",
        "collection": {
            "scheme": "best_worst", "candidates": 3, "reference": "round", "steps_per_round": ROUND
        },
        "addition": {"term": "copo", "term_weight": 1e-4},
    },
    "hypo": {  # arXiv 2406.01462; weight and number of samples ours
        **OFFLINE, "loss": "dpo", "addition": {"term": "hypo", "term_weight": 0.1, "term_samples": 2}
    },
    "spac": {  # arXiv 2406.04274, smoothed form as reconstructed; weight and rounds ours
        **OFFLINE, "loss": "dpo",
        "collection": {"scheme": "offline", "reference": "round", "steps_per_round": ROUND},
        "addition": {"term": "spac_smoothed", "term_weight": 0.5},
    },
    "gshf_offline": {  # arXiv 2312.11456, direct form; weight ours
        **OFFLINE, "loss": "dpo", "addition": {"term": "pessimism", "term_weight": 0.1}
    },
    "gshf_online": {  # candidates ours, of the 4 to 16 in use
        **ONLINE, "loss": "dpo", "labels": "drawn", "collection": {"scheme": "enhancer", "candidates": 4}
    },
    "gshf_hybrid": {  # share ours
        **ONLINE, "loss": "dpo", "labels": "drawn", "collection": {"scheme": "hybrid", "offline_share": 0.5}
    },
    "rso": {  # arXiv 2309.06657; candidates ours
        **ONLINE, "loss": "dpo", "labels": "drawn", "collection": {"scheme": "rejection", "candidates": 8}
    },
    # Each round goes from its first policy pi to pi exp(r / beta): N rounds end at temperature beta / N. Candidates are
    # ours.
    "multi_step_rso": {
        **ONLINE, "loss": "dpo", "labels": "drawn",
        "collection": {
            "scheme": "rejection", "candidates": 8, "reference": "round", "steps_per_round": ROUND
        },
    },
}  # fmt: skip
