"""Wrong changes in the algorithms that are neither a constant halved nor a sign flipped, written by hand.

Terms whose coefficient is no number are halved or left out; conditions, orders and laws are changed. For each module of
`rsail.exact`: what is wrong, the old text, the new text.
"""

from __future__ import annotations

CHANGES = {
    "ball": [
        ("no point stops the center", "stopped = bool(steps[first] < 1.0)", "stopped = False"),
        ("another point leaves the support", "support.pop(first)", "support.pop(0)"),
        ("the nearest point joins", "int(squares.argmax())", "int(squares.argmin())"),
        (
            "points that almost depend on each other are not noticed",
            "np.maximum(sizes, 1e-15 * sizes[0])",
            "sizes",
        ),
        ("mean distance instead of the largest", "axis=1).max())", "axis=1).mean())"),
    ],
    "descent": [
        ("a tie's answer beyond its interval", "np.maximum(-rho, -chance)", "np.maximum(-2 * rho, -chance)"),
        (
            "oracle not clipped",
            "rho, np.where(scores > 0, problem.preferences, 1.0 - problem.preferences)",
            "rho, 1.0",
        ),
        (
            "ties never hold",
            "return gradient + columns @ answer, oracle, moves[prompt, pair][holds]",
            "return gradient + columns @ answer, oracle, moves[prompt, pair][~holds]",
        ),
    ],
    "moreau": [
        ("prox: ball ignored", "if np.linalg.norm(inside) <= radius:", "if True:"),
        (
            "prox: error bound halved",
            "return self.residual * self.smoothing / (1.0 - self.curvature * self.smoothing)",
            "return 0.5 * self.residual * self.smoothing / (1.0 - self.curvature * self.smoothing)",
        ),
        (
            "envelope gradient: sign",
            "return (self.center - self.point) / self.smoothing",
            "return (self.point - self.center) / self.smoothing",
        ),
        (
            "envelope: half of the quadratic",
            "float(move @ move) / (2.0 * smoothing)",
            "float(move @ move) / (4.0 * smoothing)",
        ),
        (
            "eq. 52: residual left out of the bound",
            "return float(np.linalg.norm(self.gradient)) + self.residual",
            "return float(np.linalg.norm(self.gradient))",
        ),
        (
            "eq. 52: distance left out",
            "right += np.linalg.norm(found.point - exact.point) / found.smoothing",
            "right += 0.0",
        ),
        (
            "eq. 52: residual left out",
            "right = np.linalg.norm(exact.gradient) + found.residual",
            "right = np.linalg.norm(exact.gradient)",
        ),
    ],
    "rates": [
        (
            "Lipschitz constant of the gradient",
            "return max(1.0 / smoothing, curvature / _room(smoothing, curvature))",
            "return 1.0 / smoothing",
        ),
        (
            "first term of eq. 24 halved",
            "return gap / (step_size * room * steps)",
            "return gap / (2.0 * step_size * room * steps)",
        ),
        ("second term of eq. 24 halved", "second_moment / (2.0 * room)", "second_moment / (4.0 * room)"),
        (
            "display of C.3 in Corollary 5.3",
            "return float(np.sqrt(2.0 * length",
            "return float(2.0 * np.sqrt(2.0 * length",
        ),
        (
            "noise of the penalty left out",
            "noise = sail_noise + constants.lam * checks",
            "noise = sail_noise + 0.0 * checks",
        ),
    ],
    "rscgd": [
        (
            "R-SCGD: projection dropped",
            "theta = project(moved, problem.theta_ref, theta_radius)",
            "theta = moved",
        ),
        (
            "R-SCGD: score term dropped",
            "path.sum(axis=-1) - path.sum(axis=-2) + score",
            "path.sum(axis=-1) - path.sum(axis=-2) + 0.0 * score",
        ),
        (
            "R-SCGD: score term of the enumeration dropped",
            "(at.losses - loss_baseline)[..., None] * score",
            "0.0 * (at.losses - loss_baseline)[..., None] * score",
        ),
        (
            "R-SCGD: penalty's score term halved",
            "(np.abs(at.scores) - penalty_baseline)[..., None] * score",
            "0.5 * (np.abs(at.scores) - penalty_baseline)[..., None] * score",
        ),
        (
            "R-SCGD: output not uniform",
            "[rng.integers(steps, size=draws) for rng in rngs]",
            "[rng.integers(steps // 2, steps, size=draws) for rng in rngs]",
        ),
        ("R-SCGD: variance of a batch", "+ self.total_variance / batch", "+ self.total_variance"),
        (
            "inexact prox: iterates not moved onto kinks",
            "distance=step_size * largest_pull(problem, point, rho)",
            "distance=0.0 * largest_pull(problem, point, rho)",
        ),
    ],
    "subdifferential": [
        ("subgradients: no normals of the ball", "if distance >= radius * (1 - TIE):", "if False:"),
        (
            "subgradients: normal of the ball points inwards",
            "np.vstack([normals, offset / distance])",
            "np.vstack([normals, -offset / distance])",
        ),
        (
            "subgradients: kinks of tied pairs left out",
            "tied = np.abs(parts.scores) <= TIE * radius * parts.reach",
            "tied = np.abs(parts.scores) < 0",
        ),
        (
            "subgradients: kink halved",
            "upper = problem.beta * np.minimum(rho, preferences)",
            "upper = 0.5 * problem.beta * np.minimum(rho, preferences)",
        ),
        ("subgradients: kink's other side", "lower = -problem.beta * np.minimum", "lower = 0.0 * np.minimum"),
        ("box least squares: one step only", "if not gain.size or gain.max() <= tolerance:", "if True:"),
    ],
}
