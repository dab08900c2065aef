"""Numbers in sentences, and the sentences of comparisons, decisions and power."""

from __future__ import annotations

import pytest

from glassformer.statistics.comparison import compare
from glassformer.statistics.power import power_line
from glassformer.statistics.sequential import decide
from glassformer.statistics.wording import difference_clause, percent, plain, probability, seeds_listed, signed
from glassformer.wording import counted


def by_seed(values) -> dict[int, float]:
    return dict(enumerate(values))


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


def test_a_significant_difference_reads_as_a_sentence():
    base = by_seed([1.70, 1.72, 1.69, 1.71])
    worse = {seed: loss + change for (seed, loss), change in zip(base.items(), [0.04, 0.05, 0.04, 0.03], strict=True)}
    better = {seed: 2 * base[seed] - loss for seed, loss in worse.items()}
    table = compare(base, {"residual=none": worse, "norm=none": better})
    support = "nats (95 % interval 0.027 to 0.053, n = 4 pairs, Holm-adjusted p = 0.0045 over 2 variants)."
    assert table.row("residual=none").sentence() == f"residual=none raises the loss by 0.040 {support}"
    assert table.row("norm=none").sentence() == f"norm=none lowers the loss by 0.040 {support}"


def test_a_difference_that_is_not_significant_names_no_direction():
    base = by_seed([1.70, 1.72, 1.69])
    sentence = compare(base, {"v": by_seed([1.71, 1.71, 1.70])}).row("v").sentence("the accuracy", "points")
    assert sentence.startswith(
        "The effect of v on the accuracy is inconclusive: +0.003 points (95 % interval −0.025 to +0.032,"
    )


def test_the_runs_that_are_excluded_are_counted_and_named():
    base, variant = {0: 1.7, 1: 1.7, 2: None, 5: 1.7}, {0: 1.8, 1: None, 2: 1.8, 7: 1.8}
    assert compare(base, {"v": variant}).row("v").exclusions() == [
        "The baseline diverged in 1 of 3 runs (seed 2); that pair is excluded.",
        "v diverged in 1 of 3 runs (seed 1); that pair is excluded.",
        "Seeds 5, 7 were run in one of the two arms only and are excluded.",
    ]


def test_one_pair_is_no_average():
    (row,) = compare({0: 1.7}, {"v": {0: 1.75}}).rows
    assert row.sentence().startswith("v differs from the baseline by +0.050 nats (n = 1 pair): fewer than 3 pairs ")


def test_a_decision_reads_as_a_sentence():
    base = by_seed([1.70, 1.72, 1.69])
    (decision,) = decide(base, {"residual=none": by_seed([2.47, 2.50, 2.45])}, seeds=range(3))
    assert decision.sentence() == (
        "residual=none raises the loss by 0.770 nats (95 % interval 0.726 to 0.814, valid at every look; decided at "
        "n = 3 pairs)."
    )
    (decision,) = decide(base, {"v": by_seed([1.71, 1.71, 1.70])}, seeds=range(3), margin=0.5)
    assert decision.sentence().startswith(
        "The effect of v on the loss is within the equivalence margin of ±0.50 nats: "
    )
    (decision,) = decide(base, {"v": by_seed([1.71, 1.71, 1.70])}, seeds=range(3))
    assert decision.sentence().startswith("The effect of v on the loss is inconclusive: ")


def test_the_power_of_a_significant_difference_reads_as_a_sentence():
    (row,) = compare(dict.fromkeys(range(4), 0.0), {"v": by_seed([0.04, 0.05, 0.04, 0.03])}).rows
    assert power_line(row).sentence().endswith("; the observed 0.040 nats is already significant.")
