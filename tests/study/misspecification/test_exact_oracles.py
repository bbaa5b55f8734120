"""Oracles against radii, their certificate, the choice of rho, and the committed result files."""

import numpy as np
import pytest

from rsail.oracles import perturbations, sup_deviation
from rsail.study.misspecification import exact_choice, exact_oracles, exact_results
from rsail.study.misspecification.exact_central import solve_path
from rsail.study.misspecification.exact_oracles import ADVERSARY, FLATTEN, Sweep, answers, sweep
from rsail.study.misspecification.exact_setting import MEASURES, make_bench
from rsail.study.misspecification.exact_solver import loss_and_slopes, make_prompts, margin_gradient
from rsail.study.results import ResultError
from rsail.study.sweeps import Cell

SEEDS = (100,)


@pytest.fixture(scope="module")
def committed():
    return exact_results.load()


def test_the_committed_files_hold_the_whole_plan_and_every_descent_converged(committed):
    assert {(o, n) for o, group in committed.items() for n in group} == {
        (o, n) for o in exact_oracles.OBJECTIVES for n in exact_oracles.STORIES
    }
    for group in committed.values():
        for found in group.values():
            assert found.regret.shape == (len(exact_oracles.SWEEP_RHOS), len(exact_oracles.SWEEP_SEEDS))
            assert found.residual.max() < 1e-4 and len(found.deviation) >= 20


@pytest.mark.parametrize("objective", exact_oracles.OBJECTIVES)
def test_a_part_of_the_files_is_computed_again(committed, objective):
    stored = committed[objective]["bias"]
    again = sweep(SEEDS, "bias", (0.15, 0.25), objective=objective)
    where = [int(np.flatnonzero(np.isclose(stored.rhos, rho))[0]) for rho in again.rhos]
    for name in MEASURES:
        assert np.allclose(again.measures[name][:, 0], stored.measures[name][where, 0], atol=1e-4), name
    assert np.allclose(again.certificate[:, 0], stored.certificate[where, 0], atol=1e-6)


def test_the_certificate_holds_where_rho_is_the_deviation_and_stays_below_its_bound(committed):
    for group in committed.values():
        for oracle, found in group.items():
            enough = found.rhos[:, None] >= found.deviation - 1e-9
            assert min(found.certificate[enough].min(), found.first[enough].min()) > -1e-9, oracle
            assert (found.certificate <= found.slack + 1e-9)[enough].all()
    biased = committed["score"]["bias"]
    assert (biased.certificate[0] < -1e-3).all()  # it can fail, and does


def test_the_true_oracle_makes_every_radius_a_cost_without_the_score_term(committed):
    regret = committed["online"]["truth"].regret
    assert regret[0].max() < 1e-6 and (np.diff(regret, axis=0) > -1e-6).all()


def test_the_adversary_of_the_learned_policy_is_at_rest_with_it():
    bench = make_bench(SEEDS)
    rho = 0.02
    path = solve_path(bench, bench.truth, betas=0.1, rhos=rho + ADVERSARY)
    ratio = path.log_ratio[0]
    table = answers(bench, bench.truth, ratio, ADVERSARY)
    assert sup_deviation(table, bench.truth) <= ADVERSARY + 1e-12
    # Away from ties the gradient around what it answers is that of the larger radius around the truth.
    shaken = ratio + 0.3 * np.random.default_rng(0).normal(size=ratio.shape)
    table = answers(bench, bench.truth, shaken, ADVERSARY)
    gradients = []
    for center, radius in ((table, rho), (bench.truth, rho + ADVERSARY)):
        prompts = make_prompts(bench.ref_log_probs, center, beta=0.1, rho=radius)
        gradients.append(margin_gradient(prompts, *loss_and_slopes(prompts, 0.1 * shaken, 0.0)))
    assert np.allclose(*gradients, atol=1e-12)


