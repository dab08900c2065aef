from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.models.build import build
from glassformer.models.config import AttentionConfig, ModelConfig
from glassformer.parts.positions import (
    ALiBiPositions,
    LearnedPositions,
    NoPositions,
    RotaryPositions,
    SinusoidalPositions,
    alibi_slopes,
    sinusoids,
)

SIZES = {"d_model": 16, "max_seq_len": 32, "n_heads": 4, "d_head": 8}


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 256).map(lambda half: 2 * half), st.integers(0, 5000))
def test_the_squared_norm_of_a_sinusoid_is_half_the_width(d_model, position):
    vector = sinusoids(torch.tensor([position]), d_model).double()
    assert vector.square().sum().item() == pytest.approx(d_model / 2, rel=1e-6)


def test_a_sinusoid_at_width_512_has_norm_16():
    assert sinusoids(torch.tensor([77]), 512).norm().item() == pytest.approx(16.0, rel=1e-6)


def test_sinusoids_are_the_papers():
    table = sinusoids(torch.arange(50), 6)
    for position in (0, 1, 49):
        for i in range(3):
            angle = torch.tensor(position / 10000 ** (2 * i / 6))
            assert table[position, 2 * i].item() == pytest.approx(angle.sin().item(), abs=1e-5)
            assert table[position, 2 * i + 1].item() == pytest.approx(angle.cos().item(), abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 64).map(lambda half: 2 * half))
def test_the_layouts_of_a_sinusoid_are_permutations_of_each_other(d_model):
    papers, marians = (sinusoids(torch.arange(20), d_model, layout=layout) for layout in ("interleaved", "halves"))
    order = [*range(0, d_model, 2), *range(1, d_model, 2)]
    assert torch.equal(papers[:, order], marians)


def test_a_layout_that_is_not_one_is_refused():
    with pytest.raises(TypeError, match="layout is 'thirds'"):
        SinusoidalPositions(**SIZES, layout="thirds")
    encoding = SinusoidalPositions(**SIZES, layout="halves")
    assert torch.equal(encoding.embed(torch.arange(5)), sinusoids(torch.arange(5), 16, layout="halves"))


def test_sinusoidal_positions_have_no_parameters_and_are_not_saved():
    encoding = SinusoidalPositions(**SIZES)
    assert not list(encoding.parameters())
    assert not encoding.state_dict()
    torch.testing.assert_close(encoding.embed(torch.arange(5)), sinusoids(torch.arange(5), 16))


def test_learned_positions_are_a_table():
    encoding = LearnedPositions(**SIZES)
    assert [p.shape for p in encoding.parameters()] == [(32, 16)]
    assert torch.equal(encoding.embed(torch.tensor([3, 5])), encoding.table.weight[[3, 5]])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 16))
def test_rotary_scores_depend_on_the_distance_only(query, key, shift):
    encoding = RotaryPositions(**SIZES)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 1, 8, generator=generator) for _ in range(2))

    def score(query_position, key_position):
        turned = (encoding.rotate(x, torch.tensor([p])) for x, p in ((q, query_position), (k, key_position)))
        return torch.einsum("bhqd,bhkd->", *turned).item()

    assert score(query, key) == pytest.approx(score(query + shift, key + shift), abs=1e-5)


def test_rotary_positions_keep_lengths_and_turn_by_the_angle():
    encoding = RotaryPositions(**SIZES)
    x = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    turned = encoding.rotate(x, torch.arange(6))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])  # position 0 stays
    pair, before = turned[0, 0, 3, [1, 5]], x[0, 0, 3, [1, 5]]  # features i and i + d_head / 2
    angle = torch.tensor(3 * 10_000 ** (-2 * 1 / 8))
    expected = torch.complex(before[0], before[1]) * torch.polar(torch.tensor(1.0), angle)
    torch.testing.assert_close(torch.complex(pair[0], pair[1]), expected)


def test_rotary_positions_may_differ_by_row():
    encoding = RotaryPositions(**SIZES)
    x = torch.randn(2, 4, 3, 8)
    positions = torch.tensor([[0, 1, 2], [5, 6, 7]])
    for row in range(2):
        alone = encoding.rotate(x[row : row + 1], positions[row])
        assert torch.equal(encoding.rotate(x, positions)[row : row + 1], alone)


