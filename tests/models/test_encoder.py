"""An encoder-only model: one stack that sees the whole sequence, with everything that is asked of any model."""

import pytest
import torch

from glassformer import RunConfig, generate
from glassformer.errors import ConfigError
from glassformer.inspection.attention import all_attention_patterns, attention_patterns
from glassformer.inspection.jacobian import jacobian_spectrum
from glassformer.inspection.residual_stream import residual_stream
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.costs import costs
from glassformer.testing import PROMISES, compiles_into_one_graph, opens_as_a_page
from glassformer.testing.cases import random_case
from glassformer.testing.comparing import random_model

PLAIN = ModelConfig.build(
    {
        "family": "encoder",
        "vocab_size": 23,
        "max_seq_len": 12,
        "d_model": 16,
        "n_layers": 2,
        "attention": {"n_heads": 4},
    }
)
CONFIGS = {
    "plain": PLAIN,
    "post-norm, sinusoidal, untied": PLAIN.override(
        {"norm.placement": "post", "positions.kind": "sinusoidal", "head.tied": False, "head.bias": True}
    ),
    "grouped queries, ALiBi": PLAIN.override({"attention.n_kv_heads": 2, "positions.kind": "alibi"}),
    "padded vocabulary, rotary": PLAIN.override({"pad_vocab_to": 8, "positions.kind": "rotary"}),
}


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("name", CONFIGS)
def test_an_encoder_keeps_the_contract_of_every_model(name, promise):
    PROMISES[promise](CONFIGS[name])


@pytest.mark.slow(reason="torch traces the model, and a page is drawn: seconds each")
@pytest.mark.parametrize("name", CONFIGS)
def test_an_encoder_compiles_and_opens_as_a_page(name):
    compiles_into_one_graph(CONFIGS[name])
    opens_as_a_page(CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_position_depends_on_every_token(name):
    model = random_model(CONFIGS[name])
    case = random_case(CONFIGS[name], 1, 5)
    before = case.run(model)
    for changed in range(5):
        tokens = case.tokens.clone()
        tokens[0, changed] = (tokens[0, changed] + 1) % 23
        moved = (case.with_tokens(tokens).run(model) - before).abs().amax(-1)[0]
        assert (moved > 1e-4).all(), f"token {changed} does not reach every position"


def test_its_trace_is_inspected_like_any_other():
    model = random_model(PLAIN)
    tokens = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    padding = torch.tensor([[False, False, False, True, True], [False] * 5])
    trace = model.trace(tokens, padding=padding)
    assert torch.equal(trace.padding, padding)
    (patterns,) = all_attention_patterns(trace, tokens=list("abc") + ["pad"] * 2)
    assert patterns.weights.shape == (2, 4, 3, 3)
    assert patterns.weights[0, 0, 0, 1:].min() > 0, "the first token attends to later ones"
    assert residual_stream(trace).side == "encoder"
    assert jacobian_spectrum(trace, position=0, row=1).layers == (0, 1)
    with pytest.raises(ConfigError, match="no decoder in an encoder-only model"):
        residual_stream(trace, side="decoder")
    with pytest.raises(ConfigError, match="no cross-attention"):
        attention_patterns(trace, cross=True)


def test_it_costs_what_a_decoder_of_its_shape_costs():
    """Masked pairs count too, so attending to everything is no dearer."""
    decoder = PLAIN.override({"family": "decoder"})
    ours, theirs = costs(PLAIN, seq_len=8), costs(decoder, seq_len=8)
    assert ours.parameters == theirs.parameters
    assert ours.flops == theirs.flops


def test_it_generates_nothing():
    with pytest.raises(ConfigError, match="encoder-only model"):
        generate(build(PLAIN), [[1, 2]])


def test_it_trains_on_masked_text_unless_other_data_are_named():
    assert RunConfig.build({"model": PLAIN}).data.task == "masked-language-modeling"
    with pytest.raises(ConfigError, match="trains a decoder-only model, and this is an encoder-only model"):
        RunConfig.build({"model": PLAIN, "data": {"task": "language-modeling"}})
