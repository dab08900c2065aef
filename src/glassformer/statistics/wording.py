"""How losses, differences, shares and p values are written in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence


def seeds_listed(seeds: Sequence[int]) -> str:
    """Which seeds.

    >>> seeds_listed([3]), seeds_listed([3, 5])
    ('seed 3', 'seeds 3, 5')
    """
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def percent(share: float) -> str:
    """A share as a percentage, with no more digits than it has.

    >>> percent(0.95), percent(0.995)
    ('95 %', '99.5 %')
    """
    return f"{100 * share:.6g} %"


def decimals(scale: float) -> int:
    """How many decimals show two digits of ``scale``.

    >>> decimals(0.011), decimals(0.11), decimals(35.0)
    (3, 2, 0)
    """
    return max(0, 1 - math.floor(math.log10(abs(scale)))) if scale else 0


def plain(value: float, scale: float) -> str:
    """A number rounded to two digits of ``scale``, with a real minus sign.

    >>> plain(-0.04127, 0.011)
    '−0.041'
    """
    rounded = f"{value:.{decimals(scale)}f}"
    negative_zero = float(rounded) == 0
    return rounded.lstrip("-") if negative_zero else rounded.replace("-", "−")


def signed(value: float, scale: float) -> str:
    """A number rounded as by ``plain``, always with its sign.

    >>> signed(0.04127, 0.011)
    '+0.041'
    """
    written = plain(value, scale)
    return written if written.startswith("−") else f"+{written}"


def probability(p: float) -> str:
    """A p value with its relation sign; below 0.0001 its digits mean nothing.

    >>> probability(0.00021), probability(0.0312), probability(1e-9)
    ('= 0.0002', '= 0.031', '< 0.0001')
    """
    if p < 0.0001:
        return "< 0.0001"
    return f"= {p:.1g}" if p < 0.001 else f"= {p:.2g}"


def difference_clause(
    name: str,
    mean: float,
    interval: tuple[float, float],
    significant: bool,
    confidence: float,
    quantity: str,
    unit: str,
    support: str,
    otherwise: str = "is inconclusive",
) -> str:
    """A difference and its interval as a clause; one that is significant has its direction in the verb.

    Args:
        otherwise: the verb phrase where the difference is not significant.
    """
    low, high = interval
    scale = (high - low) / 2
    nearest = min(abs(low), abs(high))
    if significant and nearest:
        scale = min(scale, 10 * nearest)  # an interval that excludes 0 must not be rounded to touch it
    if significant:
        verb, sizes = ("raises", (mean, low, high)) if mean > 0 else ("lowers", (-mean, -high, -low))
        by, start, end = (plain(size, scale) for size in sizes)
        claim = f"{name} {verb} {quantity} by {by} {unit}"
    else:
        by, start, end = (signed(size, scale) for size in (mean, low, high))
        claim = f"The effect of {name} on {quantity} {otherwise}: {by} {unit}"
    return f"{claim} ({percent(confidence)} interval {start} to {end}, {support})"
