"""Which rows of a table are wanted: ``config=long``, ``name!=x``, ``N>1e7``, ``loss!=`` (every row that has a loss)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from glassformer.errors import ConfigError, shown
from glassformer.numbers import NumberError, plain, read_number

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MISSING = ("", "nan", "na", "n/a", "none", "null", "-")
"""Cells that hold nothing, in lower case."""


@dataclass(frozen=True)
class Condition:
    """A column, a sign of ``=``, ``!=`` or COMPARISONS, and a text; a number, where it is a comparison."""

    column: str
    sign: str
    text: str

    @property
    def number(self) -> float:
        """What a comparison is with."""
        return read_number(self.text)

    def holds(self, cell: str, factor: float = 1.0) -> bool | None:
        """Whether a cell meets it, None where a comparison is of something that is not a number.

        A missing number is neither above nor below anything; ``!=`` with no text asks for a cell that is not missing.
        """
        if self.sign in COMPARISONS:
            if is_missing(cell):
                return False
            written = plain(cell, ".")
            return None if written is None else COMPARISONS[self.sign](float(written) * factor, self.number)
        same = cell == self.text or (not self.text and is_missing(cell))
        return same if self.sign == "=" else not same


def is_missing(cell: str) -> bool:
    """Whether a cell holds nothing."""
    return cell.strip().casefold() in MISSING


def conditions(given: Mapping[str, str] | Iterable[str] | None) -> list[Condition]:
    """From ``{"config": "long"}`` or from texts such as ``N>1e7``.

    Raises:
        ConfigError: with every text that is no condition.
    """
    if isinstance(given, Mapping):
        return [Condition(name, "=", text) for name, text in given.items()]
    found, complaints = [], []
    for text in given or ():
        matched = re.fullmatch(r"\s*(.+?)\s*(!=|<=|>=|==|=|<|>)\s*(.*?)\s*", text)
        if matched is None:
            complaints.append(f"--where is {shown(text)}; expected NAME=VALUE, NAME!=VALUE or NAME>NUMBER.")
            continue
        condition = Condition(matched[1], "=" if matched[2] == "==" else matched[2], matched[3])
        found.append(condition)
        try:
            if condition.sign in COMPARISONS:
                _ = condition.number
        except NumberError as error:
            complaints.append(f"--where {shown(text)} compares with {shown(condition.text)}: {error}")
    if complaints:
        raise ConfigError(complaints, subject="command")
    return found
