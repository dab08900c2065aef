"""Whether training works without LayerNorm, and whether the loss falls later."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import diverged, exceeds, mean_over_seeds, trains
from glassformer.claims.norm_study import FULL, NAME, QUICK, VARIANTS, WITHOUT
from glassformer.studies.curves import first_reach
from glassformer.studies.design import BASE
from glassformer.studies.outcomes import RunOutcome
from glassformer.wording import counted


def delay(base: RunOutcome, without: RunOutcome) -> float | None:
    """Steps to a loss that both runs reach (the higher of their final ones), as log2 of the ratio: 1 is twice as many.

    None where one of them diverged.
    """
    if base.loss is None or without.loss is None:
        return None
    level = max(base.loss, without.loss)
    steps = [first_reach(run.curve.steps, run.curve.losses, level) for run in (base, without)]
    if steps[0] is None or steps[1] is None or min(steps[0], steps[1]) <= 0:
        return None
    return math.log2(steps[1] / steps[0])


def judge(
    depths: Mapping[int, Mapping[str, Sequence[RunOutcome]]], unigram: float, evidence: tuple[Path, ...] = ()
) -> ClaimResult:
    """At each depth: training works (``judging.trains``), and it takes more steps to the same loss."""
    parts: dict[str, bool | None] = {}
    numbers: dict[str, Measurement] = {"unigram entropy of the text": measurement(unigram, "nats")}
    clauses = []
    for depth, arms in depths.items():
        layers = counted(depth, "layer")
        by_seed = {arm: {run.seed: run for run in runs} for arm, runs in arms.items()}
        losses = {seed: run.loss for seed, run in by_seed[WITHOUT].items()}
        later = mean_over_seeds(
            [delay(by_seed[BASE][seed], run) for seed, run in by_seed[WITHOUT].items() if seed in by_seed[BASE]],
            "log2 of the ratio of steps",
        )
        works = trains(losses, unigram)
        parts[f"at {layers} training works without LayerNorm"] = works
        parts[f"at {layers} the loss falls later without it"] = exceeds(later, 0.0)
        final = mean_over_seeds(losses.values())
        numbers[f"{layers}: final loss with LayerNorm"] = mean_over_seeds(run.loss for run in arms[BASE])
        numbers[f"{layers}: final loss without"] = final
        numbers[f"{layers}: delay"] = later
        numbers[f"{layers}: runs that diverged without"] = measurement(diverged(losses))
        clauses.append(
            f"at {layers} it ends at {'no loss' if final.value is None else f'{final.value:.2f} nats'}"
            + ("" if later.value is None else f" and needs {2**later.value:.2g} times the steps to the same loss")
        )
    return ClaimResult(
        parts,
        f"Without LayerNorm, {'; '.join(clauses)}.",
        f"Post-norm against no norm, one learning rate for both. Working means no run diverged, and a loss well below "
        f"the unigram entropy of {unigram:.2f}.",
        numbers,
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are depths; the runs are those of norm-helps."""
    studies = claim_studies.over_depth(NAME, VARIANTS, budget)
    depths = {
        depth: {arm: [each for each in study.outcomes() if each.variant == arm] for arm in (BASE, WITHOUT)}
        for depth, study in studies.items()
    }
    unigram = claim_studies.entropies(next(iter(studies.values())))["unigram"]
    return judge(depths, unigram, tuple(study.path for study in studies.values()))


CLAIM = Claim(
    "layernorm-optional",
    "Without LayerNorm the loss falls later, but training works.",
    NOTES,
    "study",
    "With LayerNorm and without, over depth: final loss, runs that diverge, steps to the same loss.",
    decide,
    quick=QUICK,
    full=FULL,
)