def test_alibi_slopes_are_the_papers():
    assert alibi_slopes(8).tolist() == [2.0**-n for n in range(1, 9)]
    assert alibi_slopes(16).tolist() == pytest.approx([2 ** (-n / 2) for n in range(1, 17)])
    assert alibi_slopes(1).tolist() == [2.0**-8]
    # 12 heads: the 8 of 8 heads, then every second of 16 heads' (the authors' code)
    assert alibi_slopes(12).tolist() == pytest.approx(
        [2.0**-n for n in range(1, 9)] + [2 ** (-n / 2) for n in (1, 3, 5, 7)]
    )


def test_alibi_penalises_distance_linearly():
    bias = ALiBiPositions(**SIZES).bias(torch.arange(5), torch.arange(5))
    assert bias.shape == (4, 5, 5)
    for head, slope in enumerate((2**-2, 2**-4, 2**-6, 2**-8)):
        assert bias[head, 4].tolist() == pytest.approx([-4 * slope, -3 * slope, -2 * slope, -slope, 0])


def test_no_positions_do_nothing():
    encoding, x = NoPositions(**SIZES), torch.randn(1, 4, 3, 8)
    assert encoding.embed(torch.arange(3)) is None
    assert encoding.bias(torch.arange(3), torch.arange(3)) is None
    assert encoding.rotate(x, torch.arange(3)) is x


@pytest.mark.parametrize("rms", [0.02, 0.71, 3])
@pytest.mark.parametrize("layout", ["interleaved", "halves"])
def test_sinusoids_have_the_root_mean_square_asked_for(rms, layout):
    natural = SinusoidalPositions(**SIZES, layout=layout).embed(torch.arange(32))
    scaled = SinusoidalPositions(**SIZES, layout=layout, rms=rms).embed(torch.arange(32))
    assert scaled.square().mean().sqrt().item() == pytest.approx(rms, rel=1e-5)
    torch.testing.assert_close(scaled / rms, natural * 2**0.5)


@pytest.mark.parametrize("scheme", ["gpt2", "xavier", "torch"])
@pytest.mark.parametrize("rms", [0.02, 0.71])
def test_learned_positions_start_at_the_root_mean_square_asked_for_in_every_scheme(scheme, rms):
    changes = {"positions.options": {"rms": rms}, "initialisation.scheme": scheme}
    config = ModelConfig(vocab_size=65, max_seq_len=256, d_model=64, n_layers=1, attention=AttentionConfig(n_heads=2))
    torch.manual_seed(0)
    table = build(config.override(changes)).embedding.positions.table.weight.detach()
    assert table.square().mean().sqrt().item() == pytest.approx(rms, rel=0.02)
    assert abs(table.mean().item()) < rms / 20


def test_the_scale_of_the_positions_changes_no_other_weight_nor_their_direction():
    config = ModelConfig(vocab_size=65, max_seq_len=16, d_model=64, n_layers=1, attention=AttentionConfig(n_heads=2))
    models = []
    for options in ({}, {"rms": 0.02}, {"rms": 0.71}):
        torch.manual_seed(3)
        models.append(dict(build(config.override({"positions.options": options})).named_parameters()))
    name = "embedding.positions.table.weight"
    assert models[0].keys() == models[1].keys() == models[2].keys()
    for key in models[0].keys() - {name}:
        assert torch.equal(models[0][key], models[1][key])
        assert torch.equal(models[0][key], models[2][key])
    torch.testing.assert_close(models[0][name], models[1][name])  # GPT-2's are at 0.02
    torch.testing.assert_close(models[1][name] / 0.02, models[2][name] / 0.71)


@pytest.mark.parametrize("rms", [0, -1.0, float("nan"), float("inf"), "large", True])
@pytest.mark.parametrize("kind", [LearnedPositions, SinusoidalPositions])
def test_a_root_mean_square_that_is_not_one_is_an_error(kind, rms):
    with pytest.raises(TypeError, match="expected a finite number above 0"):
        kind(**SIZES, rms=rms)


def test_the_error_names_the_part():
    config = ModelConfig(vocab_size=65, max_seq_len=16, d_model=64, n_layers=1, attention=AttentionConfig(n_heads=2))
    with pytest.raises(ConfigError, match=r"positions 'learned'.*rms is -1"):
        build(config.override({"positions.options": {"rms": -1}}))
