"""The encoder-decoder as a whole: against torch's own, against its drawings, against the papers' numbers."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from torch import nn

from glassformer.errors import ConfigError, DataError
from glassformer.models import encoder_decoder
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.counting import parameters
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.presets import preset, preset_names
from glassformer.parts.cross_attention import CrossAttention, LayerMemory
from glassformer.parts.probes import record
from glassformer.testing import shrunk

BASE = ModelConfig.build(
    {
        "vocab_size": 31,
        "max_seq_len": 12,
        "d_model": 16,
        "n_layers": 2,
        "n_encoder_layers": 3,
        "attention": {"n_heads": 4},
        "feedforward": {"d_ff": 40},
        "positions": {"kind": "sinusoidal"},
        "embedding": {"scale": True},
    }
)
TRANSLATORS = [name for name in preset_names() if preset(name).model.has_encoder]


def batch(rows=3, source=7, target=5, *, pads=2):
    generator = torch.Generator().manual_seed(rows * 100 + source * 10 + target)
    tokens = [torch.randint(31, (rows, length), generator=generator) for length in (source, target)]
    padding = torch.zeros(rows, source, dtype=torch.bool)
    padding[-1, source - pads :] = True
    return *tokens, padding


def randomised(config, seed=0):
    torch.manual_seed(seed)
    model = build(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model


# --- against another implementation ---------------------------------------------------------------------------------


def torchs_own(model, *, norm_first):
    """``nn.Transformer`` with this model's weights."""
    config = model.config
    theirs = nn.Transformer(
        config.d_model,
        config.attention.n_heads,
        config.n_encoder_layers,
        config.n_layers,
        config.d_ff,
        dropout=0.0,
        batch_first=True,
        norm_first=norm_first,
    ).eval()
    if not config.norm.final:
        theirs.encoder.norm = theirs.decoder.norm = None

    def copy(into, out_of):
        into.weight.copy_(out_of.weight)
        into.bias.copy_(out_of.bias)

    def copy_attention(into, out_of, matrices):
        for name in ("weight", "bias"):
            parts = [getattr(getattr(out_of, matrix), name) for matrix in matrices]
            getattr(into, f"in_proj_{name}").copy_(torch.cat(parts))
        copy(into.out_proj, out_of.w_o)

    with torch.no_grad():
        for ours, layers in ((model.encoder, theirs.encoder.layers), (model.decoder, theirs.decoder.layers)):
            for block, layer in zip(ours.blocks, layers, strict=True):
                norms = [block.attention_norm, block.feedforward_norm]
                copy_attention(layer.self_attn, block.attention, ["w_qkv"])
                if ours is model.decoder:
                    copy_attention(layer.multihead_attn, block.cross_attention, ["w_q", "w_kv"])
                    norms.insert(1, block.cross_attention_norm)
                for number, norm in enumerate(norms, start=1):
                    copy(getattr(layer, f"norm{number}"), norm)
                copy(layer.linear1, block.feedforward.w_1)
                copy(layer.linear2, block.feedforward.w_2)
        if config.norm.final:
            copy(theirs.encoder.norm, model.encoder.final_norm)
            copy(theirs.decoder.norm, model.decoder.final_norm)
    return theirs


