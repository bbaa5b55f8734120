"""The release archive, of a small commit with real sources: same bytes twice, and every fault is noticed."""

import hashlib
import json
import shutil
import subprocess
import tarfile

import nbformat
import pytest

import rsail
from rsail.study import release
from rsail.study.paths import ROOT


def git(root, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A commit of the package, the tests of one module and one small notebook."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "rsail", root / "rsail", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests" / "exact").mkdir(parents=True)
    tests = (
        "tests/conftest.py",
        "tests/exact/__init__.py",
        "tests/exact/problems.py",
        "tests/exact/test_gini.py",
    )
    for name in (*tests, "pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    # Passes only where the sources beside the tests are the ones imported.
    (root / "tests" / "test_place.py").write_text(
        "from pathlib import Path\nimport rsail\n"
        "def test_place():\n    assert Path(rsail.__file__).parents[1] == Path(__file__).parents[1]\n"
    )
    (root / "notebooks").mkdir()
    cells = [
        nbformat.v4.new_markdown_cell("# Small", id="a"),
        nbformat.v4.new_code_cell("1 + 1", id="b", execution_count=1),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "notebooks" / "01_small.ipynb")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "all")
    return root


@pytest.fixture(scope="module")
def archive(checkout, tmp_path_factory):
    return release.make_archive(tmp_path_factory.mktemp("release"), checkout)


@pytest.fixture
def unpacked(archive, tmp_path):
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / f"rsail-{rsail.__version__}"


def test_an_archive_verifies_from_an_empty_folder_with_its_own_sources(archive, checkout):
    record = release.verify_archive(archive, ["tests/exact/test_gini.py", "tests/test_place.py"])
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True)
    assert record["version"] == rsail.__version__ and record["commit"] == head.stdout.strip()


def test_the_same_commit_gives_the_same_bytes(archive, checkout, tmp_path):
    again = release.make_archive(tmp_path / "again", checkout)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (archive, again)}
    assert len(digests) == 1
    assert [path.name for path in (tmp_path / "again").iterdir()] == [again.name]


def test_what_is_in_it(unpacked, checkout):
    tracked = subprocess.run(["git", "ls-files"], cwd=checkout, capture_output=True, text=True).stdout.split()
    assert {path for path in tracked if not (unpacked / path).is_file()} == set()
    assert "Small" in (unpacked / "html" / "01_small.html").read_text()
    sums = (unpacked / "SHA256SUMS").read_text().splitlines()
    assert len(sums) == len(tracked) + 2  # the page and the record
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=unpacked)
    assert done.returncode == 0
    assert json.loads((unpacked / "RELEASE.json").read_text()).keys() == {"version", "commit", "date"}


def test_a_changed_checkout_is_refused_naming_the_file(checkout, tmp_path):
    (checkout / "new.txt").write_text("new")
    try:
        with pytest.raises(
            release.ReleaseError, match=r"clean checkout, got 1 changed or new files: new\.txt"
        ):
            release.make_archive(tmp_path / "out", checkout)
    finally:
        (checkout / "new.txt").unlink()
    assert not (tmp_path / "out").exists()


def test_outside_git_there_is_no_release(unpacked, tmp_path):
    with pytest.raises(release.ReleaseError, match="git checkout"):
        release.make_archive(tmp_path / "out", unpacked)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "rsail" / "files.py").unlink(), "lacks: rsail/files.py"),
        (lambda root: (root / "rsail" / "more.py").touch(), "has besides: rsail/more.py"),
        (lambda root: (root / "pyproject.toml").open("a").write("\n"), "has changed: pyproject.toml"),
        (lambda root: (root / "SHA256SUMS").unlink(), "must have SHA256SUMS"),
    ],
)
def test_another_tree_is_refused(unpacked, change, message):
    release.check_tree(unpacked)
    change(unpacked)
    with pytest.raises(release.ReleaseError, match=message):
        release.check_tree(unpacked)


def test_a_failing_test_and_a_cut_archive_are_refused(archive, tmp_path, capfd):
    with pytest.raises(release.ReleaseError, match=r"tests must pass, got status 4 of pytest tests/none\.py"):
        release.verify_archive(archive, ["tests/none.py"])
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:-1000])
    assert release.main(["--verify", str(cut)]) == 2
    assert "readable tar.gz" in capfd.readouterr().err
