"""Whether gradients vanish without the residual: the norms that the runs of the residual study recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import exceeds, mean_over_seeds
from glassformer.claims.residual_study import ATTENTION_REMOVED, FULL, NAME, QUICK, SKIP_REMOVED, VARIANTS
from glassformer.errors import RunError
from glassformer.inspection.gradients import training_gradients
from glassformer.runs.folder import Run
from glassformer.statistics.comparison import FEWEST_PAIRS
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study
from glassformer.wording import counted

CLAIMED = (0.005, 0.16)
"""The range of the notes' gradient norms."""

VANISHED = 5e-4
"""Below this, a tenth of the smallest that the notes report, a matrix's gradient has vanished: by the geometric mean
over seeds, with its whole interval."""


@dataclass(frozen=True)
class EndOfRun:
    """Gradient norms at the end of a run: smallest and largest of a matrix, and the last block's over the first's."""

    smallest: float
    largest: float
    last_over_first: float


def measure(study: Study, arm: str) -> list[EndOfRun]:
    """The end of every run of an arm that recorded its gradients (a reused run of somebody else's may not have)."""
    found = []
    for outcome in study.outcomes():
        if outcome.variant == arm and outcome.run is not None:
            try:
                gradients = training_gradients(Run.open(outcome.run))
            except RunError:
                continue
            try:
                (_, smallest), (_, largest) = gradients.matrix_range()
            except RunError:  # no gradient anywhere: all of them have vanished
                smallest = largest = 0.0
            found.append(EndOfRun(smallest, largest, gradients.depth_ratio()))
    return found


LEAST = 1e-30
"""What a gradient of exactly 0 counts as, so that it has a logarithm."""


def geometric_mean(values: Sequence[float]) -> Measurement:
    """Over seeds, with the interval of the mean logarithm; NaN left out.

    Gradients that are exactly 0 at every seed have no spread, and an interval that is a point.
    """
    known = [math.log(max(value, LEAST)) for value in values if not math.isnan(value)]
    logarithms = mean_over_seeds(known)
    if logarithms.value is None:
        return Measurement(None)
    interval = logarithms.interval
    if len(known) >= FEWEST_PAIRS and max(known) == math.log(LEAST):
        interval = (logarithms.value, logarithms.value)
    return Measurement(
        math.exp(logarithms.value), "", None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))
    )


def judge(depths: Mapping[int, Mapping[str, Sequence[EndOfRun]]], evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """At a depth the claim holds if the smallest matrix's gradient without the skips is above VANISHED."""
    numbers: dict[str, Measurement] = {}
    parts: dict[str, bool | None] = {}
    clauses = []
    for depth, arms in depths.items():
        layers = counted(depth, "layer")
        for arm, runs in arms.items():
            numbers[f"{layers}, {arm}: smallest norm"] = geometric_mean([run.smallest for run in runs])
            numbers[f"{layers}, {arm}: largest norm"] = geometric_mean([run.largest for run in runs])
            if depth > 1:
                numbers[f"{layers}, {arm}: last block over first"] = geometric_mean(
                    [run.last_over_first for run in runs]
                )
        without = numbers[f"{layers}, {SKIP_REMOVED}: smallest norm"]
        parts[f"at {layers} they do not vanish"] = exceeds(without, VANISHED)
        clauses.append(
            f"{layers} {_plain(without)} (with the skips {_plain(numbers[f'{layers}, {BASE}: smallest norm'])})"
        )
    return ClaimResult(
        parts,
        f"The smallest gradient norm of a matrix at the end of training, without the skips: {'; '.join(clauses)}. The "
        f"notes' {CLAIMED[0]} to {CLAIMED[1]} are those of a model whose attention was taken out, not its skip: query, "
        "key, value and output are missing from their list because they had no gradient.",
        f"A gradient has vanished where its norm is below {VANISHED:g} (a tenth of the notes' smallest).",
        numbers,
        evidence,
    )


def _plain(measured: Measurement) -> str:
    return "none" if measured.value is None else f"{measured.value:.1e}"


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are depths; the runs are those of residual-loss."""
    studies = claim_studies.over_depth(NAME, VARIANTS, budget)
    arms = (BASE, SKIP_REMOVED, ATTENTION_REMOVED)
    return judge(
        {depth: {arm: measure(study, arm) for arm in arms} for depth, study in studies.items()},
        tuple(study.path for study in studies.values()),
    )


CLAIM = Claim(
    "residual-gradients",
    "Without the residual the gradients do not vanish: the norms stay between 0.005 and 0.16 after 44,500 steps.",
    NOTES,
    "study",
    "Gradient norms of every matrix at the end of training, in each arm of the residual study, over depth.",
    decide,
    quick=QUICK,
    full=FULL,
)
