"""The contract suite: kept by every registered part and every preset, and broken by parts that break it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch

from glassformer.errors import ConfigError
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.presets import preset, preset_names
from glassformer.registry import registered
from glassformer.testing import PROMISES, check_model, check_part, compiles_into_one_graph, part_configs, shrunk

OWN_PARTS = Path(__file__).parent / "own_parts.py"
FULL_SIZE = ("tiny-transformer", "nanogpt-shakespeare-cpu")
OURS = [
    (kind, name)
    for kind in ("attention", "cross-attention", "feedforward", "norm", "positions")
    for name, cls in registered(kind).items()
    if cls.__module__.startswith("glassformer.parts.")  # not what another test registered
]
PARTS = {
    f"{kind}-{name}-{variant}".replace(" ", "_"): config
    for kind, name in OURS
    for variant, config in part_configs(kind, name).items()
}
FIRST = {f"{kind}-{name}-{next(iter(part_configs(kind, name)))}".replace(" ", "_") for kind, name in OURS}
PRESETS = {name: preset(name).model if name in FULL_SIZE else shrunk(preset(name).model) for name in preset_names()}


@pytest.mark.parametrize(
    "own_pattern",
    [
        "own-window",
        pytest.param("own-blocks", marks=pytest.mark.slow(reason="every promise in every use once more: six seconds")),
    ],
)
def test_an_attention_of_itsown_pattern_keeps_every_promise(own_pattern):
    """Windows and blocks are by positions: pads, a cache and the order of a tree's nodes do not move them."""
    check_part("attention", own_pattern, part_files=[OWN_PARTS])


in_further_uses = pytest.mark.slow(reason="every promise in every further use of a part: a minute in all")
at_further_edges = pytest.mark.slow(reason="fifteen promises at each edge: ten seconds in all")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize(
    "model", [pytest.param(each, marks=() if each in FIRST else in_further_uses) for each in PARTS]
)
def test_every_registered_part_keeps_its_contract(model, promise):
    PROMISES[promise](PARTS[model])


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_keeps_its_contract(name, promise):
    keep(promise, PRESETS[name].to_json())


@functools.cache
def keep(promise, config):
    """Once for presets that differ in size only, and so are the same when shrunk."""
    PROMISES[promise](ModelConfig.build(json.loads(config)))


@pytest.mark.slow(reason="torch traces every part")
@pytest.mark.parametrize("model", PARTS)
def test_every_registered_part_compiles_into_one_graph(model):
    compiles_into_one_graph(PARTS[model])


@pytest.mark.slow(reason="torch traces five models")
@pytest.mark.parametrize(
    "name", ["tiny-transformer", "gpt2", "modern-small", "transformer-tiny", "annotated-transformer"]
)
def test_presets_compile_into_one_graph(name):
    compiles_into_one_graph(PRESETS[name])


@pytest.mark.parametrize("name", preset_names())
def test_a_shrunk_preset_keeps_every_choice(name):
    whole, small = preset(name).model, shrunk(preset(name).model)
    sizes = {"vocab_size", "max_seq_len", "d_model", "n_heads", "n_kv_heads", "d_head", "d_ff"}
    sizes |= {"n_layers", "n_encoder_layers", "source_vocab_size", "n_experts", "n_active"}

    def choices(tree):
        return {
            key: choices(value) if isinstance(value, dict) else value for key, value in tree.items() if key not in sizes
        }

    assert choices(small.to_dict()) == choices(whole.to_dict())
    assert (small.n_kv_heads < small.attention.n_heads) == (whole.n_kv_heads < whole.attention.n_heads)
    assert sum(p.numel() for p in build(small).parameters()) < 100_000


# --- parts that break their promises --------------------------------------------------------------------------------

