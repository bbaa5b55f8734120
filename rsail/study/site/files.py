"""Files of the checkout on the site: sources as pages with numbered lines, the rest as copies, folders as lists."""

from __future__ import annotations

import posixpath
import re
import shutil
from html import escape
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from rsail import checks
from rsail.study.paths import ROOT

# Files with a place of their own; all else that a page links to stands under files/.
PAGES = {
    "README.md": "index.html",
    "docs/USING.md": "using.html",
    "REPRODUCING.md": "reproducing.html",
    "figures": "figures/index.html",
}


class Files:
    """Where things of the checkout are on the site; what was asked for is written by `write`."""

    def __init__(self, notebooks: set[str]):
        self.pages = PAGES | {f"notebooks/{name}.ipynb": f"notebooks/{name}.html" for name in notebooks}
        self.wanted: dict[str, None] = {}  # paths in the checkout, in the order of asking

    def address(self, path: str, page: str) -> str:
        """The address of `path` (in the checkout) as `page` (on the site) writes it.

        Raises
        ------
        ValueError
            If the checkout has no such file or folder.
        """
        return relative(self.place(path), page)

    def place(self, path: str) -> str:
        """Where `path` is on the site, asked for from now on."""
        path = posixpath.normpath(path)
        if path in self.pages:
            return self.pages[path]
        inside = not path.startswith(("..", "/")) and (ROOT / path).exists()
        checks.require(inside, "link", path, "a file or folder of the checkout")
        if path.startswith("figures/") and path.endswith((".png", ".pdf", ".json")):
            self.wanted[path] = None
            return path
        if (ROOT / path).is_dir():
            for child in _children(path):
                self.place(child)
        self.wanted[path] = None
        return _place(path)

    def write(self, output: Path, page, text_page) -> None:
        """Write all that was asked for, by `page(place, title, html)`, and by `text_page(path, place)` for Markdown."""
        written: set[str] = set()
        while missing := [path for path in self.wanted if path not in written]:  # pages of text ask for more
            for path in missing:
                self._write(path, output, page, text_page)
            written.update(missing)

    def _write(self, path: str, output: Path, page, text_page) -> None:
        source, place = ROOT / path, _place(path)
        if source.is_dir():
            page(place, f"{path}/", _listing(path, place))
        elif source.suffix == ".py":
            page(place, path, _source(source))
        elif source.suffix == ".md":
            text_page(path, place)
        else:
            place = path if path.startswith("figures/") else place
            (output / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, output / place)


def relative(place: str, page: str) -> str:
    """The address of `place` as the page at `page` writes it; both are paths from the root of the site."""
    return posixpath.relpath(place, posixpath.dirname(page) or ".")


def link_in(files: Files, folder: str, page: str):
    """A function that turns a link, written in a text that lies in `folder`, into an address on `page`."""

    def address(url: str) -> str:
        if re.match(r"(https?:|mailto:|#)", url):
            return url
        path, hash_mark, anchor = url.partition("#")
        return files.address(posixpath.join(folder, path), page) + hash_mark + anchor

    return address


def _place(path: str) -> str:
    source = ROOT / path
    if source.is_dir():
        return f"files/{path}/index.html"
    # Without an ending a browser would offer to download the file.
    ending = {".py": ".html", ".md": ".html", "": ".txt"}.get(source.suffix, "")
    return f"files/{path}{ending}"


def _children(path: str) -> list[str]:
    hidden = ("__pycache__", ".")
    return sorted(
        f"{path}/{child.name}" for child in (ROOT / path).iterdir() if not child.name.startswith(hidden)
    )


def _listing(path: str, place: str) -> str:
    items = [
        f'<li><a href="{escape(relative(_place(child), place))}">{escape(posixpath.basename(child))}</a></li>'
        for child in _children(path)
    ]
    return f"<h1>{escape(path)}/</h1>\n<ul>{''.join(items)}</ul>\n"


def _source(source: Path) -> str:
    path = source.relative_to(ROOT).as_posix()
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True, wrapcode=True)
    return f"<h1>{escape(path)}</h1>\n" + highlight(
        source.read_text(encoding="utf-8"), PythonLexer(), formatter
    )
