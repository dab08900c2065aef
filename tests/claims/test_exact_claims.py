"""The claims that are mathematics, or of untrained models: decided for real; and each rule flips with its numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

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
from glassformer.data.batches import IGNORE


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
        ("residual-derivative", "depends"),
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
    def judged(causal, cached, not_causal):
        return causal_cache.judge(found | {"causal": causal, "cached": cached, "not causal": not_causal}).verdict

    found = causal_cache.measure(0)
    assert causal_cache.judge(found).verdict == "supported"
    assert judged(0.0, 0.0, 0.3) == "supported"
    assert judged(0.3, 0.3, 0.0) == "refuted"
    assert judged(0.0, 0.3, 0.3) == "depends"


def test_causal_cache_measures_where_it_does_not_hold():
    found = causal_cache.measure(0)
    assert min(found["in batch statistics"], found["sliding"]) > DIFFERENT


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
    assert found.others < 1e-6


def test_pe_distance_flips_and_names_the_gap():
    assert pe_distance.judge({64: 5, 512: 43}, 512).verdict == "depends"
    assert pe_distance.judge({64: 511, 512: 511}, 512).verdict == "supported"
    assert pe_distance.judge({64: 1, 512: 43}, 512).verdict == "refuted"
    assert pe_distance.grows_until(512, 100) == 43
    assert "43" in pe_distance.judge({64: 5, 512: 43}, 512).sentence


def test_teacher_forcing_flips():
    assert teacher_forcing.judge(1e-7, 0.3).verdict == "supported"
    assert teacher_forcing.judge(0.3, 1e-7).verdict == "refuted"


def test_ignore_index_flips_with_ignored_targets_and_with_padding():
    found = ignore_index.measure(0)
    assert ignore_index.judge(found).verdict == "supported"

    def parts(**changes):
        return list(ignore_index.judge(replace(found, **changes)).parts.values())

    assert parts(loss=0.1) == [False, True, True, True]
    assert parts(leak=1e-9) == [True, False, True, True]  # a trace of a gradient is one
    assert parts(padded_loss=0.1) == [True, True, False, True]
    assert parts(padded_gradient=0.1) == [True, True, True, False]
    assert parts(pads_changed=0.1) == [True, True, False, False]
    assert ignore_index.judge(replace(found, loss=1, leak=1, pads_changed=1)).verdict == "refuted"


@pytest.mark.parametrize("seed", range(3))
def test_padding_counts_where_nothing_hides_it_and_so_do_inputs_whose_targets_are_ignored(seed):
    found = ignore_index.measure(seed)
    assert found.unmasked > 10 * ignore_index.EQUAL
    assert found.context > 10 * ignore_index.EQUAL
    batch, alone = ignore_index.random_pairs(seed)
    assert batch.source_padding.any(dim=1).sum() == ignore_index.PAIRS - 1  # all but the longest
    assert not any(each.source_padding.any() or (each.targets == IGNORE).any() for each in alone)
    assert sum(each.n_tokens for each in alone) == batch.n_tokens
    other = ignore_index.with_other_pads(batch)
    assert torch.equal(other.source != batch.source, batch.source_padding)
    assert torch.equal(other.inputs != batch.inputs, batch.targets == IGNORE)


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
    assert list(one.parts.values()) == [True] + [False] * 6 + [True]
    assert "162" in one.sentence


def test_kaplan_numbers_decides_on_what_stands_in_the_notes_alone():
    given = kaplan_numbers.CORRECTIONS
    result, notes = (
        kaplan_numbers.judge(some) for some in (given, [each for each in given if each.stands_in == "notes"])
    )
    assert result.parts == notes.parts
    assert not any("0.050" in part or "table 3" in part for part in result.parts)
    assert result.numbers["4, as written"].value == pytest.approx(20_824, abs=1)
    assert "8 (not in the notes), as written" in result.numbers
    assert "Not in the notes" in result.sentence
    assert "Not in the notes" not in notes.sentence


def test_residual_derivative_flips():
    found = {placement: residual_derivative.measure(placement, 1, 1) for placement in residual_derivative.PLACEMENTS}
    grown = {placement: replace(each, smallest=1.2) for placement, each in found.items()}
    wrong = {placement: replace(each, off_formula=0.5) for placement, each in found.items()}

    def parts(**changed):
        return tuple(residual_derivative.judge(found | changed).parts.values())

    assert parts() == (True, False)
    assert parts(**grown) == (True, True)
    assert parts(none=grown["none"]) == parts(pre=grown["pre"]) == (True, False)
    assert parts(none=wrong["none"]) == parts(pre=wrong["pre"]) == (False, False)
    assert parts(post=wrong["post"]) == parts()  # a norm of the sum has a derivative of its own
    assert found["none"].median_without < found["none"].smallest  # the skip does bring them near 1


def test_the_residual_formula_is_measured_and_fails_behind_a_norm_of_the_sum():
    assert max(residual_derivative.off_formula(placement, 1) for placement in ("none", "pre")) < 1e-8
    assert residual_derivative.off_formula("post", 1) > 0.01


def test_central_differences_find_a_known_derivative():
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = residual_derivative.central_differences(lambda given: (given @ matrix.T).sin(), x)
    torch.testing.assert_close(found, (x[-1] @ matrix.T).cos()[:, None] * matrix, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("with_residual", "without", "texts_without", "parts"),
    [
        ((0.9, 0.8), (0.01, -0.02), (0.995, 1.0), [True, True, True]),
        ((0.9, 0.8), (0.01, -0.02), (0.995, 0.9), [True, False, True]),  # turned, and still of the text
        ((0.1, 0.9), (0.01, -0.02), (0.995, 1.0), [True, True, False]),
        ((0.1, 0.2), (0.9, 0.8), (0.5, 0.6), [False, False, False]),
        ((), (), (), [None, None, None]),  # every run diverged: that decides nothing
    ],
)
def test_residual_depth_flips(with_residual, without, texts_without, parts):
    found = residual_depth.Similarity(with_residual, without, with_residual, texts_without)
    assert list(residual_depth.judge({"20 layers": found}).parts.values()) == parts


def test_residual_depth_depends_on_every_start():
    close = residual_depth.Similarity((0.9, 0.8), (0.01, -0.02), (0.3, 0.4), (1.0, 1.0))
    far = replace(close, with_residual=(0.1, 0.2))
    assert residual_depth.judge({"20 layers": close}).verdict == "supported"
    assert residual_depth.judge({"20 layers": close, "50 layers": far}).verdict == "depends"
    nobody = residual_depth.Similarity((), (), (), ())
    assert worded(Measurement(None)) in residual_depth.judge({"20 layers": nobody}).sentence


def test_layer_vs_batch_norm_is_decided_by_its_statistics_and_flips():
    found = layer_vs_batch_norm.measure(0)
    assert layer_vs_batch_norm.judge(found).verdict == "supported"
    assert layer_vs_batch_norm.judge(replace(found, layer_tokens=0.2)).verdict == "depends"
    swapped = replace(found, layer_tokens=0.2, batch_features=0.2, layer_statistics=64)
    assert layer_vs_batch_norm.judge(swapped).verdict == "refuted"


@pytest.mark.parametrize(
    ("changes", "needs"),
    [({}, True), ({"training_alone": 0.0}, False), ({"layer_alone": 0.1}, False), ({"batch_statistics": 0}, False)],
)
def test_running_statistics_are_needed_where_a_text_depends_on_its_company(changes, needs):
    found = replace(layer_vs_batch_norm.measure(0), **changes)
    assert layer_vs_batch_norm.judge(found).parts["only BatchNorm needs running statistics"] is needs


def test_of_several_draws_the_worst_norms_count():
    draws = [layer_vs_batch_norm.measure(seed) for seed in range(3)]
    worst = layer_vs_batch_norm.worst(draws)
    assert worst.layer_tokens == max(each.layer_tokens for each in draws)
    assert worst.training_alone == min(each.training_alone for each in draws)
    assert worst.evaluation_alone < 1e-5


def test_more_seeds_are_more_draws(claim_studies):
    one, five = (mask_by_zero.decide(Budget(seeds=seeds), claim_studies) for seeds in (1, 5))
    name = "smallest sum of a row"
    assert five.numbers[name].value <= one.numbers[name].value
