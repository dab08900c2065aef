from __future__ import annotations

import pytest
import torch
from torch import nn

from glassformer.errors import ConfigError, DataError
from glassformer.inspection.attribution import logit_attribution
from glassformer.inspection.contributions import contributions
from glassformer.inspection.frozen_norms import FrozenNorm, freeze
from glassformer.models.config import ModelConfig
from glassformer.models.presets import preset, preset_names
from glassformer.parts.interventions import replace, zero
from glassformer.parts.norms import AnnotatedLayerNorm, LayerNorm, NoNorm, RMSNorm, SequenceBatchNorm
from glassformer.testing import shrunk
from glassformer.testing.cases import random_case
from glassformer.testing.comparing import random_model

TINY = ModelConfig.build(
    {"vocab_size": 13, "max_seq_len": 9, "d_model": 16, "n_layers": 2, "attention": {"n_heads": 4}}
)
TRANSLATOR = {"n_encoder_layers": 1, "source_vocab_size": 19, "embedding.source": "own"}
VARIANTS = {
    "pre-norm": {},
    "post-norm": {"norm.placement": "post"},
    "post-norm and a final norm": {"norm.placement": "post", "norm.final": True},
    "no norms": {"norm.placement": "none", "norm.final": False},
    "annotated post-norm": {"norm.kind": "annotated-layernorm", "norm.placement": "post"},
    "rmsnorm, rotary": {"norm.kind": "rmsnorm", "positions.kind": "rotary", "norm.placement": "post"},
    "batchnorm": {"norm.kind": "batchnorm"},
    "batchnorm, post": {"norm.kind": "batchnorm", "norm.placement": "post"},
    "norms without bias": {"norm.bias": False, "norm.placement": "post"},
    "a norm that is none": {"norm.kind": "none"},
    "attention only": {"sublayers": "attention"},
    "feed-forward only": {"sublayers": "feedforward", "norm.placement": "post"},
    "no layers": {"n_layers": 0},
    "padded vocabulary, scaled, untied": {
        "pad_vocab_to": 8, "embedding.scale": True, "head.tied": False, "head.bias": True,
    },
    "no tokens": {"embedding.tokens": False, "head.tied": False},
    "wide grouped heads, ALiBi": {"attention.d_head": 8, "attention.n_kv_heads": 2, "positions.kind": "alibi"},
    "no bias on the way out": {"attention.output_bias": False, "feedforward.bias": False},
    "translator": TRANSLATOR,
    "post-norm translator": {**TRANSLATOR, "norm.placement": "post", "norm.final": False},
}  # fmt: skip
MODELS = {f"preset {name}": shrunk(preset(name).model).override({"head.transform": False}) for name in preset_names()}
MODELS |= {name: TINY.override(changes) for name, changes in VARIANTS.items()}
MODELS |= {
    f"{name}, residual {residual}": TINY.override(VARIANTS[name] | {"residual": residual})
    for name in ("pre-norm", "post-norm", "no norms", "translator", "post-norm translator")
    for residual in ("none", "attention", "feedforward")
}


def traced(config, *, batch=2, length=7, dtype=torch.float64, **options):
    """A trace of a random model."""
    args, more = random_case(config, batch, length).arguments
    return random_model(config, dtype).trace(*args, **more, **options)


@pytest.mark.parametrize("name", MODELS)
def test_components_sum_to_every_logit(name):
    trace = traced(MODELS[name])
    weight, bias = trace.model.head.weight.detach(), trace.model.head.bias
    size, length = trace.model.config.vocab_size, trace.logits.shape[1]
    directions = weight[:size, None].expand(-1, length, -1)  # [V, T, d_model]
    offset = None if bias is None else bias.detach()[:size, None].expand(-1, length)
    for row in range(2):
        summed = sum(value for _, value in contributions(trace, directions, offset, row=row))
        expected = trace.logits[row].T
        torch.testing.assert_close(summed, expected, rtol=0, atol=1e-10 * max(1.0, float(expected.abs().max())))


def test_a_head_with_an_activation_before_it_is_refused():
    trace = traced(shrunk(preset("bert-tiny").model))
    with pytest.raises(ConfigError, match=r"head\.transform has an activation"):
        logit_attribution(trace)


