"""The site: whole, without broken links, read without a network; every equation, figure and public name is there."""

import re

import pytest
from pydantic import TypeAdapter

from rsail.study.figures import FIGURES, RESULT_FILES
from rsail.study.notebooks import NOTEBOOKS
from rsail.study.paths import FIGURES_DIR
from rsail.study.site import __main__ as command
from rsail.study.site import docstrings, links, reference
from rsail.study.site.book import build
from rsail.study.site.mathematics import mathml
from rsail.study.site.text import Renderer, cell, plain, render
from rsail.training import OnlineConfig
from tests.study import chromium


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book") / "site"
    build(folder)
    return folder


def without_code(html):
    """The page's visible text outside of code and of equations."""
    html = re.sub(r"<(pre|code|math|title)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", " ", html)


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    assert links.problems(site) == []


def test_the_link_checker_finds_what_is_broken(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html">b</a><a href="#x">x</a><img src="https://e.org/i.png">'
    )
    (tmp_path / "a.css").write_text("@import 'x.css';")
    found = "\n".join(links.problems(tmp_path))
    for problem in (
        "b.html leads nowhere",
        "#x has no such anchor",
        "no alternative text",
        "loads https",
        "a.css",
    ):
        assert problem in found


def test_no_script_is_needed(site):
    assert not [path for path in site.rglob("*.html") if "<script" in path.read_text()]


def test_every_equation_is_converted(site):
    for path in site.glob("[!f]*/*.html"):
        text = without_code(path.read_text())
        assert not re.search(r"\$|\\[a-zA-Z]{2,}", text), (path, re.findall(r".{40}[$\\].{40}", text)[:3])
        assert set(re.findall(r'mathvariant="([^"]*)"', path.read_text())) <= {"normal"}, path
    assert (site / "notebooks" / "01_decomposition.html").read_text().count("<math ") > 100


def test_every_figure_has_caption_function_numbers_and_pdf(site):
    for name, notebook in FIGURES.items():
        if not (FIGURES_DIR / f"{name}.png").exists():
            continue  # its notebook is not executed yet
        page = (site / "notebooks" / f"{notebook}.html").read_text()
        (figure,) = re.findall(rf'<figure id="figure-{name}">.*?</figure>', page, re.DOTALL)
        assert "Figure" in re.search(r'alt="([^"]*)"', figure).group(1), name
        for part in ("<figcaption><p>", "#L-", f"{name}.json", f"{name}.pdf"):
            assert part in figure, (name, part)
        shown = re.findall(r"result files? <code>data/results/(.*?)</code>", figure)
        assert tuple(shown) == RESULT_FILES.get(name, ()), name


def test_every_notebook_and_every_public_name_has_its_place(site):
    for notebook in NOTEBOOKS:
        assert notebook.title in (site / "notebooks" / f"{notebook.name}.html").read_text()
    for package in reference.PACKAGES:
        page = (site / "api" / f"{package}.html").read_text()
        names = reference.public_names(package)
        assert len(names) >= 5
        for public in names:
            assert f'id="{public.name}"' in page


def test_settings_are_listed_with_the_texts_of_the_help(site):
    page = (site / "api" / "rsail.training.html").read_text()
    schema = TypeAdapter(OnlineConfig).json_schema()
    kinds = {"OnlineConfig": schema} | schema["$defs"]
    assert kinds.keys() >= {
        "TaskConfig",
        "PolicyConfig",
        "CollectionConfig",
        "OracleConfig",
        "AdditionConfig",
    }
    for kind, described in kinds.items():
        (entry,) = re.findall(rf'<section class="entry"><h2 id="{kind}">.*?</section>', page, re.DOTALL)
        found = dict(re.findall(r"<dt><code>(\w+).*?</dt><dd>(.*?)</dd>", entry, re.DOTALL))
        assert found.keys() == described["properties"].keys()
        for name, field in described["properties"].items():
            text = " ".join(field["description"].split()).replace("`", "")
            assert plain(found[name]).startswith(text), (kind, name)


def test_no_field_is_listed_twice(site):
    for package in reference.PACKAGES:
        page = (site / "api" / f"{package}.html").read_text()
        for p in reference.public_names(package):
            (entry,) = re.findall(rf'<h2 id="{p.name}">(.*?)</section>', page, re.DOTALL)
            for field in reference.fields(p):
                name = field.target.id
                assert len(re.findall(rf"<dt><code>(?:\w+, )*{name}\b", entry)) == 1, (p.name, name)


def test_building_again_replaces_a_site_but_nothing_else(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("precious")
    assert command.main(["--output", str(tmp_path)]) == 2
    assert "output must be an empty folder or one that holds a site" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="notebooks must be one of"):
        build(tmp_path / "site", ["11_nothing"])


def test_an_equation_that_cannot_be_read_is_named():
    assert "<mfrac>" in mathml(r"\frac{1}{2}") and "<mi>ρ</mi>" in mathml(r"$\displaystyle \rho$")
    with pytest.raises(ValueError, match="latex must be made of known commands"):
        mathml(r"\nosuchcommand x")
    with pytest.raises(ValueError, match="latex must be well formed"):
        mathml("x^1^2")


def shape(latex):
    """The equation's MathML without what all equations have, and without attributes."""
    html = re.sub(r"(<\w+)[^>]*>", r"\1>", mathml(latex, block=True))
    return html[len("<math><mrow>") : -len("</mrow></math>")]


