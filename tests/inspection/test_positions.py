from __future__ import annotations

import math

import pytest
import torch

from glassformer.errors import ConfigError
from glassformer.inspection.positions import Positions, positions, positions_of
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.parts.positions import (
    ALiBiPositions,
    NoPositions,
    PositionEncoding,
    RotaryPositions,
    SinusoidalPositions,
    alibi_slopes,
)


def encoding(kind, *, d_model=32, length=40, n_heads=4, d_head=8, **options):
    return kind(d_model=d_model, max_seq_len=length, n_heads=n_heads, d_head=d_head, **options)


def model(kind, **changes):
    torch.manual_seed(0)
    tree = {"vocab_size": 7, "max_seq_len": 20, "d_model": 16, "n_layers": 1, "attention": {"n_heads": 2}}
    return build(ModelConfig.build(tree | {"positions": {"kind": kind}} | changes))


# --- added vectors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["interleaved", "halves"])
def test_sinusoids_have_a_squared_norm_of_half_the_width_exactly(layout):
    sinusoidal = encoding(SinusoidalPositions, d_model=512, length=300, layout=layout)
    found = positions_of(sinusoidal, 300, d_head=64).added
    summary = found.summary()
    assert summary["mean squared norm"] == pytest.approx(256, abs=1e-4)
    assert summary["standard deviation of the squared norm"] < 1e-4
    assert summary["smallest norm"] == pytest.approx(16, abs=1e-5)
    assert summary["largest norm"] == pytest.approx(16, abs=1e-5)


def test_the_distance_of_sinusoids_depends_on_the_gap_alone_and_stops_growing():
    """‖PE(p) − PE(p + g)‖² = d − 2 Σ_i cos(g θ_i), whatever p."""
    d, length = 64, 200
    by_gap = positions_of(encoding(SinusoidalPositions, d_model=d, length=length), length, d_head=8).added.by_gap
    frequencies = 10_000.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    gaps = torch.arange(1, length, dtype=torch.float64)
    expected = (d - 2 * (gaps[:, None] * frequencies).cos().sum(1)).sqrt()
    torch.testing.assert_close(by_gap.mean, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(by_gap.least, by_gap.most, atol=1e-5, rtol=0)

    values = expected.tolist()
    first = next(i for i in range(len(values) - 1) if values[i + 1] <= values[i])
    assert by_gap.grows_until == first + 1
    assert 1 < by_gap.grows_until < 20  # refuted long before the sequence ends


def test_distances_and_dot_products_are_those_of_each_pair():
    built = model("learned")
    added, table = positions(built).added, built.embedding.positions.table.weight.detach().double()
    for a, b in ((0, 0), (3, 11), (19, 2)):
        assert float(added.distances()[a, b]) == pytest.approx(float((table[a] - table[b]).norm()))
        assert float(added.dot_products()[a, b]) == pytest.approx(float(table[a] @ table[b]))
    by_gap = added.by_gap
    pairs = [float((table[p] - table[p + 7]).norm()) for p in range(13)]
    assert float(by_gap.mean[6]) == pytest.approx(sum(pairs) / 13)
    assert (float(by_gap.least[6]), float(by_gap.most[6])) == pytest.approx((min(pairs), max(pairs)))
    assert len(by_gap.mean) == 19


def test_positions_on_a_line_grow_apart_throughout():
    class Line(PositionEncoding):
        """Of a user's own: it is measured by what it does."""

        def embed(self, positions):
            return positions[:, None] * torch.tensor([3.0, 4.0])

    found = positions_of(Line(d_model=2, max_seq_len=9, n_heads=1, d_head=2), 9, d_head=2)
    assert found.added.by_gap.mean.tolist() == pytest.approx([5.0 * gap for gap in range(1, 9)])
    assert found.added.by_gap.grows_until == 8
    assert found.rotation_similarity is None
    assert "throughout" in found.figures()[-1].description


def test_one_position_has_no_gap():
    found = positions_of(encoding(SinusoidalPositions), 1, d_head=8)
    assert found.added.by_gap.grows_until == 0
    with pytest.raises(ConfigError, match="at least 1"):
        positions_of(encoding(SinusoidalPositions), 0, d_head=8)


# --- rotation, bias, nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [100.0, 10_000.0])
def test_rotary_similarity_is_the_mean_of_the_cosines_and_norms_stay_one(theta):
    d = 16
    found = positions_of(encoding(RotaryPositions, d_head=d, theta=theta), 40, d_head=d)
    frequencies = theta ** (-torch.arange(0, d, 2) / d)
    expected = 2 / d * (torch.arange(40)[:, None] * frequencies).cos().sum(1)
    torch.testing.assert_close(found.rotation_similarity, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.rotated_norms, torch.ones(40), atol=1e-5, rtol=0)
    assert found.added is None
    assert found.bias is None

    unit = torch.nn.functional.normalize(torch.randn(4_000, 1, 1, d), dim=-1)  # and it is what random queries show
    rotary = encoding(RotaryPositions, d_head=d, theta=theta)
    near, far = (rotary.rotate(unit, torch.tensor([position])) for position in (5, 5 + 9))
    assert float((near * far).sum(-1).mean()) == pytest.approx(float(expected[9]), abs=0.03)


def test_alibi_is_a_bias_of_minus_slope_times_distance_in_each_head():
    found = positions_of(encoding(ALiBiPositions, n_heads=6), 40, d_head=8)
    torch.testing.assert_close(found.bias, -alibi_slopes(6)[:, None] * torch.arange(40.0))
    assert found.added is None
    assert found.rotation_similarity is None


def test_no_positions_are_explained_instead_of_drawn():
    found = positions_of(encoding(NoPositions), 40, d_head=8)
    assert found.figures() == []
    assert "positions.kind=none" in found.missing
    assert found.missing in found._repr_html_()
    assert not positions(model("rotary")).missing


# --- of models --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "components"),
    [
        ("learned", ["heat-map", "heat-map", "drawing", "drawing"]),
        ("sinusoidal", ["heat-map", "heat-map", "drawing", "drawing"]),
        ("rotary", ["drawing"]),
        ("alibi", ["heat-map"]),
        ("none", []),
    ],
)
def test_a_models_positions_are_drawn_by_what_they_do(kind, components):
    figures = positions(model(kind)).figures()
    assert [figure.component for figure in figures] == components
    for figure in figures:
        assert figure.data()
        assert figure.chart().to_dict()


