"""Claims of notebook 08, from the runs of `rsail.study.biased_oracle`."""

from __future__ import annotations

from pathlib import Path

from rsail.study import biased_oracle
from rsail.study.claims.claim import Claim, Finding
from rsail.study.every_method.analysis import text
from rsail.study.statistics import mean_interval, paired_difference

NOTEBOOK = "08_training"
FILES = (f"{biased_oracle.NAME}/*.json",)


def _load(results: Path) -> tuple[biased_oracle.Study, biased_oracle.Claims, dict[str, str]]:
    study = biased_oracle.load_study(results / biased_oracle.NAME)
    shared = {"n": str(len(study.seeds)), "bias": f"{biased_oracle.BIAS:g}"}
    return study, biased_oracle.compute_claims(study), shared


def over_optimization(results: Path) -> Finding:
    """Nominal SAIL's filler words, and how much more it pleases the oracle than it is truly preferred."""
    study, claims, shared = _load(results)
    wish = paired_difference(
        study.final("nominal", "proxy/preference"), study.final("nominal", "gold/preference")
    )
    excess = claims.spurious_excess["nominal"]
    numbers = {**shared, "excess": str(excess), "wish": str(wish)}
    holds = excess.low > 0 and wish.low > 0
    return Finding(holds, numbers, holds)


def filler_words(results: Path) -> Finding:
    """What rho at the size of the bias takes from the spurious attribute."""
    _, claims, shared = _load(results)
    holds = claims.hold["robust SAIL's spurious attribute is nearer to the reference's"]
    return Finding(holds, {**shared, "removed": str(claims.spurious_removed)}, holds)


def gold_reward(results: Path) -> Finding:
    """What rho costs, or gains, in true reward."""
    _, claims, shared = _load(results)
    holds = claims.hold["robust SAIL gains gold reward"] and claims.gold_difference.low > 0
    kept = claims.hold["robust SAIL keeps at least 0.8 of nominal's gain"]
    numbers = {**shared, "gain": str(claims.gold_gain["robust"]), "difference": str(claims.gold_difference)}
    return Finding(holds, numbers, kept)


def what_remains(results: Path) -> Finding:
    """The filler words that robust SAIL learns although the soft threshold of a free pair leaves none."""
    _, claims, shared = _load(results)
    remaining = claims.spurious_excess["robust"]
    return Finding(
        remaining.low > 0, {**shared, "remaining": str(remaining)}, remaining.low <= 0 <= remaining.high
    )


def held_out_certificate(results: Path) -> Finding:
    """Robust loss under the oracle minus true loss on held-out prompts, rho covering the deviation or zero."""
    study, _, shared = _load(results)
    gap = {m: study.final(m, "robust/certificate_gap") for m in biased_oracle.METHODS}
    covered = study.final("robust", "oracle/deviation").max() <= biased_oracle.BIAS + 1e-12
    numbers = {
        **shared,
        "gap": f"{gap['robust'].min():.3f}",
        "robust": text(mean_interval(gap["robust"]), 4),
        "nominal": text(mean_interval(-gap["nominal"]), 4),
    }
    predicted = bool(covered and gap["robust"].min() >= 0)
    return Finding(predicted and bool(gap["nominal"].max() < 0), numbers, predicted)


def entropy(results: Path) -> Finding:
    """The least entropy and the largest share of identical pairs of any run."""
    study, claims, shared = _load(results)
    share = max(study.final(m, "robust/identical_pairs").max() for m in biased_oracle.METHODS)
    ratios = {
        m: mean_interval(study.final(m, "objective/entropy") / study.reference("objective/entropy"))
        for m in biased_oracle.METHODS
    }
    numbers = {
        **shared,
        "least": f"{min(claims.entropy_ratio.values()):.2f}",
        "nominal": str(ratios["nominal"]),
        "robust": str(ratios["robust"]),
        "identical": f"{share:.3f}",
    }
    holds = claims.hold["no run has lost half of the reference's entropy"] and share < 0.05
    return Finding(bool(holds), numbers)


def _claim(statement: str, check, question: str, **more) -> Claim:
    return Claim(statement, "statistical", NOTEBOOK, check, question, FILES, **more)


CLAIMS = (
    _claim(
        "Nominal SAIL over-optimizes a language model's oracle that favors filler words by {bias}: on prompts "
        "where all responses are equally good it adds {excess} of them per response, and its responses are "
        "preferred to the reference's by {wish} more in the oracle's eyes than in truth ({n} seeds)",
        over_optimization, "Q3", prediction="it over-optimizes",
    ),
    _claim(
        "ρ = {bias}, the size of the oracle's bias, brings the filler words of a language model nearer to the "
        "reference's, by {removed} words per response ({n} paired seeds)",
        filler_words, "Q3", prediction="nearer",
    ),
    _claim(
        "Robust SAIL at ρ = {bias} gains {gain} of gold reward over the reference, {difference} more than nominal "
        "SAIL ({n} paired seeds)",
        gold_reward, "Q3", prediction="keeps most of nominal's gain",
    ),
    _claim(
        "ρ does not remove the mistake whole, as it would if pairs shared no parameters: robust SAIL at ρ = "
        "{bias} still adds {remaining} filler words per response ({n} seeds)",
        what_remains, "Q3", prediction="none are added (true of free pairs)",
    ),
    _claim(
        "On held-out prompts the robust loss under the biased oracle, ρ = {bias} covering its deviation, "
        "certifies the true loss of robust SAIL in every run: gap {robust}, at least {gap}. Nominal SAIL's "
        "observed loss is below its true one, by {nominal} ({n} seeds)",
        held_out_certificate, "Q6", prediction="not negative for ρ of at least the deviation",
    ),
    _claim(
        "No trained policy collapsed: entropy over the reference's is {nominal} for nominal and {robust} for "
        "robust SAIL (lowest run {least}; {n} seeds each, bias {bias}); at most {identical} of the pairs are "
        "identical",
        entropy, "Q7",
    ),
)  # fmt: skip