@pytest.mark.filterwarnings("ignore:.*nested.*:UserWarning")  # torch's encoder speaks of its fast path
@pytest.mark.parametrize("placement", ["pre", "post"])
@torch.no_grad()
def test_it_is_torchs_own_transformer(placement):
    model = randomised(BASE.override({"norm.placement": placement, "norm.final": placement == "pre"}))
    theirs = torchs_own(model, norm_first=placement == "pre")
    source, target, padding = batch()

    def vectors(tokens):
        angles = torch.arange(tokens.shape[1])[:, None] / 10_000 ** (torch.arange(0, 16, 2) / 16)
        positions = torch.zeros(tokens.shape[1], 16)
        positions[:, 0::2], positions[:, 1::2] = angles.sin(), angles.cos()
        return 4.0 * model.head.weight[tokens] + positions  # √16; one matrix for all three

    future = torch.ones(5, 5, dtype=torch.bool).triu(1)
    hidden = theirs(
        vectors(source),
        vectors(target),
        tgt_mask=future,
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
    )
    expected = hidden @ model.head.weight.T
    for path in ("fused", "explicit"):
        model.set_attention_path(path)
        torch.testing.assert_close(model(source, target, padding), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("path", ["fused", "explicit"])
def test_cross_attention_is_the_papers_formula(path):
    """Head by head, queries of one sequence, keys and values of another (Vaswani et al. 2017, §3.2.3)."""
    layer = CrossAttention(16, 4, projection="separate").eval()
    layer.path = path
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    q, k, v = layer.w_q(x), layer.w_k(memory), layer.w_v(memory)
    heads = []
    for i in range(4):
        own = slice(4 * i, 4 * i + 4)
        heads.append(torch.softmax(q[..., own] @ k[..., own].transpose(1, 2) / 2, -1) @ v[..., own])
    torch.testing.assert_close(layer(x, LayerMemory(memory)), layer.w_o(torch.cat(heads, -1)), atol=1e-6, rtol=1e-5)


def test_fused_keys_and_values_are_two_matrices():
    fused, separate = CrossAttention(16, 4, n_kv_heads=2), CrossAttention(16, 4, n_kv_heads=2, projection="separate")
    with torch.no_grad():
        for name in ("weight", "bias"):
            keys, values = getattr(fused.w_kv, name).chunk(2)
            getattr(separate.w_k, name).copy_(keys)
            getattr(separate.w_v, name).copy_(values)
    separate.w_q.load_state_dict(fused.w_q.state_dict())
    separate.w_o.load_state_dict(fused.w_o.state_dict())
    x, memory = torch.randn(2, 5, 16), LayerMemory(torch.randn(2, 7, 16))
    torch.testing.assert_close(fused(x, memory), separate(x, memory))


@torch.no_grad()
def test_the_annotated_transformer_uses_its_own_layernorm():
    """With nn.LayerNorm of the same weights the logits are others: the unbiased deviation, and ε outside the root."""
    config = shrunk(preset("annotated-transformer").model)
    model, usual = randomised(config), build(config.override({"norm.kind": "layernorm"})).eval()
    usual.load_state_dict(model.state_dict())
    source, target, padding = batch()
    difference = (model(source, target, padding) - usual(source, target, padding)).abs().max()
    assert difference > 1e-2
    seen_norms = {type(module).__name__ for module in model.modules() if "Norm" in type(module).__name__}
    assert seen_norms - {"NoNorm"} == {"AnnotatedLayerNorm"}


# --- masks ----------------------------------------------------------------------------------------------------------


def drawings():
    """The three tables of the module's docstring: a row of marks for each query."""
    lines = [line for line in inspect.getdoc(encoder_decoder).splitlines() if "■" in line]
    tables = ([], [], [])
    for line in lines:
        marks = [mark == "■" for mark in line if mark in "■·"]
        for table, row in zip(tables, (marks[:4], marks[4:7], marks[7:]), strict=True):
            table.append(row)
    return [torch.tensor(table) for table in tables]


@torch.no_grad()
def test_the_masks_drawn_in_the_docstring_are_those_computed():
    model = randomised(BASE)
    source, target, padding = batch(1, 4, 3, pads=1)
    with record(model, "*attention.weights") as seen:
        model(source, target, padding)
    encoder, itself, across = drawings()
    for block in ("0", "1"):
        assert torch.equal(seen[f"encoder.blocks.{block}.attention.weights"][0, 0, :3] > 0, encoder)
        assert torch.equal(seen[f"decoder.blocks.{block}.attention.weights"][0, 0] > 0, itself)
        assert torch.equal(seen[f"decoder.blocks.{block}.cross_attention.weights"][0, 0] > 0, across)


def test_a_source_without_pads_needs_no_mask():
    model = randomised(BASE)
    source, target, padding = batch(pads=0)
    padding[:] = False
    assert model.encode(source).mask is None
    torch.testing.assert_close(model(source, target), model(source, target, padding), atol=1e-5, rtol=1e-5)


# --- decoding -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_projected_memory_is_the_same_memory_and_its_rows_can_be_chosen():
    model = randomised(BASE)
    source, target, padding = batch()
    memory = model.encode(source, padding)
    projected = model.project_memory(memory)
    assert [tuple(k.shape) for k, _ in projected.layers] == [(3, 4, 7, 4)] * 2
    assert torch.equal(model.decode(target, projected), model.decode(target, memory))
    rows = torch.tensor([2, 0, 2, 2])
    for chosen in (memory.select(rows), projected.select(rows)):
        found, expected = model.decode(target[rows], chosen), model.decode(target, memory)[rows]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_a_decoder_with_a_cache_never_projects_the_memory_again():
    model = randomised(BASE)
    source, target, padding = batch()
    memory = model.project_memory(model.encode(source, padding))
    calls = []
    for block in model.decoder.blocks:
        block.cross_attention.w_kv.register_forward_hook(lambda *_: calls.append(1))
    cache = model.decoder.make_cache(3)
    for index in range(5):
        model.decode(target[:, index : index + 1], memory, cache)
    assert not calls
    model.decode(target, model.encode(source, padding))
    assert len(calls) == 2


def test_more_tokens_than_the_context_are_refused_on_either_side():
    model, long, short = build(BASE), torch.zeros(1, 13, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long)
    for source, target in ((long, short), (short, long)):
        with pytest.raises(DataError, match="13 tokens.*context length is 12"):
            model(source, target)


# --- presets, tying, starting values --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "papers"), [("transformer-base", 65e6), ("transformer-big", 213e6)])
def test_the_papers_models_are_as_large_as_it_says(name, papers):
    """Table 3 of Vaswani et al. rounds, and does not say which 37,000 pieces, or which biases."""
    assert preset(name).n_parameters == pytest.approx(papers, rel=0.04)


def test_the_base_model_counts_as_the_papers_formulas_say():
    d, f, layers, vocabulary = 512, 2048, 6, 37_000
    encoder = 4 * d * d + (2 * d * f + d + f) + 2 * 2 * d
    decoder = 8 * d * d + (2 * d * f + d + f) + 3 * 2 * d
    assert preset("transformer-base").n_parameters == vocabulary * d + layers * (encoder + decoder)


def test_a_model_without_token_vectors_counts_none():
    config = BASE.override({"embedding.tokens": False, "embedding.scale": False, "head.tied": False})
    for source in ("target", "head", "own"):
        count = parameters(config.override({"embedding.source": source}))
        assert (count.token_embedding, count.head) == (0, 31 * 16)
        model = build(config.override({"embedding.source": source}))
        assert count.total == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    ("source", "tied", "groups"),
    [
        ("target", True, "source target head"),
        ("target", False, "source target|head"),
        ("head", False, "source head|target"),
        ("own", True, "source|target head"),
        ("own", False, "source|target|head"),
    ],
)
def test_any_subset_of_the_embeddings_is_one_matrix(source, tied, groups):
    model = build(BASE.override({"embedding.source": source, "head.tied": tied}))
    matrices = {
        "source": model.encoder.embedding.tokens.weight,
        "target": model.decoder.embedding.tokens.weight,
        "head": model.head.weight,
    }
    shared = [set(group.split()) for group in groups.split("|")]
    for one, matrix in matrices.items():
        for other, another in matrices.items():
            together = any({one, other} <= group for group in shared)
            assert (matrix is another) == together, (one, other)
    assert sum(p.numel() for p in model.parameters()) == parameters(model.config).total


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source_vocab_size": 40}, "shares one matrix, and the encoder reads 40 tokens.*embedding.source=own"),
        ({"embedding.source": "head"}, "say embedding.source=target"),
        ({"n_encoder_layers": None, "source_vocab_size": 40}, "there is no encoder"),
        ({"n_encoder_layers": None, "embedding.source": "own"}, "embedding.source=own .* n_encoder_layers is none"),
        ({"attention.cross": "multi-haed"}, "Did you mean 'multi-head'"),
    ],
)
def test_a_translator_that_cannot_work_is_refused_with_the_reason(changes, told):
    with pytest.raises(ConfigError, match=told):
        BASE.override(changes)


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({"n_layers": 1}, "encoder."),  # the decoder's own are divided by the number of its skips
        ({"norm.final": False}, ""),
        ({"norm.kind": "rmsnorm"}, ""),
        ({"norm.placement": "post"}, ""),
        ({"vocab_size": 40, "source_vocab_size": 31}, ""),
        ({"source_vocab_size": 40}, ""),
        ({"positions.kind": "learned"}, ""),
        ({"head.tied": False}, ""),
    ],
)
def test_variants_of_one_seed_start_from_the_same_weights(changes, alike):
    """All that both have, by name and shape; the encoder in full where the change is the decoder's."""
    torch.manual_seed(7)
    base = BASE.override({"embedding.source": "own"})
    first = build(base).named_weights()
    torch.manual_seed(7)
    other = build(base.override(changes)).named_weights()
    common = [name for name in first if name in other and first[name].shape == other[name].shape]
    for stack in ("encoder.blocks.2.attention.w_qkv.weight", "decoder.blocks.0.cross_attention.w_kv.weight"):
        assert stack in common
    for name in common:
        assert not name.startswith(alike) or torch.equal(first[name], other[name]), name


