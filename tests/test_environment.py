"""The files that describe the environment agree with each other, and with the environment."""

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from rsail.study.paths import ROOT

# What pip understands inside a requirements file, of what one might want there.
PIP_LINE = re.compile(r"(-e|--editable|-r|--requirement) \S+")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def lock():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="module")
def pins(lock):
    requirements = [Requirement(line) for line in lock]
    return {canonicalize_name(r.name): next(iter(r.specifier)).version for r in requirements}


@pytest.fixture(scope="module")
def conda():
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_every_line_of_the_lock_is_one_exact_version_without_hash(lock, pins):
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line) for line in lock)
    assert len(pins) == len(lock)
    assert "torch==2.13.0" in lock


def test_every_dependency_is_locked_at_a_version_that_satisfies_it(project, pins):
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    for requirement in map(Requirement, wanted):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in requirements.lock"
        assert requirement.specifier.contains(pin), f"{requirement} is locked at {pin}"


def test_the_stated_floors_are_those_of_the_readers_environments(project):
    floors = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    assert floors["torch"].contains("2.11") and floors["transformers"].contains("5.17")
    assert all(SpecifierSet(project["requires-python"]).contains(f"{v}.5") for v in ("3.11", "3.12", "3.13"))


def imported(path):
    """Top-level names of what a module imports from outside the standard library and this package."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        yield from (name.split(".")[0] for name in names)


def test_what_the_package_imports_is_declared(project):
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    called = {"yaml": "pyyaml", "PIL": "pillow"}  # otherwise than what is imported
    found = {name for path in (ROOT / "rsail").rglob("*.py") for name in imported(path)}
    outside = {canonicalize_name(called.get(n, n)) for n in found - set(sys.stdlib_module_names) - {"rsail"}}
    assert outside <= declared, sorted(outside - declared)


def test_conda_builds_the_same_environment_from_the_lock(project, conda):
    python = next(d for d in conda["dependencies"] if isinstance(d, str) and d.startswith("python="))
    assert SpecifierSet(project["requires-python"]).contains(python.removeprefix("python="))
    (pip_lines,) = (d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert any(line.split()[-1] == "requirements.lock" for line in pip_lines)
    for line in pip_lines:
        assert PIP_LINE.fullmatch(line), f"pip refuses {line!r} in a requirements file"


def test_the_running_environment_is_the_locked_one(pins):
    differing = [
        f"{name} {installed(name)} (lock: {pin})" for name, pin in pins.items() if installed(name) != pin
    ]
    own = Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()  # what `make test` installs from the lock
    if differing and not own:
        pytest.skip(f"this environment is not the locked one: {', '.join(differing)}")
    assert not differing, f"{sys.prefix} is not what the lock says; `make` installs it again: {differing}"


def test_other_versions_are_an_error_in_the_environment_of_the_checkout_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(ROOT / ".venv"))
    test_the_running_environment_is_the_locked_one({"numpy": version("numpy")})
    with pytest.raises(AssertionError, match=r"numpy .* \(lock: 0\.0\.1\)"):
        test_the_running_environment_is_the_locked_one({"numpy": "0.0.1"})
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(pytest.skip.Exception):
        test_the_running_environment_is_the_locked_one({"numpy": "0.0.1"})


def installed(name):
    """The installed version without its local part: 2.13.0+cpu is the build of 2.13.0 for machines without a GPU."""
    try:
        return Version(version(name)).public
    except PackageNotFoundError:
        return None


def test_the_readme_gives_both_commands_and_the_ci_runs_them():
    readme, script = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for command in ("make reproduce", "make test"):
        assert command in readme
        assert command in script
