"""Paired differences by seed: against scipy, against truth, and what may not matter."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from glassformer.errors import ConfigError
from glassformer.statistics.comparison import Comparison, compare
from glassformer.statistics.paired import hedges_correction, holm, paired_t

LOSS = st.integers(1000, 3000).map(lambda thousandths: thousandths / 1000)


@st.composite
def studies(draw):
    """Losses of a base and of some variants at the same seeds, a few of them diverged."""
    seeds = draw(st.lists(st.integers(0, 1000), min_size=3, max_size=8, unique=True))
    loss = st.one_of(LOSS, LOSS, LOSS, st.sampled_from([None, math.nan, math.inf]))
    run = st.fixed_dictionaries(dict.fromkeys(seeds, loss))
    return draw(run), {f"v{i}": draw(run) for i in range(draw(st.integers(1, 4)))}


def by_seed(values) -> dict[int, float]:
    return dict(enumerate(float(value) for value in values))


def changed(losses, function):
    return {seed: None if loss is None else function(loss) for seed, loss in losses.items()}


def alike(one: Comparison, other: Comparison, *, sign: float = 1.0, scale: float = 1.0) -> None:
    """Both tables say the same, differences multiplied by ``sign * scale`` in the other."""
    for row, twin in zip(one.rows, other.rows, strict=True):
        assert row.n == twin.n
        assert (row.interval is None) == (twin.interval is None)
        if row.mean is not None:
            assert twin.mean == pytest.approx(sign * scale * row.mean, abs=1e-9 * scale)
        if row.interval is not None:
            ends = sorted(sign * scale * end for end in row.interval)
            assert twin.interval == pytest.approx(ends, abs=1e-9 * scale)
            assert twin.sd == pytest.approx(scale * row.sd, rel=1e-6)
            assert twin.effect == pytest.approx(sign * row.effect, rel=1e-6, abs=1e-9)
            assert twin.p == pytest.approx(row.p, rel=1e-6)
            assert twin.p_holm == pytest.approx(row.p_holm, rel=1e-6)


# Against scipy


@pytest.mark.parametrize("n", [3, 5, 8, 20])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_interval_and_p_are_scipys(n, confidence):
    rng = np.random.default_rng(n)
    base, variant = rng.normal(1.7, 0.02, n), rng.normal(1.73, 0.02, n)
    (row,) = compare(by_seed(base), {"v": by_seed(variant)}, confidence=confidence).rows
    reference = stats.ttest_rel(variant, base)
    differences = variant - base
    interval = stats.t.interval(confidence, n - 1, loc=differences.mean(), scale=stats.sem(differences))
    assert row.t == pytest.approx(reference.statistic)
    assert row.p == row.p_holm == pytest.approx(reference.pvalue)
    assert row.interval == pytest.approx(interval)
    assert row.interval == pytest.approx(tuple(reference.confidence_interval(confidence)))


def test_holm_is_what_one_works_out_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []
    many = np.random.default_rng(0).random((50, 7))
    assert np.array_equal(holm(many), np.stack([holm(row) for row in many]))


def test_hedges_correction_makes_the_effect_size_unbiased():
    """The mean of d_z over 200,000 studies is too large; corrected, it is the true effect."""
    rng = np.random.default_rng(1)
    for n in (4, 8):
        differences = rng.normal(0.8, 1.0, (200_000, n))
        d_z = differences.mean(axis=1) / differences.std(axis=1, ddof=1)
        assert d_z.mean() > 0.88
        assert hedges_correction(n - 1) * d_z.mean() == pytest.approx(0.8, abs=0.01)


def test_hedges_correction_is_the_reciprocal_of_the_mean_of_an_inverse_chi():
    """By numerical integration: E[√(ν / χ²)] = 1 / J(ν)."""
    for nu in (2, 3, 7, 30):
        mean, _ = integrate.quad(lambda x, nu=nu: math.sqrt(nu) / x * stats.chi.pdf(x, nu), 0, np.inf)
        assert hedges_correction(nu) == pytest.approx(1 / mean, rel=1e-6)


# Against truth


@pytest.mark.parametrize("n", [3, 5, 8])
def test_95_percent_intervals_cover_the_truth_95_times_in_100(n):
    """2,000 studies through ``compare`` itself, their runs as noisy between seeds as within; and 200,000 through the
    arithmetic below it, where the test's own error (two standard errors) is 0.1 %."""
    truth = 0.04
    rng = np.random.default_rng(1000 + n)
    seed_effect = rng.normal(0, 0.03, (2000, n))
    base = 1.7 + seed_effect + rng.normal(0, 0.01, (2000, n))
    variant = 1.7 + truth + seed_effect + rng.normal(0, 0.01, (2000, n))
    covered = 0
    for ours, theirs in zip(base, variant, strict=True):
        low, high = compare(by_seed(ours), {"v": by_seed(theirs)}).rows[0].interval
        covered += low <= truth <= high
    assert 0.94 <= covered / 2000 <= 0.96

    test = paired_t(rng.normal(truth, 0.02, (200_000, n)))
    assert 0.9485 <= np.mean((test.low <= truth) & (truth <= test.high)) <= 0.9515


