"""Result files: what is written is what is read, and anything less is an error that names the file."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from rsail.files import write_atomically
from rsail.study import results
from rsail.study.results import ResultError, read_result, write_result

RUN = {
    "study": "biased_oracle",
    "config": {"beta": 0.1, "rho": 0.15, "kind": "bias"},
    "metrics": {"gold": 1 / 3, "kl": np.float32(0.5), "per_kind": np.arange(3.0)},
    "history": [{"step": step, "loss": 0.1 * step} for step in range(20)],
    "seeds": [3],
    "wall_time": 12.5,
}


@pytest.fixture
def path(tmp_path):
    write_result(tmp_path / "run.json", **RUN)
    return tmp_path / "run.json"


def test_numbers_come_back_in_full_precision(path):
    content = read_result(path)
    assert content["metrics"] == {"gold": 1 / 3, "kl": 0.5, "per_kind": [0.0, 1.0, 2.0]}
    assert content["history"] == RUN["history"] and content["config"] == RUN["config"]
    assert content["seeds"] == [3] and content["wall_time"] == 12.5


def test_a_number_that_is_not_finite_is_stored_as_null(tmp_path):
    write_result(tmp_path / "run.json", **{**RUN, "metrics": {"gold": np.nan, "kl": float("inf")}})
    assert read_result(tmp_path / "run.json")["metrics"] == {"gold": None, "kl": None}


def test_a_file_cut_at_any_byte_is_an_error_that_names_it(path):
    whole = path.read_bytes()
    for length in np.random.default_rng(1).integers(0, len(whole) - 2, size=30):
        path.write_bytes(whole[:length])
        with pytest.raises(ResultError, match=r"run\.json is cut short"):
            read_result(path)


def test_any_changed_byte_of_content_is_an_error_that_names_the_file(path):
    whole = path.read_bytes()
    for index in np.random.default_rng(2).integers(0, len(whole), size=60):
        changed = bytearray(whole)
        changed[index] ^= 1
        path.write_bytes(changed)
        if whole[index : index + 1].isspace():
            continue  # a changed space between entries may leave valid JSON with the same content
        with pytest.raises(ResultError, match=r"run\.json"):
            read_result(path)


def test_an_edited_number_is_an_error_that_says_so(path):
    path.write_text(path.read_text().replace('"rho": 0.15', '"rho": 0.25'))
    with pytest.raises(ResultError, match="was changed after it was written"):
        read_result(path)


@pytest.mark.parametrize("key", sorted(results._TYPES))
def test_a_missing_entry_is_named(path, key):
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=f"lacks {key}"):
        read_result(path)


@pytest.mark.parametrize("text, match", [("[]", "JSON object"), ("", "cut short"), ("\x00", "cut short")])
def test_other_content_is_an_error(path, text, match):
    path.write_text(text)
    with pytest.raises(ResultError, match=match):
        read_result(path)


def test_another_schema_is_an_error(path):
    content = json.loads(path.read_text()) | {"schema": "rsail.result/0"}
    content["checksum"] = results.checksum(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=r"schema 'rsail\.result/0'"):
        read_result(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ResultError, match=r"none\.json does not exist"):
        read_result(tmp_path / "none.json")


def test_content_that_does_not_fit_the_schema_is_refused_before_writing(tmp_path):
    with pytest.raises(ResultError, match="wall_time"):
        write_result(tmp_path / "run.json", **{**RUN, "wall_time": "long"})
    with pytest.raises(ResultError, match="numbers, strings"):
        write_result(tmp_path / "run.json", **{**RUN, "config": {"model": object()}})
    assert list(tmp_path.iterdir()) == []


def test_another_run_is_not_overwritten_unless_asked(path):
    other = {**RUN, "seeds": [4]}
    with pytest.raises(ResultError, match=r"run\.json holds another run \(its seeds"):
        write_result(path, **other)
    assert read_result(path)["seeds"] == [3]
    write_result(path, **other, overwrite=True)
    assert read_result(path)["seeds"] == [4]


def test_the_same_run_replaces_its_own_file_but_not_a_damaged_one(path):
    write_result(path, **{**RUN, "metrics": {"gold": 2.0}})
    assert read_result(path)["metrics"] == {"gold": 2.0}
    path.write_text("{")
    with pytest.raises(ResultError, match="pass overwrite=True"):
        write_result(path, **RUN)
    write_result(path, **RUN, overwrite=True)


def test_a_folder_that_cannot_be_written_to_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        write_result(tmp_path / "file" / "run.json", **RUN)
    with pytest.raises(OSError, match=r"cannot write run\.json into .*missing"):
        write_atomically(tmp_path / "missing" / "run.json", "text")


def test_a_read_only_folder_is_an_error_that_names_it(tmp_path, without_privileges):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=f"cannot write run.json into {tmp_path}: Permission denied"):
        write_result(tmp_path / "run.json", **RUN)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_process_killed_while_writing_leaves_the_old_or_the_new_content(tmp_path):
    path = tmp_path / "file"
    program = textwrap.dedent(
        """
        import sys
        from rsail.files import write_atomically
        while True:
            for letter in b"ab":
                write_atomically(sys.argv[1], bytes([letter]) * 2_000_000)
        """
    )
    for delay in np.random.default_rng(3).uniform(0.0, 0.05, size=5):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)])
        while process.poll() is None and not path.exists():
            time.sleep(0.01)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        content = path.read_bytes()
        assert len(content) == 2_000_000 and len(set(content)) == 1


def test_provenance_says_what_ran_and_not_where():
    found = results.provenance()
    assert {"rsail", "commit", "python", "libraries", "platform", "cpu", "gpu", "threads"} <= found.keys()
    assert found["libraries"]["numpy"] == np.__version__
    text = json.dumps(found)
    assert os.uname().nodename not in text if len(os.uname().nodename) > 3 else True
    assert os.getcwd() not in text and os.path.expanduser("~") not in text


def test_the_commit_is_unknown_outside_git(monkeypatch):
    monkeypatch.setattr(results, "_git", lambda *arguments: None)
    assert results.commit() == "unknown"


def test_changed_code_is_marked_dirty(monkeypatch):
    for status, expected in (("", "abc"), (" M rsail/losses.py", "abc-dirty")):
        answers = {"ls-files": "__init__.py", "rev-parse": "abc", "status": status}
        monkeypatch.setattr(results, "_git", lambda folder, verb, *rest, a=answers: a[verb])
        assert results.commit() == expected
