"""Pages that are read on GitHub: what they name is there, what is there they name, and equations survive Markdown."""

import re

import pytest
import yaml

from rsail.study.paths import DATA_DIR, RESULTS_DIR, ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *DATA_DIR.glob("*.md"), *DATA_DIR.glob("models/*.md")]
)


@pytest.mark.parametrize("folder", sorted(path.name for path in RESULTS_DIR.iterdir() if path.is_dir()))
def test_every_folder_of_results_is_explained_with_the_command_that_makes_it(folder):
    (row,) = re.findall(rf"^\| `results/{folder}` \|.*", (DATA_DIR / "README.md").read_text(), re.MULTILINE)
    what, made_by = row.strip("| ").split(" | ")[1:]
    assert len(what) > 20 and re.search("`(make|python -m) ", made_by)
    assert f"`data/results/{folder}`" in (ROOT / "REPRODUCING.md").read_text()


def test_the_list_of_data_names_nothing_that_is_not_there():
    named = re.findall(r"^\| `(\S+)` \|", (DATA_DIR / "README.md").read_text(), re.MULTILINE)
    assert len(named) == len(set(named)) > 10
    assert not [name for name in named if not (DATA_DIR / name).is_dir()]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert not [target for target in local if not (page.parent / target).exists()]


def test_the_configuration_to_start_from_names_its_section():
    path = DATA_DIR / "configurations" / "own_model.yaml"
    section, page = re.search(r'See "(.+)" in (\S+)\.$', path.read_text().splitlines()[0]).groups()
    assert f"## {section}\n" in (ROOT / page).read_text() and yaml.safe_load(path.read_text())["task"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_equations_have_no_backslash_that_markdown_takes_for_an_escape(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    equations = re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, re.DOTALL)
    escaped = [equation for found in equations for equation in found if re.search(r"\\[^A-Za-z]", equation)]
    assert not escaped
    if page.name == "README.md" and page.parent == ROOT:
        assert equations
