"""Units of compute, and how a user writes them."""

from __future__ import annotations

import math
import re

from glassformer.errors import ConfigError, nearest

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

NUMBER = r"([+-]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
"""A number as people write it, 1e18 or 1_000.5 or 1,000: one group of a pattern that ignores case."""

_AMOUNT = re.compile(rf"\s*{NUMBER}\s*(.*?)\s*", re.IGNORECASE)


def flops(text: str | float, *, subject: str = "compute") -> float:
    """FLOPs of "1e18", "3 PF-days", "2.5 EFLOP"; ``subject`` is what a complaint calls them.

    >>> flops("3 PF-days")
    2.592e+20

    Raises:
        ConfigError: no number, an unknown unit (the nearest is suggested), or not a finite amount above 0.
    """
    if isinstance(text, int | float):
        text = repr(text)
    matched = _AMOUNT.fullmatch(text)
    if matched is None:
        raise ConfigError(f"{text!r} is no amount. Write 1e18 (FLOPs) or '3 PF-days'.", subject=subject)
    amount, unit = matched[1].replace(",", "").replace("_", ""), matched[2].casefold().replace(" ", "-")
    if unit not in UNITS:
        raise ConfigError(
            f"{matched[2]!r} is no unit of compute. {nearest(unit, filter(None, UNITS))}", subject=subject
        )
    found = float(amount) * UNITS[unit]
    if not (math.isfinite(found) and found > 0):
        raise ConfigError(f"{text!r} must be finite and above 0.", subject=subject)
    return found