def test_what_feeds_a_skip_is_divided_by_the_skips_of_its_own_stack():
    """gpt2's std/√(number of skips): 2 in a layer of the encoder, 3 in one of the decoder."""
    torch.manual_seed(0)
    model = build(BASE.override({"d_model": 128, "n_layers": 4, "n_encoder_layers": 2, "feedforward.d_ff": None}))
    for stack, skips in ((model.encoder, 4), (model.decoder, 12)):
        lasts = [w for name, w in stack.named_parameters() if name.endswith(("w_o.weight", "w_2.weight"))]
        assert len(lasts) == skips
        for weight in lasts:
            assert weight.std().item() == pytest.approx(0.02 / skips**0.5, rel=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_token_vectors_start_at_the_spread_that_is_asked_for(tied):
    config = BASE.override(
        {
            "vocab_size": 3000,
            "head.tied": tied,
            "embedding.source": "target" if tied else "own",
            "initialisation": {"scheme": "xavier", "embedding_std": 16**-0.5},
        }
    )
    torch.manual_seed(0)
    model = build(config)
    for weight in (model.encoder.embedding.tokens.weight, model.decoder.embedding.tokens.weight, model.head.weight):
        assert weight.std().item() == pytest.approx(0.25, rel=0.02)
    scaled = model.encoder.embedding.tokens(torch.arange(500)) * model.encoder.embedding.factor
    assert scaled.std().item() == pytest.approx(1.0, rel=0.05)  # as large as the sinusoids' √½, not drowned by them


@pytest.mark.parametrize("name", TRANSLATORS)
def test_what_is_saved_and_loaded_is_the_translator(name):
    config = shrunk(preset(name).model)
    model, other = build(config).eval(), build(config).eval()
    other.load_weights(model.named_weights())
    source, target, padding = batch()
    assert torch.equal(model(source, target, padding), other(source, target, padding))


def test_every_activation_of_both_stacks_has_its_name():
    model = build(BASE)
    source, target, padding = batch()
    with record(model) as seen:
        logits = model(source, target, padding)
    assert seen["encoder.blocks.2.attention.weights"].shape == (3, 4, 7, 7)
    assert seen["decoder.blocks.1.cross_attention.weights"].shape == (3, 4, 5, 7)
    assert seen["decoder.blocks.0.after_cross_attention"].shape == (3, 5, 16)
    assert torch.equal(seen["logits"], logits)


# --- science --------------------------------------------------------------------------------------------------------


def test_without_attention_a_translator_does_not_see_its_source():
    model = randomised(BASE.override({"sublayers": "feedforward"}))
    source, target, _ = batch()
    assert torch.equal(model(source, target), model(source.roll(1, 0), target))


def test_without_positions_a_source_is_a_set():
    model = randomised(BASE.override({"positions.kind": "none"}))
    source, target, _ = batch()
    torch.testing.assert_close(model(source, target), model(source.flip(1), target), atol=1e-5, rtol=1e-5)


def test_teacher_forcing_is_all_steps_at_once():
    """Every position's logits, trained in parallel, are those of a step-by-step pass over the prefix."""
    model = randomised(BASE)
    source, target, padding = batch()
    whole = model(source, target, padding)
    for length in range(1, 6):
        step = model(source, target[:, :length], padding)[:, -1]
        torch.testing.assert_close(step, whole[:, length - 1], atol=1e-5, rtol=1e-5)


def test_a_memory_is_frozen():
    memory = build(BASE).encode(torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(dataclasses.FrozenInstanceError):
        memory.hidden = memory.hidden * 2


def test_the_configuration_says_the_family():
    assert isinstance(build(BASE), EncoderDecoder)
    assert not isinstance(build(BASE.override({"n_encoder_layers": None})), EncoderDecoder)
