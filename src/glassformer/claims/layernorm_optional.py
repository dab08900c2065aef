"""Whether training works without LayerNorm, and whether the loss falls later."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import diverged, exceeds, mean_over_seeds, trains, worded
from glassformer.claims.norm_study import FULL, NAME, QUICK, VARIANTS, WITHOUT
from glassformer.claims.tuned import tuned_arms
from glassformer.statistics.comparison import FEWEST_PAIRS, Losses
from glassformer.statistics.power import smallest_effect
from glassformer.studies.curves import first_reach
from glassformer.studies.design import BASE
from glassformer.studies.outcomes import RunOutcome
from glassformer.wording import counted

LATER = math.log2(1.1)
"""The loss falls later if it takes 10 % more steps or more, as log2 of the ratio: a smaller delay is no drawback, and
fewer seeds than any budget has could tell it from none."""

ABOVE = (0.0, 0.05, 0.1, 0.15, 0.2)
"""Nats above the higher of both final losses. The delay is the mean over the steps to each of these losses: the steps
to a single one, where both curves are nearly flat, are mostly noise."""

POWER = 0.8
UNIT = "log2 of the ratio of steps"


def delay(base: RunOutcome, without: RunOutcome) -> float | None:
    """How much later a run without the norm reaches losses that both reach, as log2 of the ratio of steps (see ABOVE).

    1 is twice as many. None where one of them diverged.
    """
    if base.loss is None or without.loss is None:
        return None
    ratios = []
    for above in ABOVE:
        level = max(base.loss, without.loss) + above
        steps = [first_reach(run.curve.steps, run.curve.losses, level) for run in (base, without)]
        if steps[0] is not None and steps[1] is not None and min(steps[0], steps[1]) > 0:
            ratios.append(math.log2(steps[1] / steps[0]))
    return fmean(ratios) if ratios else None


def detectable(delays: Sequence[float]) -> Measurement:
    """The delay that so many seeds of such a spread would tell from LATER with the probability POWER."""
    if len(delays) < FEWEST_PAIRS:
        return Measurement(None, UNIT)
    return measurement(smallest_effect(len(delays), power=POWER) * stdev(delays), UNIT)


def judge(
    depths: Mapping[int, Mapping[str, Sequence[RunOutcome]]],
    unigram: float,
    evidence: tuple[Path, ...] = (),
    rates: Mapping[int, Mapping[str, float]] | None = None,
) -> ClaimResult:
    """At each depth: training works (``judging.trains``), and it takes LATER more steps to the same losses.

    Args:
        depths: the runs of the base and of the arm without norm, each at its own best learning rate.
        rates: those rates, by depth and arm.
    """
    parts: dict[str, bool | None] = {}
    numbers: dict[str, Measurement] = {"unigram entropy of the text": measurement(unigram, "nats")}
    clauses = []
    for depth, arms in depths.items():
        layers = counted(depth, "layer")
        by_seed = {arm: {run.seed: run for run in runs} for arm, runs in arms.items()}
        losses = {seed: run.loss for seed, run in by_seed[WITHOUT].items()}
        pairs = [(by_seed[BASE][seed], run) for seed, run in by_seed[WITHOUT].items() if seed in by_seed[BASE]]
        delays = [later for pair in pairs if (later := delay(*pair)) is not None]
        mean_delay = mean_over_seeds(delays, UNIT)
        parts[f"at {layers} training works without LayerNorm"] = trains(losses, unigram)
        parts[f"at {layers} the loss falls later without it, by 10 % of the steps or more"] = _later(mean_delay, losses)
        final = mean_over_seeds(losses.values())
        for arm, name in ((BASE, "with LayerNorm"), (WITHOUT, "without")):
            if rates is not None and arm in rates.get(depth, {}):
                numbers[f"{layers}: best learning rate {name}"] = measurement(rates[depth][arm])
        numbers[f"{layers}: final loss with LayerNorm"] = mean_over_seeds(run.loss for run in arms[BASE])
        numbers[f"{layers}: final loss without"] = final
        numbers[f"{layers}: delay"] = mean_delay
        numbers[f"{layers}: delay beyond 10 % that {len(delays)} seeds detect in {POWER:.0%} of studies"] = detectable(
            delays
        )
        numbers[f"{layers}: runs that diverged without"] = measurement(diverged(losses))
        clauses.append(f"at {layers} it ends at {worded(final, '.2f')} nats{_steps(mean_delay)}")
    return ClaimResult(
        parts,
        f"Without LayerNorm, {'; '.join(clauses)}.",
        "Post-norm against no norm, each at its own best learning rate. Working means that no run diverged, and a loss "
        f"well below the unigram entropy of {unigram:.2f}; later, 10 % more steps or more.",
        numbers,
        evidence,
    )


def _later(mean_delay: Measurement, losses: Losses) -> bool | None:
    """A run that diverged reaches nothing: where one did, the others never count as being no later."""
    later = exceeds(mean_delay, LATER)
    return None if later is False and diverged(losses) else later


def _steps(mean_delay: Measurement) -> str:
    """The delay as a factor of the steps, with its interval."""
    if mean_delay.value is None:
        return ""
    text = f" and needs {2**mean_delay.value:.2f} times the steps to the same losses"
    if mean_delay.interval is not None:
        low, high = mean_delay.interval
        text += f" (95 % interval {2**low:.2f} to {2**high:.2f})"
    return text


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are depths; the runs are those of norm-helps."""
    studies = claim_studies.over_depth(NAME, VARIANTS, budget)
    depths = {
        depth: {arm: [each for each in study.outcomes() if each.variant == arm] for arm in (BASE, WITHOUT)}
        for depth, study in studies.items()
    }
    unigram = claim_studies.entropies(next(iter(studies.values())))["unigram"]
    rates = {depth: tuned_arms(study).rates for depth, study in studies.items()}
    return judge(depths, unigram, tuple(study.path for study in studies.values()), rates)


CLAIM = Claim(
    "layernorm-optional",
    "Without LayerNorm the loss falls later, but training works.",
    NOTES,
    "study",
    "With LayerNorm and without, over depth, each at its own best learning rate: final loss, runs that diverge, steps "
    "to the same losses.",
    decide,
    quick=QUICK,
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        "The rate is chosen by the final loss; a run that is to fall early would be given another one.",
        "How late a loss is reached is read between 20 validations of a run, on straight lines.",
        f"Only losses within {max(ABOVE):g} nats of the end are compared: before, a run without the norm may be ahead.",
        "At 8 layers and the norm behind the sum; deeper stacks, or pre-norm, may need the norm to train at all.",
    ),
)
