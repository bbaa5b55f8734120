"""Paths and profiles."""

import dataclasses
import itertools

import pytest

from rsail.study import paths
from rsail.study.profiles import PROFILES, get_profile


def test_paths_point_into_this_checkout():
    assert (paths.ROOT / "rsail" / "__init__.py").exists()
    assert paths.FIGURES_DIR.parent == paths.DATA_DIR.parent == paths.BUILD_DIR.parent == paths.ROOT


def test_outside_a_checkout_the_error_gives_the_remedy(tmp_path):
    with pytest.raises(RuntimeError, match=r"needs a checkout.*no pyproject\.toml and no notebooks.*clone"):
        paths.find_root(tmp_path / "site-packages" / "rsail")


def test_an_unknown_profile_names_the_options():
    with pytest.raises(ValueError, match="profile must be one of full, gpu, quick, got 'quik'"):
        get_profile("quik")


def test_profiles_grow_and_cannot_be_changed():
    sizes = [
        [v for v in dataclasses.astuple(get_profile(name)) if isinstance(v, int)]
        for name in ("quick", "full", "gpu")
    ]
    for smaller, larger in itertools.pairwise(sizes):
        assert all(a <= b for a, b in zip(smaller, larger, strict=True))
    assert all(name == profile.name for name, profile in PROFILES.items())
    assert get_profile("quick").training_steps <= 10
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_profile("quick").seeds = 1
