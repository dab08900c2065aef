"""Costs, counted from two layers of each stack, against the whole model and the papers' closed forms."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from models.closed_forms import (
    encoder_decoder_flops,
    encoder_decoder_parameters,
    kaplan_parameters,
    palm_flops_per_token,
)
from models.whole_models import counted_flops, kept_bytes, lengths_of

from glassformer.errors import ConfigError, DataError
from glassformer.models.build import build
from glassformer.models.classes import MODELS
from glassformer.models.config import ModelConfig
from glassformer.models.costs import costs
from glassformer.models.counting import (
    activation_bytes,
    active_parameters,
    build_on_meta,
    flops_per_sequence,
    flops_per_token,
    layers_to_build,
    parameters,
)
from glassformer.models.decoder import Decoder
from glassformer.models.presets import preset, preset_names
from glassformer.parts.feedforward import ReLUFeedForward
from glassformer.registry import register, registered

SUBLAYERS = ("attention", "cross_attention", "feedforward")


def ours(kind):
    """The names of all parts of this kind that the package registers."""
    return sorted(name for name, part in registered(kind).items() if part.__module__.startswith("glassformer.parts."))


CHOICES = {
    "n_layers": (0, 1, 3),
    "dropout": (0.0, 0.1),
    "pad_vocab_to": (1, 64),
    "residual": ("both", "attention", "feedforward", "none"),
    "sublayers": ("both", "both", "attention", "feedforward"),
    "attention.n_kv_heads": (None, 2, 1),
    "attention.d_head": (None, 16),
    "attention.projection": ("fused", "separate", "shared"),
    "attention.qk_norm": ours("norm"),
    "attention.bias": (True, False),
    "attention.output_bias": (None, True, False),
    "attention.dropout": (0.0, 0.1),
    "feedforward.kind": ours("feedforward"),
    "feedforward.d_ff": (None, 40),
    "feedforward.bias": (True, False),
    "feedforward.dropout": (0.0, 0.1),
    "feedforward.convolution": (True, False),
    "norm.kind": ours("norm"),
    "norm.placement": ("pre", "post", "none"),
    "norm.final": (True, False),
    "norm.bias": (True, False),
    "positions.kind": ours("positions"),
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
    model = build_on_meta(chosen.model)
    assert parameters(chosen.model).total == chosen.n_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", preset_names())
def test_presets_cost_the_flops_that_torch_counts(name):
    config = preset(name).model
    model, flops = build_on_meta(config), flops_per_token(config, 16)
    assert isinstance(model, MODELS[config.family])
    lengths = lengths_of(config, 16, 16)
    assert flops.forward * 32 == counted_flops(model, 2, *lengths)
    assert flops.training * 32 == counted_flops(model, 2, *lengths, backward=True)


@many(40)
@given(configs())
def test_parameters_are_those_of_the_built_model(config):
    count, model = parameters(config), build(config)
    assert count.total == active_parameters(config) == sum(p.numel() for p in model.parameters())
    blocks = [p for name, p in model.named_parameters() if "blocks." in name]
    assert count.matrices == sum(p.numel() for p in blocks if p.dim() == 2)
    named = {
        group: sum(p.numel() for name, p in model.named_parameters() if f".{group}." in name) for group in SUBLAYERS
    }
    assert named == {group: getattr(count, group) for group in SUBLAYERS}


@many(24)
@given(configs(), st.integers(1, 32), st.integers(1, 32), st.integers(1, 3))
def test_flops_are_those_that_torch_counts_of_the_whole_model(config, seq_len, source_len, batch_size):
    flops, model = flops_per_sequence(config, seq_len, source_len), build(config)  # as fast as on meta: it is small
    lengths = lengths_of(config, seq_len, source_len)
    assert flops.training * batch_size == counted_flops(model, batch_size, *lengths, backward=True)
    assert flops_per_token(config, seq_len, source_len) == flops.per(seq_len)


@many(45)
@given(configs(), st.sampled_from((16, 24, 32)))
def test_activation_bytes_are_what_autograd_keeps_of_the_whole_model(config, source_len):
    model = build(config)
    for path in ("fused", "explicit"):
        expected = kept_bytes(model, path, 4, *lengths_of(config, 24, source_len))
        found = activation_bytes(config, 4, 24, 4, source_len=source_len, path=path)
        assert sum(found.values()) == expected


@pytest.mark.parametrize("name", preset_names())
def test_costs_are_linear_in_depth(name):
    config = preset(name).model

    def found(depth):
        stacks = {"n_layers": depth, "n_encoder_layers": config.n_encoder_layers and depth}
        deep = costs(config.model_copy(update=stacks), batch_size=2, seq_len=16)
        tree = deep.to_dict()
        return {group: Counter(tree[group]) for group in ("parameters", "flops", "activation_bytes")}

    one, two, seven = found(1), found(2), found(7)
    for group, counts in seven.items():
        for part, count in counts.items():
            assert count == one[group][part] + 6 * (two[group][part] - one[group][part]), (group, part)


def test_layers_whose_settings_alternate_are_built_once_each():
    assert layers_to_build(0) == []
    assert layers_to_build(1) == [1]
    assert layers_to_build(12) == [1, 11]
    for n_layers, period in itertools.product(range(12), range(1, 5)):
        times = layers_to_build(n_layers, period)
        kinds = Counter(index % period for index in range(n_layers))
        assert len(times) <= 2 * period
        assert kinds == +sum((Counter({i % period: each}) for i, each in enumerate(times)), Counter())


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


def test_a_source_tokens_cache_is_counted_where_keys_are_normalised_over_the_batch():
    """One token has no batch statistics."""
    found = costs(TRANSLATOR.override({"attention.qk_norm": "batchnorm"}))
    assert found.cross_cache_bytes_per_token == costs(TRANSLATOR).cross_cache_bytes_per_token


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


@register("feedforward", "test-one-of-two")
class OneOfTwo(ReLUFeedForward):
    """Two experts, of which a token meets one."""

    def __init__(self, d_model, d_ff, **options):
        super().__init__(d_model, d_ff, **options)
        self.other = ReLUFeedForward(d_model, d_ff, **options)

    def active_parameters(self):
        return sum(weight.numel() for weight in self.other.parameters())


def test_a_part_may_say_how_many_of_its_parameters_a_token_meets():
    one, two = (BASE.override({"n_layers": 5, "feedforward.kind": kind}) for kind in ("relu", "test-one-of-two"))
    assert active_parameters(two) == active_parameters(one) == parameters(one).total
    assert parameters(two).total == parameters(one).total + parameters(one).feedforward


def test_every_byte_follows_the_dtype():
    single, half = costs(BASE), costs(BASE, dtype=torch.bfloat16)
    for name in ("weight_bytes", "gradient_bytes", "optimizer_bytes", "kv_cache_bytes"):
        assert getattr(single, name) == 2 * getattr(half, name) > 0
    assert single.weight_bytes == sum(p.nbytes for p in Decoder(BASE).parameters())
    total = single.weight_bytes + single.gradient_bytes + single.optimizer_bytes + sum(single.activation_bytes.values())
    assert single.training_bytes == total == single.to_dict()["training_bytes"]


@pytest.mark.parametrize("name", ["gpt2", "gpt2-xl", "gopher-44m"])
def test_matrices_and_flops_are_those_of_kaplan_and_palm(name):
    config = preset(name).model
    assert parameters(config).matrices == kaplan_parameters(config) == 12 * config.n_layers * config.d_model**2
    for seq_len in (64, config.max_seq_len):
        assert flops_per_token(config, seq_len).training == palm_flops_per_token(config, seq_len)


@pytest.mark.parametrize("name", ["transformer-base", "transformer-big"])
def test_an_encoder_decoders_costs_are_those_of_its_two_sentences(name):
    config, target, source = preset(name).model, 10, 30
    assert parameters(config).total == encoder_decoder_parameters(config)
    assert flops_per_sequence(config, target, source).forward == encoder_decoder_flops(config, target, source)
    assert flops_per_token(config, target) == flops_per_token(config, target, target)


def test_a_model_without_attention_has_no_cache_and_no_scores():
    found = costs(BASE.override({"sublayers": "feedforward"}))
    assert found.kv_cache_bytes == found.flops.attention_scores == found.flops.attention_projections == 0
    assert found.parameters.attention == found.activation_bytes["attention"] == 0


def test_counting_draws_no_random_numbers():
    before = torch.get_rng_state()
    costs(BASE)
    costs(TRANSLATOR, path="explicit")
    build_on_meta(BASE)
    assert torch.equal(before, torch.get_rng_state())


def test_a_source_beyond_the_context_or_without_an_encoder_is_refused():
    with pytest.raises(DataError, match="source of 33.*32"):
        costs(TRANSLATOR, source_len=33)
    with pytest.raises(DataError, match="source of 5 tokens is an encoder's"):
        costs(BASE, source_len=5)


def test_a_sequence_beyond_the_context_is_refused():
    with pytest.raises(DataError, match="33.*32"):
        costs(BASE, seq_len=33)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"d_model": 10**9}, "no matrix can be so large"),
        ({"max_seq_len": 10**9, "positions.kind": "none"}, "cannot be counted: Storage size calculation overflowed"),
    ],
    ids=str,
)
def test_what_torch_cannot_address_is_refused(changes, reason):
    with pytest.raises(ConfigError, match=reason):
        costs(BASE.override(changes), path="explicit")
