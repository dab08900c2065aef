"""Numbers that no training has are rejected with their rows and how a unit is given; right ones pass."""

from __future__ import annotations

import pytest

from glassformer.errors import DataError
from glassformer.scaling.fits.reading import read_points

RUNS = [(18.79e6, 1.70e9, 4.129), (3.46e6, 0.585e9, 5.686), (74.2e6, 2.77e9, 3.425)]


def write(tmp_path, rows, header=("N", "D", "loss")):
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    return path


def scaled(n=1.0, d=1.0):
    return [(a / n, b / d, loss) for a, b, loss in RUNS]


@pytest.mark.parametrize(
    ("rows", "header", "reasons"),
    [
        (scaled(1e6), ("params", "D", "loss"), ["N is 3.46 to 74.2 in 3 of 3 rows", "--columns 'N=params (M)'"]),
        (scaled(1e9), ("N", "D", "loss"), ["In millions?", "line 2, line 3, line 4"]),
        (scaled(d=1e9), ("N", "tokens", "loss"), ["D is 0.585 to 2.77", "'tokens (B)'"]),
        (scaled(1e6, 1e9), ("N", "D", "loss"), ["2 reasons", "N is", "D is"]),
        ([scaled(1e6)[0], *RUNS[1:]], ("N", "D", "loss"), ["N is 18.8 in 1 of 3 rows (line 2)", "write all in one"]),
        ([*RUNS[:2], scaled(d=1e9)[2]], ("N", "D", "loss"), ["D is 2.77 in 1 of 3 rows (line 4)", "write all in one"]),
        (scaled(d=1e6), ("N", "D", "loss"), ["D is 585", "No training has so few"]),
        (scaled(1e3), ("N (M)", "D (B)", "loss"), ["D is 5.85e17", "unit", "given twice"]),
        ([(n, d, 4129) for n, d, _ in RUNS], ("N", "D", "loss"), ["the loss is 4,129 in 3 of 3", "thousands mark"]),
        ([(n, d, 62.1) for n, d, _ in RUNS], ("N", "D", "loss"), ["the loss is 62.1", "perplexity"]),
        ([(n, d, loss, 6 * n * d / 8.64e19) for n, d, loss in RUNS], ("N", "D", "loss", "flops"),
         ["C by 6·N·D is 1.16e-20", "'flops (pf-day)'"]),
        ([(n, d, loss, 6 * n * d / 1e18) for n, d, loss in RUNS], ("N", "D", "loss", "compute"), ["'compute (eflop)'"]),
        ([(n, d, loss, 6 * n * d * (1e3 if n < 4e6 else 1)) for n, d, loss in RUNS], ("N", "D", "loss", "flops"),
         ["is 1,000 in 1 of 3 rows (line 3)"]),
        ([(n, 6 * n * d / 1e18, loss) for n, d, loss in RUNS], ("N", "C", "loss"), ["D = C/(6·N) is", "Check the units"]
        ),
        ([(n * 1e6, d / 1e3, loss) for n, d, loss in RUNS], ("N", "D", "loss"),
         ["tokens per parameter", "different units"]),
    ],
)  # fmt: skip
def test_a_unit_that_cannot_be_right_is_rejected_with_its_rows_and_what_to_do(tmp_path, rows, header, reasons):
    path = write(tmp_path, rows, header)
    with pytest.raises(DataError) as error:
        read_points(path)
    assert [reason for reason in reasons if reason not in str(error.value)] == []
    assert "--implausible" in str(error.value)
    assert len(read_points(path, implausible=True)) == 3


def test_a_unit_in_the_header_or_in_columns_makes_it_right(tmp_path):
    for header, columns in (
        (("params (M)", "tokens (B)", "loss"), None),
        (("params", "tokens", "loss"), {"n": "params (M)", "d": "tokens (B)"}),
    ):
        points = read_points(write(tmp_path, scaled(1e6, 1e9), header), columns=columns)
        assert points.n == pytest.approx([n for n, _, _ in RUNS])
        assert points.d == pytest.approx([d for _, d, _ in RUNS])


def test_a_unit_given_twice_or_unknown_is_rejected(tmp_path):
    with pytest.raises(DataError, match="the column's name has a unit too"):
        read_points(write(tmp_path, [("70M", 1e9, 3)], ("N (M)", "D", "loss")))
    with pytest.raises(DataError, match="the unit in 'N .parsec.'"):
        read_points(write(tmp_path, RUNS), columns={"n": "N (parsec)"})


def test_what_small_and_large_trainings_have_passes(tmp_path):
    rows = [(1_000, 1e5, 11.9), (12_288, 6.4e7, 0.9), (1.8e12, 1.5e13, 1.6), (4e6, 5e9, 3.1)]
    assert len(read_points(write(tmp_path, rows))) == 4
    small = [(12_288, 6.4e7, 3.1, 6 * 12_288 * 6.4e7 * 130)]  # FLOPs of an embedding that N leaves out
    header = ("non_embedding_params", "tokens", "loss", "flops")
    assert len(read_points(write(tmp_path, small, header))) == 1
