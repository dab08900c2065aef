"""Adding seeds until the question is decided, with an error that survives looking after every one.

The t interval holds for a number of seeds fixed beforehand. Whoever looks after each seed and stops when it excludes
zero is wrong far more often than one time in 20. Here the rule is

    repeated confidence intervals (Jennison & Turnbull 1989) of an error-spending sequential t test
    (Lan & DeMets 1983), with boundaries computed exactly (Jennison & Turnbull 1991): ``statistics/boundaries.py``

At n pairs the interval is mean ± c(n) · sd/√n. With a chance of 1 − α, *all* of these intervals, at every n from 3 on,
hold the true difference at once, so any reason for stopping is allowed, and so is going on after a decision. The
premise is that of the t test: independent, normal differences. The t-mixture martingales (Lai 1976, "On confidence
sequences"; Wang & Ramdas 2024, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
variance") promise the same, but are wider at up to 6 pairs however their mixture is chosen (at α from 0.05 to 0.001),
and with the mixtures that are good later on they cannot decide anything at 3: ``benchmarks/study_statistics.py`` prints
both.

**Several variants.** Each gets α divided by their number (Bonferroni): then all intervals of all variants hold at once
with a chance of 1 − α, and every statement below is read from them. Holm's step-down, too, may be applied to tests that
hold at any stopping time (Bartroff & Lai 2010), but only to "different": its intervals, and "no larger than the
margin", would no longer be covered.

**Verdicts**, at the first n that allows one:

    different    the interval excludes 0
    equivalent   the interval lies within ±margin, the equivalence margin (which the user sets)
    undecided    neither, with all the pairs there are

A pair with a diverged run is no pair: it adds no look and spends no error. Where there is no pair at all, more seeds
may be of no use, and two more verdicts end the question, on all the seeds run on both sides:

    diverges             the variant diverged at every seed, and the baseline finished at 3 of them or more
    baseline diverges    the baseline diverged at every seed, of which there are 3 or more

They come with the Clopper-Pearson interval of the divergence rate. Its lower end, (α/2)^(1/n) at n of n, holds however
often one looks: a rate q is below it only from some n on, and that many divergences have a chance of qⁿ < α/2. As soon
as there is a pair, the pairs decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from glassformer.errors import ConfigError
from glassformer.statistics.boundaries import FIRST_LOOK, MOST_LOOKS, critical_values
from glassformer.statistics.comparison import (
    Losses,
    Pair,
    check_confidence,
    no_spread,
    paired_by_seed,
    too_few,
)
from glassformer.statistics.paired import Floats
from glassformer.statistics.proportions import clopper_pearson
from glassformer.statistics.wording import difference_clause, percent, plain
from glassformer.wording import counted

Verdict = Literal["different", "equivalent", "undecided", "diverges", "baseline diverges"]


@dataclass(frozen=True)
class Divergence:
    """How many of the seeds run on both sides diverged on either, and the interval of that side's divergence rate."""

    seeds: int
    base: int
    variant: int
    base_rate: tuple[float, float] | None
    variant_rate: tuple[float, float] | None
    """Clopper-Pearson intervals; None without a seed."""

    @classmethod
    def count(cls, pairs: Sequence[Pair], confidence: float) -> Divergence:
        """That of the pairs, whole or not."""
        n, base = len(pairs), sum(pair.base is None for pair in pairs)
        variant = sum(pair.variant is None for pair in pairs)
        if not n:
            return cls(0, 0, 0, None, None)
        return cls(n, base, variant, clopper_pearson(base, n, confidence), clopper_pearson(variant, n, confidence))

    @property
    def verdict(self) -> Verdict | None:
        """The divergence that settles the comparison without a whole pair; None where more seeds could."""
        if self.base == self.seeds >= FIRST_LOOK:
            return "baseline diverges"
        if self.variant == self.seeds and self.seeds - self.base >= FIRST_LOOK:
            return "diverges"
        return None

    def sentence(self, variant: str, confidence: float) -> str:
        """The verdict as a sentence."""

        def rate(interval: tuple[float, float] | None) -> str:
            assert interval is not None, "a verdict takes seeds"
            low, high = (f"{100 * end:.0f} %" for end in interval)
            return f"divergence rate {low} to {high}, {percent(confidence)} Clopper-Pearson interval"

        seeds = counted(self.seeds, "seed")
        if self.verdict == "diverges":
            of_base = f"at {self.base}" if self.base else "at none"
            rated = rate(self.variant_rate)
            return f"{variant} diverged at {self.variant} of {seeds}, and the baseline {of_base} of them ({rated})."
        return (
            f"{variant} cannot be compared: the baseline diverged at {self.base} of {seeds} ({rate(self.base_rate)}), "
            f"and {variant} at {self.variant or 'none'} of them."
        )


