"""Rungs that learned nothing, or got worse by training longer, are in no fit, and it is said."""

from __future__ import annotations

from glassformer.scaling.ladders.ladder_rungs import LadderRun
from glassformer.scaling.ladders.rung_checks import check_rungs

ENTROPIES = {"unigram": 3.256, "bigram": 2.47}


def run(n: int, d: int) -> LadderRun:
    return LadderRun(f"N={n} D={d}", {}, n, d, 6.0 * n * d, d // 512, "a shape")


def test_five_rungs_of_width_16_at_too_high_a_rate_are_found_out():
    """At 0.5/d_model they ended at 3.03 to 3.33 nats per character, a longer one worse than a shorter one."""
    runs = [run(13_000, d) for d in (100_000, 200_000, 400_000, 800_000, 1_600_000)]
    losses = dict(zip([each.name for each in runs], (3.03, 3.18, 3.09, 3.27, 3.33), strict=True))
    checks = check_rungs(runs, losses, ENTROPIES)
    assert set(checks.excluded) == {runs[1].name, runs[3].name, runs[4].name}
    assert "shorter run of the same size" in checks.excluded[runs[1].name]
    assert "unigram entropy of 3.256" in checks.excluded[runs[3].name]
    assert "2 of 5 rungs are usable" in checks.verdict
    assert any("bigram entropy of 2.470" in each for each in checks.warnings)


def test_rungs_that_learned_pass_and_seeds_may_scatter():
    runs = [run(n, d) for n in (13_000, 52_000) for d in (100_000, 400_000)]
    losses = dict(zip([each.name for each in runs], (2.40, 2.41, 2.30, 2.10), strict=True))
    checks = check_rungs(runs, losses, ENTROPIES)
    assert (checks.excluded, checks.warnings) == ({}, ())
    assert checks.verdict.startswith("All 4 rungs learned")


def test_a_larger_run_may_end_worse_than_a_smaller_one_that_saw_more():
    runs = [run(13_000, 800_000), run(52_000, 100_000)]
    checks = check_rungs(runs, {runs[0].name: 2.2, runs[1].name: 2.4}, ENTROPIES)
    assert not checks.excluded


def test_without_entropies_rungs_are_still_checked_against_each_other():
    """Of ladders of earlier versions, which did not record them."""
    runs = [run(13_000, 100_000), run(13_000, 400_000)]
    checks = check_rungs(runs, {runs[0].name: 2.4, runs[1].name: 3.0}, {})
    assert list(checks.excluded) == [runs[1].name]
    assert "not recorded" in checks.verdict


def test_rungs_that_have_not_ended_are_not_judged():
    runs = [run(13_000, 100_000), run(13_000, 400_000)]
    assert check_rungs(runs, {}, ENTROPIES).excluded == {}
