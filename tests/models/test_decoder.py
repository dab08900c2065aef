"""The model as a whole: presets, starting values, the traps of teaching code."""

from __future__ import annotations

import re

import pytest
import torch

from glassformer.errors import ConfigError, DataError
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.models.presets import preset, preset_names
from glassformer.testing import shrunk

BASE = ModelConfig.build(
    {"vocab_size": 61, "max_seq_len": 16, "d_model": 32, "n_layers": 2, "attention": {"n_heads": 4}}
)


def complaints_of(changes):
    with pytest.raises(ConfigError) as caught:
        BASE.override(changes)
    return caught.value.complaints


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attention.n_heads": 5}, "d_model 32 does not divide into 5 heads.*1, 2, 4, 8, 16, 32"),
        ({"attention.n_kv_heads": 3}, "4 query heads cannot share them evenly.*1, 2, 4"),
        ({"attention.projection": "shared", "attention.n_kv_heads": 2}, "projection=shared.*must be 4"),
        ({"positions.kind": "rotary", "attention.d_head": 7}, "d_head must be even"),
        ({"positions.kind": "sinusoidal", "d_model": 33, "attention.n_heads": 3}, "must be even"),
        ({"sublayers": "feedforward", "positions.kind": "alibi"}, "acts inside attention"),
        ({"embedding.tokens": False}, "head.tied uses the token embedding"),
        ({"embedding.tokens": False, "head.tied": False, "embedding.scale": True}, "multiplies the token vectors"),
        ({"embedding.tokens": False, "head.tied": False, "positions.kind": "none"}, "would see nothing"),
        ({"sublayers": "feedforward", "residual": "attention"}, "leaves out"),
        ({"norm.kind": "layernrm"}, "Did you mean 'layernorm'"),
        ({"attention.qk_norm": "rmsnrm"}, "Did you mean 'rmsnorm'"),
        ({"dropout": 1.0}, "less than 1"),
        ({"vocab_size": 0}, "greater than or equal to 1"),
    ],
)
def test_a_model_that_cannot_work_is_refused_with_the_reason(changes, told):
    assert [complaint for complaint in complaints_of(changes) if re.search(told, complaint)]


def test_every_reason_comes_at_once():
    found = complaints_of(
        {"attention.n_heads": 5, "norm.kind": "x", "positions.kind": "y", "dropout": 2, "residul": "none"}
    )
    assert len(found) == 5


@pytest.mark.parametrize("name", preset_names())
def test_presets_cite_their_source_and_survive_json(name):
    chosen = preset(name)
    assert len(chosen.source) > 30
    assert ModelConfig.build(chosen.model.to_dict()) == chosen.model


def test_a_misspelt_preset_gets_the_nearest():
    with pytest.raises(ConfigError, match="no preset 'gtp2'. Did you mean 'gpt2'"):
        preset("gtp2")


def test_gpt2_starts_as_gpt2():
    """normal(0, 0.02), biases 0, and what feeds a skip divided by √(2 · layers) (Radford et al. 2019, §2.3)."""
    torch.manual_seed(0)
    model = Decoder(BASE.override({"d_model": 128, "n_layers": 8}))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert torch.equal(parameter, torch.full_like(parameter, float("norm.weight" in name)))
            continue
        expected = 0.02 / 16**0.5 if name.endswith(("attention.w_o.weight", "feedforward.w_2.weight")) else 0.02
        assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
        assert abs(parameter.mean().item()) < 5 * expected / parameter.numel() ** 0.5


@pytest.mark.parametrize(
    ("residual", "scaled"),
    [
        ("both", ("attention.w_o", "feedforward.w_2")),
        ("attention", ("attention.w_o",)),
        ("feedforward", ("feedforward.w_2",)),
        ("none", ()),
    ],
)
def test_only_what_feeds_a_skip_is_scaled_by_the_number_of_skips(residual, scaled):
    torch.manual_seed(0)
    config = BASE.override({"d_model": 128, "n_layers": 8, "residual": residual})
    assert config.n_skips == 8 * len(scaled)
    for name, parameter in Decoder(config).named_parameters():
        if parameter.dim() == 2:
            expected = 0.02 / config.n_skips**0.5 if name.removesuffix(".weight").endswith(scaled or "-") else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name


def test_xavier_is_uniform_within_its_bound():
    torch.manual_seed(0)
    model = Decoder(BASE.override({"initialisation.scheme": "xavier", "d_model": 64}))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert 0.9 * bound < parameter.abs().max() <= bound, name


