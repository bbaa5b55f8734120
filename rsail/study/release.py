"""The release archive: made from a clean commit, and verified by unpacking it and running its tests from there.

    python -m rsail.study.release --output build/release
    python -m rsail.study.release --verify ARCHIVE [--tests tests/exact/test_gini.py ...]

The archive holds everything the commit tracks (sources, notebooks, figures, result files, the reference model), the
site (`rsail.study.site`) under ``html/``, ``RELEASE.json`` (version, commit, date) and ``SHA256SUMS`` over all other
files.
The same commit and libraries give the same bytes: names are sorted, times are the commit's, owners are left out.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rsail.files import SUMS, file_digest, make_writable
from rsail.study.paths import ROOT
from rsail.study.site import links

RECORD = "RELEASE.json"
# Threads and hub as in the Makefile: an archive is verified under what its numbers were made with.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class ReleaseError(ValueError):
    """A checkout that cannot be released, or an archive that is not what it says; the message names what."""


def make_archive(output: str | Path, root: Path = ROOT) -> Path:
    """Write ``rsail-VERSION.tar.gz`` of the commit checked out at `root` into the folder `output`; returns its path.

    Raises
    ------
    ReleaseError
        If `root` is no git checkout, or differs from its commit (the message names the files), or if the commit's site
        cannot be built or has a broken link.
    PermissionError
        If `output` cannot be written to.
    """
    commit, seconds = _clean_commit(root)
    output = Path(output)
    make_writable("output", output)
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", "--format=tar", commit))) as source:
            source.extractall(stage, filter="data")
        _write_site(stage)
        version = _version(stage)
        record = {
            "version": version,
            "commit": commit,
            "date": datetime.fromtimestamp(seconds, UTC).date().isoformat(),
        }
        (stage / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        names = _files(stage)
        sums = "".join(f"{file_digest(stage / name)}  {name}\n" for name in names)
        (stage / SUMS).write_text(sums, encoding="utf-8")
        path = output / f"rsail-{version}.tar.gz"
        _pack(stage, [*names, SUMS], f"rsail-{version}", seconds, path)
    return path


def verify_archive(archive: str | Path, tests: Sequence[str] = ("tests",)) -> dict:
    """Unpack `archive` into an empty folder, check every sum, run `tests` (pytest's arguments) there; its record.

    The tests import the archive's sources, whatever checkout is installed: this is asserted in the process that runs
    them. The unpacked folder is no git checkout, so provenance written there has the commit "unknown".

    Raises
    ------
    ReleaseError
        If the archive cannot be read, holds anything but files and the folders of files, a file is missing, added or
        changed, the record is not one, or a test fails.
    """
    archive = Path(archive)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(archive) as packed:
                packed.extractall(folder, filter="data")
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise ReleaseError(f"archive must be a readable tar.gz, got {archive}: {error}") from error
        roots = list(Path(folder).iterdir())
        if len(roots) != 1 or roots[0].is_symlink() or not (roots[0] / RECORD).is_file():
            raise ReleaseError(f"archive must hold one folder with {RECORD}, got {archive}")
        check_tree(roots[0])
        record = read_record(roots[0])
        _run_tests(roots[0], tests)
    return record


def check_tree(root: Path) -> None:
    """Raise `ReleaseError` unless below `root` are exactly the files of its ``SHA256SUMS``, and folders of them."""
    if not (root / SUMS).is_file():
        raise ReleaseError(f"the archive must have {SUMS}, got none")
    _only_files(root)
    wanted, found = _sums(root), set(_files(root))
    missing, added = sorted(wanted.keys() - found), sorted(found - wanted.keys())
    changed = [name for name in sorted(found & wanted.keys()) if file_digest(root / name) != wanted[name]]
    for what, names in (("lacks", missing), ("has besides", added), ("has changed", changed)):
        if names:
            raise ReleaseError(f"the archive {what}: {', '.join(names[:5])} ({len(names)} in all)")


def read_record(root: Path) -> dict[str, str]:
    """Version, commit and date of the tree at `root`; `ReleaseError` if its ``RELEASE.json`` is not such a record."""
    expected = {
        "version": re.escape(_version(root)), "commit": "[0-9a-f]{40}|[0-9a-f]{64}", "date": r"\d{4}-\d\d-\d\d"
    }  # fmt: skip
    try:
        record = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON and of UTF-8
        raise ReleaseError(f"{RECORD} must be JSON, got {error}") from None
    if not isinstance(record, dict) or record.keys() != expected.keys():
        got = ", ".join(sorted(record)) if isinstance(record, dict) else type(record).__name__
        raise ReleaseError(f"{RECORD} must have exactly the keys {', '.join(expected)}, got {got or 'none'}")
    for key, pattern in expected.items():
        if not isinstance(record[key], str) or not re.fullmatch(pattern, record[key]):
            raise ReleaseError(f"{RECORD} must have a {key} that matches {pattern}, got {record[key]!r}")
    return record


def _only_files(root: Path) -> None:
    """Links lead out of what the sums cover, and an empty folder is in no sum."""
    for place, folders, files in os.walk(root):
        for path in (Path(place) / name for name in sorted([*folders, *files])):
            name = path.relative_to(root).as_posix()
            if path.is_symlink():
                raise ReleaseError(f"the archive must hold no links, got {name} -> {os.readlink(path)}")
            if path.is_dir() and not any(path.iterdir()):
                raise ReleaseError(f"the archive must hold no empty folders, got {name}")
            if not path.is_dir() and not path.is_file():
                raise ReleaseError(f"the archive must hold files alone, got {name}")


def _sums(root: Path) -> dict[str, str]:
    """Digest of each name in ``SHA256SUMS``."""
    try:
        lines = (root / SUMS).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{SUMS} must be UTF-8, got {error}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if match is None or match[2] in found:
            raise ReleaseError(
                f"{SUMS} must have a digest and a new name in each line, got {line!r} in line {number}"
            )
        found[match[2]] = match[1]
    return found


def _environment(root: Path) -> dict[str, str]:
    # Neither variables nor a working directory of ours may lead back to the checkout.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return environment | {**_ENVIRONMENT, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}


def _run_tests(root: Path, tests: Sequence[str]) -> None:
    environment = _environment(root)
    where = subprocess.run(
        [sys.executable, "-c", "import rsail; print(rsail.__file__)"],
        cwd=root, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if Path(where.stdout.strip()).resolve() != (root / "rsail" / "__init__.py").resolve():
        found = where.stdout.strip() or where.stderr.strip()
        raise ReleaseError(f"the tests must import the archive's sources, got {found}")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests]
    if status := subprocess.run(command, cwd=root, env=environment).returncode:
        raise ReleaseError(f"the archive's tests must pass, got status {status} of pytest {' '.join(tests)}")


def _clean_commit(root: Path) -> tuple[str, int]:
    """Hash and time (seconds since 1970) of the commit checked out at `root`, which must not differ from it."""
    if changed := _git(root, "status", "--porcelain", "--untracked-files=all").decode().splitlines():
        shown = ", ".join(line[3:] for line in changed[:5])
        raise ReleaseError(
            f"a release is made from a clean checkout, got {len(changed)} changed or new files: {shown}; "
            "commit them or put them away"
        )
    commit, seconds = _git(root, "show", "--no-patch", "--format=%H %ct", "HEAD").decode().split()
    return commit, int(seconds)


def _git(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
    except FileNotFoundError:
        raise ReleaseError("a release is made with git, got a machine without it") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()
        raise ReleaseError(f"a release is made from a git checkout, got {root}: {reason}") from None
    return done.stdout


def _version(root: Path) -> str:
    """The version that the sources at `root` have, without importing them."""
    for line in (root / "rsail" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__ = "):
            return line.split('"')[1]
    raise ReleaseError(f"rsail/__init__.py must state __version__, got none in {root}")


def _write_site(root: Path) -> None:
    """The site of the sources at `root`, by these sources themselves, into ``html/``; nothing is executed."""
    site = root / "html"
    done = subprocess.run(
        [sys.executable, "-m", "rsail.study.site", "--output", str(site)],
        cwd=root, env=_environment(root), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise ReleaseError(f"the commit's site must build, got {done.stderr.strip()[-500:]}")
    if broken := links.problems(site):
        raise ReleaseError(f"the commit's site must have no broken links, got {len(broken)}: {broken[0]}")


def _files(root: Path) -> list[str]:
    """Every file below `root` but its own ``SHA256SUMS``, relative and sorted."""
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(name for name in names if name != SUMS)


def _pack(root: Path, names: list[str], prefix: str, seconds: int, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with (
            open(temporary, "wb") as stream,
            gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=seconds) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name in names:
                info = tarfile.TarInfo(f"{prefix}/{name}")
                info.size, info.mtime = (root / name).stat().st_size, seconds
                info.mode = 0o755 if os.access(root / name, os.X_OK) else 0o644
                with open(root / name, "rb") as file:
                    archive.addfile(info, file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rsail.study.release", description=__doc__.splitlines()[0]
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--output", metavar="FOLDER", help="write the archive of the clean checkout into FOLDER"
    )
    what.add_argument("--verify", metavar="ARCHIVE", help="unpack ARCHIVE, check its sums and run its tests")
    parser.add_argument(
        "--tests", nargs="+", metavar="PATH", help="with --verify: the tests to run (default: all of them)"
    )
    options = parser.parse_args(arguments)
    if options.output and options.tests:
        parser.error("--tests is for --verify")
    try:
        if options.output:
            path = make_archive(options.output)
            print(f"{path} {path.stat().st_size / 1e6:.1f} MB, SHA-256 {file_digest(path)}")
        else:
            record = verify_archive(options.verify, options.tests or ("tests",))
            digest = file_digest(options.verify)
            print(f"verified: version {record['version']}, commit {record['commit']}, SHA-256 {digest}")
    except (ReleaseError, OSError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
