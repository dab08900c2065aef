"""Deciding while seeds are added: the promised error under peeking, and the verdicts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from glassformer.errors import ConfigError
from glassformer.statistics.boundaries import FIRST_LOOK, MOST_LOOKS, critical_values, spent
from glassformer.statistics.paired import paired_t
from glassformer.statistics.sequential import decide, repeated_intervals

LOOKS = 30


def by_seed(values) -> dict[int, float]:
    return dict(enumerate(float(value) for value in values))


def never_wrong(differences, truth: float, alpha: float):
    """For each study [studies, n]: whether every one of its repeated intervals holds the truth."""
    low, high = (ends[..., FIRST_LOOK - 1 :] for ends in repeated_intervals(differences, alpha))
    return ((low <= truth) & (truth <= high)).all(axis=-1)


# The promise


def test_peeking_after_every_seed_up_to_30_keeps_the_promised_error():
    """50,000 studies: the share that ever errs is α times what the schedule has spent, to two standard errors of 0.2 %;
    the plain t interval, looked at as often, errs in a third of them."""
    differences = np.random.default_rng(3).normal(0.04, 0.02, (50_000, LOOKS))
    error = 1 - never_wrong(differences, 0.04, 0.05).mean()
    assert error == pytest.approx(0.05 * spent(LOOKS), abs=0.002)

    naive = np.zeros(5000, dtype=bool)
    for n in range(FIRST_LOOK, LOOKS + 1):
        naive |= paired_t(differences[:5000, :n] - 0.04).p <= 0.05
    assert naive.mean() > 0.25


@pytest.mark.parametrize("alpha", [0.2, 0.05])
def test_each_look_spends_its_own_share_of_the_error(alpha):
    """100,000 studies without effect: how many first cross at each n, within four standard errors."""
    studies = 100_000
    low, high = repeated_intervals(np.random.default_rng(4).normal(0, 1, (studies, 12)), alpha)
    crossed = ((low > 0) | (high < 0))[:, FIRST_LOOK - 1 :]
    first = np.bincount(crossed.argmax(axis=1)[crossed.any(axis=1)], minlength=10)
    for n, count in enumerate(first, start=FIRST_LOOK):
        share = alpha * (spent(n) - (spent(n - 1) if n > FIRST_LOOK else 0))
        assert count / studies == pytest.approx(share, abs=4 * math.sqrt(share / studies))


def test_the_first_boundary_is_students_and_the_others_exceed_a_single_looks():
    values = critical_values(0.05, LOOKS)
    assert values[0] == pytest.approx(stats.t.isf(0.05 / 3 / 2, 2))
    single = stats.t.isf(0.025, np.arange(FIRST_LOOK, LOOKS + 1) - 1)
    assert (values > single).all()
    assert (values < 2.1 * single).all(), "and not hopelessly"


def test_the_second_boundary_is_where_simulated_studies_put_it():
    """At n = 4, 2 million studies by numpy's own mean and standard deviation: three standard errors are 0.0004."""
    rng = np.random.default_rng(5)
    c3, c4 = critical_values(0.2, 4)
    x = rng.normal(0, 1, (2_000_000, 4))
    t3 = np.abs(x[:, :3].mean(1)) / (x[:, :3].std(1, ddof=1) / math.sqrt(3))
    t4 = np.abs(x.mean(1)) / (x.std(1, ddof=1) / 2)
    assert np.mean((t3 < c3) & (t4 >= c4)) == pytest.approx(0.2 / 6, abs=4e-4)


def test_boundaries_do_not_depend_on_how_many_looks_will_follow():
    assert np.array_equal(critical_values(0.05, LOOKS)[:8], critical_values(0.05, FIRST_LOOK + 7))


def test_a_stricter_level_has_a_higher_boundary_at_every_look():
    levels = [critical_values(0.05 / k, 60) for k in (1, 2, 3, 5, 10, 20, 50)]
    assert all((stricter > looser).all() for looser, stricter in zip(levels, levels[1:], strict=False))
    assert all(np.isfinite(level).all() for level in levels)


def test_up_to_the_most_looks_the_boundaries_are_smooth():
    values = critical_values(0.05, MOST_LOOKS)
    steps = np.diff(values[60:])
    assert (steps > 0).all(), "late looks have little error left to spend"
    assert (np.diff(steps) < 0).all()


