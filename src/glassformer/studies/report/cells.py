"""Numbers as cells of a table: rounded for reading, sorted by their value."""

from __future__ import annotations

from glassformer.charts.table import Cell
from glassformer.statistics.wording import signed

NOTHING = "–"


def number_cell(value: float | None, form: str) -> Cell:
    """A number in a format such as ``.4f``."""
    return Cell(NOTHING) if value is None else Cell(f"{value:{form}}", value)


def percentage_cell(share: float | None) -> Cell:
    """A share as a percentage."""
    return Cell(NOTHING) if share is None else Cell(f"{100 * share:.1f} %", share)


def difference_cell(mean: float | None, interval: tuple[float, float] | None) -> Cell:
    """A difference with two digits of half its interval; without an interval, with two digits of its own."""
    if mean is None:
        return Cell(NOTHING)
    return Cell(signed(mean, abs(mean) if interval is None else (interval[1] - interval[0]) / 2), mean)


def interval_cell(interval: tuple[float, float] | None) -> Cell:
    """An interval with two digits of half its width."""
    return Cell(NOTHING) if interval is None else Cell(interval_text(interval), interval[0])


def interval_text(interval: tuple[float, float]) -> str:
    """An interval with two digits of half its width, as text."""
    scale = (interval[1] - interval[0]) / 2
    return f"{signed(interval[0], scale)} to {signed(interval[1], scale)}"
