"""A window's cache is a ring: it keeps the window, and what is generated with it is what is generated without."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.generation.decoding import DecodingConfig, DecodingEngine
from glassformer.generation.generate import generate, window_start
from glassformer.generation.sampling import SamplingConfig
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.parts.cache import KVCache, LayerCache, RingCache
from glassformer.testing.cases import random_case
from glassformer.testing.comparing import random_model

WINDOWED = ModelConfig.build(
    {"vocab_size": 23, "max_seq_len": 24, "d_model": 16, "n_layers": 3}
    | {"attention": {"n_heads": 4, "pattern": "window", "windows": [3, None, 5]}}
)
KINDS = {
    "windows": WINDOWED,
    "windows and rotary positions": WINDOWED.override({"positions.kind": "rotary", "attention.n_kv_heads": 2}),
    "windows and ALiBi": WINDOWED.override({"positions.kind": "alibi"}),
    "causal blocks": WINDOWED.override(
        {"attention.windows": [], "attention.pattern": "bigbird", "attention.block_size": 2}
    ),
}


def test_a_layer_with_a_window_keeps_the_window_and_one_without_keeps_all():
    cache = build(WINDOWED).make_cache(2, 20)
    assert [layer.keys.shape[2] for layer in cache.layers] == [3, 20, 5]
    assert [type(layer) for layer in cache.layers] == [RingCache, LayerCache, RingCache]
    assert [type(layer) for layer in build(WINDOWED).make_cache(2, 3).layers] == 3 * [LayerCache]


@settings(max_examples=40)
@given(st.sampled_from(sorted(KINDS)), st.lists(st.integers(1, 9), min_size=1, max_size=24), st.booleans())
def test_cached_equals_uncached_in_pieces_of_any_length_beyond_the_window(name, pieces, padded):
    """Also with prompts of different lengths, padded on the left."""
    config = KINDS[name]
    model = random_model(config)
    ends = [end for end in itertools.accumulate(pieces) if end <= config.max_seq_len] or [1]
    tokens = random_case(config, 3, ends[-1]).tokens
    starts = torch.tensor([0, ends[-1] // 2, ends[-1] - 1]) if padded else None
    with torch.no_grad():
        cache = model.make_cache(3, starts=starts)
        found = torch.cat([model(tokens[:, a:b], cache=cache) for a, b in itertools.pairwise([0, *ends])], 1)
        for row in range(3):
            start = 0 if starts is None else int(starts[row])
            alone = model(tokens[row : row + 1, start:])[0]
            torch.testing.assert_close(found[row, start:], alone, atol=2e-5, rtol=1e-5)


def greedy(model, prompt, n_new):
    """Generation without a cache, by the rule of the sliding window."""
    tokens, start, length = list(prompt), max(0, len(prompt) - model.config.max_seq_len), model.config.max_seq_len
    kept = max(1, length - length // 4)
    with torch.no_grad():
        for _ in range(n_new):
            start = window_start(start, len(tokens), length, kept)
            tokens.append(int(model(torch.tensor([tokens[start:]]))[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_that_slides_beyond_the_context_is_generated_as_each_row_without_a_cache(name):
    """Rows begin at different slots, are encoded afresh at different times, and leave when they have ended."""
    model = random_model(KINDS[name])
    prompts = [[3, 1, 4, 1, 5, 9, 2, 6], [7], list(range(20)), [2] * 30]
    expected = [greedy(model, prompt, 40) for prompt in prompts]
    sampling = SamplingConfig(temperature=0, max_new_tokens=40)
    found = generate(model, prompts, sampling, decoding=DecodingConfig(compile="off"))
    assert [each.tokens for each in found] == expected
    end = expected[1][12]  # one row's end token leaves the others going
    stopped = generate(model, prompts, sampling, decoding=DecodingConfig(compile="off"), end_token=end)
    for each, whole in zip(stopped, expected, strict=True):
        assert each.tokens == (whole[: whole.index(end) + 1] if end in whole else whole)


def test_int8_weights_are_decoded_from_rings_as_from_the_whole():
    model = random_model(WINDOWED)
    engine = DecodingEngine(model, DecodingConfig(quantize="int8", compile="off"))
    tokens = random_case(WINDOWED, 2, 20).tokens
    cache, seen = engine.make_cache(2, 20), []
    seen.append(engine.prefill(tokens[:, :7], cache))
    seen += [engine.step(tokens[:, slot], cache) for slot in range(7, 20)]
    with torch.no_grad():
        whole = engine.model(tokens)
    torch.testing.assert_close(torch.stack(seen, 1), whole[:, 6:], atol=2e-2, rtol=2e-2)


@pytest.mark.slow(reason="compiles a decoding step")
@pytest.mark.parametrize("name", ["windows", "causal blocks"])
def test_a_compiled_step_reads_the_same(name):
    config = KINDS[name].override({"max_seq_len": 64})
    model = random_model(config)
    prompts, sampling = [[3, 1, 4], [1, 5]], SamplingConfig(temperature=0, max_new_tokens=40)
    eager, compiled = (generate(model, prompts, sampling, decoding=DecodingConfig(compile=c)) for c in ("off", "on"))
    assert [each.tokens for each in compiled] == [each.tokens for each in eager]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 12), st.integers(0, 5))
def test_rows_are_put_where_they_are_read(size, other_size, count, start):
    """Slots of one ring into another of another size: the newest that both hold."""
    ring, other = (
        KVCache(n_layers=1, batch_size=b, n_kv_heads=1, capacity=99, d_head=1, windows=[s]).layers[0]
        for b, s in ((3, size), (1, other_size))
    )
    for slot in range(count):
        value = torch.full((1, 1, 1, 1), float(slot + 1))
        other.write(value, value, torch.tensor([slot]), slot + 1)
    ring.put(torch.tensor([1]), other, start, count)
    for slot in range(max(0, count - min(size, other_size)), count):
        assert ring.keys[1, 0, (start + slot) % size].item() == slot + 1
    assert not ring.keys[[0, 2]].any()


@given(st.integers(1, 6), st.integers(1, 12), st.data())
def test_a_shifted_ring_holds_the_same_tokens_at_their_new_slots(size, length, data):
    by = data.draw(st.integers(0, length))
    (ring,) = KVCache(n_layers=1, batch_size=1, n_kv_heads=1, capacity=99, d_head=1, windows=[size]).layers
    for slot in range(length):
        value = torch.full((1, 1, 1, 1), float(slot + 1))
        ring.write(value, value, torch.tensor([slot]), slot + 1)
    ring.shift(by, length - by)
    for slot in range(max(by, length - size), length):
        assert ring.keys[0, 0, (slot - by) % size].item() == slot + 1
