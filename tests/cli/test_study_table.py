"""The table at the end of a study: its losses and its differences are means over the same pairs."""

from __future__ import annotations

import pytest

from glassformer.cli.study_table import _paired_loss
from glassformer.statistics.comparison import compare

BASE = {0: 1.0, 1: 2.0, 2: 4.0}


@pytest.mark.parametrize(
    ("base", "variant", "loss", "difference"),
    [
        (BASE, {0: 1.5, 1: 2.5, 2: 4.5}, 8.5 / 3, 0.5),
        (BASE, {0: 1.5, 1: None, 2: 5.0}, 3.25, 0.75),
        (BASE | {2: None}, {0: 1.0, 1: 3.0, 2: 90.0}, 2.0, 0.5),
        (BASE | {0: None, 1: None}, {0: 1.0, 1: 2.0, 2: 3.0}, 3.0, -1.0),
        (BASE, {0: None, 1: None, 2: None}, None, None),
    ],
)
def test_a_variant_s_loss_is_the_mean_over_the_pairs_of_its_difference(base, variant, loss, difference):
    (row,) = compare(base, {"it": variant}).rows
    assert _paired_loss(row) == (None if loss is None else pytest.approx(loss))
    assert row.mean == (None if difference is None else pytest.approx(difference))
