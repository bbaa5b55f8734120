"""The central figure's exact half: the pilot's values, equal KL, radii, the flow and its figure's data."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from rsail.study.misspecification import exact_basins, exact_central, exact_radius, exact_training
from rsail.study.misspecification.exact_central import Path, at_kl, solve_path
from rsail.study.misspecification.exact_setting import Bench, make_bench, measure, pilot_bench
from rsail.study.misspecification.exact_solver import hessians, make_prompts

# A pilot of this study: one random problem of 8 prompts and 12 responses, normal rewards, bias 0.15, beta and rho as
# given; gold on prompts with a preference, attribute and KL on prompts without.
PILOT = {
    (0.1, 0.0): (0.919, 0.800, 0.861),
    (0.5, 0.0): (0.840, 0.686, 0.235),
    (1.2, 0.0): (0.627, 0.594, 0.045),
    (0.1, 0.10): (0.923, 0.745, 0.470),
    (0.1, 0.15): (0.914, 0.519, 0.000),
    (0.1, 0.25): (0.917, 0.516, 0.000),
}


@pytest.fixture(scope="module")
def pilot():
    bench = pilot_bench(range(10))
    betas, rhos = np.array(list(PILOT)).T
    return bench, solve_path(bench, bench.biased, betas=betas, rhos=rhos)


@pytest.mark.parametrize("row", range(len(PILOT)))
def test_the_pilot_is_an_ordinary_problem_of_its_family(pilot, row):
    # Its random numbers are not known, so that its values are compared with the spread over problems.
    bench, path = pilot
    attribute = bench.per_problem((np.exp(bench.ref_log_probs) * bench.attribute).sum(1), bench.open_prompts)
    found = path.measures["gold"], path.measures["spurious"] + attribute, path.measures["kl_open"]
    for values, expected in zip(found, list(PILOT.values())[row], strict=True):
        assert values[row].min() - 1e-3 <= expected <= values[row].max() + 1e-3
        spread = max(values[row].std(ddof=1), 1e-3)
        assert abs(expected - values[row].mean()) < 3 * spread


def test_at_the_bias_nothing_spurious_is_left_and_gold_is_kept(pilot):
    _, path = pilot
    nominal, robust, larger = 0, 4, 2
    assert np.abs(path.measures["spurious"][robust]).max() < 1e-4
    assert np.abs(path.measures["kl_open"][robust]).max() < 1e-6
    assert path.measures["spurious"][larger].min() > 0.03
    gold = path.measures["gold"]
    assert gold[robust].mean() > gold[larger].mean() and abs((gold[robust] - gold[nominal]).mean()) < 0.2


def made_up_path(kl, gold) -> Path:
    measures = {"kl": np.array(kl, dtype=float)[:, None], "gold": np.array(gold, dtype=float)[:, None]}
    nothing = np.zeros(len(kl))
    return Path(nothing, nothing, measures, nothing, nothing, nothing)


def test_equal_kl_interpolates_in_the_root_of_the_first_crossing():
    path = made_up_path([4.0, 1.0, 0.25, 1.0, 0.0], [2.0, 1.0, 0.5, 9.0, 0.0])
    found = at_kl(path, "gold", [4.0, 2.25, 1.0, 0.36])
    assert np.allclose(found[:, 0], [2.0, 1.5, 1.0, 0.6])
    assert np.isnan(at_kl(path, "gold", [5.0])).all()
    assert np.isnan(at_kl(made_up_path([4.0, 1.0], [1.0, 1.0]), "gold", [0.5])).all()


def test_the_two_paths_begin_at_the_same_learner_and_part_at_equal_kl():
    bench = make_bench(range(100, 103))
    rhos, betas = (0.0, 0.1, 0.15, 0.2, 0.35), (0.1, 0.3, 0.6, 1.0, 3.0)
    paths = {
        "rho": solve_path(bench, bench.biased, betas=0.1, rhos=rhos, score_term=False),
        "beta": solve_path(bench, bench.biased, betas=betas, rhos=0.0, score_term=False),
    }
    assert np.allclose(paths["rho"].log_ratio[0], paths["beta"].log_ratio[0], atol=1e-6)
    equal = exact_central.equal_kl(paths)
    spurious = equal["spurious"]
    assert (spurious["rho"]["mean"] <= spurious["beta"]["mean"] + 1e-9).all()
    apart = exact_central.differences_at(paths, 0.15)
    assert apart["spurious"].high < -0.05 and apart["gold"].low > 0
    data = exact_central.figure_data(bench, {"online": paths})["online"]
    assert list(data["rho"]["value"]) == list(rhos) and np.allclose(
        data["rho"]["spurious"]["mean"][2], 0, atol=1e-4
    )
    assert np.allclose(data["rho"]["gold"]["mean"][-1], 0, atol=0.02)  # at a large radius nothing is learned


def test_measures_of_the_reference_and_of_a_known_policy():
    ref = np.log(np.array([[0.5, 0.5], [0.25, 0.75]]))
    bench = Bench(1, np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]), ref)
    nothing = measure(bench, np.zeros((2, 2)))
    assert nothing["gold"] == 0.5 and nothing["spurious"] == nothing["kl"] == 0.0
    moved = np.log(np.array([[0.9, 0.1], [0.5, 0.5]]))
    found = measure(bench, moved - ref)
    assert found["gold"] == pytest.approx(0.9) and found["spurious"] == pytest.approx(0.25)
    kl = 0.5 * np.log(2.0) + 0.5 * np.log(0.5 / 0.75)
    assert found["kl_open"] == pytest.approx(kl)


def test_critical_radii_are_the_known_ones_and_where_learning_stops():
    rewards = np.array([[0.4, 0.0, -0.4], [1.0, 0.0, -1.0]])
    bench = Bench(1, rewards, np.zeros((2, 3)), np.full((2, 3), -np.log(3)))
    found = exact_radius.radii(bench, bench.truth, np.arange(2), steps=12)
    assert np.allclose(found.local, [0.14433, 0.30593], atol=1e-5)
    assert np.allclose(found.critical, [0.18997, 0.38080], atol=1e-5)
    assert np.allclose(found.left_reference, found.local_clipped, atol=1e-3)
    assert np.allclose(found.stayed_away, found.critical, atol=1e-3)


def test_the_flow_is_that_of_an_adaptive_integrator_and_lowers_the_loss():
    bench = make_bench((100,))
    times = np.logspace(-1, 2.5, 26)
    prompts = make_prompts(bench.ref_log_probs[:1], bench.biased[:1], beta=0.1, rho=0.05)
    width = 1e-3
    policy = np.exp(prompts.ref_log_probs + exact_training.flow(prompts, times, width=width))[:, 0]
    found = solve_ivp(
        lambda _, x: -hessians(prompts, x[None], width)[0][0],
        (0, times[-1]), np.zeros(12), method="LSODA", t_eval=times, rtol=1e-8, atol=1e-10,
        jac=lambda _, x: -hessians(prompts, x[None], width)[1][0],
    )  # fmt: skip
    expected = np.array([np.exp(prompts.log_probs(x[None]))[0] for x in found.y.T])
    assert np.abs(policy - expected).max() < 2e-3


def test_training_measures_start_at_the_reference_and_the_proxy_rises_above_the_truth():
    bench = make_bench((100, 101))
    training = exact_training.over_time(bench, bench.biased, (0.0, 0.15), times=np.logspace(-3, 2.5, 20))
    nominal, robust = training.measures[0.0], training.measures[0.15]
    assert np.allclose(nominal["proxy"][0], 0.5, atol=1e-3) and np.allclose(nominal["kl"][0], 0, atol=1e-5)
    assert (nominal["proxy"][-1] > nominal["win"][-1] + 0.02).all()
    assert (robust["proxy"] - robust["win"] < nominal["proxy"] - nominal["win"] + 1e-9)[-1].all()
    assert exact_training.lost(np.array([[0.0], [2.0], [1.5]])) == 0.5
    assert training.rise < 1e-12


def test_basins_find_no_end_above_the_descents_own():
    bench = make_bench((100,))
    found = exact_basins.basins(bench, bench.biased, rho=0.15, starts=2)
    assert 0 <= found.lower_elsewhere <= 1 and found.as_training >= 0.5
    for end in (found.lowest, found.from_reference, found.training):
        assert np.abs(end["spurious"]).max() < 1e-4
