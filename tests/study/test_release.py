"""The release archive, of a small commit with real sources: same bytes twice, and every fault is noticed."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile

import pytest

import rsail
from rsail.study import release
from rsail.study.paths import ROOT
from rsail.study.site import links

FOLDERS = (".github", "data", "docs", "examples", "figures", "notebooks", "rsail", "tests")


def git(root, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A commit of all that the site needs; figures and result files, which it only copies, are cut short."""
    root = tmp_path_factory.mktemp("checkout")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.tmp"))
    for path in ROOT.iterdir():
        if path.is_file() and path.name not in (release.RECORD, release.SUMS):
            shutil.copy(path, root)
    for path in [*root.glob("figures/*.p*"), *root.glob("data/results/**/*.json")]:
        path.write_bytes(path.read_bytes()[:50])
    # Passes only where the sources beside the tests are the ones imported.
    (root / "tests" / "test_place.py").write_text(
        "from pathlib import Path\nimport rsail\n"
        "def test_place():\n    assert Path(rsail.__file__).parents[1] == Path(__file__).parents[1]\n"
    )
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
    tests = ["tests/exact/test_gini.py", "tests/test_place.py"]
    record = release.verify_archive(archive, tests)
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
    site = unpacked / "html"
    assert {path.stem for path in site.glob("notebooks/*.html")} == {
        path.stem for path in unpacked.glob("notebooks/*.ipynb")
    }
    assert links.problems(site) == []
    sums = (unpacked / "SHA256SUMS").read_text().splitlines()
    assert len(sums) == len(tracked) + sum(path.is_file() for path in site.rglob("*")) + 1  # and the record
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
        (lambda root: (root / "SHA256SUMS").write_bytes(b"\xff\xfe\n"), "SHA256SUMS must be UTF-8"),
        (
            lambda root: (root / "SHA256SUMS").open("a").write("abc  x\n"),
            "a digest and a new name in each line",
        ),
        (lambda root: (root / "rsail" / "link.py").symlink_to("files.py"), "no links, got rsail/link.py"),
        (lambda root: (root / "rsail" / "gone.py").symlink_to("none.py"), "no links, got rsail/gone.py"),
        (lambda root: (root / "more").symlink_to("rsail"), "no links, got more -> rsail"),
        (lambda root: (root / "rsail" / "empty").mkdir(), "no empty folders, got rsail/empty"),
        (lambda root: os.mkfifo(root / "pipe"), "files alone, got pipe"),
    ],
)
def test_another_tree_is_refused(tmp_path, change, message):
    root = tmp_path / "tree"  # a few files suffice
    shutil.copytree(ROOT / "rsail", root / "rsail", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    names = [path for path in sorted(root.rglob("*")) if path.is_file()]
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in names]
    (root / "SHA256SUMS").write_text("".join(sums))
    release.check_tree(root)
    change(root)
    with pytest.raises(release.ReleaseError, match=message):
        release.check_tree(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "must have exactly the keys version, commit, date, got none"),
        (b"[1]", "got list"),
        (b"\xff", "RELEASE.json must be JSON"),
        (b'{"version": "9", "commit": "a", "date": "b"}', "a version that matches"),
        (
            b'{"version": "%s", "commit": "a", "date": "b"}' % rsail.__version__.encode(),
            "a commit that matches",
        ),
    ],
)
def test_another_record_is_refused(tmp_path, content, message):
    (tmp_path / "rsail").mkdir()
    shutil.copy(ROOT / "rsail" / "__init__.py", tmp_path / "rsail")
    (tmp_path / "RELEASE.json").write_bytes(content)
    with pytest.raises(release.ReleaseError, match=message):
        release.read_record(tmp_path)


def test_a_site_that_cannot_be_built_is_no_release(checkout, tmp_path):
    readme = (checkout / "README.md").read_text()
    (checkout / "README.md").write_text(readme + "\n[gone](docs/GONE.md)\n")
    git(checkout, "commit", "-q", "-a", "-m", "a broken link")
    try:
        with pytest.raises(release.ReleaseError, match=r"site must build, got .*docs/GONE\.md"):
            release.make_archive(tmp_path / "out", checkout)
    finally:
        git(checkout, "reset", "-q", "--hard", "HEAD~1")


def test_a_failing_test_and_a_cut_archive_are_refused(archive, tmp_path, capfd):
    with pytest.raises(release.ReleaseError, match=r"tests must pass, got status 4 of pytest tests/none\.py"):
        release.verify_archive(archive, ["tests/none.py"])
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:-1000])
    assert release.main(["--verify", str(cut)]) == 2
    assert "readable tar.gz" in capfd.readouterr().err


def test_both_commands_print_the_digest_of_the_archive(archive, capfd):
    assert release.main(["--verify", str(archive), "--tests", "tests/test_place.py"]) == 0
    assert f"SHA-256 {hashlib.sha256(archive.read_bytes()).hexdigest()}" in capfd.readouterr().out
