"""Every system of the literature that is here: where it is implemented, checked and run, and how it differs.

`rsail.study.coverage` makes the table of methods in `REPRODUCING.md` from these rows.
"""

from __future__ import annotations

from dataclasses import dataclass

LEFT_OUT = {
    "COPO's coin-flip network, FPO's sparse autoencoder": (
        "models of their own; the losses are here, with the bonus and the distances as arguments"
    ),
    "ROPO's filtering and resampling of prompts": "its schedule and its weights were not found",
    "Nash learning with a preference model and its tournaments (ELHF), on a language model": (
        "the trainer has no player against the policy; solved exactly in notebook 06"
    ),
    "known by abstract only: Mandal et al. (2503.00539), DRTO (2604.08577), W-DRRO (2605.00155), DoRA (2504.05831), "
    "Hölder-DPO (2505.17859), wDPO (2603.07211), symmetric losses (2505.24709)": (
        "an abstract does not say enough to implement the method that is meant"
    ),
}


@dataclass(frozen=True)
class System:
    """One method: what it is, where it is, and what shows that it is right.

    `implemented` are dotted names, `checks` are tests as file::function below tests/, `exact` are names of notebook 06,
    `trained` are keys of `rsail.training.METHODS` (empty: not run on a language model; a difference says why).
    What differs from the paper: everywhere (`differences`), in notebook 06 only, on language models only.
    """

    name: str
    source: str
    implemented: tuple[str, ...]
    checks: tuple[str, ...]
    exact: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    differences: str = ""
    differs_exact: str = ""
    differs_trained: str = ""

    def differs(self) -> str:
        """All differences, with where they are."""
        parts = (
            ("", self.differences),
            ("in notebook 06: ", self.differs_exact),
            ("on a language model: ", self.differs_trained),
        )
        return "; ".join(where + what for where, what in parts if what) or "none known"


_L = "rsail.objectives.losses"
_T = "rsail.objectives.terms"
_R = "rsail.objectives.reweighting"
_VALUES = "objectives/test_known_values.py"
_LABELS = "objectives/test_robust_labels.py"
_WEIGHTS = "objectives/test_reweighting.py"
_TERMS = "objectives/test_terms.py"
_POLICY = "objectives/test_policy_gradient.py"
_ENSEMBLE = "oracles/test_reward_model.py::test_the_aggregate_is_conservative_as_stated"
_GRADIENT = (
    "training/test_method_gradients.py::test_the_expected_gradient_is_the_derivative_of_the_stated_objective"
)
_SAMPLED = (
    "training/test_sampled_gradient.py"
    "::test_the_mean_gradient_of_sampled_steps_is_the_derivative_of_the_stated_objective"
)
_SAIL = "exact/test_sail_family.py"

