"""Comparisons of runs on made-up results whose answers are known."""

import numpy as np
import pytest

from rsail.study.misspecification import analysis as lm
from rsail.study.results import ResultError
from rsail.study.statistics import Interval

GOLD, FILLER, KL = lm.GOLD, lm.FILLER, lm.KL


def run(kl, gold, filler, **more) -> dict:
    """A result with these values at steps 0, 10, ...; `more`: further metrics, rho and loss of its settings."""
    rows = [
        {"step": 10 * t, KL: k, GOLD: g, FILLER: f, "objective/entropy": 30.0, "robust/identical_pairs": 0.0}
        for t, (k, g, f) in enumerate(zip(kl, gold, filler, strict=True))
    ]
    config = {"rho": more.pop("rho", 0.0), "loss": more.pop("loss", "robust_sail")}
    rows = [row | {name: values[t] for name, values in more.items()} for t, row in enumerate(rows)]
    return {"config": config, "metrics": rows[-1], "history": {"evaluations": rows}}


def runs(**settings) -> lm.Runs:
    return lm.Runs("made up", settings, {})


def test_a_sweep_is_interpolated_in_log_kl_at_each_seeds_target():
    def at(kl):  # gold and filler are linear in log KL
        return run([0, kl], [1, 1 + np.log(kl)], [2, 2 + 3 * np.log(kl)])

    sweep = runs(a=[at(0.1), at(0.2)], b=[at(1.0), at(2.0)], c=[at(5.0), at(9.0)])
    found = lm.along_betas(sweep, ["a", "b", "c"], np.array([0.4, 12.0]))
    np.testing.assert_allclose(found.gold, [np.log(0.4), np.log(9.0)])
    np.testing.assert_allclose(found.spurious, [3 * np.log(0.4), 3 * np.log(9.0)])
    assert found.extrapolated == 1


def at(kl, filler):
    """A seed that ends at this KL, with gold log KL and `filler` more words than the reference."""
    return run([0, kl], [1, 1 + np.log(kl)], [2, 2 + filler])


def power_law(share: float = 1.0) -> lm.Runs:
    """Five settings, two seeds, whose filler words are 2 KL^share."""
    return runs(**{name: [at(k, 2 * k**share) for k in (2.0**-i, 3.0**-i)] for i, name in enumerate("abcde")})


@pytest.mark.parametrize("interpolation, share", [("log KL and log filler", 0.5), ("KL", 1.0)])
def test_an_interpolation_has_no_error_where_its_line_is_the_truth(interpolation, share):
    made, target = power_law(share), np.array([0.3, 0.2])
    found = lm.along_betas(made, list("abcde"), target, interpolation)
    np.testing.assert_allclose(found.spurious, 2 * target**share)
    errors = lm.held_out(made, list("abcde"), interpolation)
    assert list(errors) == ["b", "c", "d"] and all(np.abs(error).max() < 1e-12 for error in errors.values())


def test_a_line_in_log_kl_lies_above_what_grows_with_kl():
    made = power_law()
    error = lm.held_out(made, list("abcde"), lm.PLANNED)["b"]  # halfway in log KL between 1 and KL^2
    np.testing.assert_allclose(error, [(2 + 0.5) / 2 - 1, (2 + 2 / 9) / 2 - 2 / 3])
    target = np.array([0.3, 0.2])
    planned = lm.along_betas(made, list("abcde"), target)
    assert (planned.spurious > 2 * target).all()
    np.testing.assert_allclose(planned.gold, np.log(target))


def test_the_logarithm_of_filler_words_that_are_not_there_is_refused():
    made = runs(a=[at(1.0, 0.5)], b=[at(2.0, 0.0)])
    with pytest.raises(ValueError, match="spurious must be above 0 to take its logarithm"):
        lm.along_betas(made, ["a", "b"], np.array([1.5]), "log KL and log filler")
    with pytest.raises(ValueError, match="interpolation must be one of"):
        lm.along_betas(made, ["a", "b"], np.array([1.5]), "KL squared")