def test_flattening_is_flips_at_half_the_weight():
    flattened = exact_oracles.observed(SEEDS, "flatten")
    assert np.allclose(flattened, perturbations.flip(make_bench(SEEDS).truth, FLATTEN / 2))


def test_density_of_a_bias_is_one_and_of_flips_less():
    bench = make_bench(SEEDS)
    found = {
        name: exact_oracles.density(bench, exact_oracles.observed(SEEDS, name)) for name in ("bias", "flips")
    }
    assert found["bias"]["mean"] == pytest.approx(0.15) and found["bias"][
        "share near the sup"
    ] == pytest.approx(1)
    assert found["flips"]["mean / sup"] < 0.5 and found["flips"]["share near the sup"] < 0.2


def small_sweep(regret) -> Sweep:
    regret = np.array(regret, dtype=float)
    zeros = np.zeros_like(regret)
    rhos = np.linspace(0.0, 0.2, len(regret))
    return Sweep(
        "bias", "score", rhos, {"regret": regret}, zeros[:, 0], np.array([0.1, 0.2]), zeros, zeros, zeros
    )


def test_regret_between_radii_is_linear_and_beyond_the_last_constant():
    found = small_sweep([[1.0, 2.0], [0.0, 1.0], [4.0, 1.0]])
    assert np.allclose(exact_choice.regret_at(found, [0.05, 0.9]), [0.5, 1.0])
    assert np.allclose(exact_choice.price(found, 0.0).excess, [1.0, 1.0])
    wrong = exact_choice.wrong_radii({"bias": found})["bias"]
    assert np.allclose(wrong[1.0].excess, [0.0, 0.0]) and np.allclose(wrong[0.5].radii, [0.05, 0.1])
    assert exact_oracles.best_radius(found)["saved"].mean == 1.0


def test_rules_see_what_they_say_they_see():
    bench = make_bench(SEEDS)
    pairs = exact_choice.draw(bench, 0, 20_000, 100)
    assert (pairs.first != pairs.second).all() and len(pairs.second_model) == 10_000
    assert abs(pairs.labels.mean() - pairs.truth.mean()) < 0.02
    tables = {name: exact_oracles.observed(SEEDS, name) for name in ("truth", "bias", "flips")}
    seen = {name: exact_choice.ask(pairs, bench, table) for name, table in tables.items()}
    assert np.allclose(seen["truth"].preferences, pairs.truth)
    rules = exact_choice.RULES
    split, known = rules["gold labels by attribute, worst bin"], rules["two annotators, openness known"]
    assert split(seen["bias"]) == pytest.approx(0.15, abs=0.04) and split(seen["truth"]) < 0.08
    assert known(seen["flips"]) > 0.1 and known(seen["bias"]) == 0.0  # a shared bias raises agreement
    assert rules["two annotators"](seen["truth"]) > 0.2
    median, high = (rules[f"second reward model, {words}"] for words in ("median", "90 %"))
    assert median(seen["truth"]) < high(seen["bias"])


def test_a_cell_is_written_and_read_as_the_same_sweep(tmp_path):
    cell = Cell(
        "x", {"oracle": "worst case", "objective": "online", "rhos": [0.0, 0.05], "seeds": [100, 101]}
    )
    metrics, history = exact_results.run_cell(cell)
    found = exact_results._sweep({"config": cell.config, "metrics": metrics, "history": history})
    direct = sweep((100, 101), "worst case", (0.0, 0.05), objective="online")
    assert np.array_equal(found.regret, direct.regret) and np.array_equal(found.first, direct.first)
    assert found.oracle == "worst case" and np.allclose(found.deviation, ADVERSARY)
    with pytest.raises(ResultError, match="does not exist"):
        exact_results.load(tmp_path)


@pytest.mark.parametrize("settings", [{"oracle": "fair"}, {"oracle": "bias", "objective": "dpo"}])
def test_unknown_names_are_refused(settings):
    with pytest.raises(ValueError, match="must be one of"):
        sweep(SEEDS, **settings)
