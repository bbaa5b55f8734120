"""Wrong changes in SAIL's family and in its program on two levels, by hand, as in `formulas`."""

from __future__ import annotations

CHANGES = {
    "sail_family": [
        (
            "preference term of the first label only",
            "first * gain * slope + (1.0 - first) * other_gain * other_slope",
            "first * gain * slope",
        ),
        ("response term of a dataset, too", "_sum(means) if drawn else zeros", "_sum(means)"),
        (
            "own labels are the oracle's",
            "first = expit(margins) if own_labels else preferences",
            "first = preferences",
        ),
        (
            "pair law without its prompts",
            "pair_law(log_probs, prompt_probs) if drawn",
            "pair_law(log_probs) if drawn",
        ),
        ("damping of the response term only", ".gradient(weight, weight)", ".gradient(weight)"),
        ("released term not divided", "pairs * exact / text_log_probs", "-pairs * exact"),
        ("released term for one pair", "pairs * exact / text_log_probs", "exact / text_log_probs"),
        (
            "Hessian of a dataset without its law",
            "weights = dataset_law(pair_probs, scores.shape) *",
            "weights =",
        ),
    ],
    "sail_estimates": [
        (
            "preference term without own labels",
            "preference_weight * own_labels * gain",
            "preference_weight * gain",
        ),
        ("response term of a dataset, too", "drawn * response_weight *", "response_weight *"),
        ("no baseline", "(gain - baseline)", "gain"),
        ("covariance around zero", "centered = self.values - self.mean", "centered = self.values"),
    ],
    "reference_kl": [
        (
            "gradient of the wrong direction",
            "mu[:, None] * ref_probs), covariance",
            "mu[:, None] * probs), covariance",
        ),
        ("prompts alike", "weights = mu[:, None] * probs", "weights = probs / len(probs)"),
        ("Hessian without the third moment", "covariance + third", "covariance"),
    ],
    "bilevel": [
        (
            "hypergradient without the lower level",
            "upper.rewards - policy * adjoint[:, :size]",
            "upper.rewards",
        ),
        ("conditions not transposed", "np.swapaxes(jacobian, -1, -2)", "jacobian"),
        ("conditions' derivative not weighed", "np.arange(size)] = policy", "np.arange(size)] = 1.0"),
        ("one response of the pair is fixed", "+ np.sum(mu * losses * policy[:, :, None], axis=-2)", ""),
        (
            "prompts alike",
            "mu = prompt_weights(prompt_probs, len(rewards))[:, None, None]",
            "mu = 1.0 / len(rewards)",
        ),
    ],
}