def test_decisions_of_whole_studies_are_false_in_at_most_5_of_100():
    """400 studies through ``decide`` itself, four variants on the same base, peeking after each of 12 seeds: two
    have no effect, one is at the margin, one beyond it. False: a difference where there is none, or "equivalent" of
    one that is not. 20 are allowed; 33 at three standard errors more."""
    rng = np.random.default_rng(6)
    margin, false = 0.02, 0
    effects = {"none": 0.0, "none either": 0.0, "at the margin": margin, "beyond": 0.03}
    for _ in range(400):
        base = rng.normal(1.7, 0.005, 12)
        variants = {name: by_seed(base + rng.normal(effect, 0.01, 12)) for name, effect in effects.items()}
        decisions = decide(by_seed(base), variants, seeds=range(12), margin=margin)
        false += any(
            (decision.verdict == "different" and not (effects[decision.variant] and decision.mean > 0))
            or (decision.verdict == "equivalent" and effects[decision.variant] >= margin)
            for decision in decisions
        )
    assert false <= 33


def test_a_decision_stands_when_more_seeds_come():
    rng = np.random.default_rng(9)
    for effect in (0.0, 0.02, 0.05):
        base = rng.normal(1.7, 0.02, LOOKS)
        variant = base + rng.normal(effect, 0.012, LOOKS)
        settled = None
        for n in range(1, LOOKS + 1):
            (decision,) = decide(by_seed(base[:n]), {"v": by_seed(variant[:n])}, seeds=range(LOOKS), margin=0.015)
            if settled is not None:
                assert (decision.verdict, decision.n, decision.interval) == settled
                assert decision.available == n
            elif decision.decided:
                settled = decision.verdict, decision.n, decision.interval
                assert decision.n == n, "no look is missed"
        assert settled is not None


# The verdicts


def test_a_difference_of_many_standard_deviations_is_decided_by_three_seeds():
    base, variant = by_seed([1.70, 1.72, 1.69]), by_seed([2.47, 2.50, 2.45])
    (decision,) = decide(base, {"residual=none": variant}, seeds=range(3))
    assert (decision.verdict, decision.n) == ("different", 3)
    assert decision.mean == pytest.approx(0.77)
    assert decision.interval == pytest.approx((0.726, 0.814), abs=5e-4)


def test_a_difference_below_the_margin_is_decided_as_equivalent():
    rng = np.random.default_rng(10)
    base = rng.normal(1.7, 0.02, 10)
    (decision,) = decide(by_seed(base), {"v": by_seed(base + rng.normal(0, 0.01, 10))}, seeds=range(10), margin=0.03)
    assert decision.verdict == "equivalent"
    assert max(map(abs, decision.interval)) < 0.03
    assert decision.within_margin


def test_a_difference_may_be_significant_and_be_within_the_margin():
    (decision,) = decide(
        by_seed([1.70, 1.72, 1.69]), {"v": by_seed([1.7100, 1.7301, 1.6999])}, seeds=[0, 1, 2], margin=0.1
    )
    assert decision.verdict == "different"
    assert decision.within_margin


def test_without_enough_seeds_it_stays_undecided():
    (decision,) = decide(by_seed([1.70, 1.72, 1.69, 1.7]), {"v": by_seed([1.71, 1.71, 1.70, 1.69])}, seeds=range(4))
    assert (decision.verdict, decision.n) == ("undecided", 4)
    assert not decision.decided
    (decision,) = decide(by_seed([1.70, 1.72]), {"v": by_seed([2.71, 2.71])}, seeds=range(2))
    assert decision.interval is None
    assert decision.note
    (decision,) = decide({}, {"v": {}}, seeds=range(2))
    assert (decision.verdict, decision.n, decision.mean) == ("undecided", 0, None)


def test_differences_without_spread_decide_nothing():
    base = by_seed([1.70, 1.72, 1.69, 1.7])
    for shift in (0.0, 0.1):
        (decision,) = decide(base, {"v": {s: loss + shift for s, loss in base.items()}}, seeds=range(4), margin=0.2)
        assert (decision.verdict, decision.interval) == ("undecided", None)
        assert "spread" in decision.note


def test_more_variants_make_every_interval_wider():
    base, variant = by_seed([1.70, 1.72, 1.69]), by_seed([1.71, 1.70, 1.70])
    (alone,) = decide(base, {"v": variant}, seeds=range(3))
    among, *_ = decide(base, {"v": variant} | {f"w{i}": {} for i in range(4)}, seeds=range(3))
    assert among.interval[0] < alone.interval[0] < alone.interval[1] < among.interval[1]
    assert among.comparisons == 5


