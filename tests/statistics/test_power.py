"""The power line: against simulation, against published values, and against itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from glassformer.errors import ConfigError
from glassformer.statistics.comparison import compare
from glassformer.statistics.paired import paired_t
from glassformer.statistics.power import MOST_PAIRS, pairs_needed, power_line, power_of, smallest_effect


def row_of(differences, *, others: int = 0):
    """The row of a variant with these differences, in a table with ``others`` besides."""
    base = dict.fromkeys(range(len(differences)), 0.0)
    variants = {"v": dict(enumerate(differences))} | {f"other {i}": {} for i in range(others)}
    return compare(base, variants).row("v")


@pytest.mark.parametrize(("n", "effect"), [(3, 2.0), (5, 1.0), (8, 1.0), (8, -1.0), (20, 0.3)])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_power_is_how_often_the_test_rejects(n, effect, alpha):
    """100,000 studies: two and a half standard errors are at most 0.004."""
    rng = np.random.default_rng(n)
    rejected = np.mean(paired_t(rng.normal(effect, 1.0, (100_000, n))).p <= alpha)
    assert power_of(effect, n, alpha) == pytest.approx(rejected, abs=0.004)


@pytest.mark.parametrize(
    ("effect", "pairs"),
    [(0.2, 199), (0.5, 34), (0.8, 15)],  # Cohen's small, medium and large effects, as G*Power 3 tabulates them
)
def test_pairs_needed_are_the_published_ones(effect, pairs):
    assert pairs_needed(effect) == pairs


def test_without_an_effect_power_is_the_level():
    assert power_of(0.0, [3, 8, 100], 0.05) == pytest.approx(0.05)


@pytest.mark.parametrize("alpha", [0.05, 0.005, 0.0005])
@pytest.mark.parametrize("n", [3, 4, 8, 30, 1000])
def test_power_grows_with_the_effect_and_is_the_same_for_either_sign(n, alpha):
    effects = np.linspace(0, 60 / np.sqrt(n), 500)
    power = power_of(effects, n, alpha)
    assert np.isfinite(power).all()
    assert (np.diff(power) > -1e-5).all()
    assert np.array_equal(power, power_of(-effects, n, alpha))


def test_power_is_the_tail_of_noncentral_f():
    """t² of a noncentral t is a noncentral F: scipy's other way to the same number."""
    for n in (3, 5, 12):
        effects = np.linspace(0.1, 3, 20)
        reference = stats.ncf.sf(stats.f.isf(0.05, 1, n - 1), 1, n - 1, n * effects**2)
        assert power_of(effects, n) == pytest.approx(reference, abs=2e-5)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
@pytest.mark.parametrize("n", [3, 5, 8, 40])
def test_the_smallest_effect_has_exactly_the_power_asked_for(n, alpha, power):
    effect = smallest_effect(n, alpha=alpha, power=power)
    assert power_of(effect, n, alpha) == pytest.approx(power, abs=1e-8)
    assert pairs_needed(effect * 1.0001, alpha=alpha, power=power) == n


def test_pairs_needed_are_the_fewest():
    for effect in (0.1, 0.37, 1.0, 2.5):
        n = pairs_needed(effect)
        assert power_of(effect, n) >= 0.8
        assert n == 3 or power_of(effect, n - 1) < 0.8
    assert pairs_needed(100.0) == 3, "as many as a test takes"
    assert pairs_needed(0.0) is pairs_needed(0.01) is None


def test_the_line_of_a_difference_not_yet_shown_says_how_many_more_seeds():
    row = row_of([0.02, -0.01, 0.03, 0.00, 0.01])
    line = power_line(row)
    assert not row.significant
    assert line.smallest == pytest.approx(row.sd * smallest_effect(5))
    assert power_of(row.mean / row.sd, row.n + line.more) >= 0.8 > power_of(row.mean / row.sd, row.n + line.more - 1)
    for part in ("5 pairs", "0.016 nats", "0.027 nats", "80 % power", "α = 0.05", "0.010 nats", "17 more seeds"):
        assert part in line.sentence()


def test_the_line_of_a_significant_difference_asks_for_no_more():
    line = power_line(row_of([0.04, 0.05, 0.04, 0.03]))
    assert line.more == 0
    assert line.significant


def test_a_difference_of_nearly_nothing_takes_more_than_anyone_will_run():
    line = power_line(row_of([0.01, -0.01, 0.02, -0.0199]))
    assert line.more is None
    assert line.needed is None
    assert f"{MOST_PAIRS:,}" in line.sentence()


def test_in_a_table_of_many_the_line_promises_less():
    alone, among = power_line(row_of([0.02, -0.01, 0.03, 0.0])), power_line(row_of([0.02, -0.01, 0.03, 0.0], others=9))
    assert among.alpha == pytest.approx(0.005)
    assert among.smallest > alone.smallest
    assert among.needed > alone.needed


def test_a_low_power_never_asks_for_seeds_that_are_there():
    line = power_line(row_of([0.02, -0.01, 0.03, 0.00, 0.01]), power=0.1)
    assert line.more >= 1


def test_a_row_without_interval_has_no_power_line():
    assert power_line(row_of([0.1, 0.2])) is None
    assert power_line(row_of([0.1, 0.1, 0.1])) is None


@pytest.mark.parametrize("power", [0.0, 0.05, 1.0, 80.0])
def test_a_power_that_is_none_is_told(power):
    with pytest.raises(ConfigError, match="power must lie between"):
        power_line(row_of([0.1, 0.2, 0.15]), power=power)