@dataclass(frozen=True)
class Decision:
    """What the pairs of one variant decide, and at which look."""

    variant: str
    verdict: Verdict
    n: int
    """Whole pairs at the decision; while undecided, all there are."""
    available: int
    """Whole pairs there are, those after the decision too."""
    confidence: float
    """The chance that all intervals of all variants at all looks hold together."""
    comparisons: int
    margin: float | None
    divergence: Divergence
    """Of all the seeds run on both sides."""
    mean: float | None = None
    """Mean difference of the first ``n`` pairs."""
    interval: tuple[float, float] | None = None
    """The repeated confidence interval at ``n`` pairs."""
    note: str | None = None
    """Why there is no interval."""

    @property
    def decided(self) -> bool:
        """Whether more seeds of this variant are not needed."""
        return self.verdict != "undecided"

    @property
    def by_divergence(self) -> bool:
        """Whether no pair decides, but that every run of an arm diverged."""
        return self.verdict in ("diverges", "baseline diverges")

    @property
    def within_margin(self) -> bool:
        """Whether the interval lies within ±margin; a difference may be significant and yet too small to matter."""
        return self.margin is not None and self.interval is not None and inside(self.interval, self.margin)

    def sentence(self, quantity: str = "the loss", unit: str = "nats") -> str:
        """The decision as a sentence."""
        if self.by_divergence:
            return self.divergence.sentence(self.variant, self.confidence)
        if self.interval is None or self.mean is None:
            return f"{self.variant} is inconclusive at n = {counted(self.n, 'pair')}: {self.note}."
        pairs = counted(self.n, "pair")
        when = f"decided at n = {pairs}" if self.decided else f"n = {pairs} so far"
        family = "valid at every look" + (f" and for all {self.comparisons} variants" if self.comparisons > 1 else "")
        significant, otherwise, within = self.verdict == "different", "is inconclusive", ""
        if self.within_margin:
            assert self.margin is not None
            within = f"within the equivalence margin of ±{plain(self.margin, self.margin)} {unit}"
            otherwise = f"is {within}"
        clause = difference_clause(
            self.variant,
            self.mean,
            self.interval,
            significant,
            self.confidence,
            quantity,
            unit,
            f"{family}; {when}",
            otherwise,
        )
        return f"{clause}, {within}." if significant and within else f"{clause}."


def decide(
    base: Losses,
    variants: Mapping[str, Losses],
    *,
    seeds: Sequence[int],
    confidence: float = 0.95,
    margin: float | None = None,
) -> tuple[Decision, ...]:
    """What the runs so far decide about each of ``variants``, in the order given.

    Args:
        base: final losses by seed, None where a run diverged; seeds not yet run are absent.
        variants: the same for every variant of the study, those decided already too: the error is divided among them.
        seeds: the order in which the study adds its seeds, fixed beforehand: not the order in which runs finished,
            which may depend on how they went.
        confidence: the chance that every decision of the study is right, however often this is asked.
        margin: the equivalence margin, in the unit of the losses; None: only "different" is ever decided. It must be
            chosen before looking.

    Raises ConfigError, with all that is wrong: a confidence not between 0 and 1, a margin not above 0, a seed given
    twice, more than ``MOST_LOOKS`` seeds.
    """
    _check(seeds, confidence, margin)
    return tuple(
        _decision(name, base, losses, seeds, confidence, len(variants), margin) for name, losses in variants.items()
    )