def test_an_encoder_and_a_decoder_have_tables_of_their_own():
    built = model("learned", n_encoder_layers=1)
    encoder, decoder = positions(built, side="encoder"), positions(built, side="decoder")
    for found, stack in ((encoder, built.encoder), (decoder, built.decoder)):
        table = stack.embedding.positions.table.weight.detach().double()
        assert torch.equal(found.added.table, table)
    assert encoder.title != decoder.title
    with pytest.raises(ConfigError, match="no encoder"):
        positions(model("learned"), side="encoder")


def test_before_and_after_training_are_two_frames():
    before = model("learned")
    after = model("learned")
    with torch.no_grad():
        after.embedding.positions.table.weight.mul_(3)
    found = [positions(before), positions(after)]
    figures = Positions.figures_of(found)
    assert {figure.n_frames for figure in figures} == {2}
    torch.testing.assert_close(torch.from_numpy(figures[0].values[1]), 3 * torch.from_numpy(figures[0].values[0]))
    (rows,) = figures[2].chart().to_dict()["datasets"].values()
    norms = {row["frame"]: row["mean"] for row in rows if row["x"] == 4}
    assert norms[1] == pytest.approx(3 * norms[0], rel=1e-3)


def test_a_long_table_is_thinned_in_pictures_and_the_page_says_so():
    found = positions_of(encoding(SinusoidalPositions, length=1_000), 1_000, d_head=8)
    maps = found.figures()[:2]
    for figure in maps:
        assert figure.values.shape == (1, 256, 256)
        assert (figure.rows[0], figure.rows[-1]) == ("0", "999")
        assert "256 evenly spaced positions of the 1,000" in figure.description
    assert float(maps[0].values[0, 0, -1]) == pytest.approx(float(found.added.distances()[0, 999]), rel=1e-5)
    assert len(found.added.by_gap.mean) == 999  # measured at every gap all the same
    assert math.isclose(float(found.added.norms[500]), 4.0, abs_tol=1e-5)
