"""From the losses of a study to numbers with intervals, and from these to parts that hold or do not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np

from glassformer.claims.claim import Measurement
from glassformer.statistics.comparison import FEWEST_PAIRS, Losses, compare
from glassformer.statistics.paired import paired_t


def mean_over_seeds(values: Iterable[float | None], unit: str = "nats") -> Measurement:
    """The mean of the values that are there, with its t interval where they are FEWEST_PAIRS or more and differ."""
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    if not known:
        return Measurement(None, unit)
    if len(known) < FEWEST_PAIRS or np.ptp(known) == 0:
        return Measurement(fmean(known), unit)
    test = paired_t(known)
    return Measurement(float(test.mean), unit, (float(test.low), float(test.high)))


def difference(base: Losses, variant: Losses, unit: str = "nats") -> Measurement:
    """Variant − base, paired by seed, with its t interval; pairs in which a run diverged are left out."""
    row = compare(base, {"variant": variant}).row("variant")
    return Measurement(row.mean, unit, row.interval)


def exceeds(measured: Measurement, threshold: float) -> bool | None:
    """Whether a number is above a threshold: its whole interval above it, below it, or (None) neither.

    Without an interval: None.

    >>> exceeds(Measurement(0.5, "", (0.4, 0.6)), 0.3), exceeds(Measurement(0.5, "", (0.4, 0.6)), 0.55)
    (True, None)
    """
    if measured.interval is None:
        return None
    low, high = measured.interval
    return True if low > threshold else False if high < threshold else None


def mean_exceeds(values: Losses, threshold: float) -> bool | None:
    """Whether the mean over seeds is above a threshold, by its interval.

    A run that diverged has no value and is worse than any: where one did, the others' mean never counts as below.
    """
    above = exceeds(mean_over_seeds(values.values()), threshold)
    return None if above is False and diverged(values) else above


def costs_more(base: Losses, variant: Losses, threshold: float = 0.0) -> bool | None:
    """Whether a variant costs more than a threshold, by the interval of the paired difference.

    Pairs with a run that diverged are not among the differences, so the others say too little where such a run speaks
    against them: a variant with one never counts as costing less, nor to cost more than a base with one.
    """
    more = exceeds(difference(base, variant), threshold)
    return None if (more is False and diverged(variant)) or (more is True and diverged(base)) else more


def falls_short(measured: Measurement, threshold: float) -> bool | None:
    """Whether a number is below a threshold, by its whole interval."""
    above = exceeds(measured, threshold)
    return None if above is None else not above


def all_of(parts: Sequence[bool | None]) -> bool | None:
    """Whether all hold: False as soon as one does not."""
    return False if False in parts else None if None in parts else True


def diverged(losses: Losses) -> int:
    """Runs without a final loss."""
    return sum(loss is None for loss in losses.values())


def worded(measured: Measurement, form: str = ".3f") -> str:
    """A value for a sentence, without its unit; in words where there is none, since every run diverged."""
    return "no finite number of" if measured.value is None else f"{measured.value:{form}}"


def signed(measured: Measurement) -> str:
    """A difference for a sentence, with its sign and its interval.

    >>> signed(Measurement(0.4127, "nats", (0.3, 0.5)))
    '+0.413 nats (95 % interval +0.300 to +0.500)'
    """
    if measured.value is None:
        return "not measurable"
    text = f"{measured.value:+.3f} {measured.unit}".strip()
    if measured.interval is not None:
        text += f" (95 % interval {measured.interval[0]:+.3f} to {measured.interval[1]:+.3f})"
    return text.replace("-", "−")


LEARNED = 0.5
"""Nats below the unigram entropy at which a model has learned more than how often each token comes."""


def trains(losses: Losses, unigram: float) -> bool | None:
    """Whether training works: no run diverged, and the mean loss is LEARNED or more below the unigram entropy."""
    if diverged(losses):
        return False
    return falls_short(mean_over_seeds(losses.values()), unigram - LEARNED)
