"""Decimal marks of a table: found from all of its cells together, or rejected with both readings."""

from __future__ import annotations

import gzip
import json

import pytest

from glassformer.errors import DataError
from glassformer.scaling.fits.reading import read_points

RUNS = [(18789853, 1701258167, 4.129), (3463964, 585268444, 5.686), (1207667, 9872334719, 5.965)]


def write(tmp_path, lines, name="runs.csv"):
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def table(cell, separator, *, quote=""):
    """Lines of a table of ``RUNS`` whose numbers are written by ``cell``."""
    rows = [separator.join(f"{quote}{cell(value)}{quote}" for value in run) for run in RUNS]
    return [separator.join(["N", "D", "loss"]), *rows]


def swap(text):
    """English notation in the notation with a decimal comma."""
    return text.translate(str.maketrans(",.", ".,"))


def grouped(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


WRITINGS = {
    "decimal commas between semicolons": (lambda v: swap(str(v)), ";"),
    "decimal commas between TABs": (lambda v: swap(str(v)), "\t"),
    "two decimals, which no thousands have": (lambda v: swap(str(v)[:4]) if isinstance(v, float) else str(v), ";"),
    "dots for thousands": (lambda v: swap(grouped(v)), ";"),
    "commas for thousands": (grouped, ";"),
    "spaces for thousands, decimal commas": (lambda v: swap(grouped(v)).replace(".", " "), ";"),
    "no-break spaces": (lambda v: grouped(v).replace(",", "\u00a0"), ","),
    "narrow no-break spaces": (lambda v: swap(grouped(v)).replace(".", "\u202f"), "\t"),
    "apostrophes": (lambda v: grouped(v).replace(",", "'"), ","),
    "underscores": (lambda v: grouped(v).replace(",", "_"), ","),
    "exponents with decimal commas": (lambda v: swap(f"{v:.10e}"), ";"),
    "exponents with decimal points": (lambda v: f"{v:.10e}", ","),
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_table_is_read_as_its_cells_together_make_certain(tmp_path, writing):
    cell, separator = WRITINGS[writing]
    points = read_points(write(tmp_path, table(cell, separator)))
    decimals = 2 if writing.startswith("two") else 3
    assert points.n.tolist() == [n for n, _, _ in RUNS]
    assert points.d.tolist() == [d for _, d, _ in RUNS]
    assert points.loss == pytest.approx([float(f"{loss:.3f}"[: 2 + decimals]) for _, _, loss in RUNS])


def test_a_decimal_comma_is_said_with_a_cell_and_the_reason(tmp_path):
    points = read_points(write(tmp_path, table(lambda v: swap(str(v)), ";")))
    (note,) = [note for note in points.notes if "comma" in note]
    assert "4,129 is 4.129" in note
    assert "no thousands marks" in note
    assert not any("comma" in note for note in read_points(write(tmp_path, table(str, ","))).notes)


def test_quoted_losses_of_three_decimals_are_what_a_loss_can_be(tmp_path):
    points = read_points(write(tmp_path, table(lambda v: swap(str(v)), ",", quote='"')))
    assert points.loss.tolist() == [4.129, 5.686, 5.965]


def test_what_stays_open_is_rejected_with_both_readings_and_can_be_decided(tmp_path):
    path = write(tmp_path, ["N (M);D (B);loss", "18,790;1,701;4,129", "13,464;5,268;5,686"])
    with pytest.raises(DataError) as error:
        read_points(path)
    for part in ("'18,790' (line 2) is 18790 or 18.790", "'1,701' (line 2) is 1701 or 1.701", "--decimal"):
        assert part in str(error.value)
    points = read_points(path, decimal=",")
    assert points.n == pytest.approx([18.79e6, 13.464e6])
    assert points.d == pytest.approx([1.701e9, 5.268e9])
    assert points.loss.tolist() == [4.129, 5.686]


def test_the_other_decision_is_followed_too(tmp_path):
    path = write(tmp_path, ["N (k),D (M),loss", '"18,790","1,701",4.13'])
    assert read_points(path).n.tolist() == [18_790e3]  # the loss has a decimal point
    with pytest.raises(DataError, match=r"line 2: the loss is '4.13'; expected a number with a decimal comma"):
        read_points(path, decimal=",")


@pytest.mark.parametrize(
    "losses",
    [("4.12", "5,68", "5.96"), ("4.129", "5,686", "5.965"), ("4.12", "5,686", "5.96"), ("4,12", "5.686", "5,96"),
     ("4.5e0", "5,5e0", "6")],
)  # fmt: skip
def test_two_marks_in_one_column_are_rejected_with_a_line_of_each(tmp_path, losses):
    rows = [f"{n};{d};{loss}" for (n, d, _), loss in zip(RUNS, losses, strict=True)]
    with pytest.raises(DataError, match=r"the loss mixes decimal points and commas: line \d has .*, line \d has"):
        read_points(write(tmp_path, ["N;D;loss", *rows]))


def test_an_open_column_follows_another_column_that_fits_no_quantity(tmp_path):
    rows = [f"18,790;{d};{loss:.0f};0,05" for _, d, loss in RUNS]
    points = read_points(write(tmp_path, ["N (M);D;loss;learning rate", *rows]))
    assert points.n.tolist() == pytest.approx([18.79e6] * 3)
    assert any("as the numbers of other columns are" in note for note in points.notes)


def test_units_behind_numbers_do_not_hide_the_mark(tmp_path):
    points = read_points(write(tmp_path, ["N;D;loss", "18,8 M;1,7 B;4,129", "3,46M;0,585B;5,686"]))
    assert points.n == pytest.approx([18.8e6, 3.46e6])
    assert points.d == pytest.approx([1.7e9, 0.585e9])
    assert points.loss.tolist() == [4.129, 5.686]


# ------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("kind", ["json", "jsonl", "gz", "utf-16", "utf-8-sig"])
def test_a_table_is_the_same_in_every_kind_of_file(tmp_path, kind):
    objects = [dict(zip(("N", "D", "loss"), run, strict=True)) for run in RUNS]
    text = "\n".join(table(str, ","))
    path = tmp_path / "runs"
    path.write_bytes(
        {
            "json": json.dumps(objects).encode(),
            "jsonl": "\n".join(map(json.dumps, objects)).encode(),
            "gz": gzip.compress(text.encode()),
        }.get(kind)
        or text.encode(kind)
    )
    points = read_points(path)
    assert [points.n.tolist(), points.d.tolist(), points.loss.tolist()] == [
        list(column) for column in zip(*RUNS, strict=True)
    ]


BAD_FILES = {
    "a text of zeros": (b"N,D,loss\n1\0,2,3\n", "binary file"),
    "a workbook": (b"PK\x03\x04....", "an .xlsx workbook"),
    "Parquet": (b"PAR1....", "a Parquet file"),
    "half a gzip": (gzip.compress(b"N,D,loss\n" * 9, mtime=0)[:20], "gzipped, and damaged"),
    "a gzip that unpacks to 100 MB": (gzip.compress(bytes(100_000_000), 1, mtime=0), "unpacked"),
    "Latin-1": ("Größe".encode("latin-1"), "not a text in UTF-8"),
    "JSON of numbers": (b"[1, 2]", "not a list of objects"),
    "half of JSON": (b'[{"N": 1}', "not JSON"),
    "a broken line of JSON": (b'{"N": 1}\n{"N"', "line 2 is not JSON"),
    "JSON nested 100,000 deep": (b"[" * 100_000, "nested too deep"),
    "a number of 5,000 digits": (b'[{"N": ' + b"9" * 5000 + b"}]", "5,000 characters"),
    "a cell of 300,000 characters": (b"N,D,loss\n" + b"1" * 300_000 + b",2,3\n", "field larger"),
    "a million columns": (b"," * 999_999 + b"\n", "1,000,000 columns"),
    "no names": (b"1e7,1e9,3\n2e7,1e9,2.9\n", "must name the columns"),
    "nothing": (b"", "is empty"),
    "blank lines": (b"\n \n\n", "is empty"),
    "lists in cells": (b'[{"N": [1], "D": {"a": 1}, "loss": null}]', "expected a number"),
    "decimal commas between commas": (b"N,D,loss\n18789853,1701258167,4,129\n", "semicolons"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_not_a_table_is_rejected_for_its_true_reason(tmp_path, kind):
    data, reason = BAD_FILES[kind]
    path = tmp_path / "runs"
    path.write_bytes(data)
    with pytest.raises(DataError, match=reason) as error:
        read_points(path)
    assert len(str(error.value)) < 1_000


def test_what_may_never_end_is_not_opened(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        with pytest.raises(DataError, match="not a regular file"):
            read_points(path)
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(1_000_000_000)
    with pytest.raises(DataError, match="1,000 MB"):
        read_points(tmp_path / "large.csv")
    for path in ("x" * 5_000, "a\0b", tmp_path / "pipe" / "x"):
        with pytest.raises(DataError, match="cannot be read"):
            read_points(path)
