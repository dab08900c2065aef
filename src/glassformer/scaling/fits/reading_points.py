"""Points out of a table: its columns by their usual names, its numbers as the whole table makes them certain."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glassformer.errors import nearest, shown
from glassformer.numbers import Mark, NumberError, plain, read_number, split_amount
from glassformer.scaling.fits.decimal_marks import decimal_marks
from glassformer.scaling.fits.plausibility import implausible as complaints_of_units
from glassformer.scaling.fits.points import MEANING, Points, unusable
from glassformer.scaling.fits.repeats import without_repeats
from glassformer.scaling.fits.selecting import Condition, conditions, is_missing
from glassformer.scaling.fits.table_files import Row, Table, read_table
from glassformer.scaling.laws.law import Counting
from glassformer.scaling.laws.units import COUNTS, UNITS, unit_of

NAMES = {
    "n": "n params parameters model_size n_params num_params n_parameters num_parameters model_params "
    "model_parameters total_params",
    "non-embedding n": "non_embedding_params non_embedding_parameters n_non_embedding params_non_embedding",
    "d": "d tokens training_tokens train_tokens n_tokens num_tokens tokens_trained tokens_seen total_tokens",
    "c": "c flop flops compute training_flop training_flops train_flops total_flops training_compute",
    "loss": "l loss final_loss val_loss validation_loss final_val_loss final_validation_loss eval_loss test_loss",
    "run": "run run_id run_name",
    "unique": "u unique unique_tokens n_unique_tokens",
}
"""Names of columns by what they hold, in lower case with underscores."""
FACTORS = {
    "n": COUNTS,
    "d": COUNTS,
    "unique": COUNTS,
    "c": UNITS,
    "loss": {"": 1.0, "nats": 1.0, "nats/token": 1.0, "bits": math.log(2), "bits/token": math.log(2)},
}
"""The size of a unit: in a column's name ("params (M)", "compute [PF-days]") or behind a number ("70M")."""

KINDS = ("config", "configuration", "dataset", "experiment", "variant")
"""Columns that tell one sort of run from another, in lower case: what fits one sort need not fit all together."""
SEEDS = ("seed", "replicate", "repetition", "trial")
"""Columns, in lower case, by which rows of equal sizes are different runs."""
FAR_FROM_6ND = 0.1
"""From this relative difference on, a note says that given FLOPs are not 6·N·D."""


@dataclass(frozen=True)
class Column:
    """A column of the file: its name there, and the size of the unit in its header."""

    name: str
    factor: float = 1.0


def points_of_table(
    path: Path,
    *,
    columns: Mapping[str, str],
    where: Mapping[str, str] | Sequence[str],
    counting: Counting | None,
    decimal: Mark | None = None,
    implausible: bool = False,
) -> Points:
    """Points of a file with a table, as :func:`glassformer.scaling.fits.reading.read_points` says."""
    table = read_table(path)
    names = table.names
    found, run_columns, complaints = _find_columns(names, columns, counting)
    chosen = _chosen(table, conditions(where), found, complaints)
    if complaints:
        raise unusable(str(path), complaints)
    values, reading = _numbers(table, chosen, found, decimal)
    non_embedding = "n" in found and _parted(found["n"].name)[0] in NAMES["non-embedding n"].split()
    rows = list(chosen)
    points = Points.of(
        **{what: values.get(what) for what in ("n", "d", "loss", "c", "unique")},
        run=[" · ".join(row[name] for name in run_columns) for row in chosen.values()] if run_columns else None,
        counting=counting or ("non-embedding" if non_embedding else "total"),
        source=str(path),
        rows=rows,
        notes=[*_notes_of_kinds(names, run_columns, chosen.values()), *_notes(values), *reading],
    )
    headers = {what: column.name for what, column in found.items()}
    if not implausible and (complaints := complaints_of_units(points, rows, headers)):
        raise unusable(str(path), complaints)
    apart = [*run_columns, *(name for name in names if name.casefold() in SEEDS and name not in run_columns)]
    labels = [" · ".join(row[name] for name in apart) for row in chosen.values()] if apart else None
    return without_repeats(points, labels=labels)


