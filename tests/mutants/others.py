"""Wrong changes outside `rsail.exact`: losses, training loop, oracles, studies, and constants of figures."""

from __future__ import annotations

from .mutant import ROOT, Mutant

REPRODUCE = "00_reproduce"
DIGESTS = "tests/test_notebooks.py::test_the_digests_in_notebook_00_are_those_of_the_committed_figures"
_NOTEBOOKS = sorted(f"notebooks/{p.name}" for p in ROOT.glob("notebooks/*.ipynb") if p.stem != REPRODUCE)

OTHERS = [
    Mutant(
        "objective penalty: sign",
        "rsail/objectives/losses.py",
        "return loss + radius * beta * pair_score.abs()",
        "return loss - radius * beta * pair_score.abs()",
        ("tests/objectives",),
    ),
    Mutant(
        "objective: no score term",
        "rsail/objectives/estimators.py",
        "return pair_loss + weight * score",
        "return pair_loss + 0.0 * score",
        ("tests/objectives",),
    ),
    Mutant(
        "objective dpo_pro: chi-square with a factor 1/2",
        "rsail/objectives/losses.py",
        "reach = (radius * preference * (1 - preference)).sqrt()",
        "reach = (2 * radius * preference * (1 - preference)).sqrt()",
        ("tests/objectives",),
    ),
    Mutant(
        "objective list loss: the worst ranking is the best one",
        "rsail/objectives/listwise.py",
        "argsort(stable=True, dim=-1)",
        "argsort(stable=True, dim=-1, descending=True)",
        ("tests/objectives",),
    ),
    Mutant(
        "objective dr_dpo: fears large losses",
        "rsail/objectives/reweighting.py",
        '* (-1 if name == "dr_dpo" else 1)',
        "* 1",
        ("tests/objectives",),
    ),
    Mutant(
        "objective chi2_ball: too few losses cut",
        "rsail/objectives/reweighting.py",
        "(second <= (1 + 2 * radius) * first**2)",
        "(second <= (1 + radius) * first**2)",
        ("tests/objectives",),
    ),
    Mutant(
        "objective hypo: baseline over all samples",
        "rsail/objectives/terms.py",
        "/ max(count - 1, 1)",
        "/ count",
        ("tests/objectives",),
    ),
    Mutant(
        "objective vpo: optimism is pessimism",
        "rsail/objectives/terms.py",
        "return sign * weight * beta",
        "return -sign * weight * beta",
        ("tests/objectives",),
    ),
    Mutant(
        "objective sail: sign of the preference part",
        "rsail/objectives/sail.py",
        "- weight / 2 * correction",
        "+ weight / 2 * correction",
        ("tests/objectives",),
    ),
    Mutant(
        "training loop: no score term",
        "rsail/training/objective.py",
        "    moved = losses[own]\n    if config.score_weight > 0:",
        "    moved = losses[own]\n    if config.score_weight < 0:",
        ("tests/training/test_gradient.py", "tests/training/test_options.py"),
    ),
    Mutant(
        "training loop: no penalty",
        "rsail/training/config.py",
        '{"rho": self.rho} if',
        '{"rho": 0 * self.rho} if',
        ("tests/training/test_gradient.py", "tests/training/test_options.py"),
    ),
    Mutant(
        "oracle selector: ties go to one side",
        "rsail/oracles/perturbations.py",
        "(upper - np.swapaxes(upper, -1, -2))",
        "np.where(scores >= 0, 1, -1)",
        ("tests/oracles",),
    ),
    Mutant(
        "oracle selector: sign",
        "rsail/oracles/perturbations.py",
        'preferences - _fraction("radius", radius)',
        'preferences + _fraction("radius", radius)',
        ("tests/oracles",),
    ),
    Mutant(
        "every method: pairs of one response cost nothing",
        "rsail/study/every_method/setting.py",
        "math.log(2) * probs.square()",
        "0.0 * probs.square()",
        ("tests/study/test_every_method.py",),
    ),
    Mutant(
        "every method: labels drawn without their chance",
        "rsail/study/every_method/setting.py",
        "torch.cat([law * chance, law * (1 - chance)])",
        "torch.cat([law / 2, law / 2])",
        ("tests/study/test_every_method.py",),
    ),
    Mutant(
        "every method: kinks spread too far",
        "rsail/study/every_method/solver.py",
        "value + 0.5 * jump",
        "value + jump",
        ("tests/study/test_every_method.py",),
    ),
    Mutant(
        "every method: best and worst in the same place twice",
        "rsail/study/every_method/online.py",
        "- inside[:, :-1, :-1] + inside[:, 1:, :-1]",
        "- inside[:, :-1, :-1]",
        ("tests/study/test_every_method.py",),
    ),
    Mutant(
        "every method: optimism without beta",
        "rsail/study/every_method/analysis.py",
        "ratio = setting.beta * resistance",
        "ratio = resistance",
        ("tests/study/test_every_method.py",),
    ),
    Mutant(
        "convergence runs: lambda_env",
        "rsail/study/convergence.py",
        "return 1.0 / (4.0 * self.curvature)",
        "return 1.0 / (3.0 * self.curvature)",
        ("tests/study/test_convergence.py",),
    ),
    Mutant(
        "convergence runs: gap",
        "rsail/study/convergence.py",
        "envelope - problem.robust_loss(best, RHO),",
        "2.0 * (envelope - problem.robust_loss(best, RHO)),",
        ("tests/study/test_convergence.py",),
    ),
    Mutant(
        "plotted constant: range of one figure",
        "notebooks/01_decomposition.ipynb",
        "np.linspace(-1.5, 3.0, 271)",
        "np.linspace(-1.5, 2.9, 271)",
        (*_NOTEBOOKS, DIGESTS),
        ("one_pair_loss",),
    ),
    Mutant(
        "plotted constant: colors of one module",
        "rsail/study/figures/theory.py",
        "np.linspace(0.0, 0.82, count)",
        "np.linspace(0.0, 0.80, count)",
        ("notebooks/01_decomposition.ipynb", DIGESTS),
        ("example_landscape", "one_pair_loss", "soft_threshold"),
    ),
    Mutant(
        "measured critical radius: another start",
        "rsail/study/critical_radii.py",
        "FLAT = np.array([0.0, -21.0, 0.0])",
        "FLAT = np.array([0.0, 0.0, 0.0])",
        ("tests/study/test_critical_radii.py",),
    ),
    Mutant(
        "plotted constant: levels of the landscape",
        "rsail/study/figures/landscapes.py",
        "LOSS_LEVELS = (-0.01,",
        "LOSS_LEVELS = (-0.02,",
        ("notebooks/02b_landscapes_and_relatives.ipynb", DIGESTS),
        ("collapse_plane",),
    ),
]