SYSTEMS = [
    # SAIL and its relatives.
    System(
        "robust SAIL", "2602.20457", (f"{_L}.robust_sail_loss", "rsail.exact.robust_loss"),
        ("objectives/test_losses.py::test_robust_loss_is_the_largest_dpo_loss_over_the_oracle_set",),
        ("robust SAIL", "robust DPO", "robust online DPO"), ("robust_sail",),
        "radius clipped where it would leave [0, 1]; mean over pairs of K responses",
    ),
    System(
        "SAIL", "2406.15567; eq. 9 of 2602.20457", (f"{_L}.dpo_loss", "rsail.objectives.score_surrogate"),
        (f"{_SAIL}::test_dpr_is_minus_the_nominal_loss_of_robust_sail",), ("SAIL", "SAIL, β tuned"), ("sail",),
        "labels are the oracle's probabilities",
    ),
    System(
        "SAIL, DDP", "2406.15567", ("rsail.exact.sail_family", "rsail.objectives.self_preference_loss"),
        (f"{_SAIL}::test_objectives_gradients_and_terms",), ("DDP",), ("sail_ddp",),
        "shares and weights of the published code; whole prompts, not single pairs, are mixed",
    ),
    System(
        "SAIL, DPP", "2406.15567", ("rsail.exact.sail_family", "rsail.objectives.sail_surrogate"),
        (f"{_SAIL}::test_objectives_gradients_and_terms",), ("DPP",), ("sail_dpp",),
        "the exact response term, not the published hook (`rsail.objectives.released.sail_response_hook`)",
        differs_trained="whole prompts, not single pairs, are mixed with the offline set",
    ),
    System(
        "SAIL, DPR", "2406.15567", ("rsail.exact.sail_family", "rsail.objectives.sail_surrogate"),
        (f"{_SAIL}::test_objectives_gradients_and_terms",), ("DPR",), ("sail_dpr",),
        "as DPP; labels are drawn, where the published code takes the better one",
    ),
    System(
        "SAIL-RevKL", "2606.31524", ("rsail.exact.reference_kl", f"{_T}.reference_kl"),
        ("exact/test_reference_kl.py::test_eigenvalues_of_the_test_vectors",), ("SAIL-RevKL",), ("sail_revkl",),
        "KL(pi_ref || pi) on samples of pi_ref; the published code scores the batch's own tokens, unshifted",
    ),
    # Losses of one comparison.
    System(
        "DPO", "2305.18290", (f"{_L}.dpo_loss",),
        (f"{_VALUES}::test_pair_losses_of_the_online_methods",), ("DPO", "DPO, β tuned"), ("offline_dpo",),
    ),
    System(
        "cDPO", "E. Mitchell, 2023", (f"{_L}.cdpo_loss",),
        (f"{_VALUES}::test_pair_losses_of_a_label",), ("cDPO",), ("cdpo",),
    ),
    System(
        "rDPO", "2403.00409", (f"{_L}.rdpo_loss",),
        ("objectives/test_losses.py::test_rdpo_averaged_over_flipped_labels_is_the_clean_dpo_loss",),
        ("rDPO",), ("rdpo",),
        differs_trained="an oracle has one flip rate for all prompts, none per annotator or group",
    ),
    System(
        "IPO", "2310.12036", (f"{_L}.ipo_loss",),
        (f"{_VALUES}::test_pair_losses_of_the_online_methods",), ("IPO", "online IPO"), ("ipo",),
        "log-probabilities are sums over tokens, as in the paper; tau is `beta`",
    ),
    System(
        "SLiC", "2305.10425", (f"{_L}.slic_loss",),
        (f"{_LABELS}::test_slic_is_the_hinge_of_the_margin",), ("SLiC",), ("slic",),
        "the hinge of the log-ratios' margin, without the paper's regression term",
    ),
    System(
        "ROPO", "2404.04102", (f"{_L}.ropo_loss",),
        (f"{_LABELS}::test_ropo_has_its_slope_and_its_largest_slope_is_one",), ("ROPO",), ("ropo",),
        "the loss only, its second term second-hand; values of alpha were not found; no filter, no refill of the data",
    ),
    System(
        "χPO", "2407.13399", ("rsail.objectives.chi_po_loss",),
        ("objectives/test_ratios.py::test_the_link_is_inverted_by_the_lambert_function",), ("χPO",), ("chi_po",),
        "the exponent is cut at 20, as in third-party code",
    ),
    System(
        "TV-robust label", "2607.01715, K = 2", (f"{_L}.tv_robust_loss",),
        (f"{_LABELS}::test_tv_robust_is_the_listwise_loss_of_two_responses",), ("TV, hard label",), (),
        "by name of the loss, `loss=tv_robust`; `method=listwise_pl` at K = 2",
    ),
    System(
        "DPO-PRO", "2509.02709", (f"{_L}.dpo_pro_loss",),
        (f"{_LABELS}::test_dpo_pro_is_the_largest_dpo_loss_over_the_chi_square_interval",), ("DPO-PRO",), ("dpo_pro",),
        "soft labels are the oracle's probabilities",
    ),
    System(
        "OSP", "2405.14103", (f"{_L}.dpo_loss",),
        (f"{_VALUES}::test_losses_of_a_soft_label",), ("online DPO",), ("osp",),
        "the strength comes from the oracle, not from the policy's own judgement",
    ),
    # Reweightings of a batch.
    System(
        "Dr. DPO", "2407.07880", (f"{_R}.dr_dpo",),
        (f"{_WEIGHTS}::test_dr_dpo_is_the_opposite_of_the_kl_penalty",), ("Dr. DPO",), ("dr_dpo",),
    ),
    System(
        "KLDPO", "2502.01930", (f"{_R}.kl_penalty", f"{_R}.kl_ball"),
        (f"{_WEIGHTS}::test_the_kl_ball_is_its_dual_minimum",), ("KLDPO",), ("kldpo",),
        "weights normalized; the published ones are clamped and are not (`rsail.objectives.released.kldpo_weights`)",
    ),
    System(
        "WDPO", "2502.01930", ("rsail.objectives.wasserstein_penalty",),
        ("objectives/test_regression.py::test_the_wasserstein_penalty_is_the_norm_of_the_gradients_of_each_pair",),
        ("WDPO",), ("wdpo",), "to first order, in the embedded tokens; the squared form of the published code",
    ),
    System(
        "group-robust DPO, IPO", "2405.20304", (f"{_R}.group_robust", f"{_R}.group_weights"),
        (f"{_WEIGHTS}::test_descent_and_group_weights_meet_at_the_saddle_point", _GRADIENT),
        ("group-robust DPO",), ("group_robust",),
        differs_exact="the policy is optimal for the groups' weights in every step, not one gradient step along",
        differs_trained=(
            "groups are the task's kinds of prompts; without the trade-off with the plain mean, which "
            "`rsail.objectives.group_robust` has"
        ),
    ),
    # Regression on rewards, lists.
    System(
        "REBEL", "2404.16767", ("rsail.objectives.rebel_loss",),
        ("objectives/test_regression.py::test_an_exact_fit_is_one_step_of_mirror_descent",), ("REBEL",), ("rebel",),
        "eta is 1 / `beta`",
    ),
    System(
        "W-REBEL", "2509.19104", ("rsail.objectives.w_rebel_loss", "rsail.objectives.wasserstein_penalty"),
        ("objectives/test_regression.py::test_w_rebel_is_the_worst_mean_square_over_the_wasserstein_ball",),
        ("W-REBEL",), ("w_rebel",), "closed form where log-linear; first order in the embedded tokens otherwise",
    ),
    System(
        "KL-REBEL", "2509.19104", (f"{_R}.kl_penalty", "rsail.objectives.rebel_loss"),
        (f"{_WEIGHTS}::test_the_penalized_value_is_that_of_its_weights",), ("KL-REBEL",), ("kl_rebel",),
        "weights are not differentiated; in the published code they are",
    ),
    System(
        "χ²-REBEL", "2509.19104", (f"{_R}.chi2_ball", "rsail.objectives.rebel_loss"),
        (f"{_WEIGHTS}::test_the_chi_square_ball_is_the_primal_maximum_of_a_solver",), ("χ²-REBEL",), ("chi2_rebel",),
        "the dual with 1 + 2 rho; the published code's lacks the 1 (`rsail.objectives.released.chi2_without_one`)",
    ),
    System(
        "robust listwise PL", "2607.01715", ("rsail.objectives.plackett_luce_loss", "rsail.exact.listwise"),
        ("objectives/test_listwise.py::test_it_is_the_largest_mean_loss_over_laws_of_the_ranking",),
        ("robust lists",), ("listwise_pl",), "the paper's estimator was not found",
        "36 fixed lists per prompt, ranked by draws from the reward that DPO fits", "online with the score term",
    ),
    # Policy gradients on the oracle's scores.
    System(
        "RLOO", "2402.14740", ("rsail.objectives.rloo_loss", "rsail.objectives.leave_one_out"),
        (f"{_POLICY}::test_rloo_is_unbiased_for_the_reward_less_the_kl", _GRADIENT, _SAMPLED), (), ("rloo",),
        differs_trained=(
            "the reward is the oracle's, a response's mean log-odds against the others: the paper's reward model is "
            "`oracle.kind=reward_model`; four responses, as many in all as of other methods"
        ),
    ),
    System(
        "GRPO", "2402.03300", ("rsail.objectives.grpo_loss", "rsail.objectives.group_advantages"),
        (f"{_POLICY}::test_the_penalty_of_grpo_is_one_kl_in_its_value_and_the_other_in_its_gradient", _SAMPLED), (),
        ("grpo",), "one update for each set of samples, as in the paper: the ratio is 1, there is nothing to clip",
        differs_trained=(
            "rewards as RLOO's; four responses where the paper has 64, beta that of the run (0.1) where it has 0.04; "
            "the reference is the initial model, the iterative form is `collection.reference=round`"
        ),
    ),
    # Terms of other samples.
    System(
        "XPO", "2405.21046", (f"{_T}.xpo",),
        (_GRADIENT, f"{_TERMS}::test_xpo_pushes_the_response_of_the_reference_down"), ("XPO",), ("xpo",),
        differs_exact="the mean law of the pairs of all rounds; alpha is tuned",
        differs_trained="the pairs of the step, not of all rounds; alpha is the run's, without a schedule",
    ),
    System(
        "VPO, online and offline", "2405.19320", (f"{_T}.vpo",),
        (f"{_TERMS}::test_vpo_is_the_optimal_value_of_the_implicit_reward",),
        ("VPO, online", "VPO, offline"), ("vpo", "vpo_offline"), "alpha was not found",
        "online calibrated on the reference, offline on the chosen responses; online, the mean law of all rounds",
        "both calibrated on samples of the reference; online, the pairs of the step",
    ),
    System(
        "SELM", "2405.19332", (f"{_T}.selm",),
        (f"{_TERMS}::test_selm_is_optimistic_vpo_calibrated_at_the_reference_and_reweights_own_samples",),
        ("SELM",), ("selm",), "the paper ranks an own response with its dataset's pair",
        "ranked with two responses of the first reference, by the reward that DPO fits",
        "best and worst of three own responses, by the oracle; pairs of the step, where the paper passes over "
        "those of a round",
    ),
    System(
        "COPO", "2501.12735", (f"{_T}.copo", "rsail.objectives.count_bonus"),
        (f"{_TERMS}::test_copo_raises_a_response_by_its_clipped_ratio_times_its_bonus", _SAMPLED), ("COPO",), ("copo",),
        "no coin-flip network",
        "expected visits in place of counts; any two own responses, at the oracle's probability",
        "an uncertainty of linear features in place of counts, nearly the same for all responses where their features "
        "are; best and worst of three, by the oracle, new in each step",
    ),
    System(
        "HyPO", "2406.01462", (f"{_T}.hypo",),
        (f"{_TERMS}::test_hypo_is_unbiased_for_the_kl_to_the_reference",), ("HyPO",), ("hypo",),
        "weight and number of samples were not found",
    ),
    System(
        "SPAC", "2406.04274", (f"{_T}.spac_anchored", f"{_T}.spac_smoothed", f"{_T}.spac_unanchored"),
        (f"{_TERMS}::test_the_anchored_term_of_spac_is_that_of_the_critic_without_its_shift",),
        ("SPAC, anchored", "SPAC, smoothed", "SPAC, unanchored"), ("spac",),
        "a reconstruction: the paper's exact loss was not found; the unanchored form is for comparison only",
    ),
    System(
        "AIHF", "2406.06874", (f"{_T}.aihf",),
        (f"{_TERMS}::test_aihf_is_the_gradient_of_maximum_entropy_inverse_reinforcement_learning",), ("AIHF",), (),
        "with r = beta log pi / pi_ref; not trained: the tasks have no demonstrations",
        "demonstrations are those of a Gibbs policy of the true reward: the only method that sees it",
    ),
    System(
        "FPO", "2411.07618", ("rsail.objectives.fpo_loss",),
        (f"{_TERMS}::test_fpo_has_length_normalized_margins_and_holds_the_winners_distance_fixed",), (), (),
        "the loss at given distances of features; its sparse autoencoder is left out",
    ),
    System(
        "Linear Alignment", "2401.11458", ("rsail.lm.aligned_logits", "rsail.lm.sample_aligned"),
        ("lm/test_decoding.py",), (), (), "a decoding rule that needs a second prompt, not a way to train",
    ),
    # Collection of data, planning, games.
    System(
        "online DPO (OAIF)", "2402.04792", ("rsail.training.objective.online_loss",),
        (_GRADIENT, _SAMPLED), ("online DPO",), ("online_dpo",), "the oracle in place of a language model's judgement",
    ),
    System(
        "iterative DPO", "2405.07863", ("rsail.exact.rejection.best_worst_pair_law",),
        ("exact/test_rejection.py::test_best_and_worst_of_n_by_enumeration", _SAMPLED),
        ("iterative DPO",), ("iterative_dpo",),
        "one temperature, where the paper has two; fixed reference, as in the paper",
        "candidates are ranked by the reward that DPO fits",
        "by the oracle; the pairs of the round, without those of earlier rounds and of the offline set",
    ),
    System(
        "GSHF, offline", "2312.11456", ("rsail.exact.pessimism", "rsail.objectives.pessimistic_score"),
        ("exact/test_pessimism.py::test_never_worse_than_the_reference_whatever_the_coverage",),
        ("pessimistic DPO",), ("gshf_offline",), "what is run is the direct form",
        "the uncertainty is scale / sqrt(Y pi_ref), that of independent responses",
        "features are those of the initial model",
    ),
    System(
        "GSHF, online", "2312.11456", ("rsail.exact.exploration",),
        ("exact/test_exploration.py::test_the_enhancer_is_in_its_set_and_the_best_of_all_directions", _SAMPLED),
        (), ("gshf_online",),
        differs_trained="the enhancer chooses among samples, as published code does; earlier pairs are not kept",
    ),
    System(
        "finite-candidate enhancer (oat)", "oat library; 2411.01493", ("rsail.exact.exploration.ensemble_pair",),
        ("exact/test_exploration.py::test_the_pair_of_an_ensemble",),
        differences="the choice at given scores of the heads; their training is not here, so that no run uses it",
    ),
    System(
        "GSHF, hybrid", "2312.11456", ("rsail.exact.exploration",),
        (
            "exact/test_exploration.py"
            "::test_the_hybrid_scheme_compares_with_the_reference_and_learns_from_both_sets",
        ),
        (), ("gshf_hybrid",),
        differs_trained=(
            "half of the prompts of a step are offline pairs, the others compare policy and initial model; earlier "
            "online pairs are not kept, and no reward is fitted to both sets"
        ),
    ),
    System(
        "RSO", "2309.06657", ("rsail.exact.rejection.rejection_sampling", "rsail.training.collection.accept"),
        ("exact/test_rejection.py::test_rejection_sampling_gives_the_gibbs_policy", _SAMPLED), ("RSO",), ("rso",),
        differs_exact="the law in the limit of many candidates; the reward is the one that DPO fits",
        differs_trained="scores are the oracle's, the largest is that of the candidates",
    ),
    System(
        "multi-step RSO", "2312.11456", ("rsail.exact.rejection.multi_step_rejection",),
        ("exact/test_rejection.py::test_hops_end_at_the_last_gibbs_policy_and_share_its_rate",),
        (), ("multi_step_rso",), differs_trained=(
            "each round starts from the last policy, at one temperature instead of a falling schedule; "
            "earlier pairs are not kept"
        ),
    ),
    System(
        "best of n", "2009.01325", ("rsail.exact.rejection.best_of_n_law",),
        ("exact/test_rejection.py::test_the_kl_of_best_of_n_and_its_bound",), ("best of n",), (),
        "chosen at inference, nothing is trained", "by the reward that DPO fits",
    ),
    System(
        "reward ensembles, worst case (WCO)", "2310.02743",
        ("rsail.exact.rejection.worst_case_ensemble", "rsail.oracles.fit_reward_model"),
        ("exact/test_rejection.py::test_published_ensemble_scores", _ENSEMBLE),
        differences="the oracle of a run on a language model (oracle.kind=reward_model), not a method of its own; its "
        "members are linear in words and fitted on bootstrap resamples, where the paper has networks of other seeds",
    ),
    System(
        "reward ensembles, uncertainty-weighted (UWO)", "2310.02743",
        ("rsail.exact.rejection.uncertainty_weighted_ensemble", "rsail.oracles.fit_reward_model"),
        ("exact/test_rejection.py::test_published_ensemble_scores", _ENSEMBLE),
        differences="as WCO; the variance divided by K or K - 1, as the published code does for best of n and for PPO",
    ),
    System(
        "planning oracles (PPO- and DPO-style)", "2312.11456", ("rsail.exact.planning",),
        ("exact/test_planning.py::test_every_oracle_is_the_gibbs_policy",), (), (),
        "exact problems only: the trainer plans against no reward model",
    ),
    System(
        "Nash (general preference)", "2402.07314", ("rsail.exact.game", "rsail.exact.game_uncertainty"),
        ("exact/test_game.py::test_the_nash_policy_and_its_certificate",), ("Nash", "online IPO"), (),
        "solved exactly; the trainer has no player against the policy",
    ),
]  # fmt: skip
