"""Why the mutants that live do: by module and change, and by what several modules have in common."""

from __future__ import annotations

import re

EDGE = "the edge of a tolerance, which no number hits"
IMPORTED = (
    "runs while the module is imported, when mutmut has not yet switched its mutant on; tests/mutants changes the "
    "formulas of this module by hand"
)
SEARCH = "steers a search; where it ends is judged by another criterion"
SAME_CONSTANT = "a constant multiplies a sum over responses, so that the best one is the same for every count"
MESSAGE = "only the text of an error message"
# A change in any module, by a regular expression on its text `old -> new`.
COMMON = (
    (r"strict=True.* -> ", "a guard: both sequences are made from the same one, so their lengths agree"),
    (r"reshape\(-1.* -> .*reshape\(-2", "NumPy takes every negative size for the one it is to find"),
    (
        r"einsum\('[a-z,]+->[a-z]*'.* -> .*einsum\('[A-Z,]+->[A-Z]*'",
        "only the letters of the indices are others",
    ),
    (r"axis=-1\b.* -> (?!.*axis=)", "the last axis is this function's default"),
    (
        r"(argsort|diff|take_along_axis|log_softmax|sort)\(.*axis=-1.* -> ",
        "the last axis is this function's default",
    ),
    (r"device=.* -> ", "the values are compared on a CPU, where this is the default"),
    (
        r"_tolerance(XX)?'|_TOLERANCE'|xatol|XATOL|epsabs|limit=200",
        "the accuracy of a search, beyond what is asked of it",
    ),
    (r"max_steps: int|max_iterations: int|rounds: int", "a limit on the work that no test reaches"),
    (r"full_matrices=False.* -> .*full_matrices=None", "both are false"),
    (r"method='highs'.* -> .*method='HIGHS'", "SciPy reads the name of a method in either case"),
    (
        r"\.to\([a-z.]+\).* -> .*\.to\(None\)",
        "the type is the same already, or is promoted to it by what follows",
    ),
    (r"<= 1e-0?9.* -> .*< 1e-0?9", EDGE),
)
# By module: the function, a part of the change, and the reason.
BY_MODULE: dict[str, tuple[tuple[str, str, str], ...]] = {
    "rsail/exact/ball.py": (
        ("_center", "points[1], np.inf", "another start of the search for the same center"),
        ("_center", "steps[first] <= 1.0", "a full step in either case"),
    ),
    "rsail/exact/bandit.py": (
        ("LinearBandit.draw", "<= expit", "a draw hits the edge of an interval with probability zero"),
        ("_responses", "log_probs)[1]", "both entries are the same"),
        ("_responses", "/ cumulative[:, -1]", "the sum of the probabilities is 1 but for rounding"),
    ),
    "rsail/exact/bilevel.py": (
        (
            "pairwise",
            "(2.0 - preferences)",
            "adds a multiple of the margin, antisymmetric in the pair: its mean is zero",
        ),
    ),
    "rsail/exact/descent.py": (
        ("_step", "np.zeros(None)", "a place holder: it is empty or one number that is not used"),
    ),
    "rsail/exact/estimators.py": (
        ("between_prompts", "pair_kernel(term, 1.0)", "no constant baseline changes a mean: E S = 0"),
        ("independent_pairs_covariance", "_constant(terms, baseline, 3)", SAME_CONSTANT),
        ("best_count", "_constant(terms, baseline, 3)", SAME_CONSTANT),
        ("independent_pairs_covariance", "(count / 2)", "the same number: the count is even"),
        ("_best", "count, 2))", "a common factor of the three variances: the minimum is at the same place"),
        ("_best", "else 1.0", "where this is used every constant gives the same variance"),
    ),
    "rsail/exact/exploration.py": (
        ("_ascend", "direction * np.linalg.norm(direction)", "the length of the start of a search"),
        ("_ascend", "range(1001)", "a limit on the work that no test reaches"),
        ("_tilt", "3.0 * peak", "another start of the search for the same root"),
    ),
    "rsail/exact/extremal.py": (("projection_bound", "gap > length", "both branches agree at the edge"),),
    "rsail/exact/family.py": (
        ("logit", "", IMPORTED),
        ("step", "", IMPORTED),
        ("soft", "", IMPORTED),
        ("soft_threshold", "", IMPORTED),
        ("Relative.latex", "rest.has(None)", "how a formula is written, not what it says"),
    ),
    "rsail/exact/game.py": (
        ("best_against_mixture", "axis=+1", "the array has two axes: the last one is axis 1"),
        (
            "zero_sum_nash",
            "bounds=None",
            "the value of an antisymmetric game is zero, so no variable is below zero",
        ),
    ),
    "rsail/exact/game_uncertainty.py": (
        ("pessimistic_nash", "2.0 / size", SEARCH),
        ("pessimistic_nash", "'FTOL'", SEARCH),
        ("pessimistic_nash", "'MAXITER'", SEARCH),
        ("pessimistic_nash", "tol=1.0000", SEARCH),
    ),
    "rsail/exact/gibbs.py": (("kl_per_prompt", "axis=+1", "the array has two axes: the last one is axis 1"),),
    "rsail/exact/hessian.py": (
        ("sail_derivatives", "losses + np.log(2.0)", "subtracts another constant from the loss: E S = 0"),
    ),
    "rsail/exact/linear_program.py": (
        (
            "robust_loss_linear_program",
            "antisymmetric",
            "with and without the equations the largest value is the same",
        ),
        (
            "worst_case_linear_program",
            "antisymmetric or True",
            "with and without the equations the value is the same",
        ),
        (
            "_antisymmetry",
            "csr_array(entries)",
            "the shape follows from the entries: the last one is in the last column",
        ),
    ),
    "rsail/exact/losses.py": (
        ("worst_case_preferences", "1e-09 * max(2.0", "a tolerance twice as large for scores below 2"),
        ("worst_case_preferences", "initial=1.0", "the larger of 1 and the scores in either case"),
        ("log_prob_gradient", "losses + LOG2", "subtracts another constant from the loss: E S = 0"),
        ("effective_radius", "scores >= 0", "at h = 0 it is multiplied by |h| or sign(h), which are zero"),
        ("_enumerate", "shape[:3]", "only the first two sizes are read"),
        ("endpoint_loss", "shape[:3]", "only the first two sizes are read"),
    ),
    "rsail/exact/moreau.py": (
        ("solve_prox", "np.asarray(start)", "the type is promoted by what follows"),
        ("project", "dtype=None", "the type is promoted by what follows"),
        ("solve_prox", "1.00000000000001 *", SEARCH),
        ("snap", "axis=None", "a common length of all normals spans the same space"),
    ),
    "rsail/exact/newton.py": (
        ("minimize", "(point)[:3]", "SciPy reads the first two"),
        ("minimize", "options={", SEARCH + " (Newton's steps follow)"),
        ("minimize", "'maxiter'", "a limit on the work that no test reaches"),
        ("solve", "max_steps: int", "a limit on the work that no test reaches"),
        ("solve", "else 61", "a limit on the work that no test reaches"),
        ("solve", "new_size < ", EDGE),
        ("solve", "0.0001 / length", SEARCH + " (the residual)"),
        ("solve", "rcond=", SEARCH + " (the residual)"),
        ("solve", "np.arange(2 if", SEARCH + " (the residual)"),
    ),
    "rsail/exact/pessimism.py": (
        ("version_space_pessimism", "prompt_probs=None", "the value steers the search, its gradient ends it"),
        (
            "_minimize_on_ball",
            "tolerance=",
            "Newton's steps go on past the tolerance until rounding stops them",
        ),
        ("_minimize_on_ball", "xtol=", SEARCH + " (a residual)"),
    ),
    "rsail/exact/planning.py": (
        ("clipped_surrogate_ascent", "axis=+1", "the array has two axes: the last one is axis 1"),
    ),
    "rsail/exact/problem.py": (
        ("FiniteProblem.__post_init__", "shape[:3]", "only the first two sizes are read"),
        ("FiniteProblem.log_probs", "axis=+1", "the array has two axes: the last one is axis 1"),
    ),
    "rsail/exact/radius.py": (
        ("_pairs", "np.triu_indices(responses)", "a response against itself does not move and is dropped"),
        ("_pairs", "axis=None", "a pair that does not move adds nothing"),
        ("_steepest", "vstack([length])", "HiGHS converts the matrix"),
        ("_steepest", "< 1e-11", EDGE),
    ),
    "rsail/exact/rejection.py": (
        (
            "best_of_n_estimate",
            "np.argsort(proxy)",
            "equal scores have the same mean, so their order does not matter",
        ),
    ),
    "rsail/exact/sail_family.py": (("_sum", "axis=+1", "the weights are symmetric in both responses"),),
    "rsail/exact/subdifferential.py": (
        ("pieces", "axis=None", "keeps exp from overflowing; a factor that the normalization takes out"),
        ("box_least_squares", "free & barred", "a guard against rounding in an active-set method"),
        ("box_least_squares", "bool(None)", "a guard against rounding in an active-set method"),
        ("_settle", "rcond=None", "the cut of dependent columns; the default is of the same order"),
    ),
    "rsail/exact/ties.py": (
        (
            "log_linear_scores",
            "",
            "the scale of a tolerance of 1e-12, some orders above rounding and below any score",
        ),
    ),
    "rsail/objectives/estimators.py": (
        ("baseline", "(count - 1) / 2", "the same number: the product is even"),
    ),
    "rsail/objectives/listwise.py": (
        ("plackett_luce_loss", "wrong = ", MESSAGE),
        ("plackett_luce_loss", "rong = ", MESSAGE),
        ("plackett_luce_loss", "ranking.tolist()", MESSAGE),
    ),
    "rsail/objectives/losses.py": (
        (
            "robust_sail_loss",
            "pair_score >= 0",
            "at h = 0 the room is multiplied by |h| = 0, whose derivative is 0",
        ),
        (
            "dpo_pro_loss",
            "pair_score >= 0",
            "at h = 0 the room is multiplied by |h| = 0, whose derivative is 0",
        ),
    ),
    "rsail/objectives/regression.py": (("w_rebel_loss", "[+1.0]", "only the norm counts"),),
    "rsail/objectives/released.py": (
        (
            "chi2_without_one",
            "losses.max()[None] - 1",
            "at the largest loss the objective is smaller than above it",
        ),
        ("chi2_without_one", "* root, 2)", "what is divided is zero"),
    ),
    "rsail/objectives/reweighting.py": (
        ("weights", "/ (-1 if", "a factor of 1 or -1 is its own inverse"),
        ("group_means", "mass, 2", "what is divided is zero"),
        ("_gaps", ".max(), 1)", "a loss without probability has no weight, whatever its gap"),
        ("_divergence", "probs, 2)", "x log y is zero at x = 0"),
        ("_kl_ball", "-gaps.min(), 2", "another start of the bisection"),
        ("_kl_ball", "47.0", "another start of the bisection"),
        ("_kl_ball", ">= radius", "the edge of an interval that is halved"),
        ("_chi2_ball", "second < ", "at equality the loss has no weight on either side"),
        ("_chi2_ball", "variance, 2", "what is multiplied is zero"),
        ("_tv_ball", "equal, 2", "what is divided and multiplied has no probability"),
    ),
    "rsail/objectives/sail.py": (("sail_surrogate", "or True", "what is added is zero at weight zero"),),
}


def reason(module: str, change: str) -> str | None:
    """The reason for a survivor of the record; None if there is none yet."""
    function, _, text = change.partition(": ")
    for name, part, why in BY_MODULE.get(module, ()):
        if name == function and part in text:
            return why
    return next((why for pattern, why in COMMON if re.search(pattern, text)), None)
