"""A link checker: every internal link and anchor of a built site leads somewhere, and nothing loads from elsewhere."""

from __future__ import annotations

import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

# Attributes by which a browser loads something; `href` does so in a <link> alone.
_LOADED = {"src", "srcset", "poster", "data"}


class Page(HTMLParser):
    """Anchors and addresses of one page."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.images_without_text = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        loaded = [given[name] for name in _LOADED & given.keys()]
        if tag == "link" and given.get("href"):
            loaded.append(given["href"])
        self.loaded += loaded
        self.links += loaded
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        self.images_without_text += tag == "img" and not given.get("alt", "").strip()


def problems(site: Path) -> list[str]:
    """One line per broken link, missing anchor, image without text, and resource loaded from elsewhere."""
    pages = {
        path.relative_to(site).as_posix(): Page(path.read_text("utf-8")) for path in site.rglob("*.html")
    }
    found = []
    for name, page in sorted(pages.items()):
        found += [f"{name}: an image has no alternative text"] * page.images_without_text
        found += [f"{name}: loads {url}" for url in page.loaded if re.match(r"(\w+:)?//", url)]
        for url in page.links:
            if not re.match(r"(\w+:|//)", url):
                found += _broken(site, pages, name, url)
    for style in site.rglob("*.css"):
        if re.search(r"url\(|@import", style.read_text("utf-8")):
            found.append(f"{style.name}: loads a resource")
    return found


def _broken(site: Path, pages: dict[str, Page], name: str, url: str) -> list[str]:
    path, _, anchor = unquote(url).partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
    if not (site / target).is_file():
        return [f"{name}: {url} leads nowhere"]
    if anchor and target in pages and anchor not in pages[target].anchors:
        return [f"{name}: {url} has no such anchor"]
    return []