def test_a_fresh_gpt2_knows_nothing():
    """Its loss is that of a uniform guess, ln(vocabulary)."""
    torch.manual_seed(0)
    model, tokens = Decoder(BASE).eval(), torch.randint(61, (8, 16))
    loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(1).flatten())
    assert loss.item() == pytest.approx(torch.log(torch.tensor(61.0)).item(), abs=0.05)


def test_a_tied_head_is_the_embedding_and_an_untied_one_is_not():
    tied, untied = Decoder(BASE), Decoder(BASE.override({"head.tied": False}))
    assert tied.head.weight is tied.embedding.tokens.weight
    assert untied.head.weight is not untied.embedding.tokens.weight
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == 61 * 32


def test_embeddings_are_multiplied_by_the_root_of_the_width():
    torch.manual_seed(0)
    model = Decoder(BASE.override({"embedding.scale": True, "positions.kind": "none"}))
    vectors = model.embedding(torch.arange(5)[None], torch.arange(5))
    torch.testing.assert_close(vectors[0], model.embedding.tokens.weight[:5] * 32**0.5)


def test_a_padded_vocabulary_changes_rows_and_not_logits():
    model = Decoder(BASE.override({"pad_vocab_to": 64})).eval()
    assert model.embedding.tokens.weight.shape == (64, 32)
    assert model(torch.arange(4)[None]).shape == (1, 4, 61)


def test_without_token_vectors_a_model_sees_positions_only():
    model = Decoder(BASE.override({"embedding.tokens": False, "head.tied": False})).eval()
    one, other = torch.zeros(1, 6, dtype=torch.long), torch.arange(6)[None]
    assert torch.equal(model(one), model(other))
    assert not torch.equal(model(one)[:, 0], model(one)[:, 5])


def test_without_positions_the_past_is_a_set():
    """Every earlier order gives the last token's logits, so long as one layer looks at it."""
    model = Decoder(BASE.override({"positions.kind": "none", "n_layers": 1})).eval()
    tokens = torch.tensor([[3, 1, 4, 1, 5, 9]])
    shuffled = torch.tensor([[1, 5, 3, 4, 1, 9]])
    torch.testing.assert_close(model(tokens)[:, -1], model(shuffled)[:, -1], atol=1e-5, rtol=0)


def test_without_attention_a_model_is_a_bigram_table():
    """Science: with the attention sublayer removed, what is left sees one token at a time."""
    model = Decoder(BASE.override({"sublayers": "feedforward", "positions.kind": "none"})).eval()
    a, b = model(torch.tensor([[3, 1, 4]])), model(torch.tensor([[9, 9, 4]]))
    torch.testing.assert_close(a[:, 2], b[:, 2], atol=1e-6, rtol=0)


def test_removing_the_skip_leaves_attention_its_gradient_and_removing_attention_does_not():
    """What the notes' deleted line really removed: `x = sublayer(x)` still trains queries, keys and values."""
    model = Decoder(BASE.override({"residual": "none"}))
    model(torch.arange(8)[None]).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert not any(
        "attention" in name for name, _ in Decoder(BASE.override({"sublayers": "feedforward"})).named_parameters()
    )


def test_more_tokens_than_the_context_are_refused():
    model = Decoder(BASE)
    with pytest.raises(DataError, match="17 tokens.*context length is 16"):
        model(torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(DataError, match="room for 4 tokens and would hold 5"):
        model(torch.zeros(1, 5, dtype=torch.long), cache=model.make_cache(1, 4))


def test_a_norm_over_the_batch_says_so():
    for changes in ({"norm.kind": "batchnorm"}, {"attention.qk_norm": "batchnorm"}):
        assert BASE.override(changes).uses_batch_statistics
    assert not BASE.uses_batch_statistics
    assert not BASE.override(
        {"norm.kind": "batchnorm", "norm.placement": "none", "norm.final": False}
    ).uses_batch_statistics


@pytest.mark.parametrize("name", [name for name in preset_names() if preset(name).model.family == "decoder"])
def test_what_is_saved_and_loaded_is_the_model(name):
    config = shrunk(preset(name).model)
    model, other = Decoder(config).eval(), Decoder(config).eval()
    other.load_state_dict(model.state_dict())
    tokens = torch.arange(8)[None]
    assert torch.equal(model(tokens), other(tokens))
    assert len(model.named_weights()) == len(model.state_dict()) - config.head.tied
