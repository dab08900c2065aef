"""Whether gradients vanish without the residual: the norms that the runs of the residual study recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import exceeds, mean_over_seeds
from glassformer.claims.residual_study import ATTENTION_REMOVED, FULL, QUICK, SKIP_REMOVED, residual_studies
from glassformer.claims.tuned import selection_runs, tuned_arms
from glassformer.errors import RunError
from glassformer.inspection.gradients import training_gradients
from glassformer.runs.folder import Run
from glassformer.statistics.comparison import FEWEST_PAIRS
from glassformer.studies.design import BASE, arm_label
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome
from glassformer.wording import counted, listed

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


@dataclass(frozen=True)
class Depth:
    """The runs of one depth.

    Attributes:
        ends: by arm, at its own best learning rate.
        by_rate: of the runs without the skips that the rate was chosen on, by learning rate.
        rates: the best learning rate by arm.
    """

    ends: Mapping[str, Sequence[EndOfRun]]
    by_rate: Mapping[float, Sequence[EndOfRun]] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)


def measure(outcomes: Sequence[RunOutcome]) -> list[EndOfRun]:
    """The end of every run that recorded its gradients (a reused run of somebody else's may not have)."""
    found = []
    for outcome in outcomes:
        if outcome.run is not None:
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


def judge(depths: Mapping[int, Depth], evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """At a depth the claim holds if the smallest matrix's gradient without the skips is above VANISHED.

    Decided at the rate that is best without the skips; how the norms depend on the rate is said beside it.
    """
    numbers: dict[str, Measurement] = {}
    parts: dict[str, bool | None] = {}
    clauses: list[str] = []
    for level, depth in depths.items():
        layers = counted(level, "layer")
        for arm, rate in depth.rates.items():
            numbers[f"{layers}, {arm_label(arm)}: best learning rate"] = measurement(rate)
        for arm, runs in depth.ends.items():
            name = f"{layers}, {arm_label(arm)}"
            numbers[f"{name}: smallest norm"] = geometric_mean([run.smallest for run in runs])
            numbers[f"{name}: largest norm"] = geometric_mean([run.largest for run in runs])
            if level > 1:
                numbers[f"{name}: last block over first"] = geometric_mean([run.last_over_first for run in runs])
        for rate, runs in sorted(depth.by_rate.items()):
            numbers[f"{layers}, {SKIP_REMOVED}: smallest norm at rate {rate:g} (selection runs)"] = geometric_mean(
                [run.smallest for run in runs]
            )
        without = numbers[f"{layers}, {SKIP_REMOVED}: smallest norm"]
        parts[f"at {layers} they do not vanish"] = exceeds(without, VANISHED)
        at = f" at rate {depth.rates[SKIP_REMOVED]:g}" if SKIP_REMOVED in depth.rates else ""
        with_skips = numbers[f"{layers}, {arm_label(BASE)}: smallest norm"]
        clauses.append(f"{layers} {_plain(without)}{at} (with the skips {_plain(with_skips)})")
    depends, by_rate = _over_rates(depths)
    return ClaimResult(
        parts,
        "The smallest gradient norm of a matrix at the end of training, without the skips and each arm at its own best "
        f"learning rate: {'; '.join(clauses)}.{depends} The notes' {CLAIMED[0]} to {CLAIMED[1]} are those of a model "
        "whose attention was taken out, not its skip: query, key, value and output are missing from their list because "
        "they had no gradient.",
        f"A gradient has vanished where its norm is below {VANISHED:g} (a tenth of the notes' smallest).{by_rate}",
        numbers,
        evidence,
    )


def _by_rate(depth: Depth) -> dict[float, float]:
    """The smallest norm without the skips at each learning rate that was tried, where it is known."""
    norms = {rate: geometric_mean([run.smallest for run in runs]).value for rate, runs in sorted(depth.by_rate.items())}
    return {rate: norm for rate, norm in norms.items() if norm is not None}


def _over_rates(depths: Mapping[int, Depth]) -> tuple[str, str]:
    """At which depths it depends on the learning rate whether the gradients vanish; and every norm by rate."""
    tried = {level: _by_rate(depth) for level, depth in depths.items()}
    mixed = [str(level) for level, norms in tried.items() if len({norm > VANISHED for norm in norms.values()}) == 2]
    listing = "; ".join(
        f"{counted(level, 'layer')} {', '.join(f'{rate:g}: {norm:.1e}' for rate, norm in norms.items())}"
        for level, norms in tried.items()
        if norms
    )
    where = f"at depth {listed(mixed)}" if mixed else ""
    depends = f" On the selection runs, whether they vanish depends on the learning rate {where}." if mixed else ""
    return depends, f" By learning rate, on the selection runs: {listing}." if listing else ""


def _plain(measured: Measurement) -> str:
    return "none" if measured.value is None else f"{measured.value:.1e}"


def read(study: Study) -> Depth:
    """What the runs of a depth recorded."""
    arms = (BASE, SKIP_REMOVED, ATTENTION_REMOVED)
    tried = selection_runs(study).get(SKIP_REMOVED, {})
    return Depth(
        {arm: measure([each for each in study.outcomes() if each.variant == arm]) for arm in arms},
        {rate: measure(outcomes) for rate, outcomes in tried.items()},
        {arm: rate for arm, rate in tuned_arms(study).rates.items() if arm in arms},
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are depths; the runs are those of residual-loss."""
    studies = residual_studies(budget, claim_studies)
    return judge(
        {depth: read(study) for depth, study in studies.items()}, tuple(study.path for study in studies.values())
    )


CLAIM = Claim(
    "residual-gradients",
    "Without the residual the gradients do not vanish: the norms stay between 0.005 and 0.16 after 44,500 steps.",
    NOTES,
    "study",
    "Gradient norms of every matrix at the end of training, in each arm of the residual study at its own best learning "
    "rate, over depth; and without the skips at every rate of the grid.",
    decide,
    quick=QUICK,
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        f"Vanished means below {VANISHED:g}, a threshold of ours: near it another one would give another verdict.",
        "The norms are medians over the last tenth of a run's records, of single batches, before clipping.",
        "Norms by learning rate are of the selection runs, which are shorter and too few for an interval.",
        "Where nothing trains without the skips, the losses hardly differ over rates, and chance chooses the best one.",
        "Adam divides by a gradient's size: how fast a matrix learns is not how large its gradient is.",
    ),
)
