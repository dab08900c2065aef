"""Rows that repeat another are one run: named, left out, and no interval is narrower for them."""

from __future__ import annotations

import numpy as np
import pytest

from glassformer.scaling.fits.bootstrap import bootstrap
from glassformer.scaling.fits.fitting import fit
from glassformer.scaling.fits.points import Points
from glassformer.scaling.fits.reading import read_points


def runs(count=24, seed=0):
    """N, D and loss, rounded to three decimals."""
    draw = np.random.default_rng(seed)
    n, d = np.round(10 ** draw.uniform([6, 8], [8, 10], (count, 2))).T
    loss = (1.817 + 482.01 / n**0.3478 + 2085.43 / d**0.3658) * np.exp(0.003 * draw.standard_normal(count))
    return list(zip(n.tolist(), d.tolist(), np.round(loss, 3).tolist(), strict=True))


def read(tmp_path, rows, header=("N", "D", "loss")):
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    return read_points(path)


def repeats(points):
    return [note for note in points.notes if "repeat" in note]


@pytest.mark.parametrize(
    "kind", ["eight of each", "shuffled", "from one to eight", "an index", "run labels", "other writings"]
)
def test_copied_rows_are_left_out_and_named(tmp_path, kind):
    distinct, header = runs(), ("N", "D", "loss")
    rows = distinct * 8
    if kind == "shuffled":
        rows = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    elif kind == "from one to eight":
        rows = [row for i, row in enumerate(distinct) for _ in range(1 + i % 8)]
    elif kind in ("an index", "run labels"):
        rows = [(i, *row) for i, row in enumerate(rows)]
        header = ("" if kind == "an index" else "run", *header)
    elif kind == "other writings":
        rows = [*distinct, *((f"{n / 1e6:.6f}M", f"{d:.12e}", f"{loss:.6f}") for n, d, loss in distinct)]
    points = read(tmp_path, rows, header)
    found = sorted(zip(points.n, points.d, points.loss, strict=True))
    assert np.array(found) == pytest.approx(np.array(sorted(distinct)))
    (note,) = repeats(points)
    assert f"{len(rows) - 24} rows of {len(rows)} repeat" in note
    assert "24 distinct runs" in note


def test_intervals_of_copied_rows_are_those_of_the_distinct_ones(tmp_path):
    once, copied = (bootstrap(fit(read(tmp_path, rows)), draws=100) for rows in (runs(), runs() * 8))
    assert copied.runs == once.runs == 24
    assert [copied.interval(name) for name in copied.quantities] == [once.interval(name) for name in once.quantities]
    assert copied.noise() == once.noise()


def test_copied_rows_from_python_are_drawn_together():
    n, d, loss = np.tile(np.array(runs()).T, 3)
    trust = bootstrap(fit(Points.of(n, d, loss)), draws=100)
    assert trust.runs == 24
    low, high = trust.interval("E")
    narrow = bootstrap(fit(Points.of(n, d, loss, run=range(72))), draws=100).interval("E")
    assert high - low > 1.3 * (narrow[1] - narrow[0])


def test_other_seeds_of_the_same_sizes_stay(tmp_path):
    rows = [(n, d, round(loss + 0.001 * seed, 3)) for n, d, loss in runs(6) for seed in range(3)]
    points = read(tmp_path, rows)
    assert len(points) == 18
    assert not repeats(points)


def test_seeds_whose_rounded_losses_agree_by_chance_stay_where_a_column_tells_them_apart(tmp_path):
    rows = [(n, d, round(loss + 0.001 * (seed // 2), 3), seed) for n, d, loss in runs(6) for seed in (0, 1, 2, 4, 6)]
    points = read(tmp_path, rows, ("N", "D", "loss", "seed"))
    assert len(points) == 30
    assert any("different seeds" in note for note in points.notes)
    assert len(read(tmp_path, [row[:3] for row in rows])) == 24


def test_a_table_without_copies_says_nothing_of_them(tmp_path):
    points = read(tmp_path, runs())
    assert len(points) == 24
    assert not repeats(points)
