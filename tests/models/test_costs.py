"""Costs by formula against counting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from glassformer.errors import ConfigError, DataError
from glassformer.models import counting
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.costs import costs
from glassformer.models.decoder import Decoder
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.formulas import flops_per_sequence, flops_per_token, parameters
from glassformer.models.memory import activation_bytes
from glassformer.models.presets import preset, preset_names
from glassformer.registry import load_part_file
from glassformer.testing import shrunk

NORMS = ("layernorm", "rmsnorm", "annotated-layernorm", "batchnorm", "none")
CHOICES = {
    "n_layers": (0, 1, 3),
    "dropout": (0.0, 0.1),
    "pad_vocab_to": (1, 64),
    "residual": ("both", "attention", "feedforward", "none"),
    "sublayers": ("both", "both", "attention", "feedforward"),
    "attention.n_kv_heads": (None, 2, 1),
    "attention.d_head": (None, 16),
    "attention.projection": ("fused", "separate", "shared"),
    "attention.qk_norm": ("none", *NORMS[:3]),
    "attention.bias": (True, False),
    "attention.output_bias": (None, True, False),
    "attention.dropout": (0.0, 0.1),
    "feedforward.kind": ("relu", "gelu", "gelu-tanh", "relu2", "silu", "swiglu"),
    "feedforward.d_ff": (None, 40),
    "feedforward.bias": (True, False),
    "feedforward.dropout": (0.0, 0.1),
    "feedforward.convolution": (True, False),
    "norm.kind": NORMS,
    "norm.placement": ("pre", "post", "none"),
    "norm.final": (True, False),
    "norm.bias": (True, False),
    "positions.kind": ("learned", "sinusoidal", "rotary", "alibi", "none"),
    "embedding.scale": (True, False),
    "head.tied": (True, False),
    "head.bias": (True, False),
}
ENCODER_CHOICES = {
    "n_encoder_layers": (1, 2),
    "source_vocab_size": (None, 53),
    "embedding.source": ("target", "head", "own"),
    "n_layers": (1, 3),
}
BASE = ModelConfig.build(
    {"vocab_size": 97, "max_seq_len": 32, "d_model": 32, "n_layers": 1, "attention": {"n_heads": 4}}
)
TRANSLATOR = BASE.override({"n_encoder_layers": 2})


@st.composite
def configs(draw, families=(False, True)):
    choices = CHOICES | (ENCODER_CHOICES if draw(st.sampled_from(families)) else {})
    changes = {path: draw(st.sampled_from(options)) for path, options in choices.items()}
    if changes.get("n_encoder_layers"):  # where nothing looks at the encoder, its backward pass is not run
        assume(changes["sublayers"] != "feedforward")
        if changes["source_vocab_size"]:
            changes["embedding.source"] = "own"
        elif changes["embedding.source"] == "head":
            changes["head.tied"] = False
    try:
        return BASE.override(changes)
    except ConfigError:
        assume(False)


def many(n):
    return settings(max_examples=n, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


@pytest.mark.parametrize("name", preset_names())
def test_presets_have_the_parameters_they_say(name):
    chosen = preset(name)
    model = counting.build_on_meta(chosen.model)
    assert parameters(chosen.model).total == chosen.n_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", preset_names())
def test_presets_cost_the_flops_that_torch_counts(name):
    config = preset(name).model
    model, flops = counting.build_on_meta(config), flops_per_token(config, 16)
    assert isinstance(model, EncoderDecoder if config.has_encoder else Decoder)
    assert flops.forward * 32 == counting.count_flops(model, 2, 16)
    assert flops.training * 32 == counting.count_flops(model, 2, 16, backward=True)


@many(40)
@given(configs())
def test_parameters_by_formula_are_those_of_the_built_model(config):
    count, model = parameters(config), build(config)
    for group, counted in counting.count_parameters(model).items():
        assert getattr(count, group) == counted, group
    assert count.total == sum(p.numel() for p in model.parameters())
    blocks = [p for name, p in model.named_parameters() if "blocks." in name]
    assert count.matrices == sum(p.numel() for p in blocks if p.dim() == 2)


@many(24)
@given(configs(), st.integers(1, 32), st.integers(1, 32), st.integers(1, 3))
def test_flops_by_formula_are_those_that_torch_counts(config, seq_len, source_len, batch_size):
    flops, model = flops_per_sequence(config, seq_len, source_len), build(config)  # as fast as on meta: it is small
    assert flops.training * batch_size == counting.count_flops(model, batch_size, seq_len, source_len, backward=True)
    by_group = counting.count_flops_by_group(model, seq_len, source_len)
    assert by_group == {name: getattr(flops, name) for name in by_group}
    assert sum(by_group.values()) == flops.forward
    assert flops_per_token(config, seq_len, source_len) == flops.per(seq_len)


@many(45)
@given(configs(), st.sampled_from((16, 24, 32)))
def test_activation_bytes_are_within_a_tenth_of_what_autograd_keeps(config, source_len):
    model = build(config)
    for path in ("fused", "explicit"):
        expected = counting.count_activation_bytes(model, 4, 24, source_len, path=path)
        found = activation_bytes(config, 4, 24, 4, source_len=source_len, path=path)
        assert sum(found.values()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", preset_names())
def test_activation_bytes_of_presets_are_within_two_hundredths(name):
    config = shrunk(preset(name).model)
    model = build(config)
    for path in ("fused", "explicit"):
        expected = counting.count_activation_bytes(model, 4, 16, 12, path=path)
        found = activation_bytes(config, 4, 16, 4, source_len=12, path=path)
        assert sum(found.values()) == pytest.approx(expected, rel=0.02)


@many(20)
@given(configs(families=(False,)), st.sampled_from((torch.float32, torch.bfloat16)))
def test_cache_bytes_are_those_of_the_cache(config, dtype):
    found = costs(config, batch_size=3, seq_len=7, dtype=dtype)
    assert found.kv_cache_bytes == Decoder(config).to(dtype).make_cache(3, 7).n_bytes
    assert found.kv_cache_bytes == 21 * found.kv_cache_bytes_per_token


@many(20)
@given(configs(families=(True,)), st.sampled_from((torch.float32, torch.bfloat16)))
def test_a_translators_cache_is_the_decoders_own_and_every_layers_view_of_the_source(config, dtype):
    found = costs(config, batch_size=3, seq_len=7, source_len=5, dtype=dtype)
    model = build(config).to(dtype).eval()
    with torch.no_grad():
        memory = model.project_memory(model.encode(torch.zeros(3, 5, dtype=torch.long)))
    cross = sum(tensor.nbytes for layer in memory.layers for tensor in layer)
    assert cross == 15 * found.cross_cache_bytes_per_token > 0
    assert found.kv_cache_bytes == model.decoder.make_cache(3, 7).n_bytes + cross


@pytest.mark.parametrize(
    ("kind", "momentum"), [("adamw", False), ("adam", False), ("muon", False), ("sgd", True), ("sgd", False)]
)
@pytest.mark.parametrize("config", [BASE, TRANSLATOR], ids=["decoder", "encoder-decoder"])
def test_optimizer_bytes_are_those_of_its_state(config, kind, momentum):
    model = build(config)
    weights = list(model.parameters())
    matrices = [p for name, p in model.named_parameters() if "blocks." in name and p.dim() == 2]
    rest = [p for p in weights if not any(p is m for m in matrices)]
    optimizers = {
        "adamw": lambda: [torch.optim.AdamW(weights)],
        "adam": lambda: [torch.optim.Adam(weights)],
        "muon": lambda: [torch.optim.Muon(matrices), torch.optim.AdamW(rest)],
        "sgd": lambda: [torch.optim.SGD(weights, lr=0.1, momentum=0.9 if momentum else 0.0)],
    }[kind]()
    tokens = torch.zeros(1, 4, dtype=torch.long)
    model(*[tokens] * (2 if config.has_encoder else 1)).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    tensors = [v for o in optimizers for s in o.state.values() for v in s.values() if torch.is_tensor(v) and v.dim()]
    assert costs(config, optimizer=kind, momentum=momentum).optimizer_bytes == sum(t.nbytes for t in tensors)


def test_every_byte_follows_the_dtype():
    single, half = costs(BASE), costs(BASE, dtype=torch.bfloat16)
    for name in ("weight_bytes", "gradient_bytes", "optimizer_bytes", "kv_cache_bytes"):
        assert getattr(single, name) == 2 * getattr(half, name) > 0
    assert single.weight_bytes == sum(p.nbytes for p in Decoder(BASE).parameters())
    total = single.weight_bytes + single.gradient_bytes + single.optimizer_bytes + sum(single.activation_bytes.values())
    assert single.training_bytes == total == single.to_dict()["training_bytes"]


def test_kaplans_count_is_twelve_layers_width_squared():
    assert parameters(preset("gpt2").model).matrices == 12 * 12 * 768**2


def test_flops_are_those_of_palms_appendix():
    """A training step costs 6 N + 12 · layers · heads · d_head · T per token, N without embeddings' look-up."""
    config, seq_len = preset("gpt2").model, 1024
    n = parameters(config).matrices + config.vocab_size * config.d_model
    assert flops_per_token(config, seq_len).training == 6 * n + 12 * 12 * 768 * seq_len


