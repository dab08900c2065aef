"""Who may attend to whom: dense, gathered and in blocks, the pairs are the same."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.parts import bigbird, patterns
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.bigbird import BigBird
from glassformer.parts.context import Context
from glassformer.parts.patterns import (
    Blocks,
    Causal,
    Everything,
    LeftPadding,
    Listed,
    Padding,
    SourcePadding,
    Window,
    additive,
)
from glassformer.parts.positions import NoPositions

INDEX = torch.arange(4)
LAST = torch.tensor([[False, False, False, True]])


def drawn(mask):
    return "\n".join("".join("■" if seen else "·" for seen in row) for row in mask.tolist())


def square(pattern, length=4):
    dense = pattern.dense(torch.arange(length), torch.arange(length))
    return dense if dense.dim() == 2 else dense[0]


def test_causal_is_the_lower_triangle():
    assert drawn(square(Causal())) == "■···\n■■··\n■■■·\n■■■■"


def test_windows_and_blocks_are_those_drawn():
    assert drawn(square(Window(2))) == "■■··\n■■■·\n·■■■\n··■■"
    assert drawn(square(Window(2) & Causal())) == "■···\n■■··\n·■■·\n··■■"
    assert drawn(square(Blocks(2))) == "■■··\n■■··\n··■■\n··■■"
    assert square(Blocks(1, reach=1)).equal(square(Window(2)))
    assert drawn(square(Blocks(2) | Window(2))) == "■■··\n■■■·\n·■■■\n··■■"


def test_the_patterns_drawn_in_the_docstrings_are_those_computed():
    rows = [[mark for mark in line if mark in "■·"] for line in inspect.getdoc(patterns).splitlines()]
    rows = [row for row in rows if len(row) == 12]
    tables = ["\n".join("".join(row[4 * i : 4 * i + 4]) for row in rows) for i in range(3)]
    assert tables == [drawn(square(each)) for each in (Causal(), Padding(LAST), Causal() & Padding(LAST))]
    (line,) = [line for line in inspect.getdoc(SourcePadding).splitlines() if "every query" in line]
    assert "".join(mark for mark in line if mark in "■·") == drawn(SourcePadding(LAST).dense(INDEX[:1], INDEX)[0])


def test_the_blocks_drawn_for_bigbird_are_those_computed():
    rows = [[mark for mark in line if mark in "■·"] for line in inspect.getdoc(bigbird).splitlines()]
    rows = ["".join(row) for row in rows if len(row) == 20]
    draws = torch.tensor([[[5], [2], [6], [4], [3], [0], [0], [2], [3], [0]]])
    for causal, drawn_blocks in ((False, [row[:10] for row in rows]), (True, [row[10:] for row in rows])):
        pattern = BigBird(1, 3, 2, draws, causal=causal, lengths=None if causal else 10)
        assert drawn(pattern.dense(torch.arange(10), torch.arange(10))[0, 0]).split("\n") == drawn_blocks


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_across_only_pads_are_hidden_and_a_source_of_pads_is_seen_as_it_stands(pads):
    mask = SourcePadding(torch.tensor([pads])).dense(torch.arange(1), torch.arange(len(pads)))
    assert mask.shape == (1, 1, len(pads))
    assert mask.any(-1).all()
    assert mask[0, 0].tolist() == ([True] * len(pads) if all(pads) else [not pad for pad in pads])


def test_queries_behind_a_cache_see_what_came_before():
    assert drawn(Causal().dense(torch.tensor([2, 3]), INDEX)) == "■■■·\n■■■■"


def test_pads_see_themselves_and_nobody_sees_them():
    left = torch.tensor([[True, True, False, False]])
    for pattern in (Padding(left), LeftPadding(torch.tensor([2]))):
        assert drawn(square(Causal() & pattern)) == "■···\n·■··\n··■·\n··■■"


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.sampled_from([Everything(), Causal(), Window(2), Blocks(2)]))
def test_no_row_of_the_softmax_is_ever_empty(pads, pattern):
    mask = square(pattern & Padding(torch.tensor([pads])), len(pads))
    assert mask.any(-1).all()
    weights = torch.softmax(additive(mask, torch.float32), -1)
    assert weights.isfinite().all()
    assert not weights[~mask].any()


PADS = torch.arange(37) >= torch.tensor([[37], [30]])
PATTERNS = {
    "window": Window(5),
    "causal window": Causal() & Window(5),
    "blocks": Blocks(6, reach=1),
    "window or first tokens": Window(3) | Listed((torch.arange(37) < 2).expand(2, 37, 37)),
    "random blocks": BigBird(4, draws=torch.arange(60).view(2, 10, 3) * 7, lengths=37),
    "random blocks and pads": BigBird(4, draws=torch.arange(60).view(2, 10, 3) * 7, lengths=37) & Padding(PADS),
    "window and pads": Window(5) & Padding(PADS),
    "causal": Causal(),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_block_mask_of_flex_attention_is_of_the_same_pairs(name):
    from torch.nn.attention.flex_attention import create_mask

    pattern = PATTERNS[name]
    blocks = pattern.block_mask(37, 37)
    rows, heads = pattern.n_rows or 1, pattern.n_heads or 1
    found = create_mask(blocks.mask_mod, rows, heads, 37, 37, device="cpu")
    dense = pattern.dense(torch.arange(37), torch.arange(37))
    assert found.equal((dense[:, None] if dense.dim() == 3 else dense).expand(rows, heads, 37, 37))
    assert blocks.shape[-2:] == (37, 37)


@pytest.mark.parametrize("path", ["fused", "explicit"])
def test_an_attention_adds_itsown_pattern(path):
    layer = MultiHeadAttention(16, 4)
    layer.path, x = path, torch.randn(1, 6, 16)
    nowhere = NoPositions(d_model=16, max_seq_len=8, n_heads=4, d_head=4)
    context = Context(nowhere, torch.arange(6))
    before = layer(x, context)
    layer.pattern = Window(2)
    local = layer(x, context)
    torch.testing.assert_close(local[:, :2], before[:, :2])
    torch.testing.assert_close(local[:, 2:], layer(x[:, 1:], Context(nowhere, torch.arange(5)))[:, 1:])
    assert (local[:, 2:] - before[:, 2:]).abs().max() > 1e-3


def test_layers_of_one_pattern_share_their_mask():
    context = Context(NoPositions(d_model=4, max_seq_len=8, n_heads=1, d_head=4), torch.arange(4))
    assert context.mask(Window(2)) is context.mask(Window(2))
    assert context.is_causal()
    assert not context.is_causal(Window(2))
    assert Context(context.encoding, torch.arange(4), Everything()).mask() is None


def test_windows_of_every_layer_hold_in_a_cache_too():
    config = ModelConfig.build(
        {"vocab_size": 11, "max_seq_len": 12, "d_model": 16, "n_layers": 2, "attention": {"n_heads": 4}}
    )
    model, tokens = build(config).eval(), torch.randint(11, (2, 12))
    whole = model(tokens)
    for block in model.blocks:
        block.attention.pattern = Window(3)
    with torch.no_grad():
        local, cache = model(tokens), model.make_cache(2)
        pieces = [model(tokens[:, start:end], cache=cache) for start, end in ((0, 5), (5, 9), (9, 10), (10, 12))]
    torch.testing.assert_close(torch.cat(pieces, 1), local, atol=1e-5, rtol=1e-5)
    assert (local - whole).abs().max() > 1e-3


def test_what_is_masked_gets_minus_infinity_and_weight_exactly_zero():
    mask = additive(square(Causal()), torch.float32)
    assert set(mask.flatten().tolist()) == {0.0, float("-inf")}
    scores = torch.zeros(4, 4)
    scores[0, 1:] = 1e9  # a finite mask of -1e4 would lose to this
    assert torch.equal(torch.softmax(scores + mask, -1)[0], torch.tensor([1.0, 0, 0, 0]))
    leaking = torch.softmax(scores + mask.clamp(min=-1e4), -1)[0]
    assert leaking[0] == 0.0  # all of it goes to the future


def test_multiplying_by_zero_after_the_softmax_is_not_masking():
    """The row no longer sums to 1, and what is left depends on what was masked."""
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0])
    mask = torch.tensor([True, True, False, False])
    zeroed = torch.softmax(scores, -1) * mask
    masked = torch.softmax(scores + additive(mask, torch.float32), -1)
    assert zeroed.sum() < 0.2
    assert masked.sum() == 1
    torch.testing.assert_close(masked[:2], torch.softmax(scores[:2], -1))