def test_without_any_effect_ten_variants_give_a_false_finding_in_at_most_5_studies_of_100():
    """The variants share the base's runs, so their differences are correlated by one half."""
    rng = np.random.default_rng(7)
    for n in (3, 5, 8):
        base, variants = rng.normal(0, 1, (40_000, 1, n)), rng.normal(0, 1, (40_000, 10, n))
        p = paired_t(variants - base).p
        found = (holm(p) <= 0.05).any(axis=1).mean()
        assert 0.01 < found <= 0.055
        assert (p <= 0.05).any(axis=1).mean() > 0.2, "and without Holm far more often"


def test_the_table_itself_keeps_its_family_wise_error():
    """300 studies of 10 variants through ``compare``: 15 false findings are expected at most, 26 at three standard
    errors more; unadjusted there would be some 80."""
    rng = np.random.default_rng(8)
    false, unadjusted = 0, 0
    for _ in range(300):
        base, *variants = rng.normal(1.7, 0.02, (11, 5))
        rows = compare(by_seed(base), {f"v{i}": by_seed(v) for i, v in enumerate(variants)}).rows
        assert [row.p_holm for row in rows] == pytest.approx(holm([row.p for row in rows]).tolist())
        false += any(row.significant for row in rows)
        unadjusted += any(row.p <= 0.05 for row in rows)
    assert false <= 26
    assert unadjusted > 50


# What may not matter


@given(studies())
def test_adding_a_constant_to_all_losses_changes_nothing(study):
    base, variants = study
    moved = {name: changed(losses, lambda loss: loss + 3.0) for name, losses in variants.items()}
    alike(compare(base, variants), compare(changed(base, lambda loss: loss + 3.0), moved))


@given(studies(), st.sampled_from([0.01, 0.69, 1000.0]))
def test_in_another_unit_differences_scale_and_p_and_effect_size_stay(study, scale):
    base, variants = study
    scaled = {name: changed(losses, lambda loss: loss * scale) for name, losses in variants.items()}
    alike(compare(base, variants), compare(changed(base, lambda loss: loss * scale), scaled), scale=scale)


@given(studies())
def test_swapping_base_and_variant_flips_the_signs(study):
    base, variants = study
    for name, losses in variants.items():
        alike(compare(base, {name: losses}), compare(losses, {name: base}), sign=-1.0)


@given(studies(), st.randoms())
def test_the_order_and_the_names_of_the_seeds_do_not_matter(study, random):
    base, variants = study
    order = list(base)
    random.shuffle(order)
    shuffled = {name: {seed: losses[seed] for seed in order} for name, losses in variants.items()}
    assert repr(compare({seed: base[seed] for seed in order}, shuffled)) == repr(compare(base, variants))
    renamed = dict(zip(base, order, strict=True))
    again = {name: {renamed[seed]: loss for seed, loss in losses.items()} for name, losses in variants.items()}
    alike(compare(base, variants), compare({renamed[seed]: loss for seed, loss in base.items()}, again))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_p_is_never_below_the_raw_one_and_keeps_its_order(p):
    adjusted = holm(p)
    order = np.argsort(p, kind="stable")
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[order]) >= 0).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p))).all(), "and never above Bonferroni's"