def test_a_translators_flops_are_those_of_its_two_sentences():
    """Per target token: 2 for each weight it meets, and of the encoder's and of W^K and W^V the source's share."""
    config, target, source = preset("transformer-base").model, 10, 30
    d, f, layers = 512, 2048, 6
    encoder = 2 * layers * (4 * d * d + 2 * d * f) + 4 * layers * source * d
    decoder = 2 * layers * (6 * d * d + 2 * d * f) + 4 * layers * (target + source) * d + 2 * d * config.vocab_size
    keys_and_values = 2 * layers * 2 * d * d
    expected = decoder + (encoder + keys_and_values) * source // target
    assert flops_per_token(config, target, source).forward == expected
    assert flops_per_token(config, target) == flops_per_token(config, target, target)


def test_a_model_without_attention_has_no_cache_and_no_scores():
    found = costs(BASE.override({"sublayers": "feedforward"}))
    assert found.kv_cache_bytes == found.flops.attention_scores == found.flops.attention_projections == 0
    assert found.parameters.attention == found.activation_bytes["attention"] == 0


def test_counting_leaves_a_model_as_it_was():
    model = Decoder(BASE).eval()
    before = torch.get_rng_state()
    counting.count_flops(model, 1, 4)
    counting.count_activation_bytes(model, 1, 4)
    counting.build_on_meta(BASE)
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training
    assert not model.blocks[0].attention.training
    assert model.blocks[0].attention.path == "fused"


