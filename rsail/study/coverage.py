"""The table of methods in `REPRODUCING.md`, from `rsail.study.systems`.

It stands between two markers; `python -m rsail.study.coverage` brings it up to date.
`tests/study/test_coverage.py` checks that what a row names exists, and that no method is without a row.
"""

from __future__ import annotations

import re
from pathlib import Path

from rsail.study import pages
from rsail.study.display import markdown_table
from rsail.study.paths import ROOT
from rsail.study.systems import LEFT_OUT, SYSTEMS


def coverage_table() -> str:
    """The table in Markdown, and what is left out."""
    rows = []
    for s in SYSTEMS:
        tests = ", ".join(map(_test_link, s.checks))
        trained = ", ".join(f"`method={key}`" for key in s.trained) or "no"
        code = ", ".join(f"`{name}`" for name in s.implemented)
        source = re.sub(r"\d{4}\.\d{5}", r"[\g<0>](https://arxiv.org/abs/\g<0>)", s.source)
        rows.append((s.name, source, code, tests, ", ".join(s.exact) or "–", trained, s.differs()))
    names = (
        "method",
        "source",
        "implemented",
        "exact check",
        "in notebook 06",
        "on a language model",
        "differs",
    )
    left_out = "; ".join(f"{name} ({reason})" for name, reason in LEFT_OUT.items())
    return (
        f"{markdown_table(rows, names)}\n\nNumbers are those of arXiv. *differs*: from the paper, as far as we could "
        f"read it. Left out: {left_out}."
    )


def _test_link(check: str) -> str:
    """The test's name as the sentence that it is."""
    file, _, function = check.partition("::")
    sentence = (function or Path(file).stem).removeprefix("test_").replace("_", " ")
    return f"[{sentence}](tests/{file})"


def update(path: str | Path = ROOT / "REPRODUCING.md") -> None:
    """Write the table between its two markers."""
    pages.put(path, "methods", coverage_table())


if __name__ == "__main__":
    update()
