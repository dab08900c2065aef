"""A variant that only the learning rate makes worse: what an untuned study says of it, and what a tuned one says.

benchmarks/tuned_study.py counts this over 200 studies; here it is one, of losses that are fixed.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import glassformer as gf
from glassformer.studies.checking import check
from glassformer.studies.summary import summarise

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "tuned_study.py"

if not BENCHMARK.is_file():
    pytest.skip(f"{BENCHMARK} is not here", allow_module_level=True)
spec = importlib.util.spec_from_file_location("tuned_study", BENCHMARK)
planting = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = planting
spec.loader.exec_module(planting)

RATE = "training.optimizer.learning_rate"


@pytest.fixture
def summary(tmp_path):
    """``summary(...)``: of the planted study, with these options of a design."""

    def summary(**options):
        design = gf.study("gpt-nano", vary=planting.VARIANTS, data="copy", set=planting.SMALL, **options)
        return summarise(planting.carried_out(check(design), 0, tmp_path))

    return summary


def said(found, variant):
    return planting.verdict(found, found.comparison.row(variant))


def test_untuned_the_rate_is_taken_for_the_variants_fault(summary):
    found = summary(seeds=5)
    assert (said(found, "equal"), said(found, "worse")) == ("raises", "raises")
    assert "equal raises the loss by 0.09" in found.sentence(found.comparison.row("equal"))


def test_tuned_it_is_not_and_a_variant_that_is_worse_everywhere_still_is(summary):
    found = summary(seeds=5, learning_rates=planting.RATES)
    assert {arm: point.values[RATE] for arm, point in found.selection.best.items()} == {
        arm: planted.best for arm, planted in planting.ARMS.items()
    }
    assert (said(found, "equal"), said(found, "worse")) == ("neither", "raises")
    control = found.control("equal")
    assert control.interval[0] < planting.ARMS["equal"].loss(planting.RATE) - 1.7 < control.interval[1]
    assert found.control("worse") is None  # its best rate is the baseline's


def test_a_grid_that_misses_the_best_rate_is_extended_to_it(summary):
    found = summary(seeds=3, learning_rates=[1e-3, 3e-3])
    best = found.selection.best["equal"].values[RATE]
    assert best == pytest.approx(3.33e-4)
    assert "extended" in found.selection.notes["equal"]


def test_a_tuned_study_may_add_its_seeds_one_at_a_time(summary):
    found = summary(seeds=3, learning_rates=planting.RATES, until_decided=True, budget_seeds=8)
    assert (said(found, "equal"), said(found, "worse")) == ("neither", "raises")