def _chosen(
    table: Table, wanted: Sequence[Condition], found: Mapping[str, Column], complaints: list[str]
) -> dict[str, Row]:
    """The rows that meet every condition. A column may also be named by what it holds: N, D, C, loss, U."""
    columns = {name: Column(name) for name in table.names}
    columns |= {what.upper() if what in "ndc" else what: column for what, column in found.items() if
                (what.upper() if what in "ndc" else what) not in columns}  # fmt: skip
    complaints += [
        f"where names the column {shown(each.column)}, and there is none. {nearest(each.column, table.names)}"
        for each in wanted
        if each.column not in columns
    ]
    if complaints:
        return {}
    chosen = {}
    for at, row in table.rows.items():
        columns_of = [(each, columns[each.column]) for each in wanted]
        meets = [each.holds(row[column.name], column.factor) for each, column in columns_of]
        complaints += [
            f"{at}: {column.name} is {shown(row[column.name])}, which is not a number to compare with {each.text}."
            for (each, column), met in zip(columns_of, meets, strict=True)
            if met is None
        ]
        if all(meets):
            chosen[at] = row
    if not chosen and not complaints:
        held = {each.column: {row[columns[each.column].name] for row in table.rows.values()} for each in wanted}
        seen = "; ".join(f"{name} holds {_shown(cells)}" for name, cells in held.items())
        complaints.append(f"no row is left{': ' + seen if wanted else ', the file has none'}.")
    return chosen


def _numbers(
    table: Table, chosen: Mapping[str, Row], found: Mapping[str, Column], decimal: Mark | None
) -> tuple[dict[str, list[float]], list[str]]:
    """The numbers of each quantity, and notes on how they were read.

    Raises:
        DataError: some are not numbers, or could be two.
    """
    taken = {column.name for column in found.values()}
    texts = {what: {at: row[column.name] for at, row in chosen.items()} for what, column in found.items()}
    others = {name: {at: row[name] for at, row in chosen.items()} for name in table.names if name not in taken}
    marks, notes, complaints = decimal_marks(texts, others, table.separator, decimal)
    if complaints:
        raise unusable(table.source, complaints)
    values = {
        what: [_number(text, what, at, found[what], marks[what], complaints) for at, text in cells.items()]
        for what, cells in texts.items()
    }
    if complaints:
        raise unusable(table.source, complaints)
    return values, notes


def _find_columns(
    names: Sequence[str], columns: Mapping[str, str], counting: Counting | None
) -> tuple[dict[str, Column], list[str], list[str]]:
    """The column of each quantity, those that name the run, and what is wrong."""
    if names and all(plain(name) for name in names):
        return {}, [], [f"the first line, {_shown(names)}, holds numbers. Its cells must name the columns: N, D, loss."]
    complaints: list[str] = []
    asked = {{"l": "loss"}.get(what.lower(), what.lower()): name for what, name in columns.items()}
    runs = [name.strip() for name in asked.pop("run", "").split(",") if name.strip()]
    units = {what: _parted(name)[1] for what, name in asked.items() if name not in names}
    asked = {what: _header(name, names) for what, name in asked.items()}
    complaints += [f"columns names {shown(name)}, and there is no such column. {nearest(name, names)}"
                   for name in [*asked.values(), *runs] if name not in names]  # fmt: skip
    complaints += [f"columns knows no {what!r}. {nearest(what, [*MEANING, 'run'])}"
                   for what in asked if what not in MEANING]  # fmt: skip
    chosen = {what: name for what, name in asked.items() if what in MEANING and name in names}
    order = sorted(NAMES, key=lambda what: what != "non-embedding n" if counting == "non-embedding" else False)
    for what in order:  # of two columns for N, the total unless the other is asked for
        quantity = what.removeprefix("non-embedding ")
        if quantity in chosen or quantity in asked or (quantity == "run" and runs):
            continue
        fitting = [name for name in names if _parted(name)[0] in NAMES[what].split()]
        if len(fitting) > 1:
            complaints.append(
                f"{_shown(fitting)} may each be {MEANING.get(quantity, 'the run')}: name one in columns "
                f"(--columns {quantity.upper() if quantity in 'ndc' else quantity}={fitting[0]})."
            )
        elif fitting and quantity == "run":
            runs = fitting
        elif fitting:
            chosen[quantity] = fitting[0]
    twice = {name: [what for what in chosen if chosen[what] == name] for name in chosen.values()}
    complaints += [f"{name!r} is taken for {' and for '.join(MEANING[what] for what in whats)}; it can be one of them."
                   for name, whats in twice.items() if len(whats) > 1]  # fmt: skip
    if not complaints and ("loss" not in chosen or len(chosen.keys() & {"n", "d", "c"}) < 2):
        missing = [MEANING[what] for what in ("n", "d", "c", "loss") if what not in chosen]
        complaints.append(
            f"no column is known to be {', '.join(missing)}; the loss and two of N, D and C are needed. "
            f"The columns are {_shown(names)}: say which is which in columns (--columns loss=NAME)."
        )
    found = {what: _column(what, name, units.get(what), complaints) for what, name in chosen.items()}
    return found, runs, complaints