def repeated_intervals(differences: npt.ArrayLike, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """The lower and upper ends [..., n] of the repeated confidence intervals after each of the ``differences``
    [..., n] of a study, which hold the true mean all at once with a chance of at least 1 − ``alpha``; NaN at the
    first two, where there is no look yet.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    pairs = np.arange(1, n + 1)
    first = values[..., :1]  # sums of squares about the first value, so that a large mean costs no digits
    sums, squares = np.cumsum(values - first, axis=-1), np.cumsum((values - first) ** 2, axis=-1)
    mean = first + sums / pairs
    half = np.full(values.shape, np.nan)
    if n >= FIRST_LOOK:
        looks = pairs[FIRST_LOOK - 1 :]
        variance = np.maximum(squares - sums**2 / pairs, 0.0)[..., FIRST_LOOK - 1 :] / (looks - 1)
        half[..., FIRST_LOOK - 1 :] = critical_values(alpha, n) * np.sqrt(variance / looks)
    return mean - half, mean + half


def inside(interval: tuple[float, float], margin: float) -> bool:
    """Whether an interval lies within ±margin."""
    return -margin < interval[0] and interval[1] < margin


def _decision(
    name: str,
    base: Losses,
    losses: Losses,
    seeds: Sequence[int],
    confidence: float,
    comparisons: int,
    margin: float | None,
) -> Decision:
    """The first look that decides, or the last one."""
    pairs = paired_by_seed(base, losses, [seed for seed in seeds if seed in base and seed in losses])
    whole = [pair for pair in pairs if pair.difference is not None]
    differences = np.array([pair.difference for pair in whole], dtype=np.float64)
    n = len(whole)
    divergence = Divergence.count(pairs, confidence)
    settled = None if n else divergence.verdict
    undecided = Decision(
        name,
        settled or "undecided",
        n,
        n,
        confidence,
        comparisons,
        margin,
        divergence,
        mean=float(np.mean(differences)) if n else None,
        note=None if settled else too_few(confidence),
    )
    lows, highs = repeated_intervals(differences, (1 - confidence) / comparisons)
    for look in range(FIRST_LOOK, n + 1):
        if no_spread(tuple(whole[:look])):
            note = "all pairs differ by the same amount; without spread there is no interval"
            undecided = replace(undecided, n=n, mean=float(np.mean(differences)), interval=None, note=note)
            continue
        interval = (float(lows[look - 1]), float(highs[look - 1]))
        verdict: Verdict = "undecided"
        if not interval[0] <= 0 <= interval[1]:
            verdict = "different"
        elif margin is not None and inside(interval, margin):
            verdict = "equivalent"
        so_far = float(np.mean(differences[:look]))
        decision = replace(undecided, verdict=verdict, n=look, mean=so_far, interval=interval, note=None)
        if decision.decided:
            return decision
        undecided = decision
    return undecided


def _check(seeds: Sequence[int], confidence: float, margin: float | None) -> None:
    """Raise ConfigError with all that is wrong with a sequential comparison."""
    check_confidence(confidence)
    complaints = []
    if margin is not None and not margin > 0:
        complaints.append(f"the equivalence margin must be above 0; it is {margin}.")
    twice = sorted({seed for seed in seeds if list(seeds).count(seed) > 1})
    if twice:
        complaints.append(f"seeds given twice: {', '.join(map(str, twice))}.")
    if len(seeds) > MOST_LOOKS:
        complaints.append(f"at most {MOST_LOOKS} seeds can be added one by one; got {len(seeds)}.")
    if complaints:
        raise ConfigError(complaints, subject="sequential comparison")