@given(studies())
def test_every_run_is_accounted_for(study):
    base, variants = study
    for row in compare(base, variants).rows:
        broken = set(row.base_diverged) | set(row.variant_diverged)
        assert row.n + len(broken) == len(row.pairs) == len(base)
        assert [pair.seed for pair in row.pairs] == sorted(base)
        assert (row.interval is None) == (row.note is not None)
        assert len(row.exclusions()) == bool(row.base_diverged) + bool(row.variant_diverged)


# What cannot be said


@pytest.mark.parametrize("n", [1, 2])
def test_below_three_pairs_there_is_a_mean_and_the_reason_why_there_is_no_more(n):
    (row,) = compare(by_seed([1.7] * n), {"v": by_seed([1.75, 1.78][:n])}).rows
    assert row.mean == pytest.approx(statistics.mean([0.05, 0.08][:n]))
    assert (row.interval, row.p, row.p_holm, row.effect, row.sd) == (None,) * 5
    assert not row.significant
    assert f"n = {n} pair" in row.sentence()
    assert ("average" in row.sentence()) == (n > 1)
    assert "±12.7" in row.note


def test_a_diverged_run_makes_no_pair_and_is_told():
    base = {0: 1.70, 1: 1.72, 2: 1.69, 3: 1.71, 4: math.nan}
    variant = {0: 1.75, 1: None, 2: 1.76, 3: math.inf, 4: 1.75}
    (row,) = compare(base, {"norm=none": variant}).rows
    assert (row.n, row.base_diverged, row.variant_diverged) == (2, (4,), (1, 3))
    base_lost, variant_lost = row.exclusions()
    assert "seed 4" in base_lost
    assert "seeds 1, 3" in variant_lost
    assert row.sentence().endswith(f"{base_lost} {variant_lost}")


def test_a_variant_that_always_diverged_has_no_difference_and_counts_in_holms_correction():
    base = by_seed([1.70, 1.72, 1.69, 1.71])
    good = by_seed([1.75, 1.76, 1.75, 1.77])
    alone, beside = compare(base, {"v": good}), compare(base, {"v": good, "lost": dict.fromkeys(base)})
    assert beside.row("v").p_holm == pytest.approx(2 * alone.row("v").p_holm)
    assert beside.row("lost").mean is None
    assert beside.row("lost").variant_diverged == (0, 1, 2, 3)


def test_seeds_run_on_one_side_only_are_in_no_pair_and_are_told():
    row = compare({0: 1.7, 1: 1.71, 2: 1.72, 5: 1.7}, {"v": {0: 1.8, 1: 1.82, 2: 1.81, 7: 1.9}}).row("v")
    assert (row.n, row.unmatched) == (3, (5, 7))
    assert "Seeds 5, 7 were run in one of the two arms only and are excluded." in row.sentence()


def test_runs_that_end_exactly_equal_have_difference_zero_and_no_p():
    base = by_seed([1.70, 1.72, 1.69])
    row = compare(base, {"v": base}).row("v")
    assert (row.mean, row.sd, row.p, row.interval, row.effect) == (0.0, 0.0, None, None, None)
    assert row.note in row.sentence()


def test_a_difference_without_spread_has_no_p_even_if_rounding_gives_it_one():
    base = by_seed([1.70, 1.72, 0.3, 1.3])
    row = compare(base, {"v": {seed: loss + 0.1 for seed, loss in base.items()}}).row("v")
    assert len(set(row.differences)) > 1, "rounding makes them differ in the last digit"
    assert row.mean == pytest.approx(0.1)
    assert (row.p, row.interval, row.effect) == (None, None, None)
    assert row.note in row.sentence()


def test_a_study_without_variants_is_an_empty_table():
    assert compare({0: 1.7}, {}).rows == ()


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_that_is_none_is_told(confidence):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        compare({}, {}, confidence=confidence)
