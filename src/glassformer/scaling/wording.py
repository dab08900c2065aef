"""How the numbers of a fit are written, in tables and in sentences."""

from __future__ import annotations

import math
from collections.abc import Callable

from glassformer.wording import duration

SUFFIXES = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3))
MINUS = "−"
DAY, YEAR = 86_400.0, 365.25 * 86_400

Interval = tuple[float, float]


def large(value: float) -> str:
    """A count of parameters or tokens in three digits.

    >>> large(4.04e10), large(70), large(3.2e16)
    ('40.4 B', '70.0', '3.20e16')
    """
    rounding = 0.9995  # from here on three digits of the smaller unit would be a thousand of it
    if not math.isfinite(value) or value >= rounding * 1e15:
        return power_of_ten(value)
    for suffix, size in SUFFIXES:
        if value >= rounding * size:
            return f"{digits(value / size)} {suffix}"
    return digits(value)


def digits(value: float, count: int = 3) -> str:
    """A number in ``count`` significant digits, without an exponent where that stays readable.

    >>> digits(0.34731), digits(-2143.4), digits(6.5), digits(1.2e-7), digits(482.01, 5)
    ('0.347', '−2,143', '6.50', '1.20e-7', '482.01')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("-", MINUS)
    if not 1e-4 <= abs(value) < 1e7:
        return power_of_ten(value, count)
    rounded = float(f"{value:.{count - 1}e}")  # 0.9996 is 1.00, not 1.000
    decimals = max(0, count - 1 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def power_of_ten(value: float, count: int = 3) -> str:
    """A number with its power of ten.

    >>> power_of_ten(1e24), power_of_ten(5.76e23)
    ('1.00e24', '5.76e23')
    """
    if not math.isfinite(value):
        return f"{value:g}".replace("-", MINUS)
    mantissa, _, exponent = f"{value:.{count - 1}e}".partition("e")
    return f"{mantissa.replace('-', MINUS)}e{int(exponent)}"


def budget(compute: float) -> str:
    """A budget in FLOPs, as short as it is exact to three digits.

    >>> budget(1e24), budget(5.76e23)
    ('1e24', '5.76e23')
    """
    mantissa, _, exponent = power_of_ten(compute).partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{exponent}"


def long(seconds: float) -> str:
    """A time as people say it, in days and years where it is so long.

    >>> long(75), long(7 * DAY), long(3e9)
    ('1 min 15 s', '7.00 days', '95.1 years')
    """
    if seconds < 2 * DAY:
        return duration(seconds)
    return f"{digits(seconds / DAY)} days" if seconds < YEAR else f"{digits(seconds / YEAR)} years"


def to(interval: Interval | None, write: Callable[[float], str] = digits) -> str:
    """An interval.

    >>> to((0.31, 0.38)), to((1e9, 2e9), large), to(None)
    ('0.310 to 0.380', '1.00 B to 2.00 B', '–')
    """
    if interval is None:
        return "–"
    return f"{write(interval[0])} to {write(interval[1])}"


def percent_error(log_ratio: float) -> str:
    """A difference of logarithms as a percentage, with its sign.

    >>> percent_error(0.0119), percent_error(-0.02)
    ('+1.2 %', '−2.0 %')
    """
    return f"{100 * math.expm1(log_ratio):+.1f} %".replace("-", MINUS)
