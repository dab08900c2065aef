from __future__ import annotations

import pytest
import torch
from torch import nn

from glassformer.charts.theme import THEMES
from glassformer.errors import ConfigError
from glassformer.inspection.jacobian import (
    AS_BUILT,
    WITHOUT_SKIPS,
    _block_inputs,
    _lines,
    block_jacobian,
    jacobian_spectrum,
    without_skips,
)
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.parts.blocks import Block
from glassformer.testing.cases import random_case
from glassformer.testing.comparing import random_model

TINY = ModelConfig.build({"vocab_size": 13, "max_seq_len": 9, "d_model": 8, "n_layers": 2, "attention": {"n_heads": 2}})
TRANSLATOR = {"n_encoder_layers": 2, "source_vocab_size": 19, "embedding.source": "own"}


def traced(changes=None, dtype=torch.float32, **options):
    config = TINY.override(changes or {})
    args, more = random_case(config, 2, 5).arguments
    return random_model(config, dtype).trace(*args, **more, **options)


class Matrix(nn.Module):
    """A sublayer that multiplies by a matrix: its Jacobian is known."""

    def __init__(self, matrix):
        super().__init__()
        self.weight = nn.Parameter(matrix)

    def forward(self, x):
        return x @ self.weight.T


def linear_block(matrix, *, skip):
    return Block(
        attention=None, feedforward=Matrix(matrix), norm=nn.Identity, placement="none",
        attention_skip=skip, feedforward_skip=skip, dropout=0.0,
    )  # fmt: skip


def test_the_jacobian_of_a_linear_sublayer_is_its_matrix_and_with_a_skip_one_more():
    matrix, x = torch.randn(4, 4), torch.randn(3, 4)
    context = traced().model.context(torch.zeros(1, 3, dtype=torch.long))
    plain = block_jacobian(linear_block(matrix, skip=False), x, context, position=1)
    skipped = block_jacobian(linear_block(matrix, skip=True), x, context, position=1)
    torch.testing.assert_close(plain, matrix)
    torch.testing.assert_close(skipped, torch.eye(4) + matrix)
    whole = block_jacobian(linear_block(matrix, skip=True), x, context)
    torch.testing.assert_close(whole, torch.block_diag(*[torch.eye(4) + matrix] * 3))


def test_a_skip_does_not_keep_every_singular_value_at_one_or_more():
    """f(x) = −x/2 is stretched by 1 + f′ = ½: the notes' claim fails for as simple a layer as this."""
    context = traced().model.context(torch.zeros(1, 3, dtype=torch.long))
    block = linear_block(-0.5 * torch.eye(4), skip=True)
    values = torch.linalg.svdvals(block_jacobian(block, torch.randn(3, 4), context, position=0))
    torch.testing.assert_close(values, torch.full((4,), 0.5))


def test_a_gpt_at_its_start_has_singular_values_below_one():
    torch.manual_seed(0)
    result = jacobian_spectrum(Decoder(TINY).trace(torch.arange(6)[None]))
    assert (result.below_one() > 0).all()
    assert (result.smallest() > 0.5).all()  # and near one, since little is added
    assert (result.largest(WITHOUT_SKIPS) < result.smallest()).all()  # without the skip all directions shrink


