"""Tables computed from committed result files; no number in the README is typed by hand."""

from __future__ import annotations

from pathlib import Path

from rsail.study.files import write_atomically
from rsail.study.paths import RESULTS_DIR, ROOT

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def readme_results_table(folder: str | Path = RESULTS_DIR / "biased_oracle") -> str:
    """The README's results table in Markdown; a sentence that says so while there are no results."""
    if not any(Path(folder).glob("*.json")):
        return "No results are committed yet; `make results` makes them."
    raise NotImplementedError


def replace_results(text: str, results: str) -> str:
    """`text` with `results` between its two markers; ValueError if it does not have each marker once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"README.md must have the markers {BEGIN} and {END}, in this order and once each")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{results}\n{END}{rest.split(END)[1]}"


def update_readme(path: str | Path = ROOT / "README.md") -> bool:
    """Bring the results table of the README up to date; returns whether that changed the file."""
    path = Path(path)
    old = path.read_text(encoding="utf-8")
    new = replace_results(old, readme_results_table())
    if new != old:
        write_atomically(path, new)
    return new != old
