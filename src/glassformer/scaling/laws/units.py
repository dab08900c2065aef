"""Units of compute and of counts, and how a user writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from glassformer.errors import ConfigError, nearest
from glassformer.numbers import NumberError, read_amount

PF_DAY = 8.64e19
"""A PF-day in FLOPs: 1e15 FLOP/s · 86,400 s (Kaplan et al. 2020, §1.3)."""

UNITS: dict[str, float] = {
    "": 1.0,
    "flop": 1.0,
    "flops": 1.0,
    "kflop": 1e3,
    "mflop": 1e6,
    "gflop": 1e9,
    "tflop": 1e12,
    "pflop": 1e15,
    "eflop": 1e18,
    "zflop": 1e21,
    "pf-day": PF_DAY,
    "pf-days": PF_DAY,
    "pfday": PF_DAY,
    "pfdays": PF_DAY,
    "petaflop/s-day": PF_DAY,
    "petaflop/s-days": PF_DAY,
}
"""FLOPs of each unit, in lower case."""

COUNTS: dict[str, float] = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12, "thousand": 1e3}
COUNTS |= {"million": 1e6, "millions": 1e6, "billion": 1e9, "billions": 1e9, "trillion": 1e12, "trillions": 1e12}
COUNTS |= {"tokens": 1.0, "parameters": 1.0, "params": 1.0}
"""Parameters or tokens of each unit, in lower case."""


def unit_of(text: str, units: Mapping[str, float]) -> float | None:
    """The size of a unit; None if it is not among ``units``, whose names are in lower case.

    >>> unit_of("PF days", UNITS) == PF_DAY, unit_of(" M ", COUNTS), unit_of("parsec", COUNTS)
    (True, 1000000.0, None)
    """
    return units.get("-".join(text.casefold().split()))


def flops(text: str | float, *, subject: str = "compute") -> float:
    """FLOPs of "1e18", "3 PF-days", "2.5 EFLOP"; ``subject`` is what a complaint calls them.

    >>> flops("3 PF-days")
    2.592e+20

    Raises:
        ConfigError: not a number or one that could be two, an unknown unit (the nearest is suggested), or not a finite
            amount above 0.
    """
    if isinstance(text, int | float):
        text = repr(float(text)) if abs(text) < 1e300 else "inf"
    found = amount(text, UNITS, subject=subject, what="a unit of compute", example="1e18 (FLOPs) or '3 PF-days'")
    if not (math.isfinite(found) and found > 0):
        raise ConfigError(f"{text!r} must be finite and above 0.", subject=subject)
    return found


def amount(text: str, units: Mapping[str, float], *, subject: str, what: str, example: str) -> float:
    """A number with one of these units behind it, in units of 1.

    Raises:
        ConfigError: it cannot be read; with ``example``.
    """
    try:
        number, unit = read_amount(text)
    except NumberError as error:
        raise ConfigError(f"{error}{'' if error.suggestion else f' Examples: {example}.'}", subject=subject) from None
    factor = unit_of(unit, units)
    if factor is None:
        raise ConfigError(f"{unit!r} is not {what}. {nearest(unit, filter(None, units))}", subject=subject)
    return number * factor