def test_letters_of_other_alphabets_are_characters_which_every_browser_draws():
    assert shape(r"\mathbb E\mathcal L\mathbb{R}\mathcal A\mathbf 1\mathbb 1\mathbf x") == (
        "<mi>𝔼</mi><mi>ℒ</mi><mi>ℝ</mi><mi>𝒜</mi><mn>𝟏</mn><mn>𝟙</mn><mi>𝐱</mi>"
    )
    assert shape(r"x_{\mathrm{env}}") == "<msub><mi>x</mi><mrow><mi>env</mi></mrow></msub>"
    with pytest.raises(ValueError, match="made of letters that Unicode has as double-struck"):
        mathml(r"\mathbb \alpha")


def test_several_primes_are_one_superscript():
    assert shape(r"\varphi_u''") == "<msubsup><mi>φ</mi><mi>u</mi><mo>″</mo></msubsup>"
    assert shape(r"\varphi''_u") == "<msubsup><mi>φ</mi><mi>u</mi><mo>″</mo></msubsup>"
    assert shape("f'''") == "<msup><mi>f</mi><mo>‴</mo></msup>"
    assert shape("{f'}^2") == "<msup><mrow><msup><mi>f</mi><mo>′</mo></msup></mrow><mn>2</mn></msup>"


@pytest.mark.parametrize("name", ["max", "min", "sup", "inf", "lim"])
def test_what_belongs_to_an_extremum_stands_below_it_in_a_display(name):
    html = mathml(rf"\{name}_u f(u)", block=True)
    assert '<munder><mo movablelimits="true"' in html and f">{name}</mo><mi>u</mi></munder>" in html


def test_named_operators_keep_a_thin_space_from_variables_but_not_from_brackets():
    def spaces(latex):
        return re.search(r'<mo lspace="(\w[\w.]*)" rspace="(\w[\w.]*)">log</mo>', mathml(latex)).groups()

    assert spaces(r"\beta\log Z") == ("0.1667em", "0.1667em")
    assert spaces(r"1+\log(x)") == ("0", "0")
    assert spaces(r"f(x)\log{\left(x\right)}") == ("0.1667em", "0")
    assert spaces(r"x\,\log p_1") == ("0", "0.1667em")


def test_arrows_and_relations_are_operators():
    assert shape(r"a\iff b\sim c") == "<mi>a</mi><mo>⟺</mo><mi>b</mi><mo>∼</mo><mi>c</mi>"
    assert "Dr.\xa0DPO" in mathml(r"\text{Dr.~DPO}")


def test_cells_of_tables_break_where_a_reader_would():
    assert cell("-0.07 [-0.11, -0.03] at ρ = 0.15, to 1e-12") == (
        '<span class="together">-0.07 [-0.11, -0.03]</span> at <span class="together">ρ = 0.15</span>, '
        'to <span class="together">1e-12</span>'
    )
    assert cell('<a href="a_b_c_d_e_f_g_h.md"><code>tests/a.py::test_it_all</code></a>') == (
        '<a href="a_b_c_d_e_f_g_h.md"><code>tests/<wbr>a.<wbr>py::<wbr>test_<wbr>it_<wbr>all</code></a>'
    )
    renderer = Renderer(lambda url: url)
    html = render(f"| a | b | c |\n|---|---|---|\n| {'word ' * 30} | `{'test_' * 30}` | 1 |\n", renderer)
    assert '<div class="wide tabular"' in html and "<td>1</td>" in html
    assert re.findall(r'<td class="(\w+)">', html) == ["prose", "identifiers"]


def test_headings_have_the_anchors_of_github():
    renderer = Renderer(lambda url: url)
    html = render(
        "## Every claim, and more\n\n## Every claim, and more\n\n| a |\n| --- |\n| $|x|$ |\n", renderer
    )
    assert 'id="every-claim-and-more"' in html and 'id="every-claim-and-more-1"' in html


def test_docstrings_become_lists():
    html = docstrings.to_html("First `x`.\n\nParameters\n----------\na : int\n    What < it is.\n")
    assert html.startswith("<p>First <code>x</code>.</p>")
    assert "<dt><code>a : int</code></dt><dd><p>What &lt; it is.</p></dd>" in html


@pytest.mark.skipif(
    chromium.find() is None, reason="there is no Chromium (in PATH, of playwright, or as CHROMIUM)"
)
def test_in_a_browser_equations_are_drawn_nothing_overflows_and_the_console_is_silent(site, tmp_path):
    browser = chromium.Browser(chromium.find(), tmp_path)
    try:
        for path in [
            site / "index.html",
            site / "using.html",
            site / "reproducing.html",
            *site.glob("[!f]*/*.html"),
            site / "figures/index.html",
        ]:
            for width in (390, 1280):
                browser.open(path, width)
                assert browser.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
                flat = "[...document.querySelectorAll('main math')].filter(m => m.getBoundingClientRect().height < 4)"
                assert browser.evaluate(f"{flat}.map(m => m.getAttribute('alttext'))") == [], path
                assert browser.evaluate("[...document.images].every(i => !i.complete || i.naturalWidth > 0)")
        assert browser.problems == []
    finally:
        browser.close()


@pytest.mark.skipif(
    chromium.find() is None, reason="there is no Chromium (in PATH, of playwright, or as CHROMIUM)"
)
def test_in_a_browser_tables_are_wide_enough_to_read(site, tmp_path):
    cut = "[...document.querySelectorAll('.tabular')].filter(t => t.scrollWidth > t.clientWidth + 1).length"
    narrow = "[...document.querySelectorAll('td.prose')].filter(t => t.clientWidth < 250).length"
    browser = chromium.Browser(chromium.find(), tmp_path)
    try:
        browser.open(site / "index.html", 1280)
        assert browser.evaluate(cut) == 0
        for page in ("index.html", "reproducing.html"):
            for width in (390, 1280):
                browser.open(site / page, width)
                assert browser.evaluate("document.querySelectorAll('td.prose').length") > 10
                assert browser.evaluate(narrow) == 0
    finally:
        browser.close()
