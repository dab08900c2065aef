"""Which decimal mark a table's numbers have: found from all of its cells together, or asked for; never guessed.

``4,129`` alone is 4129 or 4.129. Beside it other cells may settle which:

    5,68      0,129      1.234,5      1,5e9        has a decimal comma, whatever else it may be
    5.68      0.129      1,234.5      1,000,000    has a decimal point

A column with cells of one of these kinds is read so. One without takes the mark of the other columns. If none has any,
a comma is a decimal comma where the columns are not separated by commas and large numbers stand in the table without
thousands marks (so that there are none); or where only so the loss is one that a language model can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from glassformer.errors import shown
from glassformer.numbers import OTHER, Mark, plain, split_amount
from glassformer.scaling.fits.plausibility import MOST_LOSS
from glassformer.scaling.fits.points import MEANING

MARKS = {".": "point", ",": "comma"}

Cells = Mapping[str, str]
"""Texts of a column by the row's name."""


@dataclass
class Evidence:
    """What the cells of a column say of its decimal mark. Of each kind, cells by row, at most a few."""

    certain: dict[Mark, dict[str, str]] = field(default_factory=lambda: {".": {}, ",": {}})
    """Cells that are numbers with this decimal mark only."""
    open: dict[Mark, dict[str, str]] = field(default_factory=lambda: {".": {}, ",": {}})
    """Cells that are two numbers; by the mark that stands in them."""
    ungrouped: bool = False
    """Whether a number of four digits or more has no thousands marks."""

    @classmethod
    def of(cls, cells: Cells) -> Evidence:
        """Of a column; of cells that are not numbers nothing."""
        found = cls()
        for row, text in cells.items():
            number, _ = split_amount(text)
            readings: dict[Mark, str | None] = {mark: plain(number, mark) for mark in OTHER}
            point, comma = readings["."], readings[","]
            whole = number.lstrip("+-").partition(".")[0].partition(",")[0]
            found.ungrouped |= whole.isascii() and whole.isdigit() and len(whole) > 3
            if point is not None and comma is not None and point != comma:
                found.open["," if "," in number else "."][row] = number
            elif point is not None and comma is None:
                found.certain["."][row] = number
            elif comma is not None and point is None:
                found.certain[","][row] = number
        return found

    @property
    def own(self) -> Mark | None:
        """The mark that its certain cells have, if they agree."""
        marks: list[Mark] = [mark for mark in OTHER if self.certain[mark]]
        return marks[0] if len(marks) == 1 else None

    def mixed(self) -> tuple[tuple[str, str], tuple[str, str]] | None:
        """A cell with a decimal point and one with a decimal comma (row, text), where no one reading fits both."""
        points, commas = self.certain["."], self.certain[","]
        if not (points and commas):
            own = self.own
            if own is None:  # 4.129 and 5,686
                points, commas = self.open["."], self.open[","]
            elif not any(OTHER[own] in text for text in self.certain[own].values()):
                # 1.70 and 1,585: had it thousands marks, other cells would have them with their decimals
                points, commas = (points, self.open[","]) if own == "." else (self.open["."], commas)
            else:
                return None
        if not (points and commas):
            return None
        return next(iter(points.items())), next(iter(commas.items()))


def decimal_marks(
    columns: Mapping[str, Cells], others: Mapping[str, Cells], separator: str, asked: Mark | None
) -> tuple[dict[str, Mark], list[str], list[str]]:
    """The decimal mark of each column, notes on what was read how, and complaints.

    Args:
        columns: of each quantity ("n", "loss") the cells that are to be read.
        others: the table's other columns, which count where those leave it open.
        separator: between the cells of a line.
        asked: the mark, if the user says so.
    """
    if asked is not None:
        return dict.fromkeys(columns, asked), [], []
    seen = {what: Evidence.of(cells) for what, cells in columns.items()}
    marks: dict[str, Mark] = {}
    notes: list[str] = []
    complaints: list[str] = []
    for what, evidence in seen.items():
        if (mixed := evidence.mixed()) is not None:
            (row, text), (other_row, other) = mixed
            complaints.append(
                f"{MEANING[what]} mixes decimal points and commas: {row} has {shown(text)}, {other_row} has "
                f"{shown(other)}. Write all with a decimal point."
            )
        elif evidence.own is not None:
            marks[what] = evidence.own
        elif not (evidence.open["."] or evidence.open[","]):
            marks[what] = "."
    for what in seen.keys() - marks.keys() if not complaints else ():
        evidence = seen[what]
        mark, why = _by_the_rest(what, evidence, seen, others, separator, columns[what])
        row, text = next(iter((evidence.open[","] or evidence.open["."]).items()))
        readings = plain(text, "."), plain(text, ",")
        if mark is None:
            complaints.append(
                f"{MEANING[what]} can be read in two ways: {shown(text)} ({row}) is {readings[0]} or {readings[1]}, "
                "and no other cell settles it. Write it with a decimal point and without thousands marks, or say which "
                "decimal mark the table has (--decimal , or --decimal .)."
            )
            continue
        marks[what] = mark
        if why:
            notes.append(f"{_upper(MEANING[what])} is read with a decimal {MARKS[mark]}: {text} is "
                         f"{plain(text, mark)}, {why}.")  # fmt: skip
    for what, mark in marks.items():
        commas = seen[what].certain[","]
        if mark == "," and commas:
            row, text = next(iter(commas.items()))
            notes.append(f"{_upper(MEANING[what])} is read with a decimal comma: {text} is {plain(text, ',')}.")
    return marks, notes, complaints


def _by_the_rest(
    what: str,
    evidence: Evidence,
    seen: Mapping[str, Evidence],
    others: Mapping[str, Cells],
    separator: str,
    cells: Cells,
) -> tuple[Mark | None, str]:
    """The mark of a column whose own cells leave it open, and why; None if all leave it open."""
    numbers = {name: Evidence.of(column) for name, column in others.items() if _all_numbers(column)}
    for columns in (seen, numbers):
        marks = {each.own for name, each in columns.items() if each is not evidence and each.own is not None}
        if len(marks) == 1:
            return marks.pop(), "as the numbers of other columns are"
        if marks:
            return None, ""
    if not evidence.open[","]:
        return ".", ""  # 4.129, and not a comma in the table
    ungrouped = any(each.ungrouped for each in seen.values())
    if separator not in (",", "") and ungrouped:
        return ",", "since large numbers of the table have no thousands marks"
    if what == "loss" and _loss(cells, ",") and not _loss(cells, "."):
        return ",", f"since a loss is at most {MOST_LOSS:g} nats"
    return None, ""


def _all_numbers(cells: Cells) -> bool:
    return all(not text or plain(text, ".") or plain(text, ",") for text in cells.values())


def _loss(cells: Cells, mark: Mark) -> bool:
    """Whether all cells, so read, are losses that a language model can have."""
    read = [plain(split_amount(text)[0], mark) for text in cells.values()]
    return all(text is None or 0 < float(text) <= MOST_LOSS for text in read)


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
