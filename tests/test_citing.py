"""What others cite and archive by: valid, and of one version, which `rsail.__version__` states."""

import json
import re

import jsonschema
import pytest
import yaml

import rsail
from rsail.study.paths import ROOT


@pytest.fixture(scope="module")
def citation():
    # The schema wants dates as text, which YAML would make dates.
    return yaml.load((ROOT / "CITATION.cff").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


@pytest.fixture(scope="module")
def archive():
    return json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))


def check(citation):
    schema = json.loads((ROOT / "tests" / "schemas" / "cff-1.2.0.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).validate(citation)


def test_the_citation_is_valid(citation):
    check(citation)


@pytest.mark.parametrize(
    "change",
    [
        {"license": "Apache"},
        {"authors": []},
        {"type": "compendium"},
        {"date-released": "2026-13"},
        {"year": "2026"},
    ],
)
def test_a_wrong_citation_is_noticed(citation, change):
    with pytest.raises(jsonschema.ValidationError):
        check(citation | change)


def test_one_version(citation, archive):
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["version"] == rsail.__version__
    assert re.findall(r"^## (\S+)$", changes, re.MULTILINE)[0] == rsail.__version__
    assert "version" not in archive, "the archive takes it from the release"
    stated = [path for path in (ROOT / "rsail").rglob("*.py") if "__version__ =" in path.read_text()]
    assert stated and {path.name for path in stated} <= {"__init__.py", "release.py"}
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project and 'attr = "rsail.__version__"' in project


def test_the_archive_says_what_the_citation_says(citation, archive):
    assert archive["upload_type"] == citation["type"] == "software"
    assert archive["title"] == citation["title"] and archive["license"] == citation["license"]
    assert archive["keywords"] == citation["keywords"]
    assert [entry["name"] for entry in archive["creators"]] == [
        entry["name"] for entry in citation["authors"]
    ]
    (related,) = archive["related_identifiers"]
    assert related["identifier"] == "arXiv:2602.20457" == citation["references"][0]["notes"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_public_ci_does_what_the_script_does():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    script = (ROOT / ".ci" / "run").read_text()
    commands = [line for line in script.splitlines() if re.match(r"(make|git diff) ", line)]
    steps = [step["run"] for step in workflow["jobs"]["reproduce"]["steps"] if "run" in step]
    assert len(commands) == 3 and steps[: len(commands)] == commands
    versions = [workflow["jobs"]["reproduce"]["steps"][1]["with"]["python-version"]]
    versions += workflow["jobs"]["tests"]["strategy"]["matrix"]["python-version"]
    assert versions == ["3.11", "3.12", "3.13"]
