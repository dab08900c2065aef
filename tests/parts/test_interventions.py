from __future__ import annotations

import pytest
import torch

from glassformer.errors import ConfigError, DataError
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.models.presets import preset, preset_names
from glassformer.parts.interventions import intervene, mean, replace, resample, transform, zero
from glassformer.parts.probes import probe_points
from glassformer.testing.configs import shrunk

CONFIG = ModelConfig.build(
    {"vocab_size": 11, "max_seq_len": 8, "d_model": 16, "n_layers": 2, "attention": {"n_heads": 4}}
)
TOKENS = torch.tensor([[1, 2, 3, 4, 5, 6], [6, 6, 5, 1, 0, 9], [10, 3, 3, 8, 7, 2]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Decoder(CONFIG.override({"initialisation.std": 0.5})).double().eval()


def arguments_of(model):
    ids = torch.randint(0, 11, (2, 5), generator=torch.Generator().manual_seed(1))
    return (ids, ids.flip(1)) if model.config.has_encoder else (ids,)


@pytest.mark.parametrize("name", preset_names())
def test_zeroing_a_head_is_an_output_projection_without_its_slice(name):
    torch.manual_seed(0)
    model = build(shrunk(preset(name).model)).double().eval()
    arguments = arguments_of(model)
    heads = [point for point in probe_points(model) if point.endswith("attention.heads")]
    before = model.trace(*arguments).logits
    for point in heads:
        attention = model.get_submodule(point.removesuffix(".heads"))
        last = attention.n_heads - 1
        ablated = model.trace(*arguments, interventions=[zero(point, head=last)]).logits
        kept = attention.w_o.weight.detach().clone()
        with torch.no_grad():
            attention.w_o.weight[:, last * attention.d_head :] = 0
        expected = model.trace(*arguments).logits
        with torch.no_grad():
            attention.w_o.weight.copy_(kept)
        assert torch.equal(ablated, expected), point
        assert not torch.equal(ablated, before), point


@pytest.mark.parametrize("name", preset_names())
def test_replacing_any_activation_by_itself_changes_nothing(name):
    torch.manual_seed(0)
    model = build(shrunk(preset(name).model)).eval()
    arguments = arguments_of(model)
    trace = model.trace(*arguments)
    for point in trace:
        again = model.trace(*arguments, only=("logits",), interventions=[replace(point, trace[point])])
        assert torch.equal(again.logits, trace.logits), point


@pytest.mark.parametrize("point", ["blocks.0.input", "blocks.0.attention.weights", "blocks.1.attention.heads"])
def test_every_activation_takes_what_is_put_there(model, point):
    value = torch.randn_like(model.trace(TOKENS)[point])
    changed = model.trace(TOKENS, interventions=[replace(point, value)])
    assert torch.equal(changed[point], value)
    assert not torch.equal(changed.logits, model.trace(TOKENS).logits)


def test_one_head_and_one_token_alone_are_changed(model):
    name = "blocks.1.attention.heads"
    before = model.trace(TOKENS)
    after = model.trace(TOKENS, interventions=[zero(name, head=2, tokens=[1, -1])])
    expected = before[name].clone()
    expected[:, 2, [1, 5]] = 0
    assert torch.equal(after[name], expected)
    differs = (after.logits != before.logits).any(-1)
    assert differs.tolist() == [[False, True, False, False, False, True]] * 3


def test_the_mean_is_over_sequences_and_tokens(model):
    name = "blocks.0.feedforward.output"
    trace = model.trace(TOKENS)
    after = model.trace(TOKENS, interventions=[mean(name)])[name]
    torch.testing.assert_close(after, trace[name].mean((0, 1)).expand_as(after))
    elsewhere = model.trace(TOKENS, interventions=[mean(name, over=trace[name][:1])])[name]
    torch.testing.assert_close(elsewhere, trace[name][:1].mean((0, 1)).expand_as(after))


def test_at_chosen_tokens_stands_the_mean_over_all(model):
    for name, head in (("blocks.0.feedforward.output", None), ("blocks.0.attention.heads", 1)):
        trace = model.trace(TOKENS)[name]
        after = model.trace(TOKENS, interventions=[mean(name, head=head, tokens=[2, -1])])[name]
        expected = trace.clone()
        of = (slice(None),) if head is None else (slice(None), head)
        expected[(*of, [2, 5])] = trace[of].mean((0, 1)).expand(3, 2, -1)
        torch.testing.assert_close(after, expected)


def test_the_mean_of_a_head_is_that_heads(model):
    name = "blocks.0.attention.heads"
    trace = model.trace(TOKENS)
    other = model.trace(TOKENS.flip(0)[:2])
    for over in (None, other[name]):
        after = model.trace(TOKENS, interventions=[mean(name, head=1, over=over)])[name]
        seen = trace[name] if over is None else over
        torch.testing.assert_close(after[:, 1], seen[:, 1].mean((0, 1)).expand_as(after[:, 1]))
        assert torch.equal(after[:, 0], trace[name][:, 0])


def test_mean_weights_do_not_look_ahead(model):
    name = "blocks.0.attention.weights"
    after = model.trace(TOKENS, interventions=[mean(name)])[name]
    assert not after.triu(1).any()
    torch.testing.assert_close(after.sum(-1), torch.ones_like(after.sum(-1)))


def test_resampling_gives_every_sequence_anothers(model):
    name = "blocks.0.input"
    before = model.trace(TOKENS)[name]
    after = model.trace(TOKENS, interventions=[resample(name, seed=3)])[name]
    donors = [[torch.equal(row, other) for other in before].index(True) for row in after]
    assert sorted(donors) == [0, 1, 2]
    assert all(donor != row for row, donor in enumerate(donors))


def test_interventions_act_in_the_order_given(model):
    name = "blocks.0.input"
    one = transform(name, lambda x: x + 1)
    two = transform(name, lambda x: x * 2)
    x = model.trace(TOKENS)[name]
    assert torch.equal(model.trace(TOKENS, interventions=[one, two])[name], (x + 1) * 2)


def test_a_pattern_reaches_every_layer_and_the_block_leaves_nothing_behind(model):
    with intervene(model, zero("blocks.*.attention.output"), zero("blocks.*.feedforward.output")):
        inside = model.trace(TOKENS)
    assert torch.equal(inside["blocks.1.after_feedforward"], inside["embedding.output"])
    assert not any(point._forward_hooks for point in probe_points(model).values())


def test_gradients_flow_through_an_intervention(model):
    name = "blocks.0.attention.heads"
    trace = model.trace(TOKENS, gradients=TOKENS, interventions=[zero(name, head=0)])
    assert trace.gradients["blocks.0.attention.value"][:, 0].abs().max() == 0
    assert trace.gradients["blocks.0.attention.value"][:, 1].abs().max() > 0
    assert trace.gradients[name][:, 0].abs().max() > 0  # what putting the head back would do


def test_all_unknown_names_are_told_at_once(model):
    with pytest.raises(ConfigError) as caught:
        model.trace(TOKENS, interventions=[zero("blocks.0.atention.heads", head=1), zero("blocks.7.input")])
    assert len(caught.value.complaints) == 2
    assert "Did you mean 'blocks.0.attention.heads'" in str(caught.value)


def test_what_cannot_be_done_is_said(model):
    for intervention, error, words in (
        (zero("blocks.0.attention.heads", head=4), ConfigError, "has 4 heads, numbered from 0; there is no head 4"),
        (zero("blocks.0.input", tokens=[6]), ConfigError, "has 6 tokens"),
        (replace("blocks.0.input", torch.zeros(3, 5, 16)), DataError, r"\[3, 5, 16\]; needed is \[3, 6, 16\]"),
    ):
        with pytest.raises(error, match=words):
            model.trace(TOKENS, interventions=[intervention])
    with pytest.raises(ConfigError, match="has no heads of its own"):
        zero("blocks.0.attention.output", head=1)
    with pytest.raises(DataError, match="at least 2 sequences"):
        model.trace(TOKENS[:1], interventions=[resample("blocks.0.input")])
