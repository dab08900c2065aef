"""Numbers in sentences."""

from __future__ import annotations

import pytest

from glassformer.statistics.wording import difference_clause, percent, plain, probability, seeds_listed, signed
from glassformer.wording import counted


@pytest.mark.parametrize(
    ("value", "scale", "written"),
    [(0.04127, 0.011, "0.041"), (-1.5, 0.2, "−1.50"), (123.4, 35.0, "123"), (-0.0001, 0.1, "0.00"), (0.0, 0.0, "0")],
)
def test_a_number_shows_two_digits_of_its_scale(value, scale, written):
    assert plain(value, scale) == written


def test_a_signed_number_has_a_real_minus_and_zero_is_not_negative():
    assert [signed(value, 0.01) for value in (0.5, -0.5, -1e-9)] == ["+0.500", "−0.500", "+0.000"]


def test_a_p_is_never_written_as_zero():
    written = [probability(p) for p in (1.0, 0.0312, 0.00449, 0.00021, 1e-4, 9e-5, 0.0)]
    assert written == ["= 1", "= 0.031", "= 0.0045", "= 0.0002", "= 0.0001", "< 0.0001", "< 0.0001"]


def test_an_interval_that_excludes_zero_is_not_rounded_to_touch_it():
    clause = difference_clause("v", 0.0308, (0.0004, 0.0612), True, 0.95, "the loss", "nats", "n = 6 pairs")
    assert clause == "v raises the loss by 0.0308 nats (95 % interval 0.0004 to 0.0612, n = 6 pairs)"


def test_counts_seeds_and_shares_read_as_english():
    assert (counted(1, "pair"), counted(12_000, "pair")) == ("1 pair", "12,000 pairs")
    assert (seeds_listed([3]), seeds_listed([3, 5])) == ("seed 3", "seeds 3, 5")
    assert (percent(0.95), percent(0.995)) == ("95 %", "99.5 %")
