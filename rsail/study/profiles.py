"""How much to compute: the same code in three sizes, chosen by the one parameter of every notebook.

Claims and figures come from committed results and exact computation, in every profile; a profile sets only
what a notebook computes live. Comments give the meaning and the unit of a field; nothing else in the
compendium holds such numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rsail.checks import one_of


@dataclass(frozen=True)
class Profile:
    """Sizes of the live computations of one profile."""

    name: str
    training_steps: int  # online steps that notebook 08 trains live
    seeds: int  # seeds of a live comparison
    eval_prompts: int  # held-out prompts of a live check


QUICK = Profile(
    name="quick",
    training_steps=10,
    seeds=2,
    eval_prompts=64,
)
FULL = replace(
    QUICK,
    name="full",
    training_steps=300,
    seeds=8,
    eval_prompts=512,
)
GPU = replace(FULL, name="gpu", training_steps=1_000)
PROFILES = {profile.name: profile for profile in (QUICK, FULL, GPU)}


def get_profile(name: str) -> Profile:
    """The profile called `name`; ValueError naming the options if there is none."""
    one_of("profile", name, PROFILES)
    return PROFILES[name]
