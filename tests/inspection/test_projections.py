from __future__ import annotations

import pytest
import torch
from torch import nn

from glassformer.errors import ConfigError
from glassformer.inspection.projections import slices
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.parts.attention import MultiHeadAttention

SMALL = {"vocab_size": 11, "max_seq_len": 12, "d_model": 24, "n_layers": 2}
TOKENS = torch.tensor([[1, 2, 3, 4, 5]])
SOURCE = torch.tensor([[6, 7, 8, 9]])

ATTENTIONS = [
    pytest.param({"projection": "fused"}, id="fused"),
    pytest.param({"projection": "separate"}, id="separate"),
    pytest.param({"projection": "shared"}, id="shared"),
    pytest.param({"projection": "fused", "n_kv_heads": 2}, id="fused, grouped queries"),
    pytest.param({"projection": "separate", "n_kv_heads": 1}, id="separate, multi-query"),
    pytest.param({"projection": "fused", "d_head": 5, "bias": False}, id="heads of their own width, no bias"),
]


def model(**changes):
    """With random biases: the usual zeros would hide where they go."""
    torch.manual_seed(0)
    built = build(ModelConfig.build(SMALL | changes)).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.3)
    return built


def check_slices(trace, name, queries_from, keys_from):
    """The slices of a layer make its traced queries, keys, values and output."""
    part = slices(trace.model.get_submodule(name))

    def made(x, weight, bias):
        return x[:, None] @ weight + bias[:, None]  # [B, heads, T, d_head]

    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(made(queries_from, part.w_q, part.b_q), trace[f"{name}.query"], **close)
    torch.testing.assert_close(made(keys_from, part.w_k, part.b_k), trace[f"{name}.key"], **close)
    torch.testing.assert_close(made(keys_from, part.w_v, part.b_v), trace[f"{name}.value"], **close)
    output = (trace[f"{name}.heads"] @ part.w_o).sum(1) + part.b_o
    torch.testing.assert_close(output, trace[f"{name}.output"], **close)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_slices_make_the_queries_keys_values_and_output_of_self_attention(attention):
    trace = model(attention={"n_heads": 4} | attention).trace(TOKENS)
    for layer in range(2):
        x = trace[f"blocks.{layer}.attention_input"]
        check_slices(trace, f"blocks.{layer}.attention", x, x)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_slices_make_those_of_cross_attention_from_the_encoders_output(attention):
    trace = model(n_encoder_layers=1, attention={"n_heads": 4} | attention).trace(SOURCE, TOKENS)
    name = "decoder.blocks.1.cross_attention"
    check_slices(trace, name, trace[f"{name}_input"], trace["encoder.final"])


def test_slices_are_copies():
    part = MultiHeadAttention(24, 4)
    before = part.w_qkv.weight.detach().clone()
    found = slices(part)
    for tensor in (found.w_q, found.w_k, found.w_v, found.b_q):
        tensor.zero_()
    assert torch.equal(part.w_qkv.weight, before)


def test_the_qk_circuit_gives_the_scores_and_the_ov_circuit_the_output():
    trace = model(attention={"n_heads": 4, "n_kv_heads": 2, "bias": False}).trace(TOKENS)
    x, name = trace["blocks.1.attention_input"][0], "blocks.1.attention"
    part = slices(trace.model.blocks[1].attention)
    scores = x @ part.qk_circuits() @ x.T
    torch.testing.assert_close(scores, trace[f"{name}.scores"][0], atol=1e-4, rtol=1e-4)
    output = (trace[f"{name}.weights"][0] @ x @ part.ov_circuits()).sum(0) + part.b_o
    torch.testing.assert_close(output, trace[f"{name}.output"][0], atol=1e-4, rtol=1e-4)


def test_singular_values_are_those_of_the_whole_circuit_whose_others_are_zero():
    part = slices(model(attention={"n_heads": 4, "n_kv_heads": 2}).blocks[0].attention)
    for circuits, values in (
        (part.qk_circuits(), part.qk_singular_values()),
        (part.ov_circuits(), part.ov_singular_values()),
    ):
        whole = torch.linalg.svdvals(circuits)
        assert values.shape == (4, 6)
        torch.testing.assert_close(values, whole[:, :6], atol=1e-4, rtol=1e-4)
        assert float(whole[:, 6:].max()) < 1e-4


def test_an_attention_of_ones_own_is_refused_by_name():
    class Mean(nn.Module):
        pass

    with pytest.raises(ConfigError, match="Mean is not a MultiHeadAttention"):
        slices(Mean())
