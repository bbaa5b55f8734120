"""Paths, profiles and the README's generated table."""

import dataclasses
import itertools

import pytest

from rsail.study import paths, tables
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


def test_results_replace_what_stood_between_the_markers():
    text = f"head\n{tables.BEGIN}\nold\n{tables.END}\ntail\n"
    assert tables.replace_results(text, "new") == f"head\n{tables.BEGIN}\nnew\n{tables.END}\ntail\n"


@pytest.mark.parametrize("text", ["", tables.BEGIN, tables.END + tables.BEGIN, 2 * tables.BEGIN + tables.END])
def test_a_readme_without_its_markers_is_an_error(text):
    with pytest.raises(ValueError, match="must have the markers"):
        tables.replace_results(text, "new")


def test_without_results_the_table_says_so(tmp_path):
    assert "No results" in tables.readme_results_table(tmp_path)
