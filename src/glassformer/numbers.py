"""Numbers as people write them. What could mean two numbers is an error that gives both, never a guess.

    read_number("1e18"), read_number("1_000.5")          a decimal point, an exponent, underscores
    read_number("1,000,000"), read_number("1 234.5")     thousands marks where they cannot be anything else
    read_number("4,129")                                 an error: 4129 or 4.129?
    read_number("1,5e13")                                an error: a decimal comma; write 1.5e13
    read_integer("1e3"), read_amount("3 PF-days")

The notation is English on every machine: no locale enters. A table, whose cells may settle together which decimal mark
it uses, reads each with :func:`plain`.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from typing import Literal

from glassformer.errors import shown

Mark = Literal[".", ","]
"""What stands before the decimals."""

OTHER: dict[Mark, Mark] = {".": ",", ",": "."}
"""The mark that may then separate thousands."""

SPACES = " \u00a0\u2007\u2009\u202f"
"""Blanks that separate thousands: plain, no-break, figure, thin and narrow no-break."""

MOST_DIGITS = 30
"""Of an integer: more than any count here, and few enough to compute with."""

_MINUS = str.maketrans({"\N{MINUS SIGN}": "-", "\N{FULLWIDTH HYPHEN-MINUS}": "-"})
_NOT_FINITE = ("nan", "inf", "infinity")
_SIGNS = "%‰$€£¥₩₹"


def _pattern(mark: Mark) -> re.Pattern[str]:
    """A number with this decimal mark. Thousands are in threes, all with one mark, and never with an exponent."""
    decimal = re.escape(mark)
    grouped = rf"[1-9][0-9]{{0,2}}(?P<mark>[{OTHER[mark]}{SPACES}'’])[0-9]{{3}}(?:(?P=mark)[0-9]{{3}})*"
    whole = rf"{grouped}(?:{decimal}[0-9]+)?"
    plain = rf"(?:[0-9]+(?:_[0-9]+)*(?:{decimal}[0-9]*)?|{decimal}[0-9]+)(?:e[+-]?[0-9]+)?"
    return re.compile(rf"[+-]?(?:{whole}|{plain})", re.IGNORECASE)


_PATTERNS: dict[Mark, re.Pattern[str]] = {mark: _pattern(mark) for mark in OTHER}
_AMOUNT = re.compile(
    rf"(?P<number>[+-]?[\d.,](?:[\d.,_'’{SPACES}]*[\d.,])?(?:e[+-]?\d+)?)\s*(?P<unit>.*)", re.IGNORECASE | re.DOTALL
)


class NumberError(ValueError):
    """A text that is not a number, or could be two. The message is a sentence or two, with what to write instead.

    ``suggestion`` is the number that was probably meant, as it should be written; None if nothing like one was given.
    """

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.suggestion = suggestion


class TooLargeError(NumberError):
    """An integer of more digits than anything here counts."""


def plain(text: str, mark: Mark = ".") -> str | None:
    """The number as Python writes it, read with this decimal mark; None if it is not one.

    >>> plain("1,234.5"), plain("1.234,5", ","), plain("4,129"), plain("4,129", ","), plain("1.234,5")
    ('1234.5', '1234.5', '4129', '4.129', None)
    """
    text = text.strip().translate(_MINUS)
    if not _PATTERNS[mark].fullmatch(text):
        return None
    kept = [letter for letter in text if letter not in f"{OTHER[mark]}{SPACES}'’_"]
    return "".join(kept).replace(mark, ".")


def read_number(text: str) -> float:
    """A number in English notation. "nan" and "inf" are read too: whoever asks checks what can be used.

    >>> read_number("1_000.5"), read_number("1,000,000"), read_number("1'234"), read_number("2e3")
    (1000.5, 1000000.0, 1234.0, 2000.0)

    Raises:
        NumberError: it is not one, or could be two.
    """
    stripped = text.strip()
    if stripped.lstrip("+-").casefold() in _NOT_FINITE:
        return float(stripped)
    return float(_certain(stripped))


def read_integer(text: str) -> int:
    """An integer in English notation, exactly: "1e3" and "2.0" are 1000 and 2.

    >>> read_integer("1_000"), read_integer("1.5e3")
    (1000, 1500)

    Raises:
        NumberError: it is not one, could be two, or has more than ``MOST_DIGITS`` digits.
    """
    written = _certain(text.strip())
    try:
        exact = Decimal(written)  # exact, however long
    except InvalidOperation:
        raise NumberError(f"{shown(text)} has an exponent beyond all computing.") from None
    if exact and exact.adjusted() >= MOST_DIGITS:
        raise TooLargeError(f"{shown(text)} is too large: {MOST_DIGITS} digits are the most.")
    if exact != exact.to_integral_value():
        raise NumberError(f"{shown(text)} is not an integer.")
    return int(exact)


def read_amount(text: str) -> tuple[float, str]:
    """A number, and the unit written behind it, which may be empty.

    >>> read_amount("3 PF-days"), read_amount("1,000,000"), read_amount("1.5e9 tokens")
    ((3.0, 'PF-days'), (1000000.0, ''), (1500000000.0, 'tokens'))

    Raises:
        NumberError: the text does not begin with a number, or the number can be read in two ways.
    """
    number, unit = split_amount(text)
    try:
        return read_number(number), unit
    except NumberError as error:
        if unit and error.suggestion is None:  # "0x10": what is in front is not all that was meant as the number
            raise NumberError(f"{shown(text)} is not a number.") from None
        raise


def split_amount(text: str) -> tuple[str, str]:
    """The number and the unit behind it, as they are written; all of it is the number if none is in front.

    >>> split_amount("70 M"), split_amount("1 234,5M"), split_amount("much")
    (('70', 'M'), ('1 234,5', 'M'), ('much', ''))
    """
    text = text.strip()
    matched = _AMOUNT.fullmatch(text.translate(_MINUS))
    return (matched["number"], matched["unit"]) if matched else (text, "")


def _certain(text: str) -> str:
    """What Python's own ``float`` reads. Raises :class:`NumberError` where English notation is not what was meant."""
    english, continental = plain(text), plain(text, ",")
    if english is not None and not ("," in text and continental is not None):
        return english
    if english is not None:
        assert continental is not None
        raise NumberError(
            f"{shown(text)} can be read as {english} or as {continental}. Write {english} or {continental}.", english
        )
    if continental is not None:
        raise NumberError(f"{shown(text)} has a decimal comma. Write {continental}.", continental)
    if not text.isascii():
        digits = "".join(_ascii_digit(letter) for letter in unicodedata.normalize("NFKC", text))
        if plain(digits) is not None:
            raise NumberError(f"{shown(text)} is not written with the digits 0 to 9. Write {digits}.", digits)
    bare = text.strip(_SIGNS + SPACES)
    if bare != text and plain(bare) is not None:
        raise NumberError(f"{shown(text)} is a percentage or an amount of money. Write a plain number.", plain(bare))
    raise NumberError(f"{shown(text)} is not a number.")


def _ascii_digit(letter: str) -> str:
    value = unicodedata.decimal(letter, None)
    return letter if value is None else str(value)