def test_seeds_that_pass_a_kl_before_their_first_evaluation_are_counted():
    curve = run([0.0, 1.0, 4.0], [0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    made = runs(a=[curve, curve, curve])
    assert lm.before_first_evaluation(made, "a", np.array([0.5, 1.0, 1.5])) == 2


def test_early_stopping_is_where_the_curve_first_reaches_the_target():
    curve = run([0.0, 1.0, 4.0, 0.5, 9.0], [0.0, 1.0, 2.0, 7.0, 9.0], [1.0, 2.0, 3.0, 8.0, 9.0])
    found = lm.along_training(runs(a=[curve, curve, curve]), "a", np.array([0.25, 2.25, 16.0]))
    np.testing.assert_allclose(found.gold, [0.5, 1.5, 9.0])
    np.testing.assert_allclose(found.spurious, [0.5, 1.5, 8.0])
    assert found.extrapolated == 1


def test_gold_that_was_lost_is_taken_from_the_best_evaluation_of_the_mean():
    first = run([0, 1, 2], [0, 3, 1], [0, 1, 2], **{"proxy/preference": [0.5, 0.6, 0.7]})
    second = run([0, 1, 2], [0, 2, 4], [0, 1, 3], **{"proxy/preference": [0.5, 0.6, 0.9]})
    found = lm.over_optimisation(runs(a=[first, second]), "a")
    assert found["lost"].mean == pytest.approx(0.0)  # means 0, 2.5, 2.5: the first of two equal ones
    assert found["spurious"].mean == pytest.approx(2.5)
    assert found["proxy"].mean == pytest.approx(0.3)


@pytest.mark.parametrize(
    "entropy, identical, gone", [(30, 0, False), (14, 0, True), (30, 0.3, True), (16, 0.2, False)]
)
def test_collapse(entropy, identical, gone):
    made = run(
        [0, 1],
        [0, 1],
        [0, 1],
        **{"objective/entropy": [30, entropy], "robust/identical_pairs": [0, identical]},
    )
    assert list(lm.collapsed(runs(a=[made]), "a")) == [gone]


def test_certificates_are_of_the_robust_loss_alone_and_after_the_first_step():
    columns = {"oracle/deviation": [0.1, 0.2, 0.1], "robust/certificate_gap": [-1e-17, -1.0, 0.5]}
    robust = run([0, 1, 2], [0, 1, 2], [0, 1, 2], rho=0.15, **columns)
    other = run([0, 1, 2], [0, 1, 2], [0, 1, 2], loss="dpo", **columns)
    found = lm.certificates([runs(a=[robust, other])])
    np.testing.assert_array_equal(found["rho"], [0.15, 0.15])
    np.testing.assert_array_equal(found["deviation"], [0.2, 0.1])
    np.testing.assert_array_equal(found["gap"], [-1.0, 0.5])


def test_less_spurious_compares_distances_from_the_reference_on_either_side_of_it():
    robust, other = np.array([-1.0, 0.5, -0.2]), np.array([2.0, -3.0, -1.0])
    found = lm.less_spurious(robust, other)
    assert found.mean == pytest.approx((1.0 + 2.5 + 0.8) / 3)
    assert lm.less_spurious(-robust, -other) == found


def test_a_verdict_needs_an_interval_without_zero_or_a_small_p_value():
    wide, narrow = Interval(1.0, -1.0, 3.0, 5), Interval(-1.0, -2.0, -0.5, 5)
    assert (lm.verdict(wide), lm.verdict(narrow), lm.verdict(-narrow)) == ("undecided", "less", "more")
    assert (lm.verdict(narrow, 0.06), lm.verdict(wide, 0.05)) == ("undecided", "more")


def test_a_setting_with_a_failed_run_has_no_numbers():
    made = lm.Runs("made up", {"a": [{"metrics": {"error": "E"}}]}, {"a_seed20": "E: it diverged"})
    with pytest.raises(ResultError, match=r"1 run\(s\) of made up/a failed: E: it diverged"):
        made.final("a", GOLD)


def test_the_reference_must_be_one():
    with pytest.raises(ValueError, match="the same before training"):
        runs(a=[run([0, 1], [0, 1], [0, 1]), run([0, 1], [5, 1], [0, 1])]).gain("a")


def test_the_chosen_value_has_the_most_gold(monkeypatch):
    monkeypatch.setattr(lm, "COMPARED", {"m": ("dpo", {}, "beta", (0.1, 0.5))})
    found = runs(**{"m_0.1": [run([0, 1], [0, 1], [0, 1])], "m_0.5": [run([0, 1], [0, 2], [0, 1])]})
    assert lm.chosen(found) == {"m": 0.5}