def test_a_diverged_pair_is_no_look():
    base, variant = [1.70, 1.72, 1.69, 1.70, 1.71], [1.74, 1.77, 1.74, 1.73, 1.76]
    (whole,) = decide(by_seed(base), {"v": by_seed(variant)}, seeds=range(5))
    broken = {0: 1.70, 1: 1.72, 9: None, 2: 1.69, 3: 1.70, 8: 1.7, 4: 1.71}
    other = by_seed(variant) | {9: 1.0, 8: math.nan}
    (with_broken,) = decide(broken, {"v": other}, seeds=[0, 1, 9, 2, 8, 3, 4])
    assert (with_broken.divergence.base, with_broken.divergence.variant, with_broken.divergence.seeds) == (1, 1, 7)
    assert replace(with_broken, divergence=whole.divergence) == whole


@given(st.lists(st.integers(-500, 500), min_size=3, max_size=10), st.integers(-3, 3).filter(bool))
def test_intervals_follow_a_change_of_unit_and_of_side(thousandths, factor):
    differences = np.array(thousandths) / 1000
    low, high = repeated_intervals(differences)
    ends = repeated_intervals(differences * factor)
    expected = (low * factor, high * factor) if factor > 0 else (high * factor, low * factor)
    for one, other in zip(ends, expected, strict=True):
        assert np.allclose(one, other, atol=1e-9, equal_nan=True)


def test_a_large_common_loss_costs_no_digits():
    differences = np.random.default_rng(11).normal(0, 1e-3, 20)
    low, high = repeated_intervals(differences)
    far_low, far_high = repeated_intervals(differences + 1e6)
    assert np.allclose(far_high - far_low, high - low, rtol=1e-5, equal_nan=True)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ConfigError) as told:
        decide({}, {}, seeds=[*range(MOST_LOOKS + 1), 3, 3], margin=-0.1)
    assert len(told.value.complaints) == 3
    with pytest.raises(ConfigError, match="confidence"):
        decide({}, {}, seeds=[0], confidence=95)
    with pytest.raises(ConfigError, match="margin"):
        decide({}, {}, seeds=[0], margin=math.nan)


NONE, WELL = None, 1.7
DIVERGED = {
    "a variant at every seed": ([WELL] * 3, [NONE] * 3, "diverges"),
    "a variant at two seeds": ([WELL] * 2, [NONE] * 2, "undecided"),
    "a variant at every seed, the baseline at one": ([WELL, NONE, WELL, WELL], [NONE] * 4, "diverges"),
    "a variant at every seed, the baseline finished at two": ([WELL, NONE, WELL], [NONE] * 3, "undecided"),
    "the baseline at every seed": ([NONE] * 3, [WELL] * 3, "baseline diverges"),
    "the baseline at two seeds": ([NONE] * 2, [WELL] * 2, "undecided"),
    "both at every seed": ([math.nan] * 3, [math.inf] * 3, "baseline diverges"),
    "each at the other's seeds": ([WELL, NONE] * 4, [NONE, WELL] * 4, "undecided"),
    "a variant at all seeds but one": ([WELL] * 9, [NONE] * 8 + [WELL], "undecided"),
    "no seed yet": ([], [], "undecided"),
}


def seeded(values) -> dict[int, float | None]:
    return dict(enumerate(values))


@pytest.mark.parametrize("case", DIVERGED)
def test_only_an_arm_that_diverged_at_every_seed_settles_what_has_no_pair(case):
    base, variant, verdict = DIVERGED[case]
    (decision,) = decide(seeded(base), {"v": seeded(variant)}, seeds=range(len(base)))
    assert decision.verdict == verdict
    assert decision.decided == (verdict != "undecided")
    assert decision.interval is None
    assert "inconclusive" in decision.sentence() or verdict != "undecided"


def test_a_divergence_is_said_with_its_counts_and_the_interval_of_its_rate():
    (decision,) = decide(seeded([WELL, NONE, WELL, WELL]), {"v": seeded([NONE] * 4)}, seeds=range(4))
    assert decision.sentence() == (
        "v diverged at 4 of 4 seeds, and the baseline at 1 of them (divergence rate 40 % to 100 %, 95 % "
        "Clopper-Pearson interval)."
    )
    (decision,) = decide(seeded([NONE] * 5), {"v": seeded([NONE, 1.0, 1.0, 1.0, NONE])}, seeds=range(5))
    assert decision.sentence() == (
        "v cannot be compared: the baseline diverged at 5 of 5 seeds (divergence rate 48 % to 100 %, 95 % "
        "Clopper-Pearson interval), and v at 2 of them."
    )
