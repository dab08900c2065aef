"""The one rule that makes verdicts of parts, the parts' comparisons, and the registry."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.claims import judging
from glassformer.claims.budget import Budget
from glassformer.claims.claim import ClaimResult, Kind, Measurement, Verdict, measurement, verdict_of
from glassformer.claims.registry import IDS, claim, claims
from glassformer.errors import ConfigError

PARTS = st.dictionaries(st.text(min_size=1), st.sampled_from([True, False, None]), min_size=1)


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([True], "supported"),
        ([False, False], "refuted"),
        ([True, False], "depends"),
        ([True, False, None], "depends"),
        ([True, None], "undecided"),
        ([False, None], "undecided"),
        ([None], "undecided"),
    ],
)
def test_the_verdict_follows_from_the_parts(parts, verdict):
    assert verdict_of({str(index): part for index, part in enumerate(parts)}) == verdict


@given(PARTS)
def test_every_set_of_parts_has_a_verdict_and_its_contrary_the_contrary_one(parts):
    contrary = {name: None if part is None else not part for name, part in parts.items()}
    turned = {"supported": "refuted", "refuted": "supported"}
    assert verdict_of(parts) in get_args(Verdict)
    assert verdict_of(contrary) == turned.get(verdict_of(parts), verdict_of(parts))


def test_a_claim_asserts_something():
    with pytest.raises(AssertionError):
        verdict_of({})


def test_a_finding_has_no_verdict_but_that_of_its_parts():
    assert ClaimResult({"it is so": False}, "It is not.", "", {}).verdict == "refuted"


def test_a_claim_whose_circumstances_were_not_reached_is_not_tested_whatever_its_parts():
    for part in (True, False, None):
        assert ClaimResult({"it is so": part}, "", "", {}, not_tested="no run got there").verdict == "not tested"


def test_a_number_is_finite_and_tells_its_unit_and_interval():
    assert str(Measurement(0.4127, "nats", (0.3, 0.5))) == "0.4127 nats (95 % interval 0.3 to 0.5)"
    assert str(measurement(math.inf, "nats")) == "none"
    assert measurement(1.0, "", (0.0, math.inf)).interval is None
    with pytest.raises(AssertionError):
        Measurement(math.nan)


def test_a_part_is_not_told_apart_where_its_interval_lies_on_both_sides():
    measured = Measurement(0.5, "nats", (0.4, 0.6))
    assert [judging.exceeds(measured, threshold) for threshold in (0.3, 0.5, 0.7)] == [True, None, False]
    assert [judging.falls_short(measured, threshold) for threshold in (0.3, 0.5, 0.7)] == [False, None, True]
    assert judging.exceeds(Measurement(0.5, "nats"), 0.3) is None  # fewer than three seeds: no interval


def test_a_diverged_run_is_never_counted_for_its_own_side(losses):
    whole, lower, higher = losses(2.0), losses(2.0, -0.4), losses(2.0, 0.4)
    assert [judging.costs_more(whole, arm) for arm in (lower, higher)] == [False, True]
    assert judging.costs_more(whole, losses(2.0, -0.4, diverged=1)) is None
    assert judging.costs_more(whole, losses(2.0, 0.4, diverged=1)) is True
    assert judging.costs_more(losses(2.0, diverged=1), higher) is None
    assert judging.costs_more(losses(2.0, diverged=1), lower) is False
    assert judging.costs_more(whole, higher, 0.5) is False
    assert [judging.mean_exceeds(arm, 2.2) for arm in (whole, higher)] == [False, True]
    assert judging.mean_exceeds(losses(2.0, diverged=1), 2.2) is None
    assert judging.mean_exceeds(losses(2.4, diverged=1), 2.2) is True


def test_a_value_that_there_is_not_is_said_in_words():
    assert judging.worded(Measurement(0.4127, "nats")) == "0.413"
    assert judging.worded(Measurement(0.4127), ".0%") == "41%"
    assert judging.worded(Measurement(None, "nats")) == "no finite number of"


def test_all_of_fails_with_one_and_is_open_with_one_that_is_open():
    assert judging.all_of([True, True]) is True
    assert judging.all_of([True, None]) is None
    assert judging.all_of([None, False]) is False


def test_intervals_are_of_paired_differences_and_need_three_seeds(losses):
    paired = judging.difference(losses(1.7), losses(1.7, 0.4))
    assert paired.value == pytest.approx(0.4)
    assert paired.interval[1] - paired.interval[0] < 0.01  # though the seeds differ by 0.1
    two = judging.difference({0: 1.0, 1: 1.1}, {0: 1.4, 1: 1.5})
    assert two.interval is None
    assert judging.mean_over_seeds([1.0, None, 2.0]).interval is None
    assert judging.mean_over_seeds([None]).value is None


def test_training_does_not_work_where_a_run_diverges_or_only_frequencies_are_learned(losses):
    assert judging.trains(losses(2.0), 3.3) is True
    assert judging.trains(losses(2.0, diverged=1), 3.3) is False
    assert judging.trains(losses(3.2), 3.3) is False


def test_signed_tells_minus_with_a_real_minus():
    assert judging.signed(Measurement(-0.25, "nats")) == "−0.250 nats"
    assert judging.signed(Measurement(None)) == "not measurable"


@pytest.mark.parametrize("name", IDS)
def test_every_claim_says_all_that_a_reader_needs(name):
    found = claim(name)
    assert found.id == name
    assert found.kind in get_args(Kind)
    assert found.statement.endswith(".")
    assert found.source
    assert found.decided_by.endswith(".")
    assert found.could_be_wrong
    assert all(sentence.endswith(".") for sentence in found.could_be_wrong)
    assert isinstance(found.quick, Budget)
    assert found.budget("quick") is found.quick
    assert found.budget("full") is found.full
    if found.kind == "study":
        assert found.quick.steps > 0
        assert found.quick.seeds >= 3  # below there is no interval, and nothing could be decided
        assert found.full.seeds > found.quick.seeds
    if found.kind == "exact":
        assert found.quick.steps == found.full.steps == 0


def test_unknown_claims_are_all_told_at_once_with_the_nearest():
    with pytest.raises(ConfigError) as error:
        claims(["residual-los", "pe-norm", "pe-nrom"])
    assert len(error.value.complaints) == 2
    assert "Did you mean 'residual-loss'?" in str(error.value)
    assert "Did you mean 'pe-norm'?" in str(error.value)


def test_a_claim_named_twice_is_decided_once():
    assert [each.id for each in claims(["pe-norm", "pe-norm"])] == ["pe-norm"]
