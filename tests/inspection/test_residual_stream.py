from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from glassformer.charts.theme import THEMES
from glassformer.errors import ConfigError, DataError
from glassformer.inspection.residual_points import residual_points, sublayers
from glassformer.inspection.residual_stream import _lines, residual_stream
from glassformer.models.config import ModelConfig
from glassformer.testing.cases import random_case
from glassformer.testing.comparing import random_model

TINY = ModelConfig.build(
    {"vocab_size": 13, "max_seq_len": 9, "d_model": 16, "n_layers": 2, "attention": {"n_heads": 4}}
)
TRANSLATOR = {"n_encoder_layers": 1, "source_vocab_size": 19, "embedding.source": "own", "norm.placement": "post"}


def traced(changes=None, **options):
    config = TINY.override(changes or {})
    args, more = random_case(config, 2, 7).arguments
    return random_model(config).trace(*args, **more, **options)


def test_stations_are_read_in_order_and_by_name():
    assert [place.name for place in residual_points(traced())] == [
        "embedding", "0 attention", "0 feed-forward", "1 attention", "1 feed-forward", "final norm",
    ]  # fmt: skip
    assert [place.probe for place in residual_points(traced(), each="block")] == [
        "embedding.output", "blocks.0.after_feedforward", "blocks.1.after_feedforward",
    ]  # fmt: skip


def test_an_absent_sublayer_or_norm_has_no_station():
    attention_only = residual_points(traced({"sublayers": "attention", "norm.final": False}))
    assert [place.name for place in attention_only] == ["embedding", "0 attention", "1 attention"]
    no_norm = residual_points(traced({"sublayers": "feedforward", "norm.kind": "none"}))
    assert [place.name for place in no_norm] == ["embedding", "0 feed-forward", "1 feed-forward"]
    blocks = residual_points(traced({"sublayers": "attention"}), each="block")
    assert [place.probe for place in blocks][1:] == ["blocks.0.after_attention", "blocks.1.after_attention"]
    assert [place.name for place in residual_points(traced({"n_layers": 0}))] == ["embedding", "final norm"]


@pytest.mark.parametrize("placement", ["pre", "post", "none"])
@pytest.mark.parametrize("residual", ["both", "none", "attention"])
def test_every_number_is_what_a_plain_calculation_says(placement, residual):
    trace = traced({"norm.placement": placement, "residual": residual})
    result = residual_stream(trace, row=1)
    embedding, first = trace["embedding.output"][1], trace["blocks.0.after_attention"][1]
    second, last = trace["blocks.0.after_feedforward"][1], trace["final"][1]
    torch.testing.assert_close(result.norms[2], second.square().sum(-1).sqrt())
    torch.testing.assert_close(result.to_embedding[5], F.cosine_similarity(last, embedding, dim=-1))
    torch.testing.assert_close(result.to_before[2], F.cosine_similarity(second, first, dim=-1))
    added = trace["blocks.0.feedforward.output"][1]
    torch.testing.assert_close(result.added[2], added.norm(dim=-1) / first.norm(dim=-1))
    assert result.added[0].isnan().all()
    assert result.added[5].isnan().all()
    assert result.to_before[0].isnan().all()
    torch.testing.assert_close(result.to_embedding[0], torch.ones(7))


@pytest.mark.parametrize("residual", ["both", "none"])
def test_what_a_sublayer_makes_is_told_from_the_stations_where_its_own_activation_was_not_kept(residual):
    changes = {"residual": residual}
    whole = residual_stream(traced(changes))
    stations_only = residual_stream(traced(changes, only=("embedding.output", "blocks.*.after_*", "final")))
    torch.testing.assert_close(stations_only.added, whole.added, equal_nan=True)


def test_both_stacks_of_a_translator_are_measured():
    trace = traced(TRANSLATOR)
    encoder = residual_stream(trace, side="encoder", source=list("abcdefghi"))
    decoder = residual_stream(trace)
    assert encoder.residual_points == ("embedding", "0 attention", "0 feed-forward", "final norm")
    assert decoder.residual_points[1:4] == ("0 attention", "0 cross-attention", "0 feed-forward")
    assert encoder.norms.shape == (4, 9)
    assert encoder.tokens == tuple("abcdefghi")
    expected = trace["decoder.blocks.0.cross_attention.output"][0].norm(dim=-1)
    torch.testing.assert_close(decoder.added[2], expected / decoder.norms[1])


def test_every_sublayer_is_found_with_its_skip():
    found = sublayers(traced({"residual": "feedforward"}))
    assert [(sublayer.name, sublayer.skip) for sublayer in found] == [
        ("0 attention", False), ("0 feed-forward", True), ("1 attention", False), ("1 feed-forward", True),
    ]  # fmt: skip


def test_the_table_has_a_line_for_each_station():
    result = residual_stream(traced())
    lines = result.table().splitlines()
    assert len(lines) == 1 + len(result.residual_points)
    assert lines[2].startswith("0 attention")
    assert f"{float(result.norms[1].mean()):.3f}" in lines[2]
    assert "nan" not in result.table()


def test_wrong_input_is_told_plainly():
    trace = traced()
    with pytest.raises(ConfigError, match="no encoder"):
        residual_stream(trace, side="encoder")
    with pytest.raises(ConfigError, match="no encoders in a decoder-only model. Did you mean 'decoder'"):
        residual_stream(trace, side="encoders")
    with pytest.raises(DataError, match="7 tokens.*3 texts"):
        residual_stream(trace, tokens=list("abc"))
    with pytest.raises(DataError, match="no row 2"):
        residual_stream(trace, row=2)
    with pytest.raises(ConfigError, match=r"only=\('embedding.output'"):
        residual_stream(traced(only=("blocks.*",)))


@pytest.mark.parametrize("theme", THEMES)
def test_the_lines_are_a_chart_whose_frame_can_be_chosen(theme):
    results = [residual_stream(traced()), residual_stream(traced({"norm.placement": "post"}))]
    spec = _lines(results, THEMES[theme]).to_dict()
    (rows,) = spec["datasets"].values()
    assert [parameter["name"] for parameter in spec["params"]] == ["frame"]
    assert spec["transform"] == [{"filter": "datum.frame == frame"}]
    norm = next(r for r in rows if r["frame"] == 1 and r["x"] == "0 attention" and r["panel"].startswith("norm of the"))
    assert norm["mean"] == pytest.approx(float(results[1].norms[1].mean()), abs=1e-4)


def test_it_shows_itself_with_a_frame_for_each_checkpoint():
    results = [residual_stream(traced(), tokens=list("abcdefg")) for _ in range(3)]
    lines, similarity = type(results[0]).figures_of(results)
    assert lines.n_frames == similarity.n_frames == 3
