"""What the norm is worth, over depth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import costs_more, difference, diverged, mean_over_seeds, signed
from glassformer.claims.norm_study import FULL, NAME, PRE, QUICK, VARIANTS, WITHOUT
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE
from glassformer.wording import counted

CLAIMED = 1.8 - 1.5
"""The claimed gain of the norm, nats."""

SHARE = 0.5
"""The claim holds at a depth if the norm saves more than this share of it, or if no run trains without the norm."""


NORMS = {BASE: "post-norm", PRE: "pre-norm"}


def judge(depths: Mapping[int, Mapping[str, Losses]], evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """At each depth and place of the norm: the loss without it less that with it, against SHARE × CLAIMED."""
    parts: dict[str, bool | None] = {}
    numbers: dict[str, Measurement] = {}
    clauses = []
    for depth, arms in depths.items():
        layers = counted(depth, "layer")
        without = arms[WITHOUT]
        lost = diverged(without)
        numbers[f"{layers}: loss without norm"] = mean_over_seeds(without.values())
        numbers[f"{layers}: runs that diverged without it"] = measurement(lost)
        for arm, name in NORMS.items():
            saved = difference(arms[arm], without)
            none_trains = lost == len(without) and not diverged(arms[arm])
            parts[f"at {layers} {name} saves {SHARE * CLAIMED:.2f} nats or more"] = none_trains or costs_more(
                arms[arm], without, SHARE * CLAIMED
            )
            numbers[f"{layers}: loss, {name}"] = mean_over_seeds(arms[arm].values())
            numbers[f"{layers}: what {name} saves"] = saved
            clauses.append(f"{name} at {layers} {signed(saved)}")
        if lost:
            clauses.append(f"at {layers} {lost} of {len(without)} runs diverged without it")
    return ClaimResult(
        parts,
        f"Loss without the norm less loss with it: {'; '.join(clauses)}. The notes' gain was {CLAIMED:.1f}.",
        "One learning rate for all, torch's starting weights; measured after the budget's steps.",
        numbers,
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are depths."""
    studies = claim_studies.over_depth(NAME, VARIANTS, budget)
    return judge(
        {depth: study.losses() for depth, study in studies.items()}, tuple(study.path for study in studies.values())
    )


CLAIM = Claim(
    "norm-helps",
    "Adding the norm took the loss from 1.8 to 1.5.",
    NOTES,
    "study",
    "LayerNorm behind the sum, before the sublayer, and none, over depth, paired by seed.",
    decide,
    quick=QUICK,
    full=FULL,
)
