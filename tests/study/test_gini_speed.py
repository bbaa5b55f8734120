"""The times of the penalty: the routes agree, and the committed file supports what is said about it."""

import numpy as np
import pytest

from rsail.exact import gini_mean_difference
from rsail.study import gini_speed
from rsail.study.paths import RESULTS_DIR
from rsail.study.results import read_result


def test_both_routes_agree():
    law = gini_speed.prompt(300, np.random.default_rng(0))
    assert abs(gini_speed.all_pairs(*law) - gini_mean_difference(*law)) < 1e-13


def test_a_small_measurement_has_every_entry():
    records = gini_speed.measure((4, 8, 16), largest_table=8, repeats=1)
    assert [record["size"] for record in records] == [4, 8, 16]
    assert records[-1]["pairs"] is None and records[0]["pairs"] > 0
    assert gini_speed.summarize(records)["speedup_at"] == 8


def test_the_fitted_exponent_of_a_power_law():
    sizes = np.array([10, 20, 40, 80])
    assert gini_speed.fitted_exponent(sizes, 3.0 * sizes**1.7) == pytest.approx(1.7)


def test_committed_times_show_what_is_claimed():
    result = read_result(RESULTS_DIR / gini_speed.STUDY / "cpu.json")
    assert result["study"] == gini_speed.STUDY
    summary = gini_speed.summarize(result["history"])
    assert summary == pytest.approx(result["metrics"], rel=1e-12)
    assert summary["speedup"] > 100 and summary["largest_difference"] < 1e-13
    assert summary["exponent_sorted"] < 1.3 < 1.8 < summary["exponent_pairs"]
    assert not result["provenance"]["commit"].endswith("dirty")


def test_sorting_is_faster_here_too():
    records = gini_speed.measure((2048,), repeats=2)
    assert records[0]["pairs"] > 5 * records[0]["sorted"]
