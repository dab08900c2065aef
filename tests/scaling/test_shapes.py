from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.models.counting import build_on_meta, parameters
from glassformer.models.presets import preset, preset_names
from glassformer.scaling.laws.counting import counts
from glassformer.scaling.plans.shapes import by_width, nearest_shape, smallest

TEXT = 96  # characters of a usual text
DECODERS = [name for name in preset_names() if not preset(name).model.has_encoder]


def base(name: str = "modern-small"):
    return preset(name).model.override({"vocab_size": TEXT})


@given(
    name=st.sampled_from(["modern-small", "nanogpt-shakespeare-cpu", "tiny-transformer"]),
    exponent=st.floats(5, 11),
    counting=st.sampled_from(["total", "non-embedding"]),
)
@settings(max_examples=60, deadline=None)
def test_every_target_becomes_a_real_model_that_is_counted_exactly(name, exponent, counting):
    target = 10**exponent
    shape = nearest_shape(base(name), target, counting=counting)
    count = counts(shape.model)
    assert shape.parameters == (count.total if counting == "total" else count.non_embedding)
    assert abs(shape.deviation) < (0.05 if target > 1e6 else 0.2)
    assert shape.model.d_model == shape.model.attention.n_heads * shape.model.d_head
    assert shape.model.d_head % 8 == 0
    assert shape.model.attention.n_heads % shape.model.n_kv_heads == 0
    wanted = max(4, shape.model.d_model / 64)
    assert wanted / 2 - 1 <= shape.model.n_layers <= 2 * wanted + 1


def test_the_count_is_that_of_the_built_model():
    shape = nearest_shape(base(), 3e6)
    assert sum(weight.numel() for weight in build_on_meta(shape.model).parameters()) == shape.parameters


@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium", "gpt2-large"])
def test_gpt_2_is_found_again_from_its_number_of_parameters_to_a_percent(name):
    model = preset(name).model
    shape = nearest_shape(model, preset(name).n_parameters)
    assert abs(shape.deviation) <= 0.01
    assert math.isclose(shape.model.d_model, model.d_model, rel_tol=0.3)


def test_gpt_2_small_is_found_exactly():
    shape = nearest_shape(preset("gpt2").model, 124_439_808)
    assert (shape.model.d_model, shape.model.n_layers, shape.model.attention.n_heads) == (768, 12, 12)
    assert shape.parameters == 124_439_808


def test_no_other_shape_of_the_wanted_depth_would_be_nearer():
    target = 5e6
    shape = nearest_shape(base(), target)
    for layers in (shape.model.n_layers - 1, shape.model.n_layers + 1):
        other = parameters(shape.model.override({"n_layers": layers})).total
        assert abs(other / target - 1) > abs(shape.deviation)


def test_the_parts_the_context_and_the_ratios_stay_those_of_the_base():
    shape = nearest_shape(base(), 2e7).model
    assert (shape.norm, shape.positions, shape.max_seq_len, shape.vocab_size) == (
        base().norm,
        base().positions,
        base().max_seq_len,
        TEXT,
    )
    assert shape.d_ff / shape.d_model == pytest.approx(1024 / 384, rel=0.05)
    assert shape.attention.n_heads / shape.n_kv_heads == pytest.approx(3, rel=0.7)


@pytest.mark.parametrize("aspect", [16, 128])
def test_another_aspect_ratio_can_be_asked_for(aspect):
    shape = nearest_shape(base(), 1e8, aspect=aspect)
    assert aspect / 2 <= shape.aspect <= aspect * 2
    assert abs(shape.deviation) < 0.03


def test_a_target_below_the_smallest_model_is_rejected_with_its_size():
    least = smallest(base(), "total")
    assert nearest_shape(base(), least).parameters == least
    with pytest.raises(ConfigError, match=f"{least:,}"):
        nearest_shape(base(), least - 1)


def test_a_translator_is_rejected():
    with pytest.raises(ConfigError, match="encoder"):
        nearest_shape(preset("transformer-small").model, 1e7)


@pytest.mark.parametrize("name", DECODERS)
def test_by_width_every_architecture_grows_step_by_step_in_shapes_of_its_own(name):
    model = base(name)
    shapes = list(itertools.islice(by_width(model), 24))
    widths, sizes = [shape.model.d_model for shape in shapes], [shape.parameters for shape in shapes]
    assert widths == sorted(set(widths))
    assert sizes == sorted(set(sizes))
    assert max(after / before for before, after in itertools.pairwise(sizes)) < 2.5
    for shape in shapes:
        assert shape.parameters == counts(shape.model).parameters("total")  # those that a token meets
        assert shape.model.norm == model.norm
        assert shape.model.positions == model.positions
