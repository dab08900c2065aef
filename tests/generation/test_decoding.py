from __future__ import annotations

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from glassformer.data.tokenizers import CharacterTokenizer
from glassformer.errors import ConfigError
from glassformer.generation import DecodingConfig, DecodingEngine, SamplingConfig, generate, quantization_loss
from glassformer.generation.decoding import steps_that_repay_compiling
from glassformer.generation.quantization import DecodeLinear, decoding_copy, quantize_channels
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder

CONFIG = ModelConfig.build(
    {
        "vocab_size": 50,
        "max_seq_len": 80,
        "d_model": 32,
        "n_layers": 2,
        "attention": {"n_heads": 4},
        "feedforward": {"kind": "gelu"},
        "initialisation": {"std": 0.2},
    }
)
MODERN = {
    "positions.kind": "rotary",
    "attention.n_kv_heads": 2,
    "feedforward.kind": "swiglu",
    "norm.kind": "rmsnorm",
    "attention.qk_norm": "rmsnorm",
}
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


def make(**changes):
    torch.manual_seed(0)
    return Decoder(CONFIG.override(changes)).eval()


@settings(max_examples=40)
@given(st.integers(1, 8), st.integers(1, 16), st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_a_quantised_weight_is_within_half_a_step(n_out, n_in, size, seed):
    weight = torch.randn(n_out, n_in, generator=torch.Generator().manual_seed(seed)) * size
    weight[0] = 0.0  # a channel of zeros stays zeros
    stored, scale = quantize_channels(weight)
    assert stored.dtype == torch.int8
    assert ((stored * scale[:, None] - weight).abs() <= scale[:, None] * 0.5001).all()
    assert (stored[0] == 0).all()
    assert (stored[1:].abs().amax(1) == 127).all()


@pytest.mark.parametrize("rows", [1, 3, 20])
@pytest.mark.parametrize(("store", "tolerance"), [("fp32", 1e-6), ("bf16", 2e-2), ("int8", 3e-2)])
def test_a_stored_layer_computes_nearly_the_same(rows, store, tolerance):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(64, 48), torch.randn(rows, 1, 64)
    got = DecodeLinear(layer.weight.detach(), layer.bias.detach(), store)(x)
    expected = layer(x)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert (got - expected).norm() <= tolerance * expected.norm()


def test_the_fp32_copy_shares_memory_with_the_model_and_others_keep_the_embedding():
    model = make()
    embedding = model.embedding.tokens.weight
    assert decoding_copy(model).head.weight.data_ptr() == embedding.data_ptr()
    twin = decoding_copy(model, "int8")
    assert twin.embedding.tokens.weight is embedding
    assert twin.head.weight.dtype == torch.int8
    assert model.head.weight is embedding


def test_the_bytes_of_weights_a_token_reads_are_counted():
    model = make()
    d, ff, v, layers = 32, 128, 50, 2
    matrices = layers * (3 * d * d + d * d + 2 * d * ff) + v * d
    biases = layers * (3 * d + d + ff + d)
    others = layers * 4 * d + 2 * d + 2 * d  # norms, and a row each of the two embeddings
    channels = layers * (3 * d + d + ff + d) + v
    for config, each, scales in (
        (DecodingConfig(compile="off"), 4, 0),
        (DecodingConfig(compile="off", precision="bf16"), 2, 0),
        (DecodingConfig(compile="off", quantize="int8"), 1, channels),
    ):
        expected = matrices * each + 4 * (biases + others + scales)
        assert DecodingEngine(model, config).weight_bytes == expected


def test_a_short_run_does_not_wait_for_the_compiler_and_says_so():
    engine = DecodingEngine(make(), DecodingConfig(compile="auto"), expected_steps=100)
    assert not engine.compiled
    assert engine.path.startswith("eager, fp32 (")
    assert DecodingEngine(make(), DecodingConfig(compile="off")).path == "eager, fp32"


@needs_compiler
def test_a_long_run_compiles_by_itself():
    engine = DecodingEngine(make(), DecodingConfig(quantize="int8"), expected_steps=steps_that_repay_compiling(2))
    assert engine.path == "compiled, int8"


def test_compiling_without_a_compiler_is_refused_or_left_out(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert not DecodingEngine(make(), DecodingConfig(), expected_steps=10**9).compiled
    with pytest.raises(ConfigError, match="C\\+\\+ compiler"):
        DecodingEngine(make(), DecodingConfig(compile="on"))


@needs_compiler
@pytest.mark.slow(reason="compiles with the C++ compiler")
@pytest.mark.parametrize("store", [{}, {"precision": "bf16"}, {"quantize": "int8"}], ids=["fp32", "bf16", "int8"])
@pytest.mark.parametrize("changes", [{}, MODERN, {"positions.kind": "alibi"}], ids=["gpt2", "modern", "alibi"])
@pytest.mark.parametrize("starts", [None, [0, 2]], ids=["alone", "padded"])
def test_the_compiled_step_computes_what_the_eager_one_does(store, changes, starts):
    model = make(**changes)
    batch = 1 if starts is None else len(starts)
    tokens = torch.randint(0, 50, (batch, 70), generator=torch.Generator().manual_seed(1))
    padding = None if starts is None else torch.tensor(starts)
    engines = [DecodingEngine(model, DecodingConfig(compile=way, **store)) for way in ("off", "on")]
    caches = [engine.make_cache(batch, 70, padding) for engine in engines]
    for engine, cache in zip(engines, caches, strict=True):
        engine.prefill(tokens[:, :4], cache)
    tolerance = 1e-5 if not store else 5e-2  # eager bf16 and int8 round the activations too
    for position in range(4, 70):
        eager, compiled = (
            engine.step(tokens[:, position], cache) for engine, cache in zip(engines, caches, strict=True)
        )
        assert (compiled - eager).norm() <= tolerance * eager.norm()
    assert engines[1].compiled


@needs_compiler
@pytest.mark.slow(reason="compiles with the C++ compiler")
def test_programs_of_different_models_and_batches_are_never_confused():
    models = [make(), make(n_layers=1), make(residual="attention")]
    sampling = SamplingConfig(temperature=0.0, max_new_tokens=90)
    engines = [DecodingEngine(model, DecodingConfig(compile="on")) for model in models]
    for prompts in ([[1, 2, 3]], [[1], [2, 3]], [[4, 5], [6, 7], [8, 9]]):
        for model, engine in zip(models, engines, strict=True):
            eager = generate(model, prompts, sampling, decoding=DecodingConfig(compile="off"))
            assert [s.tokens for s in generate(engine, prompts, sampling)] == [s.tokens for s in eager]


def test_quantising_costs_little_on_a_model_that_has_learned(glassformer_data):
    text = (glassformer_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")[:60_000]
    tokens = torch.from_numpy(CharacterTokenizer.train([text]).encode(text))
    torch.manual_seed(0)
    model = Decoder(CONFIG.override({"vocab_size": 65, "initialisation.std": 0.02}))
    windows = tokens[: len(tokens) // 33 * 33].view(-1, 33)
    train, held_out = windows[:-200], windows[-200:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(80):
        rows = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(step))[:32]]
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    costs = {store: quantization_loss(model, held_out, store) for store in ("fp32", "bf16", "int8")}
    assert costs["fp32"].before < 3.0  # it has learned more than the letters' frequencies (3.3 nats)
    assert costs["fp32"].difference == 0.0
    assert abs(costs["bf16"].difference) < 5e-3
    assert abs(costs["int8"].difference) < 1e-2
    assert costs["int8"].n_tokens == 200 * 32
    with torch.no_grad():
        logits = model.eval()(held_out[:, :-1])
    expected = F.cross_entropy(logits.flatten(0, 1), held_out[:, 1:].flatten()).item()
    assert abs(costs["int8"].before - expected) < 1e-5
