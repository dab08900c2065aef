"""The residual rule, and the cache's own behaviour."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glassformer.parts.blocks import Block
from glassformer.parts.cache import KVCache, LayerCache
from glassformer.parts.context import Context
from glassformer.parts.positions import NoPositions

CONTEXT = Context(NoPositions(d_model=4, max_seq_len=8, n_heads=1, d_head=4), torch.arange(3))


class Times(nn.Module):
    """A sublayer with a formula."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x, *_):
        return self.factor * x


class Plus(nn.Module):
    """A norm with a formula."""

    def forward(self, x):
        return x + 1


def block(placement, attention_skip=True, feedforward_skip=True, attention=True, feedforward=True):
    return Block(
        attention=Times(2) if attention else None,
        feedforward=Times(3) if feedforward else None,
        norm=Plus,
        placement=placement,
        attention_skip=attention_skip,
        feedforward_skip=feedforward_skip,
        dropout=0.0,
    )


RULES = {
    ("post", True): lambda x, f: (x + f * x) + 1,
    ("post", False): lambda x, f: f * x + 1,
    ("pre", True): lambda x, f: x + f * (x + 1),
    ("pre", False): lambda x, f: f * (x + 1),
    ("none", True): lambda x, f: x + f * x,
    ("none", False): lambda x, f: f * x,
}


@pytest.mark.parametrize("placement", ["pre", "post", "none"])
@pytest.mark.parametrize("attention_skip", [True, False])
@pytest.mark.parametrize("feedforward_skip", [True, False])
def test_the_residual_rule(placement, attention_skip, feedforward_skip):
    x = torch.randn(2, 3, 4)
    expected = RULES[placement, feedforward_skip](RULES[placement, attention_skip](x, 2), 3)
    torch.testing.assert_close(block(placement, attention_skip, feedforward_skip)(x, CONTEXT), expected)


def test_a_sublayer_left_out_takes_its_norm_and_its_skip_with_it():
    x = torch.randn(2, 3, 4)
    only = block("pre", attention=False)
    torch.testing.assert_close(only(x, CONTEXT), RULES["pre", True](x, 3))
    assert not any("attention" in name for name, _ in only.named_modules())
    only = block("pre", feedforward=False)
    torch.testing.assert_close(only(x, CONTEXT), RULES["pre", True](x, 2))
    assert not any("feedforward" in name for name, _ in only.named_modules())


def test_a_layers_cache_returns_what_was_written_in_order():
    cache = LayerCache(torch.zeros(2, 3, 8, 4), torch.zeros(2, 3, 8, 4))
    keys, values = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    cache.write(keys[:, :, :3], values[:, :, :3], torch.arange(3), 3)
    seen_keys, seen_values = cache.write(keys[:, :, 3:], values[:, :, 3:], torch.arange(3, 5), 5)
    assert torch.equal(seen_keys, keys)
    assert torch.equal(seen_values, values)


def test_a_cache_says_how_large_it_is():
    cache = KVCache(n_layers=3, batch_size=2, n_kv_heads=4, capacity=10, d_head=8, dtype=torch.bfloat16)
    assert cache.n_bytes == 2 * 3 * 2 * 4 * 10 * 8 * 2
    assert cache.length == 0