@pytest.mark.parametrize("placement", ["pre", "post", "none"])
@pytest.mark.parametrize("changes", [{}, {"positions.kind": "alibi"}, {"attention.n_kv_heads": 1}])
def test_it_is_the_derivative_that_finite_differences_give(placement, changes):
    trace = traced({"norm.placement": placement, **changes}, torch.float64)
    model, x = trace.model, trace["blocks.1.input"][1]
    context = model.context(trace.arguments[0][1:])
    jacobian = block_jacobian(model.blocks[1], x, context, position=2)
    step = 1e-6 * torch.eye(8, dtype=torch.float64)
    columns = []
    for direction in step:
        up, down = x.clone(), x.clone()
        up[2] += direction
        down[2] -= direction
        columns.append((model.blocks[1](up[None], context)[0, 2] - model.blocks[1](down[None], context)[0, 2]) / 2e-6)
    torch.testing.assert_close(jacobian, torch.stack(columns, dim=1).detach(), rtol=1e-5, atol=1e-6)
    expected = torch.linalg.svdvals(jacobian).float()
    found = jacobian_spectrum(trace, position=2, layers=[1], row=1)
    torch.testing.assert_close(found.values[AS_BUILT][0], expected)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm.placement": "post", "positions.kind": "rotary"},
        {"positions.kind": "alibi", "attention.n_kv_heads": 1},
        {"sublayers": "attention"},
        {"sublayers": "feedforward"},
    ],
)
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_token_of_any_model_is_the_part_of_the_whole_sequence_that_is_its_own(side, changes):
    translator = TINY.override({**TRANSLATOR, "d_model": 4, **changes})
    case = random_case(translator, 2, 5).ragged(left=1)
    args, more = case.arguments
    trace = random_model(translator).trace(*args, **more)
    length = args[0 if side == "encoder" else 1].shape[1]
    options = {"side": side, "row": 1, "compare": False, "layers": [1]}
    stack = trace.model.family.stack(side)
    context, memory = _block_inputs(trace, stack, 1)
    x = trace[f"{stack.prefix}blocks.1.input"][1]
    block = stack.module(trace.model).blocks[1]
    whole = block_jacobian(block, x, context, memory and memory.layer(1)).view(length, 4, length, 4)
    for position in range(length):
        expected = torch.linalg.svdvals(whole[position, :, position])
        found = jacobian_spectrum(trace, position=position, **options).values[AS_BUILT][0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_whole_sequence_holds_each_token_and_is_causal():
    trace = traced()
    model, x = trace.model, trace["blocks.0.input"][0]
    context = model.context(trace.arguments[0][:1])
    whole = block_jacobian(model.blocks[0], x, context).view(5, 8, 5, 8)
    torch.testing.assert_close(whole[3, :, 3], block_jacobian(model.blocks[0], x, context, position=3))
    assert not whole[1, :, 3].any()  # token 1 does not see token 3
    assert whole[3, :, 1].any()
    assert jacobian_spectrum(trace, position=None).values[AS_BUILT].shape == (2, 40)


def test_without_skips_is_the_model_that_has_none():
    trace = traced()
    bare = traced({"residual": "none"}).model
    bare.load_weights(trace.model.named_weights())
    x, context = trace["blocks.0.input"], trace.model.context(trace.arguments[0])
    torch.testing.assert_close(without_skips(trace.model.blocks[0])(x, context), bare.blocks[0](x, context))


def test_a_model_without_skips_has_one_arm():
    result = jacobian_spectrum(traced({"residual": "none"}))
    assert list(result.values) == [AS_BUILT]
    assert list(jacobian_spectrum(traced()).values) == [AS_BUILT, WITHOUT_SKIPS]
    assert list(jacobian_spectrum(traced(), compare=False).values) == [AS_BUILT]


def test_a_post_norm_block_loses_two_directions():
    result = jacobian_spectrum(traced({"norm.placement": "post"}, torch.float64))
    values = result.values[AS_BUILT]
    assert (values[:, -2:] < 1e-3 * values[:, :1]).all()
    assert (values[:, -3] > 1e-3 * values[:, 0]).all()


def test_the_summary_counts_what_the_values_say():
    result = jacobian_spectrum(traced())
    values = result.values[AS_BUILT]
    assert (values.diff(dim=1) <= 0).all()
    torch.testing.assert_close(result.condition(), values.max(1).values / values.min(1).values)
    assert result.below_one().tolist() == [int((layer < 1).sum()) for layer in values]
    lines = result.table().splitlines()
    assert len(lines) == 1 + 2 * 2
    assert lines[1].split()[-1] == str(int(result.below_one()[0]))


def test_the_model_is_left_as_it_was():
    trace = traced()
    model = trace.model.train()
    path = model.blocks[0].attention.path
    jacobian_spectrum(trace)
    assert model.blocks[0].attention.path == path == "fused"
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert model.blocks[0].attention_skip


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_both_stacks_of_a_translator_are_measured_with_the_sources_pads_hidden(side):
    config = TINY.override(TRANSLATOR)
    case = random_case(config, 2, 5).ragged(right=2)
    args, more = case.arguments
    model = random_model(config)
    trace = model.trace(*args, **more)
    result = jacobian_spectrum(trace, side=side, row=1, position=1)
    assert result.values[AS_BUILT].shape == (2, 8)
    shorter = model.trace(args[0][1:, :-2], args[1][1:])
    alone = jacobian_spectrum(shorter, side=side, position=1)
    torch.testing.assert_close(result.values[AS_BUILT], alone.values[AS_BUILT], rtol=1e-4, atol=1e-5)


def test_wrong_input_is_told_plainly():
    with pytest.raises(ConfigError) as caught:
        jacobian_spectrum(traced(), layers=[0, 7], position=9)
    assert "layer 7 does not exist; the layers are 0 to 1." in str(caught.value)
    assert "position 9 does not exist" in str(caught.value)
    wide = traced({"d_model": 1024})
    with pytest.raises(ConfigError, match=r"5 × 1024 = 5,120 rows, more than 4,096"):
        jacobian_spectrum(wide, position=None)
    with pytest.raises(ConfigError, match="no layer to measure"):
        jacobian_spectrum(traced({"n_layers": 0}))


@pytest.mark.parametrize("theme", THEMES)
def test_the_chart_has_a_line_for_each_layer_and_one_at_1(theme):
    result = jacobian_spectrum(traced())
    spec = _lines([result], THEMES[theme]).to_dict()
    (rows,) = spec["datasets"].values()
    line = [row["mean"] for row in rows if row["panel"] == AS_BUILT and row["series"] == "layer 1"]
    torch.testing.assert_close(torch.tensor(line), result.values[AS_BUILT][1], rtol=1e-4, atol=1e-6)
    assert any(layer["encoding"]["y"].get("datum") == 1.0 for layer in spec["spec"]["layer"])


def test_it_shows_itself_with_a_frame_for_each_checkpoint():
    results = [jacobian_spectrum(traced(), tokens=list("abcde")) for _ in range(2)]
    (figure,) = type(results[0]).figures_of(results)
    assert figure.n_frames == 2
    assert "token 4, 'e'" in figure.description
