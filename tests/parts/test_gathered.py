"""Attention over gathered blocks is attention over the dense table of the same pattern, with its gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from glassformer.parts import in_pieces
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.bigbird import BigBird, RandomBlocks
from glassformer.parts.context import Context
from glassformer.parts.gathered import Gathered
from glassformer.parts.patterns import Causal, Everything, Padding, Window, additive
from glassformer.parts.positions import NoPositions

HEADS, LONGEST = 4, 40


@st.composite
def patterns(draw):
    """A pattern and whether it is causal."""
    causal = draw(st.booleans())
    if draw(st.booleans()):
        return Window(draw(st.integers(1, 20))), causal
    size, window, n_global = draw(st.integers(1, 5)), draw(st.sampled_from((1, 3, 5))), draw(st.integers(0, 4))
    pattern, n_random = BigBird(size, window, n_global, causal=causal), draw(st.integers(0, 3))
    if not n_random:
        return pattern, causal
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 99)))
        return RandomBlocks(HEADS, -(-LONGEST // size), n_random).of(pattern), causal


def context_of(causal, length, pads=None):
    """As a stack makes it; positions are counted without pads."""
    positions, pattern = torch.arange(length), Causal() if causal else Everything()
    if pads is not None:
        positions, pattern = ((~pads).cumsum(1) - 1).clamp_min(0), pattern & Padding(pads)
    nowhere = NoPositions(d_model=8, max_seq_len=LONGEST, n_heads=HEADS, d_head=8)
    return Context(nowhere, positions, pattern, pads=pads, whole=True, dtype=torch.float64)


def blocks_of(pattern, length, lengths=None, *, causal):
    found = pattern.key_blocks(length, lengths, causal=causal, device=torch.device("cpu"))
    there = found.rows is None or found.blocks.shape[-2] >= pattern.n_global  # of shorter ones the dense table is taken
    return found if there else None


def times_seen(blocks, length, batch_size=1):
    """How often the blocks give a query a key, int [B, H, T, S]."""
    size, count = blocks.size, blocks.blocks.shape[-2]
    seen = torch.zeros(batch_size, HEADS, count * size, (count + 1) * size, dtype=torch.int)
    tile = torch.ones(size, blocks.blocks.shape[-1] * size) if blocks.tile is None else blocks.tile
    index = blocks.blocks.expand(batch_size, HEADS, -1, -1)
    for row in range(batch_size):
        for head in range(HEADS):
            for query, keys in enumerate(index[row, head].tolist()):
                for place, key in enumerate(keys):
                    at = slice(key * size, (key + 1) * size) if 0 <= key < count else slice(count * size, None)
                    own = tile[:, place * size : (place + 1) * size]
                    seen[row, head, query * size : (query + 1) * size, at] += own.int()
        for query in () if blocks.rows is None else blocks.rows[row % len(blocks.rows)].tolist():
            seen[row, :, query * size : (query + 1) * size] = 1
    return seen[:, :, :length, :length]


@settings(max_examples=150)
@given(patterns(), st.integers(1, LONGEST))
def test_the_blocks_hold_every_pair_of_the_pattern_once_and_no_other(chosen, length):
    pattern, causal = chosen
    blocks, index = blocks_of(pattern, length, causal=causal), torch.arange(length)
    if blocks is not None:
        whole = (pattern & Causal() if causal else pattern).with_lengths(length)
        assert times_seen(blocks, length).equal(whole.dense(index, index).int().expand(1, HEADS, length, length))


@settings(max_examples=60)
@given(patterns(), st.integers(2, LONGEST), st.data(), st.sampled_from((1, 2, HEADS)), st.sampled_from((64, 2**19)))
def test_gathered_attention_is_dense_attention_with_its_gradients(chosen, length, data, n_kv_heads, piece):
    """With pads at either end, grouped queries, in one piece and in several; and so it is all at once."""
    pattern, causal = chosen
    left, right = data.draw(st.integers(0, length - 1)), data.draw(st.integers(0, 5))
    index = torch.arange(length)
    pads = torch.stack([index < 0, (index < left) | (index >= max(left + 1, length - right))])
    pads = data.draw(st.sampled_from((None, pads)))
    lengths = None if pads is None else (~pads).sum(1)
    blocks = blocks_of(pattern, length, lengths, causal=causal)
    if blocks is None:
        return
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(2, n, length, 8, dtype=torch.float64, requires_grad=True) for n in (HEADS, *[n_kv_heads] * 2)
    )
    context, upstream = context_of(causal, length, pads), torch.randn(2, HEADS, length, 8, dtype=torch.float64)
    if pads is not None:
        upstream = upstream.masked_fill(pads[:, None, :, None], 0.0)
    whole = F.scaled_dot_product_attention(q, k, v, attn_mask=context.mask(pattern), enable_gqa=True)
    expected = (whole, *torch.autograd.grad(whole, (q, k, v), upstream))
    sparse = Gathered(blocks, length, pads, lengths, None if pads is None else context.places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_pieces, "PIECE", piece)
        for at_once in (False, True):
            if at_once:
                patch.setattr(torch.compiler, "is_compiling", lambda: True)
            heads = sparse.attend(q, k, v, scale=8**-0.5)
            for found, wanted in zip((heads, *torch.autograd.grad(heads, (q, k, v), upstream)), expected, strict=True):
                torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


def test_its_gradient_is_the_derivative():
    pattern = RandomBlocks(2, 8, 1).of(BigBird(2, 3, 2))
    blocks = pattern.key_blocks(15, None, causal=False, device=torch.device("cpu"))
    inputs = [torch.randn(1, 2, 15, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda *each: Gathered(blocks, 15).attend(*each, scale=0.5), inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_it_is_near_and_weights_are_summed_in_float32(dtype):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 96, 16) for _ in range(3))
    blocks = Window(20).key_blocks(96, None, causal=True, device=torch.device("cpu"))
    exact = Gathered(blocks, 96).attend(q, k, v, scale=0.25)
    near = Gathered(blocks, 96).attend(*(x.to(dtype) for x in (q, k, v)), scale=0.25)
    assert near.dtype == dtype
    torch.testing.assert_close(near.float(), exact, atol=0.05, rtol=0.05)


def layer(pattern=None, **options):
    torch.manual_seed(0)
    return MultiHeadAttention(16, HEADS, pattern=pattern, **options)


def test_the_path_is_chosen_anew_in_each_call(monkeypatch):
    """A short sequence takes the dense table, and the next long one the blocks."""
    taken, attend = [], Gathered.attend
    monkeypatch.setattr(Gathered, "attend", lambda self, *a, **k: taken.append(self.n_tokens) or attend(self, *a, **k))
    sparse = layer(Window(4))
    for length in (6, 40, 6, 40):
        x = torch.randn(1, length, 16)
        found = sparse(x, context_of(True, length))
        sparse.path = "explicit"
        torch.testing.assert_close(found, sparse(x, context_of(True, length)), atol=1e-6, rtol=1e-5)
        sparse.path = "fused"
    assert taken == [40, 40]


def test_dropout_keeps_the_expected_output():
    sparse = layer(Window(3), dropout=0.3).train()
    x = torch.randn(1, 24, 16)
    torch.manual_seed(0)
    with torch.no_grad():
        found = sparse(x.expand(4000, -1, -1), context_of(False, 24))
        expected = sparse.eval()(x, context_of(False, 24))[0]
    assert not torch.equal(found[0], found[1])
    torch.testing.assert_close(found.mean(0), expected, atol=0.05, rtol=0)


def kept_bytes(length, pattern):
    """That autograd keeps of one attention over blocks, beside Q, K and V."""
    kept = {}

    def pack(tensor):
        kept[id(tensor.untyped_storage())] = tensor.untyped_storage()
        return tensor

    inputs = [torch.randn(1, HEADS, length, 8, requires_grad=True) for _ in range(3)]
    blocks = pattern.key_blocks(length, None, causal=False, device=torch.device("cpu"))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        heads = Gathered(blocks, length).attend(*inputs, scale=1.0)
    assert heads.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def test_memory_is_linear_in_the_number_of_tokens():
    pattern = RandomBlocks(HEADS, 256, 3).of(BigBird(8, 3, 2))
    assert kept_bytes(2048, pattern) < 1.1 * 4 * kept_bytes(512, pattern)


def test_a_table_of_all_pairs_is_taken_where_blocks_would_save_little():
    context = context_of(False, 40)
    assert context.gathered(Window(3)) is not None
    assert context.gathered(Window(30)) is None
    assert context.gathered(Everything()) is None
    assert context.gathered(None) is None


def test_layers_of_one_window_share_their_blocks_and_those_with_random_blocks_do_not():
    context = context_of(False, 40)
    assert context.gathered(Window(3)) is context.gathered(Window(3))
    one, other = (RandomBlocks(HEADS, 40, 1).of(BigBird(1)) for _ in range(2))
    assert not context.gathered(one).blocks.blocks.equal(context.gathered(other).blocks.blocks)


@given(st.integers(0, 99), st.integers(1, 20), st.integers(0, 4), st.sampled_from((1, 3, 5)), st.booleans())
def test_random_blocks_are_distinct_and_neither_global_nor_in_the_window(seed, n_blocks, n_global, window, causal):
    torch.manual_seed(seed)
    pattern = RandomBlocks(HEADS, 20, 3).of(BigBird(4, window, n_global, causal=causal)).with_lengths(4 * n_blocks)
    first, last = pattern.n_first, 0 if causal else pattern.n_last
    for blocks in pattern.random_blocks(n_blocks)[0]:
        for query, chosen in enumerate(blocks.tolist()):
            others = {
                key
                for key in range(first, (query if causal else n_blocks - last))
                if abs(query - key) > window // 2 and not (causal and key > query)
            }
            there = [key for key in chosen if key >= 0]
            assert len(set(there)) == len(there) == min(3, len(others))
            assert set(there) <= others


def test_random_blocks_are_a_function_of_seed_layer_and_head():
    from glassformer.models.build import build
    from glassformer.models.config import ModelConfig

    config = ModelConfig.build(
        {"vocab_size": 11, "max_seq_len": 64, "d_model": 16, "n_layers": 2}
        | {"attention": {"n_heads": 4, "pattern": "bigbird", "block_size": 2}}
    )
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append([block.attention.random_blocks.draws for block in build(config).blocks])
    assert all(one.equal(same) for one, same in zip(*draws[:2], strict=True))
    assert not draws[0][0].equal(draws[2][0])
    assert not draws[0][0].equal(draws[0][1])
    assert not draws[0][0][0].equal(draws[0][0][1])
    assert "blocks.1.attention.random_blocks.draws" in build(config).named_weights()


def test_what_is_hidden_has_no_weight_however_large_its_score():
    pattern = Window(2)
    blocks = pattern.key_blocks(12, None, causal=True, device=torch.device("cpu"))
    q, k, v = (torch.randn(1, 1, 12, 4) for _ in range(3))
    loud = k.clone()
    loud[:, :, 6:] *= 1e4
    before, after = (Gathered(blocks, 12).attend(q, keys, v, scale=1.0) for keys in (k, loud))
    assert torch.equal(before[:, :, :6], after[:, :, :6])
    assert additive(torch.tensor([False]), torch.float32).item() == float("-inf")
