from __future__ import annotations

import math

import pytest
import torch

from glassformer.errors import ConfigError
from glassformer.inspection.queries_keys_values import QueriesKeysValues, head_steps, queries_keys_values
from glassformer.models.config import ModelConfig
from glassformer.testing.comparing import random_model

SMALL = {"vocab_size": 11, "max_seq_len": 12, "d_model": 24, "n_layers": 2}
TOKENS = torch.tensor([[1, 2, 3, 4, 5]])
SOURCE = torch.tensor([[6, 7, 8, 9]])


def model(**changes):
    return random_model(ModelConfig.build(SMALL | changes))


@pytest.mark.parametrize("kind", ["learned", "rotary", "alibi"])
def test_a_heads_steps_follow_from_one_another(kind):
    attention = {"n_heads": 4, "n_kv_heads": 2, "qk_norm": "rmsnorm"}
    trace = model(attention=attention, positions={"kind": kind}).trace(TOKENS)
    for head in range(4):
        step = head_steps(trace, 1, head)
        torch.testing.assert_close(step.query @ step.key.T, step.scores)
        torch.testing.assert_close(step.scaled, step.scores / math.sqrt(6))
        assert torch.equal(step.masked == -math.inf, torch.ones(5, 5).triu(1).bool())
        torch.testing.assert_close(step.masked.softmax(-1), step.weights)
        torch.testing.assert_close(step.weights @ step.value, step.output)
        bias = (step.masked - step.scaled).tril()
        if kind == "alibi":  # of 4 heads: slopes 2^-2, 2^-4, 2^-6, 2^-8
            back = torch.arange(5)[:, None] - torch.arange(5)
            torch.testing.assert_close(bias, (-(4.0 ** -(head + 1)) * back).tril(), atol=1e-5, rtol=0)
        else:
            assert not bias.any()


def test_steps_of_cross_attention_have_the_sources_keys():
    trace = model(n_encoder_layers=1, attention={"n_heads": 4}).trace(SOURCE, TOKENS)
    step = head_steps(trace, 0, 2, cross=True)
    assert step.query.shape == (5, 6)
    assert step.key.shape == step.value.shape == (4, 6)
    assert torch.equal(step.masked, step.scaled)  # nothing is hidden
    torch.testing.assert_close(step.weights @ step.value, step.output)


def test_a_layer_and_a_head_that_do_not_exist_are_both_named():
    trace = model(attention={"n_heads": 4}).trace(TOKENS)
    with pytest.raises(ConfigError) as caught:
        head_steps(trace, 2, 4)
    layer, head = caught.value.complaints
    assert layer.startswith("layer 2 has no attention")
    assert layer.endswith("0, 1.")
    assert head == "head 4 does not exist; the 4 heads are 0 to 3."
    with pytest.raises(ConfigError, match="head -1 does not exist"):
        head_steps(trace, 0, -1)


def test_steps_that_the_trace_does_not_hold_are_named():
    trace = model(attention={"n_heads": 4}).trace(TOKENS, only=("*.weights",))
    with pytest.raises(ConfigError, match=r"blocks\.0\.attention\.scores"):
        head_steps(trace, 0, 0)


@pytest.mark.parametrize(("kind", "masks"), [("rotary", 1), ("alibi", 4)])
def test_queries_keys_and_mask_give_every_weight(kind, masks):
    trace = model(attention={"n_heads": 4, "n_kv_heads": 2}, positions={"kind": kind}).trace(TOKENS)
    found = queries_keys_values(trace, tokens=list("abcde"))
    assert found.query.shape == (2, 4, 5, 6)
    assert found.key.shape == found.value.shape == (2, 2, 5, 6)
    assert found.mask.shape == (masks, 5, 5)
    scores = found.query @ found.key.repeat_interleave(2, 1).transpose(-1, -2) * found.scale + found.mask
    expected = torch.stack([trace[f"blocks.{layer}.attention.weights"][0] for layer in range(2)])
    torch.testing.assert_close(scores.softmax(-1), expected, atol=1e-5, rtol=1e-4)


def test_the_figure_is_of_the_last_checkpoint_and_says_so():
    built = model(attention={"n_heads": 4})
    first = queries_keys_values(built.trace(TOKENS))
    with torch.no_grad():
        built.blocks[0].attention.w_qkv.weight.mul_(2)
    second = queries_keys_values(built.trace(TOKENS))
    (figure,) = QueriesKeysValues.figures_of([first, second])
    assert figure.n_frames == 1
    assert "last checkpoint" in figure.description
    assert figure.data() == second.figures()[0].data()
    assert figure.data() != first.figures()[0].data()
