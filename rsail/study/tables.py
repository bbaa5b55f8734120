"""Tables computed from committed result files; no number in the README is typed by hand."""

from __future__ import annotations

from pathlib import Path

from rsail.study import pages
from rsail.study.display import markdown_table
from rsail.study.paths import RESULTS_DIR, ROOT
from rsail.study.statistics import mean_interval


def readme_results_table(folder: str | Path = RESULTS_DIR / "biased_oracle") -> str:
    """The README's results table in Markdown; a sentence that says so while there are no results.

    Raises
    ------
    ResultError
        If a result file is missing, damaged, or of a run that failed.
    """
    if not any(Path(folder).glob("*.json")):
        return "No results are committed yet; `make results` makes them."
    # Imported here, because it brings torch, which notebook 00 and the other tables do without.
    from rsail.study import biased_oracle

    study = biased_oracle.load_study(folder)
    claims = biased_oracle.compute_claims(study)
    columns = {
        "gold reward, requests": biased_oracle.GOLD,
        "filler words, open prompts": biased_oracle.SPURIOUS,
        "KL to the reference (nats)": "objective/kl",
        "entropy (nats)": "objective/entropy",
    }
    rows = [("reference", *(f"{study.reference(metric):.2f}" for metric in columns.values()))]
    for method, rho in biased_oracle.METHODS.items():
        means = [str(mean_interval(study.final(method, metric))) for metric in columns.values()]
        rows.append((f"{method} SAIL, ρ = {rho:g}", *means))
    verdicts = [f"- {'yes' if holds else '**no**'}: {claim}" for claim, holds in claims.hold.items()]
    return "\n\n".join(
        [
            markdown_table(rows, ("policy", *columns)),
            f"Means over {len(study.seeds)} seeds with 95 % t intervals; the oracle favors filler words by "
            f"{biased_oracle.BIAS:g} in probability. Paired by seed, robust minus nominal: gold reward "
            f"{claims.gold_difference}; distance of the filler words from the reference's, nominal minus robust: "
            f"{claims.spurious_removed}. `make results` trains every run again.",
            "\n".join(verdicts),
        ]
    )


def update_readme(path: str | Path = ROOT / "README.md") -> bool:
    """Bring the results table of the README up to date; returns whether that changed the file."""
    return pages.put(path, "results", readme_results_table())
