"""Wrong changes in losses, constants and radii that are neither a constant halved nor a sign flipped, written by hand.

Terms whose coefficient is no number are halved or left out; conditions, orders and laws are changed. For each module of
`rsail.exact`: what is wrong, the old text, the new text.
"""

from __future__ import annotations

CHANGES = {
    "constants": [
        ("cross number: part halved", "C_STAR**2 / 4.0", "C_STAR**2 / 8.0"),
        ("sharp G_dR: second term halved", "B + np.sqrt(2.0)", "B + np.sqrt(0.5)"),
        ("sharp L_SAIL: first term halved", "B**2 / 2.0 + C_STAR * beta", "B**2 / 4.0 + C_STAR * beta"),
        (
            "refined kappa: first term halved",
            "curvature = C_STAR * belief",
            "curvature = 0.5 * C_STAR * belief",
        ),
        (
            "refined kappa: second term halved",
            "beta * B**2 + 2.0 * beta * D * B**3",
            "beta * B**2 + beta * D * B**3",
        ),
        ("refined slope: first term halved", "slope = belief * beta", "slope = 0.5 * belief * beta"),
        ("refined slope: second term halved", "+ cross * beta", "+ 0.5 * cross * beta"),
        ("refined G_dR: second term halved", "B + SLOPE_STAR", "B + 0.5 * SLOPE_STAR"),
        ("refined L_SAIL: first term halved", "B**2 / 2.0 + curvature", "B**2 / 4.0 + curvature"),
        ("chord: large margins halved", "- np.log(2.0)) / margin", "- np.log(2.0)) / (2 * margin)"),
        ("chord: small margins halved", "np.expm1(margin) / 2.0", "np.expm1(margin) / 4.0"),
        (
            "sharp kappa_R: first term halved",
            "penalty_curvature=C_STAR * B**2 + 2.0 * D * B**3,\n        penalty_slope=B + np",
            "penalty_curvature=0.5 * C_STAR * B**2 + 2.0 * D * B**3,\n        penalty_slope=B + np",
        ),
        (
            "refined kappa_R: first term halved",
            "penalty_curvature=C_STAR * B**2 + 2.0 * D * B**3,\n        penalty_slope=B + SL",
            "penalty_curvature=0.5 * C_STAR * B**2 + 2.0 * D * B**3,\n        penalty_slope=B + SL",
        ),
        (
            "sharp L_SAIL: second term halved",
            "+ C_STAR * beta * B**2 + 6.0",
            "+ 0.5 * C_STAR * beta * B**2 + 6.0",
        ),
        (
            "sharp G_dR: first term halved",
            "penalty_slope=B + np.sqrt(2.0)",
            "penalty_slope=0.5 * B + np.sqrt(2.0)",
        ),
        (
            "sharp G_gradSAIL: first term halved",
            "sail_slope=beta * B + 2.0",
            "sail_slope=0.5 * beta * B + 2.0",
        ),
        (
            "refined G_dR: first term halved",
            "penalty_slope=B + SLOPE_STAR",
            "penalty_slope=0.5 * B + SLOPE_STAR",
        ),
        (
            "refined cross: the smaller bound ignored",
            "min(SCORE_STAR, CROSS * softplus_chord(largest_margin))",
            "SCORE_STAR",
        ),
        ("lam without beta", "return self.rho * self.beta", "return self.rho"),
        ("feature bound: smallest norm", "axis=-1).max())", "axis=-1).min())"),
        (
            "centered feature bound: smallest ball of all",
            "return max(smallest_ball",
            "return min(smallest_ball",
        ),
    ],
    "estimators": [
        ("wrong share of a zeta", "comb(count - degree, degree - c)", "comb(count - degree, c)"),
        (
            "factor of the leave-one-out mean",
            '"leave_one_out": (count - 1) / (count + 1)',
            '"leave_one_out": (count - 1) / count',
        ),
        (
            "score part of the label noise",
            "(difference + score[..., None] * both)",
            "(difference - score[..., None] * both)",
        ),
        (
            "best number of responses",
            "np.sqrt(2.0 * max(second - 2.0 * first, 0.0) / spread)",
            "np.sqrt(max(second - 2.0 * first, 0.0) / spread)",
        ),
    ],
    "extremal": [
        ("two points too early", "np.sqrt(5.0) - 1.0) / 2.0", "np.sqrt(5.0) - 1.0) / 2.2"),
    ],
    "family": [
        (
            "cDPO's fit does not shrink",
            "half + (1 - 2 * flip) * (p - half)",
            "half + (1 - flip) * (p - half)",
        ),
    ],
    "gini": [
        (
            "sum on both sides from the left",
            "weights[..., ::-1], axis=-1)[..., -2::-1]",
            "weights, axis=-1)[..., 1:]",
        ),
        (
            "values not sorted",
            "order = np.argsort(values, axis=-1)",
            "order = np.argsort(0 * values, axis=-1)",
        ),
        (
            "probabilities do not follow their values",
            "np.take_along_axis(np.broadcast_to(probs, values.shape), order, axis=-1)",
            "np.broadcast_to(probs, values.shape)",
        ),
        (
            "law of the left neighbors alone",
            "np.diff(ordered, axis=-1) * below * above",
            "np.diff(ordered, axis=-1) * below",
        ),
    ],
    "hessian": [
        ("bend of L_SAIL: missing", "beta**2 * belief * expit", "0 * belief * expit"),
        ("bend of the smoothed penalty halved", "epsilon**2 / values**3", "epsilon**2 / (2 * values**3)"),
        ("mixed part: one half missing", "mixed + np.swapaxes(mixed, -1, -2)", "mixed"),
    ],
    "landscape": [
        (
            "a returning response is judged from the wrong side",
            "(1.0 - beaten + effective_radius(beaten, 1.0, rho))",
            "(beaten + effective_radius(beaten, 1.0, rho))",
        ),
        ("share of identical pairs", "(probs**2).sum(axis=-1)", "(probs**3).sum(axis=-1)"),
        (
            "penalty without beta",
            "loss = loss + problem.beta * np.abs(scores) * radius",
            "loss = loss + np.abs(scores) * radius",
        ),
        ("KL without probabilities", "np.sum(probs * (log_probs", "np.sum((log_probs"),
    ],
    "linear_program": [
        ("box reaches below 0", "np.maximum(preferences - rho, 0.0)", "preferences - rho"),
        ("box reaches above 1", "np.minimum(preferences + rho, 1.0)", "preferences + rho"),
        (
            "oracle never antisymmetric",
            "if antisymmetric else None\n    result",
            "if False else None\n    result",
        ),
    ],
    "listwise": [
        (
            "rankings: the worst one is descending",
            'return np.argsort(scores, axis=-1, kind="stable")',
            'return np.argsort(-scores, axis=-1, kind="stable")',
        ),
        (
            "rankings: mass is taken from the largest losses",
            'order = np.argsort(losses, kind="stable")',
            'order = np.argsort(-losses, kind="stable")',
        ),
        (
            "shares of later places only",
            "np.put_along_axis(result, ranking, shares",
            "np.put_along_axis(result, ranking, 0.5 * shares",
        ),
        (
            "mass goes to the smallest loss",
            "worst[order[-1]] += taken.sum()",
            "worst[order[0]] += taken.sum()",
        ),
    ],
    "losses": [
        (
            "exact gradient: no score term",
            "law * (slopes + score_weight * losses)",
            "law * (slopes + 0.0 * losses)",
        ),
        (
            "exact selector: ties go to one side",
            "return preferences - np.sign(scores) * effective",
            "return preferences - np.where(scores >= 0, 1, -1) * effective",
        ),
        (
            "radius not clipped",
            "return np.minimum(rho, np.where(scores > 0, preferences, 1.0 - preferences))",
            "return rho + 0.0 * scores",
        ),
        ("clipped on the wrong side", "np.where(scores > 0, preferences", "np.where(scores < 0, preferences"),
        (
            "endpoint loss under the nominal oracle",
            "return expected_loss(log_probs, ref_log_probs, worst,",
            "return expected_loss(log_probs, ref_log_probs, preferences,",
        ),
        (
            "penalty of uniform prompts",
            "mu = prompt_weights(prompt_probs, len(log_probs))\n    return float(mu",
            "mu = prompt_weights(None, len(log_probs))\n    return float(mu",
        ),
    ],
    "one_pair": [
        (
            "penalty not clipped",
            "np.abs(margin) * effective_radius(preference, margin, rho)",
            "np.abs(margin) * rho",
        ),
        ("penalty left out", "return nominal + np.abs(margin)", "return nominal + 0.0 * np.abs(margin)"),
        ("threshold without sign", "return np.sign(value) * np.maximum", "return np.maximum"),
        (
            "fit instead of margin",
            "return logit(robust_fit(preference, rho))",
            "return robust_fit(preference, rho)",
        ),
    ],
    "problem": [
        (
            "uniform prompts whatever mu is",
            'keep(self, "prompt_probs", prompt_weights(self.prompt_probs, prompts))',
            'keep(self, "prompt_probs", prompt_weights(None, prompts))',
        ),
        (
            "SAIL's gradient with a penalty",
            "return self.robust_subgradient(theta, 0.0, score_weight=score_weight)",
            "return self.robust_subgradient(theta, 0.1, score_weight=score_weight)",
        ),
        (
            "score weight ignored",
            "**self._settings(rho), score_weight=score_weight",
            "**self._settings(rho), score_weight=1.0",
        ),
        (
            "robust Hessian under the nominal oracle",
            "sail_derivatives(self.features, worst,",
            "sail_derivatives(self.features, self.preferences,",
        ),
        (
            "paper's constants with the centered bound",
            "            feature_bound(asked), theta_radius",
            "            bound, theta_radius",
        ),
        (
            "sharp constants with the norm",
            "sharp_constants(bound, theta_radius",
            "sharp_constants(feature_bound(asked), theta_radius",
        ),
        (
            "refined constants with the norm",
            "refined_constants(bound, theta_radius",
            "refined_constants(feature_bound(asked), theta_radius",
        ),
        ("local radius never clipped", "clipped=clipped,", "clipped=False,"),
    ],
    "radius": [
        (
            "prompts of probability zero count",
            ") > 0\n    return float(np.abs(",
            ") >= 0\n    return float(np.abs(",
        ),
        (
            "smallest distance instead of the largest",
            "np.abs(preferences[asked] - 0.5).max()",
            "np.abs(preferences[asked] - 0.5).min()",
        ),
        ("clipped radius not raised", "if clipped else radius", "if False else radius"),
        ("clipped gain: radius not clipped upwards", "np.minimum(rho, 1.0 - preferences)", "rho"),
        (
            "clipped gain: radius not clipped downwards",
            "np.minimum(rho, preferences)\n        return up",
            "rho\n        return up",
        ),
        (
            "pairs not weighed by their law",
            "weights = law[kept] / law[kept].sum()",
            "weights = law[kept] / law[kept].sum() * np.arange(1, 1 + kept.sum())",
        ),
    ],
    "symbolic": [
        ("soft threshold without sign", "return sp.sign(value) * sp.Max", "return sp.Max"),
        (
            "clipped radius on the wrong side",
            "score > 0), (sp.Min(rho, 1 - preference)",
            "score < 0), (sp.Min(rho, 1 - preference)",
        ),
        ("paper's selector at ties", "score <= 0), (preference - rho", "score < 0), (preference - rho"),
        (
            "penalty not clipped",
            "sp.Abs(score) * clipped_radius(preference, score, rho)",
            "sp.Abs(score) * rho",
        ),
        ("penalty without beta", "+ rho * beta * sp.Abs(score)", "+ rho * sp.Abs(score)"),
        ("pair law over one response", "[probs[i] * probs[j] * value(i, j)", "[probs[i] * value(i, j)"),
    ],
}
