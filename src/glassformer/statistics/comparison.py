"""Paired comparison: differences by seed, with intervals, tests and effect sizes.

Runs of one seed share their data order and, where shapes agree, their initial weights. So a variant is compared with
the base seed by seed:

    base      {0: 1.70, 1: 1.72, 2: 1.69, ...}      a final loss for each seed, None where the run diverged
    variant   {0: 1.75, 1: 1.76, 2: None, ...}
    pairs         +0.05    +0.04    none            variant − base; the pair of seed 2 is counted apart

Each variant gets the mean of its differences, the t interval (exact for normal differences, however few), the p of
the paired t test, the same p adjusted for all the variants of the table (Holm 1979, valid however they depend on each
other, and they do: they share the base's runs), and an effect size: Cohen's d_z, the mean in standard deviations of
the differences (Cohen 1988, section 2.3.5), with Hedges' correction for small n (Hedges 1981). Below ``FEWEST_PAIRS``
pairs there is only the mean, and a note that says why. There is no unpaired comparison: it would throw away what the
shared seeds are for.

The interval is of one variant alone; the adjusted p is of the whole table. Both hold for a number of seeds that was
fixed beforehand: where seeds were added until something showed, ``statistics/sequential.py`` has the intervals that
hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from glassformer.errors import ConfigError
from glassformer.statistics.paired import PairedT, hedges_correction, holm, paired_t, without_spread
from glassformer.statistics.wording import difference_clause, percent, probability, seeds_listed, signed
from glassformer.wording import counted

Losses = Mapping[int, float | None]
"""A final loss for each seed; None, NaN or an infinity where the run diverged."""

FEWEST_PAIRS = 3
"""Below this no interval, p or effect size is given: with 2 pairs a 95 % interval is ±12.7 standard errors."""


@dataclass(frozen=True)
class Pair:
    """The runs of one seed: final losses of the base and of the variant, None where a run diverged."""

    seed: int
    base: float | None
    variant: float | None

    @property
    def difference(self) -> float | None:
        """Variant − base, or None if either run diverged."""
        return None if self.base is None or self.variant is None else self.variant - self.base


@dataclass(frozen=True)
class Difference:
    """One row of the table: a variant against the base. What the pairs cannot give is None, and ``note`` says why."""

    variant: str
    pairs: tuple[Pair, ...]
    """Every seed run on both sides, diverged runs too, in the order of the seeds."""
    unmatched: tuple[int, ...]
    """Seeds run on one side only."""
    confidence: float
    comparisons: int
    """How many variants the table has: what ``p_holm`` is adjusted for."""
    mean: float | None = None
    sd: float | None = None
    """The standard deviation of the differences between seeds, with n − 1."""
    interval: tuple[float, float] | None = None
    t: float | None = None
    p: float | None = None
    """The p of the two-sided paired t test, unadjusted."""
    p_holm: float | None = None
    effect: float | None = None
    """Hedges' g_z: Cohen's d_z, the mean in standard deviations of the differences, corrected for small n."""
    note: str | None = None

    @property
    def differences(self) -> tuple[float, ...]:
        """Variant − base of every whole pair."""
        return tuple(pair.difference for pair in self.pairs if pair.difference is not None)

    @property
    def n(self) -> int:
        """How many whole pairs there are."""
        return len(self.differences)

    @property
    def base_diverged(self) -> tuple[int, ...]:
        """Seeds whose base run diverged."""
        return tuple(pair.seed for pair in self.pairs if pair.base is None)

    @property
    def variant_diverged(self) -> tuple[int, ...]:
        """Seeds whose run of the variant diverged."""
        return tuple(pair.seed for pair in self.pairs if pair.variant is None)

    @property
    def significant(self) -> bool:
        """Whether the p adjusted for the whole table is at most 1 − confidence."""
        return self.p_holm is not None and self.p_holm <= 1 - self.confidence

    def sentence(self, quantity: str = "the loss", unit: str = "nats") -> str:
        """The row in plain words, for example

        ``residual=none raises the loss by 0.041 nats (95 % interval 0.030 to 0.052, n = 8 pairs, Holm-adjusted p =
        0.0002).``
        """
        return " ".join([self._finding(quantity, unit), *self.exclusions()])

    def _finding(self, quantity: str, unit: str) -> str:
        """The finding of the whole pairs as a sentence."""
        pairs = counted(self.n, "pair")
        if self.mean is None:
            return f"{self.variant} cannot be compared with the baseline: {self.note}."
        if self.interval is None or self.p_holm is None:
            by = (
                f"differs from the baseline by {signed(self.mean, self.mean)} {unit}"
                if self.mean
                else "equals the baseline"
            )
            average = "On average, " if self.n > 1 and self.mean else ""
            return f"{average}{self.variant} {by} (n = {pairs}): {self.note}."
        over = f" over {self.comparisons} variants" if self.comparisons > 1 else ""
        support = f"n = {pairs}, Holm-adjusted p {probability(self.p_holm)}{over}"
        clause = difference_clause(
            self.variant, self.mean, self.interval, self.significant, self.confidence, quantity, unit, support
        )
        return f"{clause}."

    def exclusions(self, *, diverged: bool = True) -> list[str]:
        """The runs excluded from the pairs: a sentence for each reason; without ``diverged``, not for divergence."""
        excluded = [
            f"{side} diverged in {len(seeds)} of {counted(len(self.pairs), 'run')} ({seeds_listed(seeds)}); "
            f"{'that pair is' if len(seeds) == 1 else 'those pairs are'} excluded."
            for side, seeds in (("The baseline", self.base_diverged), (self.variant, self.variant_diverged))
            if seeds and diverged
        ]
        if self.unmatched:
            listed = seeds_listed(self.unmatched).capitalize()
            was, is_ = ("was", "is") if len(self.unmatched) == 1 else ("were", "are")
            excluded.append(f"{listed} {was} run in one of the two arms only and {is_} excluded.")
        return excluded


@dataclass(frozen=True)
class Comparison:
    """The table of a study: a row for each variant, in the order given."""

    confidence: float
    rows: tuple[Difference, ...]

    def row(self, variant: str) -> Difference:
        """The row of one variant; KeyError if there is none."""
        return {row.variant: row for row in self.rows}[variant]


def compare(base: Losses, variants: Mapping[str, Losses], *, confidence: float = 0.95) -> Comparison:
    """Compare each of ``variants`` with ``base`` by the final losses of their seeds.

    A variant without a p (too few pairs, no spread) still counts in Holm's correction, as if its p were 1: leaving it
    out would make the other rows look surer because a run diverged.

    Raises ConfigError if ``confidence`` is not between 0 and 1.
    """
    check_confidence(confidence)
    rows = [_before_the_test(name, base, losses, confidence, len(variants)) for name, losses in variants.items()]
    tests = [paired_t(row.differences, confidence) if row.note is None else None for row in rows]
    adjusted = holm([1.0 if test is None else float(test.p) for test in tests])
    tested = [
        row if test is None else _with_test(row, test, float(p_holm))
        for row, test, p_holm in zip(rows, tests, adjusted, strict=True)
    ]
    return Comparison(confidence, tuple(tested))


def _before_the_test(name: str, base: Losses, losses: Losses, confidence: float, comparisons: int) -> Difference:
    """The pairs of one variant and their mean; if they cannot be tested, the note that says why."""
    pairs = paired_by_seed(base, losses, sorted(base.keys() & losses.keys()))
    row = Difference(name, pairs, tuple(sorted(base.keys() ^ losses.keys())), confidence, comparisons)
    if row.n == 0:
        return replace(row, note="no seed has a final loss in both arms")
    row = replace(row, mean=float(np.mean(row.differences)))
    if row.n < FEWEST_PAIRS:
        return replace(row, note=too_few(confidence))
    if no_spread(pairs):
        equal = (
            "both runs of every pair end at the same loss" if row.mean == 0 else "every pair differs by the same amount"
        )
        return replace(row, sd=0.0, note=f"{equal}; without spread there is no interval, p value or effect size")
    return row


def _with_test(row: Difference, test: PairedT, p_holm: float) -> Difference:
    """The row with what its test gives."""
    mean, sd = float(test.mean), float(test.sd)
    return replace(
        row,
        mean=mean,
        sd=sd,
        interval=(float(test.low), float(test.high)),
        t=float(test.t),
        p=float(test.p),
        p_holm=p_holm,
        effect=float(hedges_correction(row.n - 1)) * mean / sd,
    )


def paired_by_seed(base: Losses, losses: Losses, seeds: list[int]) -> tuple[Pair, ...]:
    """The runs of ``seeds``, which ran on both sides, in that order; a loss that is not finite becomes None."""
    return tuple(Pair(seed, _finite(base[seed]), _finite(losses[seed])) for seed in seeds)


def no_spread(pairs: tuple[Pair, ...]) -> bool:
    """Whether all whole pairs, of which there is at least one, differ by the same amount up to rounding."""
    whole = [(pair.base, pair.variant) for pair in pairs if pair.base is not None and pair.variant is not None]
    base, variant = zip(*whole, strict=True)
    return without_spread(base, variant)


def _finite(loss: float | None) -> float | None:
    return float(loss) if loss is not None and math.isfinite(loss) else None


def too_few(confidence: float) -> str:
    """Why there is no interval below ``FEWEST_PAIRS`` pairs."""
    factor = stats.t.isf((1 - confidence) / 2, 1)
    return (
        f"fewer than {FEWEST_PAIRS} pairs estimate the spread between seeds too poorly for an interval, p value or "
        f"effect size (with 2 pairs the {percent(confidence)} interval is ±{factor:.1f} standard errors)"
    )


def check_confidence(confidence: float) -> None:
    """Raise ConfigError unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise ConfigError(
            f"confidence must lie between 0 and 1, such as 0.95; it is {confidence}.", subject="comparison"
        )
