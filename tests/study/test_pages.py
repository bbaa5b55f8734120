import pytest

from rsail.study import pages

BEGIN, END = "<!-- part:begin -->", "<!-- part:end -->"


def test_content_replaces_what_stood_between_the_markers_and_nothing_else(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"head\n{BEGIN}\nold\n{END}\ntail\n")
    assert pages.put(path, "part", "new")
    assert path.read_text() == f"head\n{BEGIN}\nnew\n{END}\ntail\n"
    assert pages.generated(path, "part") == "new"
    assert not pages.put(path, "part", "new")


@pytest.mark.parametrize("text", ["", BEGIN, END + BEGIN, 2 * BEGIN + END])
def test_a_page_without_its_markers_is_an_error_and_stays_as_it_is(tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text)
    for attempt in (lambda: pages.put(path, "part", "new"), lambda: pages.generated(path, "part")):
        with pytest.raises(
            ValueError, match="must have the markers <!-- part:begin --> and <!-- part:end -->"
        ):
            attempt()
    assert path.read_text() == text
