"""Every number in the text of README.md, REPRODUCING.md and docs/ is generated, tied to code, or explained.

Not looked at: generated parts (tests of their own), code (`tests/test_environment.py` and others look at commands; a
comment beside a command is looked at), link targets. Each digit of the rest must be matched by an entry below.
"""

import inspect
import re
import tomllib

import pytest

from rsail.study import convergence
from rsail.study.notebooks import NOTEBOOKS, REPRODUCE
from rsail.study.paths import RESULTS_DIR, ROOT
from rsail.study.profiles import FULL, QUICK
from rsail.study.results import read_result
from rsail.study.statistics import mean_interval

PAGES = ("README.md", "REPRODUCING.md", "docs/CHECKLISTS.md", "docs/USING.md")
WORDS = {3: "three", 4: "four", 7: "seven", 10: "ten", 15: "fifteen", 20: "twenty"}

# Read off once by a person, with the reason why no test can tell whether they hold here.
BY_HAND = {
    r"3 to 5 minutes on 2 cores, installation included": "make reproduce on a free machine with two cores",
    r"5 to 8 minutes": "make test on a free machine with two cores",
    r"Memory: 6 GB": "make test, the processes together, two at a time; read off",
    r"15 to 60 minutes each on two cores, a run takes about 20 s": "the sweeps of notebook 09b, as read off",
    r"\[00 Reproduce\] \| does everything run again here\? \| 2 \|": "minutes to read notebook 00, which no list holds",
}
# Names that contain digits.
NAMES = {
    r"arXiv 2602\.20457": "the paper",
    r"Apache-2\.0": "license",
    r"SHA-256": "checksum",
    r"Algorithm 1\b": "the paper's number",
    r"Assumption 1\b": "the paper's number",
    r"version 1\.1\b": "of ACM's badges",
}


def _configurations(study):
    return [read_result(path) for path in sorted((RESULTS_DIR / study).glob("*.json"))]


def _pythons():
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    first, end = re.fullmatch(r">=(3\.\d+),<3\.(\d+)", requires).groups()
    return first, f"3.{int(end) - 1}"


def _sweep():
    configs = [result["config"] for result in _configurations("misspecification_exact")]
    (rhos,), (seeds,) = ({len(config[key]) for config in configs} for key in ("rhos", "seeds"))
    return WORDS[len({config["oracle"] for config in configs})], WORDS[rhos], WORDS[seeds]


def _seeds():
    found = {result["seeds"]["run"] for result in _configurations("biased_oracle")}
    return (str(min(5, len(found))),)


def _cores():
    (cores,) = {result["provenance"]["cores"] for result in _configurations("biased_oracle")}
    return (str(cores),)


def _mutants_per_module():
    source = (ROOT / "tests" / "mutation_score" / "__main__.py").read_text()
    return re.search(r'"--per-module", type=int, default=(\d+)', source).groups()


# What the groups of a pattern must be, computed; the pattern must be somewhere, and hold wherever it is.
TIED = {
    r"(\d+) % intervals over": lambda: (
        f"{100 * inspect.signature(mean_interval).parameters['level'].default:.0f}",
    ),
    r"Python (3\.\d+) to (3\.\d+)": _pythons,
    r"(\d+) runs (?:per horizon|each)": lambda: (str(convergence.RUNS),),
    r"over (\w+) horizons, for (\w+) sets": lambda: (
        WORDS[len(convergence.HORIZONS)],
        WORDS[len(convergence.KINDS)],
    ),
    r"(\w+) training steps live": lambda: (WORDS[QUICK.training_steps],),
    r"with (\d+) steps live": lambda: (str(FULL.training_steps),),
    r"(\d+) CPU cores": _cores,
    r"at least (\d) paired seeds": _seeds,
    r"random sample of (\d+)": _mutants_per_module,
    r"(\w+) oracles against (\w+) radii on (\w+) exactly solved": _sweep,
}


def text_of(page):
    """The text of a page as it stands to be checked: lines joined, so that a sentence may be broken anywhere."""
    page = re.sub(r"<!-- (\S+):begin -->.*?<!-- \1:end -->", "", page, flags=re.DOTALL)
    page = re.sub(
        r"^```.*?^```", lambda code: " ".join(re.findall(r"# (.*)", code[0])), page, flags=re.S | re.M
    )
    page = re.sub(r"`[^`]*`", "", page)
    return re.sub(r"\s+", " ", re.sub(r"\]\([^)]*\)", "]", page))


def unexplained(text):
    """Each number of `text`, with words around it, that nothing explains; ValueError for one that is wrong."""
    for pattern, computed in TIED.items():
        for found in re.finditer(pattern, text):
            if found.groups() != computed():
                raise ValueError(f"the page says {found[0]!r}, computed: {computed()}")
    for notebook in NOTEBOOKS:
        number, row = notebook.name.split("_")[0], r"\[{} [^]]*\] \|[^|]*\| (\d+) \|"
        for found in re.finditer(row.format(number), text):
            if found[1] != str(notebook.minutes):
                raise ValueError(f"the page says {found[0]!r}, the notebook has {notebook.minutes} minutes")
        text = re.sub(row.format(number), "", text)
    for pattern in (*BY_HAND, *NAMES, *TIED):
        text = re.sub(pattern, "", text)
    # Notebooks by their number: "notebook 09", "(01, 02)", "[02b]".
    names = "|".join(name.split("_")[0] for name in (REPRODUCE, *(notebook.name for notebook in NOTEBOOKS)))
    text = re.sub(rf"(?i)(?<=notebook )(?:{names})\b|[(\[](?:{names})(?:, (?:{names}))*[)\]]", "", text)
    return [text[max(0, m.start() - 30) : m.end() + 30] for m in re.finditer(r"\d[\d.,]*", text)]


@pytest.fixture(scope="module")
def texts():
    return {page: text_of((ROOT / page).read_text(encoding="utf-8")) for page in PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_every_number_is_generated_tied_or_explained(texts, page):
    assert unexplained(texts[page]) == []


@pytest.mark.parametrize("pattern", [*TIED, *BY_HAND, *NAMES])
def test_no_entry_is_without_a_number(texts, pattern):
    assert any(re.search(pattern, text) for text in texts.values()), "delete it"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("95 % intervals", "90 % intervals"),
        ("3.11 to 3.13", "3.11 to 3.14"),
        ("unbiased? | 10", "unbiased? | 9"),
    ],
)
def test_a_changed_number_is_noticed(texts, old, new):
    assert old in texts["README.md"]
    with pytest.raises(ValueError, match="the page says"):
        unexplained(texts["README.md"].replace(old, new))


@pytest.mark.parametrize("text", ["a gain of 3.7 nats", "in 12 runs", "notebook 77", "over 10"])
def test_a_number_from_nowhere_is_noticed(text):
    assert len(unexplained(text_of(f"{text}\n```\nmake x\n```\n"))) == 1
    assert unexplained(text_of(f"`{text}` <!-- a:begin --> {text} <!-- a:end -->\n```\n{text}\n```\n")) == []


def test_a_comment_beside_a_command_is_looked_at():
    assert len(unexplained(text_of("```\nmake x  # 99 minutes\n```\n"))) == 1
