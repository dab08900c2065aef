"""Matched controls: how near they come, and that they say what they changed."""

from __future__ import annotations

import pytest

from glassformer.errors import ConfigError
from glassformer.models.counting import build_on_meta
from glassformer.models.presets import preset
from glassformer.studies.checking import check
from glassformer.studies.matching import CLOSE, match_parameters

VARIANTS = {
    "fewer layers": {"n_layers": 1},
    "more layers": {"n_layers": 5},
    "no feed-forward": {"sublayers": "attention"},
    "no attention": {"sublayers": "feedforward"},
    "no norm": {"norm.kind": "none"},
    "gated": {"feedforward.kind": "swiglu"},
    "shared projections": {"attention.projection": "shared"},
    "one matrix for embedding and head": {"head.tied": True},
    "rotary": {"positions.kind": "rotary"},
    "own d_ff": {"feedforward.d_ff": 33, "n_layers": 3},
}


def count(model) -> int:
    return sum(weight.numel() for weight in build_on_meta(model).parameters())


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("base", ["tiny-transformer", "nanogpt-shakespeare-cpu"])
def test_a_variant_has_the_bases_parameters_as_nearly_as_heads_allow(base, name):
    model = preset(base).model
    variant = model.override(VARIANTS[name])
    changes, note = match_parameters(model, variant, {f"model.{path}" for path in VARIANTS[name]})
    matched = variant.override({path.removeprefix("model."): value for path, value in changes.items()})
    wanted, before, after = count(model), count(variant), count(matched)
    if before == wanted:
        assert (changes, note) == ({}, "")
        return
    assert abs(after - wanted) <= abs(before - wanted)
    assert f"{after:,}" in note
    assert f"{wanted:,}" in note
    only_heads = not variant.has_feedforward or name == "own d_ff"
    assert abs(after - wanted) <= (0.03 if only_heads else CLOSE) * wanted
    assert not set(changes) & {f"model.{path}" for path in VARIANTS[name]}


def test_a_small_difference_leaves_the_residual_stream_as_wide_as_it_was():
    model = preset("tiny-transformer").model
    changes, _ = match_parameters(model, model.override({"norm.kind": "none"}), {"model.norm.kind"})
    assert set(changes) == {"model.feedforward.d_ff"}


def test_what_has_the_same_size_already_is_not_adjusted(design):
    checked = check(design(["model.residual=none"], matched="parameters"))
    assert checked.config.adjusted == {}
    assert checked.config.variants == {"residual=none": {"model.residual": "none"}}


def test_widths_that_a_variant_sets_itself_are_left_alone(design):
    variant = {"wide": {"model.d_model": 32, "model.feedforward.d_ff": 20}}
    with pytest.raises(ConfigError, match="'wide': its parameters cannot be matched"):
        check(design(variant, matched="parameters"))


def test_matching_flops_adjusts_the_steps_and_says_so(design):
    config = design(["model.n_layers=1", "model.residual=none"], steps=100, matched="flops")
    checked = check(config).config
    steps = checked.arm("n_layers=1").training.max_steps
    assert 130 < steps < 220  # half the blocks, the same head
    assert f"max_steps={steps} (baseline: 100)" in checked.adjusted["n_layers=1"]
    assert checked.arm("residual=none").training.max_steps == 100
    assert "residual=none" not in checked.adjusted


def test_flops_cannot_be_matched_without_steps_of_the_bases(design):
    vary = {"a": {"model.n_layers": 1, "training.max_steps": 3}}
    with pytest.raises(ConfigError, match="the variant sets training.max_steps itself"):
        check(design(vary, matched="flops"))


def test_a_matched_study_is_not_matched_twice(design):
    once = check(design(["model.n_layers=1"], matched="parameters")).config
    assert check(once).config == once
