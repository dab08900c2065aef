"""A file of runs as a table of texts: CSV, TSV, JSON or JSON lines, each also gzipped. No cell is read as a number yet.

Nothing is opened that may never end (a pipe, a device) or is larger than any table of runs.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import stat
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassformer.errors import DataError, shown
from glassformer.scaling.fits.points import unusable
from glassformer.wording import counted

Row = dict[str, str]

MOST_BYTES = 64_000_000
MOST_COLUMNS = 1_000
MOST_ROWS = 100_000
MOST_CELL = 1_000
"""Characters of a cell, and limits of a table: far beyond any that runs are kept in."""

UTF8 = "Save the table as .csv, encoded in UTF-8."
GIVE = "Give a .csv file, or a folder of runs."
KINDS = {b"PK\x03\x04": "an .xlsx workbook or another zip archive", b"PAR1": "a Parquet file", b"SQLite": "a database",
         b"\xd0\xcf\x11\xe0": "an .xls workbook", b"\x28\xb5\x2f\xfd": "compressed by zstd",
         b"BZh": "compressed by bzip2", b"\xfd7zXZ": "compressed by xz", b"%PDF": "a PDF",
         b"\x93NUMPY": "a NumPy array"}  # fmt: skip
"""What a file is that begins so."""

ENCODINGS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
             codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
"""By the mark at the beginning, the longer ones first; UTF-8 without one of these."""


@dataclass(frozen=True)
class Table:
    """Texts by column, row by row.

    Attributes:
        names: of the columns, all different.
        rows: by what messages call them: "line 2", "object 1".
        separator: between the cells of a line; "" of JSON.
        source: the file.
    """

    names: tuple[str, ...]
    rows: dict[str, Row]
    separator: str
    source: str


def read_table(path: Path) -> Table:
    """The table of a file.

    Raises:
        DataError: it cannot be read, with the reason and what to do; for damaged rows, with every reason.
    """
    text = _text(path)
    if not text.strip():
        raise DataError(f"{path} is empty. Give a .csv file whose first line names the columns.")
    if "\0" in text:
        raise _unreadable(path, f"it is a binary file. {UTF8}")
    return _json_table(path, text) if text.lstrip()[0] in "[{" else _csv_table(path, text)


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{path} cannot be read as a table: {why}")


def _text(path: Path) -> str:
    """What the file holds, unpacked and decoded."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise _unreadable(path, "it is not a regular file but a pipe or a device. Save the table to a file first.")
        if facts.st_size > MOST_BYTES:
            raise _too_large(path, f"{facts.st_size / 1e6:,.0f} MB")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        why = "there is no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", error)
        raise _unreadable(path, f"{why}. {GIVE}") from error
    if data.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(path, f"it is gzipped, and damaged ({error}). {GIVE}") from error
        if len(data) > MOST_BYTES:
            raise _too_large(path, f"more than {MOST_BYTES / 1e6:,.0f} MB unpacked")
    for beginning, kind in KINDS.items():
        if data.startswith(beginning):
            raise _unreadable(path, f"it is {kind}. {UTF8}")
    encoding = next((name for mark, name in ENCODINGS.items() if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not a text in {encoding.upper().removesuffix('-SIG')}. {UTF8}") from error


def _too_large(path: Path, size: str) -> DataError:
    return _unreadable(path, f"it has {size}, and a table of runs has {MOST_BYTES / 1e6:,.0f} MB at most. {GIVE}")


def _csv_table(path: Path, text: str) -> Table:
    """Lines of cells between commas, semicolons or TABs, whichever the first line has most of."""
    header = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=header.count)
    if header.count(separator) >= MOST_COLUMNS:
        raise _unreadable(
            path, f"it has {header.count(separator) + 1:,} columns, {MOST_COLUMNS:,} are the most. {GIVE}"
        )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    lines: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((reader.line_num, [cell.strip() for cell in cells]))
            if len(lines) > MOST_ROWS + 1:
                raise _too_many_rows(path)
    except csv.Error as error:
        raise _unreadable(path, f"line {reader.line_num}: {error}. {GIVE}") from error
    (_, names), *rows = lines
    names[0] = names[0].removeprefix("#").strip()  # as NumPy writes a header
    complaints = _of_names(names)
    for line, cells in rows:
        if len(cells) != len(names):
            cause = " Are there decimal commas in it? Then separate the columns by semicolons." * (
                separator == "," and len(cells) > len(names)
            )
            complaints.append(
                f"line {line} has {counted(len(cells), 'cell')}, and there are {len(names)} columns.{cause}"
            )
    return _checked(path, names, {f"line {line}": cells for line, cells in rows}, separator, complaints)


def _json_table(path: Path, text: str) -> Table:
    """A list of objects; or an object on each line. Numbers stay as they are written."""
    keep: dict[str, Any] = {"parse_int": str, "parse_float": str, "parse_constant": str}
    try:
        objects = {f"object {i}": each for i, each in enumerate(_objects(json.loads(text, **keep)), 1)}
    except ValueError as error:
        lines = {i: line for i, line in enumerate(text.split("\n"), 1) if line.strip()}
        if text.lstrip()[0] == "[" or len(lines) < 2:
            raise _unreadable(path, f"it is not JSON ({error}). {GIVE}") from error
        objects = {}
        for i, line in lines.items():
            try:
                objects[f"line {i}"] = json.loads(line, **keep)
            except (ValueError, RecursionError) as error:
                raise _unreadable(path, f"line {i} is not JSON ({error}). {GIVE}") from error
    except RecursionError as error:
        raise _unreadable(path, f"its JSON is nested too deep. {GIVE}") from error
    if len(objects) > MOST_ROWS:
        raise _too_many_rows(path)
    if not all(isinstance(each, dict) for each in objects.values()):
        raise _unreadable(path, "it is JSON, but not a list of objects: one for each run, such as "
                                '[{"N": 7e7, "D": 1.4e9, "loss": 3.5}].')  # fmt: skip
    names = [*dict.fromkeys(name for each in objects.values() for name in each)]
    if len(names) > MOST_COLUMNS:
        raise _unreadable(path, f"its objects have {len(names):,} keys, {MOST_COLUMNS:,} are the most. {GIVE}")
    rows = {label: [_cell(each.get(name)) for name in names] for label, each in objects.items()}
    return _checked(path, names, rows, "", _of_names(names))


def _objects(found: Any) -> list[Any]:
    """The rows of a JSON: a list of objects, alone or as an object's only list; or columns, lists or by row names."""
    if not isinstance(found, dict):
        return found if isinstance(found, list) else [found]
    lists = [each for each in found.values() if isinstance(each, list) and each and isinstance(each[0], dict)]
    if len(lists) == 1:
        return list(lists[0])
    columns = [[*each.values()] if isinstance(each, dict) else each for each in found.values()]
    if all(isinstance(each, list) and len(each) == len(columns[0]) for each in columns):
        return [dict(zip(found, row, strict=True)) for row in zip(*columns, strict=True)]
    return [found]


def _cell(value: object) -> str:
    """A value of JSON as text: nothing for null; a list or an object as it is, for no quantity can be read from it."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)[: MOST_CELL + 1]


def _too_many_rows(path: Path) -> DataError:
    return _unreadable(path, f"it has more than {MOST_ROWS:,} rows. {GIVE}")


def _of_names(names: list[str]) -> list[str]:
    return [f"two columns are called {shown(name)}." for name, times in Counter(names).items() if times > 1]


def _checked(path: Path, names: list[str], rows: dict[str, list[str]], separator: str, complaints: list[str]) -> Table:
    for label, cells in {"the header": names, **rows}.items():
        longest = max(map(len, cells), default=0)
        if longest > MOST_CELL:
            complaints.append(f"{label} has a cell of {longest:,} characters, {MOST_CELL:,} are the most.")
    if complaints:
        raise unusable(str(path), complaints)
    by_name = {label: dict(zip(names, cells, strict=True)) for label, cells in rows.items()}
    return Table(tuple(names), by_name, separator, str(path))
