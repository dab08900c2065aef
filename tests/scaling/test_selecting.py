"""``--where``: rows by their texts, by comparisons of numbers, and by whether something is missing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from glassformer.errors import ConfigError, DataError
from glassformer.scaling.fits.reading import read_points
from glassformer.scaling.fits.selecting import conditions

TABLE = """params (M),D,loss,name,note
5,1e8,4.1,a,
10,2e8,3.9,b,late
20,4e8,,a,late
40,8e8,3.3,b,
80,1.6e9,nan,c,
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("where", "sizes"),
    [
        (["loss!="], [5, 10, 40]),
        (["loss!=", "N>1e7"], [40]),
        (["loss!=", "N >= 1e7"], [10, 40]),
        (["loss!=", "params (M)<=10"], [5, 10]),
        (["loss<4"], [10, 40]),  # a missing loss is below nothing
        (["loss!=", "name!=b"], [5]),
        (["loss!=", "name==b"], [10, 40]),
        (["loss!=", "note="], [5, 40]),
        ({"name": "b"}, [10, 40]),
    ],
)
def test_rows_are_chosen_by_text_by_number_and_by_what_is_missing(table, where, sizes):
    assert read_points(table, where=where).n.tolist() == [size * 1e6 for size in sizes]


def test_a_missing_number_is_rejected_with_the_option_that_leaves_it_out(table):
    with pytest.raises(DataError) as caught:
        read_points(table)
    for part in ("line 4: the loss is missing", "--where 'loss!='"):
        assert part in str(caught.value)


def test_conditions_that_cannot_work_are_rejected_for_their_own_reason(table):
    with pytest.raises(ConfigError) as caught:
        conditions(["kind", "N>many"])
    assert len(caught.value.complaints) == 2
    with pytest.raises(DataError, match="'kind'"):
        read_points(table, where=["kind=a"])
    with pytest.raises(DataError, match="not a number to compare with"):
        read_points(table, where=["name>3"])
    with pytest.raises(DataError, match="no row is left"):
        read_points(table, where=["loss!=", "N>1e9"])


ROWS = [{"N": 1e6 * 2**i, "D": 1e8 * 3**i, "loss": 4.0 - 0.2 * i} for i in range(6)]


@pytest.mark.parametrize(
    "tree",
    [
        ROWS,
        {"runs": ROWS, "made by": "a script"},
        {name: [row[name] for row in ROWS] for name in ROWS[0]},
        {name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]},
    ],
    ids=["objects", "objects in an object", "columns", "columns by row, as pandas writes them"],
)
def test_json_is_read_as_objects_or_as_columns(tmp_path, tree):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    points = read_points(path)
    np.testing.assert_allclose(points.loss, [row["loss"] for row in ROWS])
    np.testing.assert_allclose(points.n, [row["N"] for row in ROWS])
