from __future__ import annotations

import pytest
import torch

from glassformer.charts.theme import THEMES
from glassformer.errors import ConfigError
from glassformer.inspection.depth import MEASURES, SMALL, _lines, depth_picture, stream_measures
from glassformer.inspection.residual_stream import similarity
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder

TINY = ModelConfig.build(
    {"vocab_size": 13, "max_seq_len": 9, "d_model": 16, "n_layers": 2, "attention": {"n_heads": 4}}
)


@pytest.fixture(scope="module")
def picture():
    return depth_picture()


def test_at_50_layers_the_residual_keeps_the_output_near_the_embedding_and_without_it_nothing_is_left(picture):
    kept, lost = picture.arm(50, "both"), picture.arm(50, "none")
    assert kept.to_embedding.shape == (3, 51)
    assert (kept.to_embedding[:, -1] > 0.5).all()  # in every seed
    assert (lost.to_embedding[:, -1].abs() < 0.2).all()


def test_without_the_residual_tokens_and_texts_can_no_longer_be_told_apart(picture):
    kept, lost = picture.arm(50, "both"), picture.arm(50, "none")
    assert (lost.from_rank_one[:, -1] < 1e-3).all()
    assert (kept.from_rank_one[:, -1] > 0.5).all()
    assert (lost.between_texts[:, -1] > kept.between_texts[:, -1]).all()


def test_what_is_lost_is_lost_in_the_first_layer_already(picture):
    assert (picture.arm(1, "none").to_embedding[:, 1].abs() < 0.2).all()


def test_every_arm_reads_the_same_texts_and_begins_at_the_embedding(picture):
    first = picture.arms[0]
    assert [(arm.n_layers, arm.residual) for arm in picture.arms] == [
        (1, "both"), (1, "none"), (20, "both"), (20, "none"), (50, "both"), (50, "none"),
    ]  # fmt: skip
    for arm in picture.arms:
        torch.testing.assert_close(arm.to_embedding[:, 0], torch.ones(3))
        torch.testing.assert_close(arm.norm[:, 0], first.norm[:, 0])
        torch.testing.assert_close(arm.between_texts[:, 0], first.between_texts[:, 0])


def test_the_picture_is_a_pure_function_of_its_seeds_and_leaves_the_generator_alone():
    before = torch.random.get_rng_state()
    first, second = (depth_picture(TINY, depths=(2,), seeds=(0, 1)) for _ in range(2))
    for one, other in zip(first.arms, second.arms, strict=True):
        assert torch.equal(one.to_embedding, other.to_embedding)
    assert not torch.equal(first.arms[0].norm[0], first.arms[0].norm[1])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("placement", ["pre", "post", "none"])
def test_every_measure_is_what_a_plain_calculation_says(placement):
    torch.manual_seed(0)
    model = Decoder(TINY.override({"norm.placement": placement}))
    trace = model.trace(torch.randint(13, (2, 7)))
    found = dict(zip(MEASURES, stream_measures(trace), strict=True))
    x, embedding = trace["blocks.1.after_feedforward"], trace["embedding.output"]
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(found["to_embedding"][2], cosine(x, embedding, dim=-1).mean())
    torch.testing.assert_close(found["between_texts"][2], cosine(x[0], x[1], dim=-1).mean())
    torch.testing.assert_close(found["norm"][2], x.norm(dim=-1).mean())
    relative = [(text - text.mean(0)).norm() / text.norm() for text in x]
    torch.testing.assert_close(found["from_rank_one"][2], torch.stack(relative).mean())


def test_vectors_too_small_for_a_product_still_have_a_direction_and_zeros_have_none():
    x = torch.tensor([1e-30, 2e-30])
    assert similarity(x, 3 * x) == pytest.approx(1)
    assert similarity(x, torch.zeros(2)).isnan()


def test_a_stream_that_vanishes_is_told_as_such():
    config = SMALL.override({"norm.placement": "none", "d_model": 16, "max_seq_len": 8})
    picture = depth_picture(config, depths=(20,), seeds=(0,))
    lost = picture.arm(20, "none")
    assert lost.norm[0, -1] == 0
    assert lost.to_embedding[0, -1].isnan()
    assert "nan" not in picture.table()
    (rows,) = _lines([picture], THEMES["light"]).to_dict()["datasets"].values()
    assert all(row["mean"] == row["mean"] for row in rows)  # no NaN, which JSON has not


def test_a_block_of_attention_alone_is_measured_at_its_end():
    arm = depth_picture(TINY.override({"sublayers": "attention"}), depths=(3,), residuals=("none",)).arms[0]
    assert arm.norm.shape == (3, 4)
    assert arm.norm.isfinite().all()


def test_the_table_says_every_arm_its_range_and_its_circumstances(picture):
    lines = picture.table().splitlines()
    assert len(lines) == 1 + 6 + 1
    assert lines[6].startswith("50 layers, without")
    assert f"{float(picture.arms[5].norm[:, -1].mean()):.3g} [" in lines[6]
    assert lines[-1] == "pre-norm, 64 tokens, mean [min, max] over 3 seeds, at initialisation"
    assert lines[1].startswith("1 layer, with the residual")


@pytest.mark.parametrize("theme", THEMES)
def test_the_chart_has_a_line_for_each_arm_and_a_point_for_each_layer(picture, theme):
    (rows,) = _lines([picture], THEMES[theme]).to_dict()["datasets"].values()
    assert {row["panel"] for row in rows} == set(MEASURES.values())
    series = "50 layers, without the residual"
    last = [row for row in rows if row["series"] == series and row["panel"] == MEASURES["to_embedding"]]
    assert [row["x"] for row in last] == list(range(51))
    assert last[-1]["least"] <= last[-1]["mean"] <= last[-1]["most"]


def test_it_shows_itself(picture):
    (figure,) = picture.figures()
    assert figure.n_frames == 1


def test_wrong_input_is_told_all_at_once():
    translator = TINY.override({"n_encoder_layers": 1})
    with pytest.raises(ConfigError) as caught:
        depth_picture(translator, depths=(), n_tokens=99)
    assert len(caught.value.complaints) == 3
    assert "n_tokens is 99; it must be 2 to 9" in str(caught.value)