def _header(name: str, names: Sequence[str]) -> str:
    """The column that is meant: of this name, or of the name before a unit in brackets ("params (M)")."""
    before = re.sub(r"\s*[\[(][^\])]*[\])]\s*$", "", name)
    return before if name not in names and before in names else name


def _column(what: str, name: str, unit: str | None, complaints: list[str]) -> Column:
    """A column with its unit: the one given, or that its name says in brackets; an unknown one is complained of."""
    unit = _parted(name)[1] if unit is None else unit
    factor = unit_of(unit, FACTORS[what])
    if factor is None:
        units = ", ".join(filter(None, FACTORS[what]))
        complaints.append(f"the unit in {shown(f'{name} ({unit})' if unit not in name else name)} is none of "
                          f"{MEANING[what]}. Known: {units}.")  # fmt: skip
    return Column(name, factor or 1.0)


def _parted(name: str) -> tuple[str, str]:
    """A column's plain name, and the unit in brackets behind it.

    >>> _parted("Model Size (M)")
    ('model_size', 'M')
    """
    matched = re.fullmatch(r"(.*?)\s*[\[(]([^\])]*)[\])]\s*", name)
    before, unit = (matched[1], matched[2]) if matched else (name, "")
    return re.sub(r"[\s\-./]+", "_", before.strip().casefold()), unit


def _number(text: str, what: str, row: str, column: Column, mark: Mark, complaints: list[str]) -> float:
    """The number of a cell, which may have a unit behind it. What cannot be one is complained of."""
    if is_missing(text) and text.casefold() != "nan":  # which is an error with what else is not above 0
        complaints.append(
            f"{row}: {MEANING[what]} is missing ({shown(text)}); expected a number. Leave such rows out with "
            f"--where '{column.name}!='."
        )
        return math.nan
    number, unit = split_amount(text)
    written, factor = plain(number, mark), unit_of(unit, FACTORS[what])
    if written is not None and factor is not None:
        if unit and column.factor != 1:
            complaints.append(f"{row}: {MEANING[what]} is {shown(text)}, and the column's name has a unit too.")
        return float(written) * factor * column.factor
    expected = "a number"
    if written is not None:
        expected += f" with one of the units {', '.join(filter(None, FACTORS[what]))}"
    elif mark == ",":
        expected += " with a decimal comma, as others of the table are"
    else:
        try:
            found = read_number(number)
            if not math.isfinite(found):
                return found  # an error as such, as what is not above 0 is
        except NumberError as error:
            expected += f". {error}".removesuffix(".") * (error.suggestion is not None)
    complaints.append(f"{row}: {MEANING[what]} is {shown(text)}; expected {expected}.")
    return math.nan


def _notes_of_kinds(names: Sequence[str], run_columns: Sequence[str], rows: Collection[Row]) -> list[str]:
    """That several sorts of runs were read together."""
    kinds = {name: {row[name] for row in rows} for name in names if name.casefold() in KINDS}
    return [
        f"The column {name!r} holds {len(found)} different values, and all were read: choose one with where."
        for name, found in kinds.items()
        if len(found) > 1 and name not in run_columns
    ]


def _notes(numbers: Mapping[str, Sequence[float]]) -> list[str]:
    """What was assumed of a table."""
    if not numbers.keys() >= {"n", "d", "c"}:
        missing = next(what for what in "ndc" if what not in numbers).upper()
        return [f"{missing} is not in the table; it is computed by C = 6·N·D."]
    with np.errstate(all="ignore"):  # what is not above 0 is an error later
        ratio = np.array(numbers["c"]) / (6 * np.array(numbers["n"]) * np.array(numbers["d"]))
    if np.all(np.abs(ratio - 1) < FAR_FROM_6ND):
        return []
    return [f"The FLOPs of the table are {ratio.min():.3g} to {ratio.max():.3g} times 6·N·D."]


def _shown(names: Sequence[str] | set[str]) -> str:
    listed = [shown(name) for name in (sorted(names) if isinstance(names, set) else names)]
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")