def test_every_part_is_a_component_once():
    names = [component.name for component in logit_attribution(traced(TINY.override({"head.bias": True}))).components]
    heads = [f"{layer} attention head {head}" for layer in range(2) for head in range(4)]
    assert names == [
        "token embedding", "position embedding",
        *heads[:4], "0 attention bias", "0 feed-forward",
        *heads[4:], "1 attention bias", "1 feed-forward",
        "final norm bias", "output bias",
    ]  # fmt: skip


def test_a_translator_has_its_cross_attention_head_by_head():
    result = logit_attribution(traced(TINY.override(VARIANTS["post-norm translator"])))
    names = [component.name for component in result.components]
    assert {"1 cross-attention head 3", "1 cross-attention bias", "1 cross-attention norm bias"} <= set(names)
    assert not any("encoder" in name for name in names)


def test_a_head_adds_what_a_plain_calculation_says():
    trace = traced(TINY, dtype=torch.float32)
    model = trace.model
    spoken = trace["blocks.0.attention.heads"][0, 2] @ model.blocks[0].attention.w_o.weight[:, 8:12].T  # [T, d_model]
    stream = trace["blocks.1.after_feedforward"][0]
    deviation = (stream.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    carried = (spoken - spoken.mean(-1, keepdim=True)) / deviation * model.final_norm.weight
    expected = carried @ model.head.weight[5]
    result = logit_attribution(trace, targets=5, against="nothing")
    index = [component.name for component in result.components].index("0 attention head 2")
    torch.testing.assert_close(result.values[index], expected.detach())


def test_attribution_is_of_the_next_token_against_the_mean_unless_told():
    trace = traced(TINY, dtype=torch.float32)
    result = logit_attribution(trace, row=1)
    tokens = trace.arguments[0][1]
    assert result.targets.tolist() == [*tokens[1:].tolist(), int(trace.logits[1, -1].argmax())]
    expected = trace.logits[1][torch.arange(7), result.targets] - trace.logits[1].mean(-1)
    torch.testing.assert_close(result.totals, expected)
    torch.testing.assert_close(result.values.sum(0), result.totals, rtol=1e-4, atol=1e-4)


def test_attribution_between_two_tokens_sums_to_the_difference_of_their_logits():
    trace = traced(TINY.override({"pad_vocab_to": 8, "head.tied": False, "head.bias": True}), dtype=torch.float32)
    result = logit_attribution(trace, targets=[1, 2, 3, 4, 5, 6, 7], against=12)
    expected = trace.logits[0][torch.arange(7), torch.arange(1, 8)] - trace.logits[0][:, 12]
    torch.testing.assert_close(result.values.sum(0), expected, rtol=1e-4, atol=1e-4)


def test_without_skips_only_the_last_sublayer_speaks_directly():
    result = logit_attribution(traced(TINY.override({"residual": "none"})))
    speaking = {c.name for c, value in zip(result.components, result.values, strict=True) if value.any()}
    assert speaking == {"1 feed-forward", "final norm bias"}


def test_groups_sum_to_the_same_total():
    result = logit_attribution(traced(TINY))
    names, values = result.by_group()
    assert names == (
        "token embedding", "position embedding", "0 attention", "0 feed-forward", "1 attention", "1 feed-forward",
        "final norm",
    )  # fmt: skip
    torch.testing.assert_close(values.sum(0), result.values.sum(0), rtol=1e-4, atol=1e-4)


def test_the_strongest_come_first():
    result = logit_attribution(traced(TINY))
    strongest = result.strongest(position=3, top=4)
    sizes = [abs(value) for _, value in strongest]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(float(result.values[:, 3].abs().max()))


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_a_head_that_was_zeroed_adds_nothing_and_the_rest_still_sums(placement):
    config = TINY.override({"norm.placement": placement})
    trace = traced(config, interventions=[zero("blocks.1.attention.heads", head=2)])
    result = logit_attribution(trace, against="nothing")
    values = {component.name: value for component, value in zip(result.components, result.values, strict=True)}
    assert not values["1 attention head 2"].any()
    assert values["1 attention head 1"].any()
    torch.testing.assert_close(result.values.sum(0), result.totals, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize(
    ("place", "component"),
    [
        ("embedding.output", "embedding intervention"),
        ("blocks.0.after_attention", "0 attention intervention"),
        ("blocks.1.input", "1 attention intervention"),
        ("final", "final norm intervention"),
        ("blocks.1.attention.output", "1 attention"),
    ],
)
def test_what_an_intervention_puts_into_the_stream_is_a_component(placement, place, component):
    config = TINY.override({"norm.placement": placement})
    other = torch.randn(7, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    result = logit_attribution(traced(config, interventions=[replace(place, other)]), against="nothing")
    assert component in [component.name for component in result.components]
    torch.testing.assert_close(result.values.sum(0), result.totals, rtol=1e-4, atol=1e-4)


def test_only_what_is_needed_may_be_kept():
    needed = ("embedding.*", "blocks.*.attention.heads", "blocks.*.output", "blocks.*.after_*")
    trace = traced(TINY, only=needed)
    result = logit_attribution(trace, against="nothing")
    torch.testing.assert_close(result.values.sum(0), result.totals, rtol=1e-4, atol=1e-4)


def test_a_trace_without_the_stream_says_what_to_keep():
    with pytest.raises(ConfigError, match=r"only=\('blocks.1.after_feedforward'"):
        logit_attribution(traced(TINY, only=("embedding.*",)))


def test_token_ids_outside_the_vocabulary_are_refused():
    trace = traced(TINY)
    with pytest.raises(DataError, match="0 to 12, or −1 for none; .*13 to 13"):
        logit_attribution(trace, targets=13)
    with pytest.raises(DataError, match="for each of the 7 positions"):
        logit_attribution(trace, targets=[1, 2])


# --- norms ----------------------------------------------------------------------------------------------------------


def random_norm(make):
    """A norm whose parameters and statistics are not those it starts with."""
    generator = torch.Generator().manual_seed(1)
    norm = make(12).double().eval()
    for value in norm.state_dict().values():
        if value.is_floating_point():
            value += torch.rand(value.shape, generator=generator, dtype=torch.float64)
    return norm


NORMS = {
    "layernorm": LayerNorm,
    "layernorm without bias": lambda d: LayerNorm(d, bias=False),
    "annotated": AnnotatedLayerNorm,
    "annotated without bias": lambda d: AnnotatedLayerNorm(d, bias=False),
    "rmsnorm": RMSNorm,
    "batchnorm": SequenceBatchNorm,
    "batchnorm without bias": lambda d: SequenceBatchNorm(d, bias=False),
    "none": NoNorm,
    "identity": lambda d: nn.Identity(),
    "torch's rmsnorm": nn.RMSNorm,
    "layernorm without weight": lambda d: nn.LayerNorm(d, elementwise_affine=False),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_frozen_norm_is_the_norm_and_carries_parts_that_sum(name):
    norm = random_norm(NORMS[name])
    first, second, direction = torch.randn(3, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x = 3 * first + second + 0.5
    frozen, y = freeze(norm, x), norm(x).detach()
    torch.testing.assert_close(frozen(x), y)
    carried = frozen.carry(3 * first) + frozen.carry(second + 0.5)
    torch.testing.assert_close(carried if frozen.bias is None else carried + frozen.bias, y)
    torch.testing.assert_close((frozen.carry(first) * direction).sum(), (first * frozen.pull_back(direction)).sum())


class Doubled(LayerNorm):
    def forward(self, x):
        return 2 * super().forward(x)


class Halved(nn.Module):
    def forward(self, x):
        return x / 2

    def frozen(self, x):
        return FrozenNorm(torch.full_like(x, 0.5))


def test_a_norm_of_the_users_own_is_named_and_told_what_to_add():
    model_trace = traced(TINY)
    model_trace.model.final_norm = Doubled(16)
    with pytest.raises(ConfigError, match=r"The norm Doubled \(the final norm\).*method frozen\(x\)"):
        logit_attribution(model_trace)


def test_a_norm_of_the_users_own_may_say_how_it_is_linear():
    model = random_model(TINY, torch.float64)
    model.final_norm = Halved()
    result = logit_attribution(model.trace(torch.arange(6)[None]), against="nothing")
    torch.testing.assert_close(result.values.sum(0), result.totals, rtol=1e-4, atol=1e-4)


def test_it_shows_itself_as_two_maps_with_a_frame_for_each_checkpoint():
    results = [logit_attribution(traced(TINY), tokens=list("abcdefg")) for _ in range(2)]
    by_sublayer, by_head = type(results[0]).figures_of(results)
    assert by_sublayer.n_frames == by_head.n_frames == 2
    assert len(by_head.rows) == 15
    assert by_head.columns == list("abcdefg")
    assert "less the mean over the vocabulary" in by_sublayer.description
