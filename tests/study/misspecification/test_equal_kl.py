"""The comparisons at equal KL on the committed runs, against what made the numbers doubtful."""

import numpy as np
import pytest

from rsail.study.misspecification import analysis as lm
from rsail.study.misspecification import equal_kl, summary
from rsail.study.misspecification.plan import SEEDS


@pytest.fixture(scope="module")
def central():
    return lm.load("central")


@pytest.mark.parametrize("objective", summary.OBJECTIVES)
def test_the_planned_interpolation_errs_where_the_logarithm_of_filler_does_not(central, objective):
    rows = equal_kl.interpolations(central, objective)
    planned, better = rows[lm.PLANNED], rows["log KL and log filler"]
    assert planned["nearest"] == better["nearest"] == 0.8
    assert planned["errors"][0.8].low > 0 and not better["errors"][0.8].excludes(0)
    assert better["error"] == min(row["error"] for row in rows.values())
    assert rows["KL"]["removed"].mean < better["removed"].mean < planned["removed"].mean
    robust = f"{objective}_rho0.15"
    found = lm.along_betas(central, summary.BETA_SWEEP[objective], central.final(robust, lm.KL))
    assert planned["removed"] == lm.less_spurious(central.spurious(robust), found.spurious)
    np.testing.assert_allclose(planned["gold"].mean, (central.gain(robust) - found.gold).mean())


def test_most_stopped_policies_are_read_off_before_the_first_evaluation(central):
    rows = equal_kl.stopped_early(central, lm.load("methods"), "robust online DPO")
    assert not any("robust" in name for name in rows)
    assert sum(row["before"] for row in rows.values()) > len(rows) * len(SEEDS) / 2
    ends = equal_kl.trained_to_the_end(central, "robust online DPO")
    gold, _, outside = ends["online DPO"]
    assert outside == 0 and gold.high < rows["online DPO, beta 0.4"]["gold"].low
    planned = equal_kl.interpolations(central, "online")[lm.PLANNED]
    assert (gold, ends["online DPO"][1]) == (planned["gold"], planned["removed"])