HEADER = """
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.cross_attention import CrossAttention
from glassformer.parts.feedforward import FeedForward, ReLUFeedForward
from glassformer.parts.patterns import Window
from glassformer.parts.positions import LearnedPositions, PositionEncoding
from glassformer.registry import register

"""
SLOTS = """
class Part(MultiHeadAttention):
    pattern = Window(2)
    def forward(self, x, context, cache=None):
        return super().forward(x, replace(context, key_positions=None), cache)
"""
BROKEN = {
    "a norm over the sequence": (
        "norm",
        """
class Part(nn.Module):
    def __init__(self, d_model, *, eps=0.0, bias=True):
        super().__init__()
    def forward(self, x):
        return x - x.mean(-2, keepdim=True)
""",
        ("causal is causal", "cached equals uncached", "padding is nothing"),
    ),
    "a feed-forward layer that looks at the next token": (
        "feedforward",
        """
class Part(ReLUFeedForward):
    def forward(self, x):
        return super().forward(x + x.roll(-1, dims=1))
""",
        ("causal is causal",),
    ),
    "a window over the slots of a cache": (
        "attention",
        SLOTS,
        ("cached equals uncached with left padding",),
    ),
    "a window over the order of a tree's nodes": (
        "attention in an encoder-decoder",
        SLOTS,
        ("a tree equals each of its paths",),
    ),
    "a feed-forward layer that looks at the batch": (
        "feedforward",
        """
class Part(ReLUFeedForward):
    def forward(self, x):
        return super().forward(x + x.mean(0, keepdim=True))
""",
        ("rows do not see each other",),
    ),
    "dropout left on in evaluation": (
        "feedforward",
        """
class Part(ReLUFeedForward):
    def __init__(self, d_model, d_ff, *, dropout=0.0, **options):
        super().__init__(d_model, d_ff, **options)
        self.p = dropout
    def forward(self, x):
        return F.dropout(super().forward(x), self.p, training=True) if self.p else super().forward(x)
""",
        ("off is off",),
    ),
    "randomness though dropout is off": (
        "feedforward",
        """
class Part(ReLUFeedForward):
    def forward(self, x):
        return super().forward(x) + (1e-9 * torch.rand_like(x) if self.training else 0)
""",
        ("off is off",),
    ),
    "a branch on data": (
        "feedforward",
        """
class Part(ReLUFeedForward):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(x) * 2
""",
        ("stacked models equal single ones",),
    ),
    "a state outside parameters and buffers": (
        "feedforward",
        """
class Part(ReLUFeedForward):
    seen = 0
    def forward(self, x):
        self.seen += 1
        return super().forward(x) * self.seen
""",
        ("fused equals explicit", "cached equals uncached"),
    ),
    "positions counted from the piece that is given": (
        "positions",
        """
class Part(LearnedPositions):
    def embed(self, positions):
        return self.table(positions - positions[..., :1])
""",
        ("cached equals uncached", "cached equals uncached with left padding"),
    ),
    "a bias that knows the length": (
        "positions",
        """
class Part(PositionEncoding):
    def bias(self, query, key):
        distance = (key[..., None, :] - key[..., -1:, None]).float() * torch.ones_like(query)[..., :, None]
        return -(distance / 3).square()[..., None, :, :]
""",
        ("cached equals uncached", "causal is causal"),
    ),
    "a finite mask": (
        "attention",
        """
class Part(MultiHeadAttention):
    def _explicit(self, q, k, v, mask, *, causal):
        n = q.shape[-2]
        if mask is not None:
            return super()._explicit(q, k, v, mask, causal=causal)
        future = torch.ones(n, k.shape[-2], dtype=torch.bool).triu(1) & causal
        group = self.n_heads // self.n_kv_heads
        scores = q @ k.repeat_interleave(group, 1).mT * self.scale
        return torch.softmax(scores.masked_fill(future, -1e1), -1) @ v.repeat_interleave(group, 1)
""",
        ("causal is causal", "fused equals explicit"),
    ),
    "masking by a product after the softmax": (
        "attention",
        """
class Part(MultiHeadAttention):
    def _explicit(self, q, k, v, mask, *, causal):
        n = q.shape[-2]
        group = self.n_heads // self.n_kv_heads
        scores = self.scores(q @ k.repeat_interleave(group, 1).mT) * self.scale
        if mask is not None:
            seen = mask.isfinite()
        else:
            seen = torch.ones(n, k.shape[-2], dtype=torch.bool).tril(0 if causal else 99)
        return self.weights(torch.softmax(scores, -1) * seen) @ v.repeat_interleave(group, 1)
""",
        ("recorded weights are a distribution", "fused equals explicit"),
    ),
    "source pads that are seen": (
        "cross-attention",
        """
class Part(CrossAttention):
    def forward(self, x, memory):
        return super().forward(x, replace(memory, mask=None))
""",
        ("padding is nothing", "recorded weights are a distribution"),
    ),
    "projected keys that are not the memory's": (
        "cross-attention",
        """
class Part(CrossAttention):
    def forward(self, x, memory):
        return super().forward(x, memory) * (1 if memory.projected is None else 1.01)
""",
        ("cached equals uncached",),
    ),
    "an encoder's attention that is causal": (
        "attention in an encoder-decoder",
        """
class Part(MultiHeadAttention):
    def _fused(self, q, k, v, mask, *, causal):
        return super()._fused(q, k, v, mask, causal=True)
""",
        ("fused equals explicit",),
    ),
    "a norm over the sentence": (
        "norm in an encoder-decoder",
        """
class Part(nn.Module):
    def __init__(self, d_model, *, eps=0.0, bias=True):
        super().__init__()
    def forward(self, x):
        return x - x.mean(-2, keepdim=True)
""",
        ("causal is causal", "cached equals uncached", "padding is nothing"),
    ),
    "two paths that differ": (
        "attention",
        """
class Part(MultiHeadAttention):
    def _fused(self, q, k, v, mask, *, causal):
        return super()._fused(q * 1.001, k, v, mask, causal=causal)
""",
        ("fused equals explicit",),
    ),
    "a cache that is not read": (
        "attention",
        """
class Part(MultiHeadAttention):
    def forward(self, x, context, cache=None):
        if cache is None or x.shape[1] > 1:
            return super().forward(x, context, cache)
        return self.output(self.w_o(torch.zeros(*x.shape[:2], self.n_heads * self.d_head)))
""",
        ("cached equals uncached",),
    ),
    "no number from bf16": (
        "norm",
        """
class Part(nn.Module):
    def __init__(self, d_model, *, eps=0.0, bias=True):
        super().__init__()
    def forward(self, x):
        return F.layer_norm(x.float(), x.shape[-1:]).to(x.dtype) + (torch.finfo(x.dtype).eps > 1e-3) * 3.0
""",
        ("half precision is near",),
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_part_with_a_known_fault_is_caught(fault, tmp_path, monkeypatch):
    where, code, promises = BROKEN[fault]
    named = [promise.replace(" ", "_") for promise in promises]
    monkeypatch.setattr("glassformer.testing.PROMISES", {name: PROMISES[name] for name in named})  # it breaks these
    kind, _, variant = where.partition(" ")
    name = fault.replace(" ", "-")
    file = tmp_path / f"{name}.py"
    file.write_text(HEADER + f"@register({kind!r}, {name!r})" + code)
    configs = part_configs(kind, name, part_files=[file])
    config = configs[variant] if variant else next(iter(configs.values()))
    with pytest.raises(AssertionError) as caught:
        check_model(config)
    for promise in promises:
        assert f"- {promise}: " in str(caught.value)


def test_all_broken_promises_of_a_part_are_named_with_their_model(tmp_path):
    file = tmp_path / "first-token.py"
    file.write_text(
        HEADER
        + """
@register("norm", "needs-eps")
class NeedsEps(nn.Module):
    def __init__(self, d_model, *, eps, bias):
        super().__init__()

    def forward(self, x):
        return x - x[:, :1] if x.shape[1] > 8 else x
"""
    )
    with pytest.raises(AssertionError) as caught:
        check_part("norm", "needs-eps", part_files=[file])
    told = str(caught.value)
    assert "norm 'needs-eps' breaks its contract" in told
    assert "  - post: padding is nothing: " in told
    assert "  - of queries and keys: fused equals explicit: ConfigError: " in told
    assert "missing 2 required keyword-only arguments" in told


def test_a_sound_part_of_ones_own_passes(tmp_path):
    file = tmp_path / "sound.py"
    file.write_text(
        HEADER
        + """
@register("norm", "sound-centred")
class Centred(nn.Module):
    def __init__(self, d_model, *, eps=0.0, bias=True, strength=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((d_model,), strength))

    def forward(self, x):
        return self.weight * (x - x.mean(-1, keepdim=True))
"""
    )
    check_part("norm", "sound-centred", options={"strength": 2.0}, part_files=[file])


def test_a_model_of_unusual_choices_keeps_its_contract():
    check_model(
        ModelConfig.build(
            {
                "vocab_size": 13,
                "max_seq_len": 9,
                "d_model": 12,
                "n_layers": 3,
                "residual": "attention",
                "pad_vocab_to": 8,
                "attention": {"n_heads": 3, "d_head": 6, "qk_norm": "annotated-layernorm", "output_bias": False},
                "feedforward": {"kind": "relu2", "convolution": True},
                "norm": {"kind": "rmsnorm", "placement": "post"},
                "positions": {"kind": "sinusoidal"},
                "embedding": {"scale": True},
                "head": {"tied": False, "bias": True},
                "initialisation": {"scheme": "xavier"},
                "dropout": 0.1,
            }
        )
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"n_layers": 0},
        {"max_seq_len": 1},
        {"sublayers": "attention"},
        {"sublayers": "feedforward"},
        pytest.param({"residual": "none"}, marks=at_further_edges),
        {"norm.placement": "none", "norm.final": False},
        {"vocab_size": 1},
        pytest.param({"initialisation.scheme": "torch"}, marks=at_further_edges),
        {"embedding.tokens": False, "head.tied": False},
        pytest.param({"attention.n_heads": 1, "attention.d_head": 2}, marks=at_further_edges),
    ],
)
def test_edges_keep_their_contract(changes):
    base = ModelConfig.build(
        {"vocab_size": 13, "max_seq_len": 6, "d_model": 8, "n_layers": 2, "attention": {"n_heads": 2}}
    )
    config = base.override(changes)
    for name, promise in PROMISES.items():
        if not (name == "a_seed_decides_everything" and not config.embedding.tokens):
            promise(config)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"residual": "none"}, marks=at_further_edges),
        pytest.param({"residual": "attention", "norm.placement": "post"}, marks=at_further_edges),
        pytest.param({"norm.placement": "none", "norm.final": False}, marks=at_further_edges),
        pytest.param({"max_seq_len": 1}, marks=at_further_edges),
        {"n_layers": 0},
        {"sublayers": "attention"},
        pytest.param({"sublayers": "feedforward"}, marks=at_further_edges),
        pytest.param({"head.tied": False}, marks=at_further_edges),
        {"head.tied": False, "embedding.source": "head"},
        pytest.param({"embedding.source": "own", "pad_vocab_to": 8}, marks=at_further_edges),
        pytest.param({"embedding.tokens": False, "head.tied": False}, marks=at_further_edges),
        {
            "attention": {"n_heads": 4, "n_kv_heads": 2, "qk_norm": "rmsnorm", "bias": False},
            "feedforward": {"kind": "swiglu", "bias": False},
            "norm.kind": "rmsnorm",
            "positions.kind": "rotary",
        },
    ],
)
def test_edges_of_translators_keep_their_contract(changes):
    base = {"vocab_size": 13, "max_seq_len": 6, "d_model": 8, "n_layers": 2, "n_encoder_layers": 1}
    parts = {"attention": {"n_heads": 2}, "feedforward": {"kind": "gelu"}}  # no kink: a sum's rounding may cross it
    config = ModelConfig.build(base | parts).override(changes)
    for name, promise in PROMISES.items():
        if not (name == "a_seed_decides_everything" and not config.embedding.tokens):
            promise(config)


@pytest.fixture
def doubled(tmp_path):
    """A file with a cross-attention of one's own."""
    file = tmp_path / "doubled.py"
    file.write_text(
        HEADER
        + """
@register("cross-attention", "doubled")
class Doubled(CrossAttention):
    def forward(self, x, memory):
        return 2 * super().forward(x, memory)
"""
    )
    return file


def test_a_cross_attention_of_ones_own_passes_and_takes_no_options(doubled):
    check_model(part_configs("cross-attention", "doubled", part_files=[doubled])["plain"])
    with pytest.raises(ConfigError, match="takes none"):
        part_configs("cross-attention", "doubled", options={"strength": 2})


@pytest.mark.slow(reason="every promise in each of six uses of the part")
def test_a_cross_attention_of_ones_own_passes_in_every_use(doubled):
    check_part("cross-attention", "doubled", part_files=[doubled])


def test_the_suite_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    PROMISES["fused_equals_explicit"](PRESETS["modern-small"])
    PROMISES["a_seed_decides_everything"](PRESETS["modern-small"])
    assert torch.equal(before, torch.get_rng_state())
