"""What counts as the same figure on another processor, and what does not."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rsail.study import figures
from rsail.study.figures.agreement import numbers_agree

STORED = {"curve": [1.0, 2.5e-16, [0.25, None]], "names": ["a", "b"], "count": 3, "tiny": [2e-16, 1e-16]}


def changed(**entries):
    return json.dumps(STORED | entries)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"curve": [1.00000001, 2.5e-16, [0.25, None]]},
        {"curve": [1.0, -4e-16, [0.25, None]]},
    ],
)
def test_rounding_errors_agree(other):
    assert numbers_agree(json.dumps(STORED), changed(**other))


@pytest.mark.parametrize(
    "other",
    [
        {"curve": [1.000001, 2.5e-16, [0.25, None]]},
        {"curve": [1.0, 2.5e-11, [0.25, None]]},
        {"curve": [1.0, 2.5e-16, [0.25]]},
        {"curve": [1.0, 2.5e-16, [None, 0.25]]},
        {"names": ["a", "c"]},
        {"count": 4},
        {"count": 3.0},
        {"count": True},
        {"tiny": [2e-16, 3e-16]},
        {"more": 1},
    ],
)
def test_anything_else_does_not(other):
    assert not numbers_agree(json.dumps(STORED), changed(**other))
    assert not numbers_agree(changed(**other), json.dumps(STORED))


def test_what_is_not_json_agrees_with_nothing():
    assert not numbers_agree(json.dumps(STORED), "{")


@pytest.fixture
def save(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {"line": "01_decomposition"})
    backend = plt.get_backend()
    plt.switch_backend("agg")

    def save(end=1.0, color="black"):
        y = np.array([0.0, 0.5, end])
        fig, ax = plt.subplots()
        ax.plot([0, 1, 2], y, color=color, linewidth=5)
        ax.set_ylim(-0.1, 2.1)
        figures.save_figure(fig, "line", {"y": y}, folder=tmp_path)
        return {path.suffix: path.read_bytes() for path in tmp_path.iterdir()}

    yield save
    plt.close("all")
    plt.switch_backend(backend)


def test_a_figure_that_differs_by_rounding_keeps_its_files_and_is_stamped_anew(save, tmp_path):
    first = save()
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert save(end=1.0 + 3e-8) == first
    assert all(path.stat().st_mtime_ns > stamp for path, stamp in stamps.items())


@pytest.mark.parametrize("change", [{"end": 1.01}, {"color": "red"}, {"end": 1.0 + 3e-8, "color": "red"}])
def test_another_number_or_another_picture_is_written(save, change):
    first = save()
    second = save(**change)
    assert second[".png"] != first[".png"] and second[".pdf"] != first[".pdf"]


@pytest.mark.parametrize("suffix", [".json", ".png"])
def test_a_damaged_file_is_replaced(save, tmp_path, suffix):
    save()
    (tmp_path / f"line{suffix}").write_bytes(b"{")
    assert len(save(end=1.0 + 3e-8)[suffix]) > 10
