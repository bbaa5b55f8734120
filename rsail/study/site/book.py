"""All pages of the site, put together."""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pygments.formatters import HtmlFormatter

import rsail
from rsail import checks
from rsail.study.figures import FIGURES, RESULT_FILES
from rsail.study.notebooks import NOTEBOOKS, REPRODUCE
from rsail.study.paths import FIGURES_DIR, NOTEBOOKS_DIR, ROOT
from rsail.study.site import drawings, notebook_page, reference
from rsail.study.site.files import Files, link_in, relative
from rsail.study.site.text import Renderer, plain, render

HERE = Path(__file__).parent
MARK = ".rsail-site"  # in every folder that `build` made and may therefore empty
ALL_NOTEBOOKS = (REPRODUCE, *(notebook.name for notebook in NOTEBOOKS))


@dataclass(frozen=True)
class Entry:
    """A line of the sidebar; pages follow each other in its order."""

    place: str
    title: str
    group: str
    minutes: int | None = None


class Book:
    """Writes pages into `output` with one sidebar."""

    def __init__(self, output: Path, notebooks: Iterable[str]):
        self.output, self.names = output, list(notebooks)
        self.files = Files(set(self.names))
        self.entries = _entries(self.names)
        self.written = 0
        environment = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined
        )
        self.template = environment.get_template("page.html.j2")

    def write(self, place: str, title: str, html: str, headings=()) -> None:
        """Write one page, with its neighbors if the sidebar has it."""
        order = [entry.place for entry in self.entries]
        k = order.index(place) if place in order else None
        text = self.template.render(
            title=title, body=html, place=place, entries=self.entries, version=rsail.__version__,
            headings=[heading for heading in headings if heading[0] == 2],
            before=self.entries[k - 1] if k else None,
            after=self.entries[k + 1] if k is not None and k + 1 < len(order) else None,
            to=lambda target: relative(target, place),
        )  # fmt: skip
        path = self.output / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.written += 1

    def text_page(self, source: str, place: str) -> None:
        """A Markdown file of the checkout."""
        renderer = Renderer(link_in(self.files, posixpath.dirname(source), place))
        html = render((ROOT / source).read_text(encoding="utf-8"), renderer)
        self.write(place, plain(renderer.headings[0][2]), html, renderer.headings)

    def notebook_page(self, name: str) -> None:
        """A notebook with the outputs that it has."""
        place = f"notebooks/{name}.html"
        notebook = nbformat.read(NOTEBOOKS_DIR / f"{name}.ipynb", as_version=4)
        renderer = Renderer(link_in(self.files, "notebooks", place))
        pictures = notebook_page.Pictures(name)
        html = notebook_page.to_html(
            notebook_page.blocks(notebook), renderer, lambda d: self._figure(d, place), pictures
        )
        self.write(place, plain(renderer.headings[0][2]), html, renderer.headings)
        for file, content in pictures.files.items():
            (self.output / "notebooks" / file).write_bytes(content)

    def _figure(self, drawing: drawings.Drawing, page: str) -> tuple[str, str] | None:
        """Address of a committed figure's picture, and its links; None if `figures/` does not have it."""
        if not (FIGURES_DIR / f"{drawing.name}.png").exists():
            return None
        address = {s: self.files.address(f"figures/{drawing.name}.{s}", page) for s in ("png", "pdf", "json")}
        links = [_link(address["json"], "plotted numbers"), _link(address["pdf"], "PDF")]
        if drawing.file:
            source = f"{self.files.address(drawing.file, page)}#L-{drawing.line}"
            links.insert(0, _link(source, "function", drawing.function.removeprefix("rsail.study.figures.")))
        for path in RESULT_FILES.get(drawing.name, ()):
            what = "result file" if path.endswith(".json") else "result files"
            links.append(
                _link(self.files.address(f"data/results/{path}", page), what, f"data/results/{path}")
            )
        return address["png"], f'<p class="figure-links">{" · ".join(links)}</p>'

    def figures_page(self) -> None:
        """Every committed figure that a notebook of the site draws, small."""
        place, parts = "figures/index.html", ["<h1>Figures</h1>"]
        for name, notebook in FIGURES.items():
            if notebook in self.names and (FIGURES_DIR / f"{name}.png").exists():
                picture = self.files.address(f"figures/{name}.png", place)
                target = f"{relative(f'notebooks/{notebook}.html', place)}#figure-{name}"
                label = f"{name.replace('_', ' ')} (notebook {notebook.split('_')[0]})"
                parts.append(
                    f'<a class="small-figure" href="{target}"><img src="{picture}" loading="lazy" '
                    f'alt="Figure {escape(label)}"><span>{escape(label)}</span></a>'
                )
        self.write(place, "Figures", f'{parts[0]}<div class="small-figures">{"".join(parts[1:])}</div>')

    def reference_pages(self) -> None:
        """The API reference: a page of all packages and one for each."""
        items = []
        for package in reference.PACKAGES:
            place = f"api/{package}.html"
            html = reference.to_html(package, lambda path, place=place: self.files.address(path, place))
            self.write(place, package, html)
            first = reference.package_docstring(package).partition("\n\n")[0]
            items.append(
                f'<dt><a href="{package}.html"><code>{package}</code></a></dt><dd>{escape(first)}</dd>'
            )
        self.write("api/index.html", "API reference", f"<h1>API reference</h1><dl>{''.join(items)}</dl>")