def test_counting_leaves_a_translator_as_it_was():
    model = build(TRANSLATOR).eval()
    model.decoder.blocks[0].cross_attention.path = "explicit"
    counting.count_flops(model, 1, 4)
    assert not model.encoder.training
    assert model.encoder.blocks[0].attention.path == "fused"
    assert model.decoder.blocks[0].cross_attention.path == "explicit"


def test_a_source_beyond_the_context_or_without_an_encoder_is_refused():
    with pytest.raises(DataError, match="source of 33.*32"):
        costs(TRANSLATOR, source_len=33)
    with pytest.raises(DataError, match="source of 5 tokens is an encoder's"):
        costs(BASE, source_len=5)


def test_a_sequence_beyond_the_context_is_refused():
    with pytest.raises(DataError, match="33.*32"):
        costs(BASE, seq_len=33)


OWN = """
import torch
from torch import nn
from glassformer.parts.feedforward import FeedForward
from glassformer.registry import register

@register("feedforward", "bilinear-costs")
class Bilinear(FeedForward):
    def __init__(self, d_model, d_ff, **options):
        super().__init__(d_model, d_ff, **options)
        self.w_3 = nn.Linear(d_model, d_ff, bias=False)

    def forward(self, x):
        return self.w_2(self.w_1(x) * self.w_3(x))
"""


def test_a_part_of_ones_own_is_counted_and_said_to_be(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    load_part_file(file)
    own = BASE.build(BASE.to_dict() | {"part_files": [str(file)], "feedforward": {"kind": "bilinear-costs"}})
    found, gated, plain = costs(own), costs(BASE.override({"feedforward.kind": "swiglu"})), costs(BASE)
    assert found.counted
    assert not plain.counted
    assert found.parameters.feedforward == gated.parameters.feedforward - own.d_ff  # the third matrix has no bias
    assert found.flops == gated.flops
    kept = counting.count_activation_bytes(Decoder(own), 2, 16)
    assert sum(costs(own, batch_size=2, seq_len=16).activation_bytes.values()) == pytest.approx(kept, rel=0.02)
