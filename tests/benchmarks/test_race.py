"""The race runs, tiny, and compares like with like; nothing is asserted about times made here."""

from importlib.util import find_spec

import numpy as np
import pytest

from rsail.study.cost.statistics import ratio_of_medians
from rsail.study.cost.workload import Workload
from rsail.study.paths import RESULTS_DIR
from rsail.study.results import read_result
from tests.benchmarks import race
from tests.benchmarks.contestants import Contestant

TINY = Workload(vocabulary=32, new_tokens=3, prompts=2, hidden=16, layers=1)


def test_a_contestant_makes_steps_of_the_length_asked_for():
    ours = Contestant("rsail", TINY)
    try:
        found = [ours.step() for _ in range(2)]
    finally:
        ours.stop()
    assert not ours.process.is_alive()
    assert all(step["length"] == TINY.new_tokens and step["seconds"] > 0 for step in found)
    assert found[-1]["peak"] >= ours.resident > 2**26


@pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed")
def test_a_tiny_race():
    record = race.race(TINY, pairs=(2, 3), seconds=0.0)
    assert record["pairs"] == 2 and record["length"] == {"rsail": 3.0, "trl": 3.0}
    assert record["interval"][0] <= record["ratio"] <= record["interval"][1]
    assert race.summarize([record])["median_ratio"] == record["ratio"]


def test_the_ratio_of_medians_and_its_interval():
    noise = np.random.default_rng(0).lognormal(sigma=0.1, size=(2, 400))
    ratio, (low, high) = ratio_of_medians(0.5 * noise[0], noise[1])
    assert low < 0.5 < high and low <= ratio <= high and high - low < 0.05
    with pytest.raises(ValueError, match="at least 2"):
        ratio_of_medians([1.0], [1.0])


def test_the_committed_race_shows_what_is_claimed():
    result = read_result(RESULTS_DIR / "cost" / "race.json")
    records, summary = result["history"], result["metrics"]
    assert race.summarize(records) == summary
    assert result["config"]["grid"] == [[w.vocabulary, w.new_tokens, w.threads] for w in race.GRID]
    for record in records:
        assert record["length"] == {name: record["new_tokens"] for name in ("rsail", "trl")}
        ratio, interval = ratio_of_medians(record["seconds"]["rsail"], record["seconds"]["trl"])
        assert (ratio, interval) == (record["ratio"], record["interval"])
    assert summary["largest_upper_bound"] < 1 and summary["median_ratio"] <= 0.8
    assert summary["largest_memory_ratio"] < 1
    assert not result["provenance"]["commit"].endswith("dirty")
