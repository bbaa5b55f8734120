"""Plugin of pytest in mutmut's runs: fast tests first, no shrinking, and hypothesis in a forked process."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

# That a test fails is all there is to know. mutmut runs pytest more than once in a process: the same test then has
# another executor, which hypothesis takes for a mistake.
settings.register_profile(
    "mutation",
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.differing_executors],
)
settings.load_profile("mutation")
_durations: dict[str, float] = {}


def pytest_collection_modifyitems(items):
    """Sort by the time that each test took without a mutant: most mutants are noticed by a fast test."""
    statistics = Path("mutmut-stats.json")
    if not _durations and statistics.is_file():
        _durations.update(json.loads(statistics.read_text())["duration_by_test"])
    items.sort(key=lambda item: _durations.get(item.nodeid, 0.0))
