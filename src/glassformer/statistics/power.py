"""Power: the minimum detectable effect of these seeds, and how many more the observed difference would take.

A paired t test of n differences whose true mean is d standard deviations has t distributed as noncentral t with n − 1
degrees of freedom and noncentrality d√n (Student's t with a shifted numerator; Cohen 1988, chapter 2). So, exactly for
normal differences,

    power(d, n) = P(|T′(n − 1, d√n)| > t(1 − α/2, n − 1))

The smallest effect is the d at which this is ``power``, times the observed standard deviation. α is divided by the
number of variants in the table: the strictest step of Holm's correction, so that the line never promises too much.
The standard deviation is itself estimated from n differences; the line takes it as given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from glassformer.errors import ConfigError
from glassformer.statistics.comparison import Difference
from glassformer.statistics.paired import Floats
from glassformer.statistics.wording import percent, plain
from glassformer.wording import counted

MOST_PAIRS = 10_000
"""Beyond this many, "how many more seeds" is answered with "more than that"."""

FAR = 4.0
"""From this noncentrality on, the wrong tail is left out: it holds less than Φ(−4) = 0.00003 whatever the level, and
scipy's noncentral t loses so small a tail to NaN."""


def power_of(effect: npt.ArrayLike, n: npt.ArrayLike, alpha: float = 0.05) -> Floats:
    """The chance that a two-sided paired t test of ``n`` ≥ 2 pairs at level ``alpha`` rejects, if the true mean
    difference is ``effect`` standard deviations of the differences. The two broadcast.
    """
    degrees = np.asarray(n, dtype=np.float64) - 1
    shift = np.abs(np.asarray(effect, dtype=np.float64)) * np.sqrt(degrees + 1)
    critical = stats.t.isf(alpha / 2, degrees)
    right = stats.nct.sf(critical, degrees, shift)
    wrong = np.where(shift < FAR, np.nan_to_num(stats.nct.cdf(-critical, degrees, np.minimum(shift, FAR))), 0.0)
    return right + wrong


def smallest_effect(n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The mean difference, in standard deviations of the differences, that ``n`` pairs detect with chance ``power``.

    >>> round(smallest_effect(8), 2)
    1.16
    """
    assert 0 < alpha < power < 1, f"there is no such effect at α {alpha} and power {power}"
    high = 1.0
    while power_of(high, n, alpha) < power:
        high *= 2
    return float(optimize.brentq(lambda effect: float(power_of(effect, n, alpha)) - power, 0.0, high, xtol=1e-12))


def pairs_needed(effect: float, *, alpha: float = 0.05, power: float = 0.8, at_most: int = MOST_PAIRS) -> int | None:
    """The fewest pairs that detect a mean difference of ``effect`` standard deviations with chance ``power``, at least
    3; None if that takes more than ``at_most``.

    >>> pairs_needed(0.5)
    34
    """
    low, high = 3, at_most
    if power_of(effect, high, alpha) < power:
        return None
    while low < high:  # power grows with n
        middle = (low + high) // 2
        if power_of(effect, middle, alpha) < power:
            low = middle + 1
        else:
            high = middle
    return low


@dataclass(frozen=True)
class PowerLine:
    """What n pairs with this spread can detect, and how many the observed difference would take."""

    n: int
    sd: float
    """The standard deviation of the differences, as observed."""
    alpha: float
    """The level of each test: what is allowed to the table, divided by its number of variants."""
    power: float
    smallest: float
    """The smallest true difference that these pairs detect with chance ``power``."""
    observed: float
    """The mean difference."""
    significant: bool
    """Whether the observed difference is significant already, Holm-adjusted."""
    needed: int | None
    """How many pairs detect a true difference of the observed size with chance ``power``; None: over ``MOST_PAIRS``."""

    @property
    def more(self) -> int | None:
        """How many seeds would have to be added to detect the observed difference: 0 if it is significant already."""
        if self.significant:
            return 0
        return None if self.needed is None else self.needed - self.n

    def sentence(self, unit: str = "nats") -> str:
        """The line as a sentence."""
        detectable = (
            f"With {counted(self.n, 'pair')} and a standard deviation of the differences of {plain(self.sd, self.sd)} "
            f"{unit}, the minimum detectable effect is {plain(self.smallest, self.smallest)} {unit} "
            f"({percent(self.power)} power, two-sided paired t test at α = {self.alpha:.3g})"
        )
        observed = f"{plain(abs(self.observed), self.observed)} {unit}"
        if self.significant:
            return f"{detectable}; the observed {observed} is already significant."
        if self.more is None:
            return (
                f"{detectable}; detecting a difference of the observed {observed} takes more than {MOST_PAIRS:,} pairs."
            )
        seeds = counted(self.more, "more seed")
        return f"{detectable}; detecting a difference of the observed {observed} with the same power takes {seeds}."


def power_line(row: Difference, *, power: float = 0.8) -> PowerLine | None:
    """The power line of one row of a table; None for a row that has no interval, whose ``note`` says why.

    Raises ConfigError if ``power`` does not lie between the test's level and 1.
    """
    alpha = (1 - row.confidence) / row.comparisons
    if not alpha < power < 1:
        raise ConfigError(
            f"power must lie between {alpha:.3g} and 1, such as 0.8; it is {power}.", subject="power line"
        )
    if row.interval is None or row.mean is None or row.sd is None:
        return None
    smallest = row.sd * smallest_effect(row.n, alpha=alpha, power=power)
    needed = pairs_needed(row.mean / row.sd, alpha=alpha, power=power)
    if needed is not None and not row.significant:
        needed = max(needed, row.n + 1)  # at a power so low that these pairs might have detected it
    return PowerLine(row.n, row.sd, alpha, power, smallest, row.mean, row.significant, needed)
