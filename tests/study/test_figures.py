"""Saved figures: the same drawing gives the same bytes, and another drawing gives others."""

import io
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from rsail.study import figures
from rsail.study.figures import inventory

CONSTANTS = {"slope": 2.0, "width": 1.0}


def line(constants):
    x = np.linspace(0, 1, 20)
    fig, ax = plt.subplots()
    ax.plot(x, constants["slope"] * x, label=r"$\rho$")
    ax.legend()
    return fig, {"x": x, "y": constants["slope"] * x}


def bar(constants):
    fig, ax = plt.subplots()
    ax.bar([0, 1], [1, 2], width=constants["width"])
    return fig, {"width": constants["width"]}


FAKES = {"line": line, "bar": bar}


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {name: "01_decomposition" for name in FAKES})
    monkeypatch.setattr(inventory, "FIGURES", figures.FIGURES)
    backend = plt.get_backend()
    plt.switch_backend("agg")
    with plt.rc_context():
        figures.use_style()
        yield
    plt.close("all")
    plt.switch_backend(backend)


def draw_all(folder, constants=CONSTANTS):
    for name, draw in FAKES.items():
        figures.save_figure(*_named(draw(constants), name), folder=folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _named(drawn, name):
    fig, data = drawn
    return fig, name, data


def test_drawing_twice_gives_the_same_bytes(fakes, tmp_path):
    first, second = draw_all(tmp_path / "a"), draw_all(tmp_path / "b")
    assert first == second
    assert first.keys() == {f"{name}{suffix}" for name in FAKES for suffix in (".json", ".pdf", ".png")}


def test_changing_one_plotted_constant_changes_exactly_the_figure_that_shows_it(fakes, tmp_path):
    before = draw_all(tmp_path / "a")
    after = draw_all(tmp_path / "b", CONSTANTS | {"slope": 2.1})
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"line.json", "line.pdf", "line.png"}


def test_pictures_hold_no_dates_and_no_versions(fakes, tmp_path):
    for name, content in draw_all(tmp_path).items():
        for word in (b"CreationDate", b"Matplotlib", b"matplotlib", b"Software"):
            assert word not in content, (name, word)


def test_a_figure_saved_before_and_after_it_is_shown_has_the_same_bytes(fakes):
    fig, _ = line(CONSTANTS)
    first = figures.render(fig, "png"), figures.render(fig, "pdf")
    fig, _ = line(CONSTANTS)
    fig.canvas.draw()
    assert (figures.render(fig, "png"), figures.render(fig, "pdf")) == first


def test_numbers_keep_nine_digits_and_sorted_keys():
    text = figures.format_numbers(
        {"b": np.float64(1 / 3), "a": [-0.0, 2, True, None, "x"], "c": {"z": 1, "y": 2}}
    )
    assert json.loads(text) == {"a": [0.0, 2, True, None, "x"], "b": 0.333333333, "c": {"y": 2, "z": 1}}
    assert text.index('"a"') < text.index('"b"') < text.index('"y"') < text.index('"z"') and "-0" not in text


@pytest.mark.parametrize("bad", [np.nan, np.inf, np.array([1.0, -np.inf])])
def test_a_number_that_is_not_finite_is_refused_and_located(fakes, tmp_path, bad):
    fig, _ = line(CONSTANTS)
    with pytest.raises(ValueError, match=r"data\['curve'\].* must be finite"):
        figures.save_figure(fig, "line", {"curve": bad}, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_data_is_refused():
    with pytest.raises(ValueError, match="complex"):
        figures.format_numbers({"z": 1j})


def test_an_undeclared_name_is_refused(fakes, tmp_path):
    fig, data = line(CONSTANTS)
    with pytest.raises(ValueError, match="one of bar, line, got 'curve'"):
        figures.save_figure(fig, "curve", data, folder=tmp_path)


def test_the_environment_variable_moves_the_output(fakes, tmp_path, monkeypatch):
    monkeypatch.setenv("RSAIL_FIGURES", str(tmp_path / "elsewhere"))
    fig, data = line(CONSTANTS)
    figures.save_figure(fig, "line", data)
    assert (tmp_path / "elsewhere" / "line.png").exists()


def test_missing_old_and_undeclared_files_are_each_named(fakes, tmp_path):
    draw_all(tmp_path)
    before = inventory.stamps(tmp_path)
    with pytest.raises(RuntimeError, match=r"not drawn in this run: bar\.json, bar\.pdf"):
        inventory.require_drawn_anew(before, tmp_path)
    draw_all(tmp_path)
    inventory.write_index(tmp_path)
    inventory.require_drawn_anew(before, tmp_path)
    (tmp_path / "line.pdf").unlink()
    (tmp_path / "old.png").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"missing: line\.pdf; of no declared figure: old\.png"):
        inventory.require_drawn_anew(before, tmp_path)


def test_a_preview_is_the_picture_at_half_its_resolution(fakes, tmp_path):
    draw_all(tmp_path)
    preview = inventory.preview("line", tmp_path)
    assert len(preview) < (tmp_path / "line.png").stat().st_size / 2
    half, whole = Image.open(io.BytesIO(preview)), Image.open(tmp_path / "line.png")
    assert half.size == tuple(length // 2 for length in whole.size)
    colors = [np.asarray(picture.convert("RGB").resize((40, 30)), int) for picture in (half, whole)]
    assert np.abs(colors[0] - colors[1]).mean() < 3


def test_digests_change_with_the_bytes(fakes, tmp_path):
    draw_all(tmp_path)
    before = inventory.digest_rows(tmp_path)
    (tmp_path / "bar.json").write_text("{}")
    after = inventory.digest_rows(tmp_path)
    assert [row[0] for row in before] == list(FAKES) and before[0] == after[0]
    assert before[1][2] != after[1][2] and before[1][3] == after[1][3]
