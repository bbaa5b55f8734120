"""Changes in `rsail.exact` that no test can notice, by the reason: `sites` leaves them out."""

from __future__ import annotations

_BY_REASON = {
    "any scale other than zero gives the same ball": [
        "ball.smallest_ball: - -> + in points - origin",
    ],
    "a placeholder that is not used": [
        "linear_program.worst_case_linear_program: 1.0 -> 0.5 in 1.0",
    ],
    "only the distribution of random test problems": [
        "bandit.random_bandit: 2.0 -> 1.0 in 2.0",
        "bandit.random_bandit: 5.0 -> 2.5 in 5.0",
        "bandit.rare_response_bandit: 0.4 -> 0.2 in 0.4 * rng.normal(size=(responses - 1, dimension - 1))",
        "bandit.rare_response_bandit: 0.5 -> 0.25 in 0.5 * rng.normal(size=dimension - 1)",
    ],
    "one threshold of several: the certificate chooses what comes of them": [
        "game_uncertainty.pessimistic_nash: 1e-3 -> 0.0005 in 0.001",
    ],
    "how many numbers are drawn at a time: the stream is the same": [
        "rscgd.constants: 2 -> 1 in 2 ** 17",
    ],
    "a common factor of all variances: the largest is the same": [
        "exploration.ensemble_pair: 1 -> 0.5 in 1",
    ],
    "another start of the search for the same root": [
        "exploration._tilt: 2.0 -> 1.0 in 2.0 * peak",
        "exploration._tilt: 2.0 -> 1.0 in 2.0 * peak (2)",
    ],
    "from there on what is integrated is zero to all digits": [
        "overoptimization.expected_maximum: 40.0 -> 20.0 in 40.0",
    ],
    "a bound on the work, which is not reached": [
        "overoptimization.expected_maximum: 200 -> 100 in 200",
    ],
    "another multiple of the objective has the same optimum": [
        "game.zero_sum_nash: 1.0 -> 0.5 in -1.0",
    ],
    "the weights are scaled to sum 1 wherever they are used": [
        "game_uncertainty.pessimistic_nash: 1.0 -> 0.5 in w.sum() - 1.0",
    ],
    "where one payoff is left, both branches give it the weight 1": [
        "game_uncertainty.pessimistic_nash: 1 -> 0.5 in 1",
    ],
    "adds a constant to the rewards of all responses, which changes neither the policy nor the minimizer": [
        "pessimism.version_space_pessimism.rewards: - -> + in features - center",
    ],
    "keeps exp from overflowing: e^350 is no probability, either": [
        "arguments.policies: 700.0 -> 350.0 in 700.0",
    ],
    "two forms of the same number, each accurate there": [
        "constants.softplus_chord: 1.0 -> 0.5 in 1.0",
    ],
    "enters through absolute values alone": [
        "descent._step: - -> + in problem.theta_ref - subgradient",
    ],
    "steers the search; where it ends is judged by the residual": [
        "rscgd.certified_prox: 64 -> 32 in 64 * 2 ** k",
        "rscgd.certified_prox: 2 -> 1 in 2 ** k (2)",
        "exploration.enhancer: 1e-3 -> 0.0005 in 0.001",
        "game_uncertainty.pessimistic_nash: 1.0 -> 0.5 in 1.0 / size",
        "newton.solve: 1e-4 -> 5e-05 in 0.0001 * length",
        "pessimism._minimize_on_ball.at.penalized: + -> - in value + multiplier / 2.0 * (unit @ unit)",
        "pessimism._minimize_on_ball.at.penalized: 2.0 -> 1.0 in multiplier / 2.0",
        "pessimism._minimize_on_ball: 10.0 -> 5.0 in low / 10.0",
        "pessimism._minimize_on_ball.stationarity: + -> - in hessian + multiplier * np.eye(dimension)",
        "pessimism._minimize_on_ball.stationarity: 2.0 -> 1.0 in (unit @ unit - 1.0) / 2.0",
        "descent._line_search: 0.5 -> 0.25 in 0.5 ** np.arange(max(0, 1 + int(np.log2(max(length * fastest / SHO ...",
        "descent._line_search: 1e-4 -> 5e-05 in 0.0001 * lengths",
        "descent.descend: 0.25 -> 0.125 in 0.25",
        "moreau.constants: 100 -> 50 in 100",
        "moreau.solve_prox: 1e-3 -> 0.0005 in 0.001 / smoothing",
        "moreau.solve_prox: 0.1 -> 0.05 in 0.1 * step",
        "moreau.solve_prox: 0.5 -> 0.25 in 0.5 ** np.arange(40)",
        "moreau.solve_prox: - -> + in found.value - share * expected",
        "moreau.solve_prox: 1.0 -> 0.5 in 1.0 + abs(found.value)",
    ],
    "a wider or a narrower interval around the same solution": [
        "radius._raise_to_clipped: + -> - in 0.5 + 1e-09",
        "extremal.extremal_law: 0.3 -> 0.15 in 0.3",
    ],
    "adds a multiple of the margin to the loss: antisymmetric in the pair, so its mean against S S' + grad S is zero": [
        "hessian.sail_derivatives: - -> nothing in -margins",
        "hessian.sail_derivatives: 1.0 -> 0.5 in 1.0 - preferences",
        "bilevel.pairwise: - -> nothing in -gaps",
        "bilevel.pairwise: 1.0 -> 0.5 in 1.0 - preferences",
    ],
    "a constant in all conditions is taken up by the multiplier": [
        "bilevel.stationarity: + -> - in np.log(policy) - ref_log_probs + 1.0",
        "bilevel.stationarity: 1.0 -> 0.5 in np.log(policy) - ref_log_probs + 1.0",
    ],
    "subtracts another constant from the loss, which changes nothing because E S = 0": [
        "hessian.sail_derivatives: - -> + in losses - np.log(2.0)",
        "hessian.sail_derivatives: 2.0 -> 1.0 in losses - np.log(2.0)",
        "losses.log_prob_gradient: - -> + in losses - LOG2",
    ],
    "stands for a positive pair score: only its sign counts": [
        "landscape.collapse_slope: 1.0 -> 0.5 in 1.0 - beaten + effective_radius(beaten, 1.0, rho)",
    ],
    "the scale at which HiGHS sees the costs; the optimum is the same": [
        "linear_program.constants: 1e6 -> 500000.0 in 1000000.0",
    ],
}
EQUIVALENT = {name: reason for reason, names in _BY_REASON.items() for name in names}