def build(output: str | Path, notebooks: Iterable[str] = ALL_NOTEBOOKS) -> int:
    """Build the site into `output`, an empty folder or one that an earlier build made; returns the number of pages.

    Raises
    ------
    ValueError
        If `output` holds anything else, a notebook is unknown, a link leads nowhere or an equation cannot be read.
    """
    output, notebooks = Path(output), list(notebooks)
    for name in notebooks:
        checks.one_of("notebooks", name, ALL_NOTEBOOKS)
    ours = not output.exists() or (
        output.is_dir() and ((output / MARK).exists() or not any(output.iterdir()))
    )
    checks.require(ours, "output", str(output), "an empty folder or one that holds a site")
    if output.exists():
        shutil.rmtree(output)
    output.mkdir(parents=True)
    (output / MARK).touch()
    (output / "site.css").write_text(
        (HERE / "site.css").read_text(encoding="utf-8") + _code_colors(), "utf-8"
    )
    book = Book(output, notebooks)
    book.text_page("README.md", "index.html")
    book.text_page("docs/USING.md", "using.html")
    book.text_page("REPRODUCING.md", "reproducing.html")
    for name in notebooks:
        book.notebook_page(name)
    book.figures_page()
    book.reference_pages()
    book.files.write(output, book.write, book.text_page)
    return book.written


def _entries(notebooks: list[str]) -> list[Entry]:
    minutes = {notebook.name: notebook.minutes for notebook in NOTEBOOKS}
    titles = {notebook.name: notebook.title for notebook in NOTEBOOKS} | {REPRODUCE: "Reproduce everything"}
    return [
        Entry("index.html", "Overview", "Start"),
        *(
            Entry(f"notebooks/{n}.html", f"{n.split('_')[0]} {titles[n]}", "Notebooks", minutes.get(n))
            for n in notebooks
        ),
        Entry("figures/index.html", "All figures", "Reference"),
        Entry("using.html", "Using rsail", "Reference"),
        Entry("reproducing.html", "Reproducing", "Reference"),
        Entry("api/index.html", "API reference", "Reference"),
        *(Entry(f"api/{package}.html", package, "Reference") for package in reference.PACKAGES),
    ]


def _link(address: str, what: str, name: str = "") -> str:
    name = f" <code>{escape(name)}</code>" if name else ""
    return f'<a href="{escape(address)}">{what}{name}</a>'


def _code_colors() -> str:
    light = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    ours = ".highlight { background: var(--panel); }"
    return f"\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{ours}\n"
