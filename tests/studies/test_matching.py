"""Matched controls: how near they come, and that they say what they changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.models.counting import build_on_meta
from glassformer.models.presets import preset
from glassformer.studies.checking import check
from glassformer.studies.design import BASE, StudyConfig
from glassformer.studies.matching import CLOSE, match, match_parameters, match_seconds
from glassformer.studies.step_times import StepTime
from glassformer.tasks.registry import prepare_samples

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


TIMES = {
    BASE: StepTime(0.010, 1.0, 1.0, 1.0, 9),
    "n_layers=1": StepTime(0.0093, 0.93, 0.91, 0.95, 9),
    "same": StepTime(0.01, 1.0, 0.98, 1.01, 9),
}
SAME = {"n_layers=1": {"model.n_layers": 1}, "same": {"training.grad_clip": 2.0}}


def matched(config, times=TIMES):
    """The design matched in seconds, from times as given."""
    samples = {name: prepare_samples(config.arm(name), None) for name in config.arms}
    return match(config, samples, measure=lambda _arms, _samples: times)


def test_matching_seconds_gives_a_variant_the_steps_of_the_bases_time_and_says_how_they_were_measured(design):
    found = matched(design(SAME, matched="seconds", steps=500))
    assert found.arm("n_layers=1").training.max_steps == 538
    assert found.adjusted == {
        "n_layers=1": "max_steps=538 (baseline: 500): 0.93 times the baseline's time per step, measured alternately "
        "over 9 rounds (range 0.91 to 0.95)",
        "same": "max_steps=500 (baseline: 500): 1 times the baseline's time per step, measured alternately over 9 "
        "rounds (range 0.98 to 1.01)",
    }
    assert found.arm(BASE).training.max_steps == 500
    assert found.arm("n_layers=1").training.max_seconds is None


@given(steps=st.integers(1, 10_000), ratio=st.floats(0.01, 100))
def test_matched_steps_take_as_long_as_the_bases_to_half_a_step(base, steps, ratio):
    time = StepTime(ratio, ratio, ratio, ratio, 21)
    changes, _ = match_seconds(base.override({"training.max_steps": steps}), time)
    count = changes["training.max_steps"]
    assert count >= 1
    assert count == 1 or abs(count * ratio - steps) <= 0.5 * ratio * (1 + 1e-9)


def test_a_study_matched_in_seconds_measures_here_and_has_ordinary_runs(create, design):
    """No time is asserted: that the steps follow from the ratio in the note, and runs are ordinary ones of them."""
    study = create(design(["model.n_layers=1"], seeds=[0], matched="seconds"))
    steps = study.config.arm("n_layers=1").training.max_steps
    note = study.config.adjusted["n_layers=1"]
    assert note.startswith(f"max_steps={steps} (baseline: 8): ")
    ratio = float(note.split(": ")[2].split(" times")[0])
    assert steps == max(1, round(8 / ratio)) or abs(steps - 8 / ratio) < 0.6  # the note has three digits
    assert check(study.config).config == study.config  # resumed: measured once only
    assert {planned.config.training.max_seconds for planned in study.plan} == {None}


REFUSED = {
    "a baseline without steps": (
        {"training.max_steps": None, "training.max_tokens": 999}, {}, "baseline's training.max_steps is none: set it"
    ),
    "a baseline that ends sooner": (
        {"training.max_tokens": 64}, {}, "baseline would end by training.max_tokens before its 8 steps"
    ),
    "a baseline that the clock ends": (
        {"training.max_seconds": 9.0}, {}, "baseline would end by training.max_seconds before its 8 steps"
    ),
    "variants with steps of their own": ({}, {"training.max_steps": 3}, "variant sets training.max_steps itself"),
    "variants that end sooner": (
        {}, {"training.max_tokens": 64}, "variant would end by training.max_tokens before its 9 steps"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_seconds_that_cannot_be_matched_are_refused_with_all_complaints(design, case):
    of_base, of_variants, message = REFUSED[case]
    config = design({name: changes | of_variants for name, changes in SAME.items()}, matched="seconds", set=of_base)
    with pytest.raises(ConfigError, match=message) as refused:
        matched(config, dict.fromkeys(config.arms, TIMES["n_layers=1"]))
    assert len(refused.value.complaints) == (2 if of_variants else 1)


def test_nothing_is_measured_where_seconds_cannot_be_matched(design):
    config = design({"a": {"model.n_layers": 1, "training.max_steps": 3}}, matched="seconds")
    samples = {name: prepare_samples(config.arm(name), None) for name in config.arms}
    with pytest.raises(ConfigError, match="itself"):
        match(config, samples, measure=lambda *_: pytest.fail("measured"))


def test_a_study_that_an_earlier_version_matched_by_a_time_budget_is_refused(design):
    config = design(["model.n_layers=1"], matched="seconds")
    note = "trained for the baseline's mean training time instead of its steps"
    old = StudyConfig.build(config.to_dict() | {"adjusted": {"n_layers=1": note}})
    with pytest.raises(ConfigError, match="begun by an earlier version.* Begin it again"):
        check(old)
