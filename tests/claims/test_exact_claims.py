"""The claims that are mathematics, or of untrained models: decided for real; and each rule flips with its numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glassformer.claims import (
    causal_cache,
    ffn_is_conv,
    ignore_index,
    kaplan_numbers,
    layer_vs_batch_norm,
    mask_by_zero,
    pe_distance,
    pe_norm,
    residual_depth,
    residual_derivative,
    teacher_forcing,
)
from glassformer.claims.budget import Budget
from glassformer.claims.claim import Measurement
from glassformer.claims.exactness import DIFFERENT, EQUAL, equal
from glassformer.claims.judging import worded
from glassformer.claims.registry import claim


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("causal-cache", "supported"),
        ("mask-by-zero", "refuted"),
        ("ffn-is-conv", "supported"),
        ("pe-norm", "depends"),
        ("pe-distance", "depends"),
        ("teacher-forcing", "supported"),
        ("ignore-index", "supported"),
        ("kaplan-numbers", "depends"),
        ("residual-derivative", "refuted"),
        ("residual-depth", "depends"),
    ],
)
def test_it_is_decided_within_the_quick_budget(name, verdict, claim_studies):
    decided = claim(name)
    result = decided.decide(decided.quick, claim_studies)
    assert result.verdict == verdict, result
    assert result.numbers
    assert result.evidence == ()


def test_more_draws_do_not_leave_it_open_whether_zeros_mask(claim_studies):
    assert mask_by_zero.decide(claim("mask-by-zero").full, claim_studies).verdict == "refuted"


def test_equal_different_and_what_lies_between():
    assert [equal(value) for value in (0.0, EQUAL, 1e-7, DIFFERENT, 1.0)] == [True, True, None, False, False]


def test_causal_cache_flips():
    assert causal_cache.judge(0.0, 0.0, 0.3).verdict == "supported"
    assert causal_cache.judge(0.3, 0.3, 0.0).verdict == "refuted"
    assert causal_cache.judge(0.0, 0.3, 0.3).verdict == "depends"


def test_mask_by_zero_flips():
    found = mask_by_zero.measure(0)
    assert mask_by_zero.judge(found).verdict == "refuted"
    assert mask_by_zero.judge(replace(found, after=0.0, before=0.0, leak=0.0)).verdict == "supported"
    assert found.renormalised < EQUAL
    assert found.least_row < 0.9
    assert found.leak_infinite == 0.0


def test_ffn_is_conv_flips():
    assert ffn_is_conv.judge(0.0, 0.0).verdict == "supported"
    assert ffn_is_conv.judge(0.1, 0.1).verdict == "refuted"


def test_pe_norm_flips_with_the_spread_and_with_the_number():
    found = pe_norm.measure(200)
    assert found.norm == pytest.approx(16, abs=1e-6)
    assert found.square == pytest.approx(256, abs=1e-4)
    assert pe_norm.judge(found).verdict == "depends"
    assert pe_norm.judge(replace(found, norm_spread=1.35)).verdict == "refuted"
    assert pe_norm.judge(replace(found, norm=256.25, norm_spread=1.35)).verdict == "depends"


def test_pe_distance_flips_and_names_the_gap():
    assert pe_distance.judge({64: 5, 512: 43}, 512).verdict == "depends"
    assert pe_distance.judge({64: 511, 512: 511}, 512).verdict == "supported"
    assert pe_distance.judge({64: 1, 512: 43}, 512).verdict == "refuted"
    assert pe_distance.grows_until(512, 100) == 43
    assert "43" in pe_distance.judge({64: 5, 512: 43}, 512).sentence


def test_teacher_forcing_flips():
    assert teacher_forcing.judge(1e-7, 0.3).verdict == "supported"
    assert teacher_forcing.judge(0.3, 1e-7).verdict == "refuted"


def test_ignore_index_flips():
    assert ignore_index.judge(1e-7, 1e-7, 0.0).verdict == "supported"
    assert ignore_index.judge(0.1, 1e-7, 1e-9).verdict == "refuted"  # a trace of a gradient is one
    assert ignore_index.judge(0.1, 1e-7, 0.0).verdict == "depends"


def test_kaplan_numbers_flips_with_each_formula():
    def mended(correction):
        return replace(correction, wrong=replace(correction.right, name=correction.wrong.name), at=at(correction))

    def at(correction):
        return {**correction.at, **(correction.right_only or {})}

    given = kaplan_numbers.CORRECTIONS
    right = [replace(mended(each), right_only=None) for each in given]
    assert kaplan_numbers.judge(given).verdict == "depends"
    assert kaplan_numbers.judge(given, batch=lambda loss: 2.1e8 * loss**4.8).verdict == "refuted"
    assert kaplan_numbers.judge(right).verdict == "supported"
    one = kaplan_numbers.judge([right[0], *given[1:]])
    assert list(one.parts.values()) == [True] + [False] * 7 + [True]
    assert "162" in one.sentence


def test_residual_derivative_flips():
    found = {placement: residual_derivative.measure(placement, 1, 1) for placement in residual_derivative.PLACEMENTS}
    grown = {placement: replace(each, smallest=1.2) for placement, each in found.items()}
    assert residual_derivative.judge(found).verdict == "refuted"
    assert residual_derivative.judge(grown).verdict == "supported"
    assert residual_derivative.judge(found | {"pre": grown["pre"]}).verdict == "depends"
    assert found["none"].median_without < found["none"].smallest  # the skip does bring them near 1


def test_residual_depth_flips():
    close = residual_depth.Similarity((0.9, 0.8), (0.01, -0.02))
    far = residual_depth.Similarity((0.1, 0.2), (0.01, -0.02))
    neither = residual_depth.Similarity((0.1, 0.2), (0.9, 0.8))
    assert residual_depth.judge({"20 layers": close}).verdict == "supported"
    assert residual_depth.judge({"20 layers": close, "50 layers": far}).verdict == "depends"
    assert residual_depth.judge({"20 layers": neither}).verdict == "refuted"
    nobody = residual_depth.Similarity((), ())  # every run diverged: that decides nothing
    assert residual_depth.judge({"20 layers": nobody}).verdict == "undecided"
    assert worded(Measurement(None)) in residual_depth.judge({"20 layers": nobody}).sentence


def test_layer_vs_batch_norm_is_decided_by_its_statistics_and_flips():
    found = layer_vs_batch_norm.measure(0)
    assert layer_vs_batch_norm.judge(found).verdict == "supported"
    assert layer_vs_batch_norm.judge(replace(found, layer_tokens=0.2)).verdict == "depends"
    swapped = replace(found, layer_tokens=0.2, batch_features=0.2, layer_statistics=64)
    assert layer_vs_batch_norm.judge(swapped).verdict == "refuted"


def test_more_seeds_are_more_draws(claim_studies):
    one, five = (mask_by_zero.decide(Budget(seeds=seeds), claim_studies) for seeds in (1, 5))
    name = "smallest sum of a row"
    assert five.numbers[name].value <= one.numbers[name].value
