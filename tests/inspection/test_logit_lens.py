from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from glassformer.charts.theme import THEMES
from glassformer.errors import ConfigError, DataError
from glassformer.inspection.logit_lens import _lines, lens_logits, logit_lens
from glassformer.inspection.residual_points import residual_points
from glassformer.models.config import ModelConfig
from glassformer.models.presets import preset, preset_names
from glassformer.testing import shrunk
from glassformer.testing.cases import random_case
from glassformer.testing.comparing import random_model

TINY = ModelConfig.build(
    {"vocab_size": 13, "max_seq_len": 9, "d_model": 16, "n_layers": 3, "attention": {"n_heads": 4}}
)
VARIANTS = {
    "pre": {},
    "post": {"norm.placement": "post", "norm.final": False},
    "none": {"norm.placement": "none", "norm.final": False},
    "padded vocabulary, a bias": {"pad_vocab_to": 8, "head.tied": False, "head.bias": True},
    "batchnorm": {"norm.kind": "batchnorm"},
    "no skips": {"residual": "none"},
    "translator": {"n_encoder_layers": 1, "source_vocab_size": 19, "embedding.source": "own"},
    "no layers": {"n_layers": 0},
}
MODELS = {name: TINY.override(changes) for name, changes in VARIANTS.items()}
MODELS |= {f"preset {name}": shrunk(preset(name).model) for name in preset_names()}


def traced(config=TINY, *, batch=1, **options):
    args, more = random_case(config, batch, 7).arguments
    return random_model(config).trace(*args, **more, **options)


@pytest.mark.parametrize("name", MODELS)
def test_the_last_row_is_the_models_own_answer_exactly(name):
    trace = traced(MODELS[name])
    last = residual_points(trace, each="block")[-1]
    assert torch.equal(lens_logits(trace, last), trace.logits[0])
    result = logit_lens(trace, top=3)
    best = trace.logits[0].softmax(-1).topk(3)
    assert torch.equal(result.guesses[-1], best.indices)
    torch.testing.assert_close(result.probabilities[-1], best.values)
    assert not result.divergence[-1].any()


@pytest.mark.parametrize("name", ["pre", "post", "translator"])
def test_every_number_is_what_a_plain_calculation_says(name):
    trace = traced(MODELS[name], batch=2)
    result = logit_lens(trace, row=1, top=13)
    prefix = "decoder." if name == "translator" else ""
    stack = trace.model.decoder if prefix else trace.model
    x = trace[f"{prefix}blocks.1.after_feedforward"][1]
    logits = trace.model.head(stack.final_norm(x) if name != "post" else x).detach()
    q, p = logits.softmax(-1), trace.logits[1].softmax(-1)
    right = trace.arguments[-1][1, 1:]
    assert result.rows == ("embedding", "layer 0", "layer 1", "layer 2")
    torch.testing.assert_close(result.log_probabilities[2, :-1], q[torch.arange(6), right].log())
    torch.testing.assert_close(result.entropy[2], torch.distributions.Categorical(q).entropy())
    torch.testing.assert_close(result.divergence[2], F.kl_div(q.log(), p, reduction="none").sum(-1))
    for position in range(6):
        order = q[position].argsort(descending=True).tolist()
        assert result.guesses[2, position].tolist() == order
        assert int(result.ranks[2, position]) == order.index(int(right[position])) + 1


def test_the_last_position_has_no_right_token_unless_one_is_given():
    trace = traced()
    result = logit_lens(trace)
    assert result.targets.tolist() == [*trace.arguments[0][0, 1:].tolist(), -1]
    assert (result.ranks[:, -1] == 0).all()
    assert (result.ranks[:, :-1] > 0).all()
    assert result.log_probabilities[:, -1].isnan().all()
    given = logit_lens(trace, targets=[1, 2, 3, 4, 5, 6, 7])
    expected = trace.logits[0].log_softmax(-1)[torch.arange(7), torch.arange(1, 8)]
    torch.testing.assert_close(given.log_probabilities[-1], expected)


def test_every_sublayer_can_be_read_too():
    result = logit_lens(traced(), each="sublayer")
    assert result.rows[:3] == ("embedding", "0 attention", "0 feed-forward")
    assert len(result.rows) == 7
    assert torch.equal(result.guesses[2], logit_lens(traced()).guesses[1])


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=15, deadline=None)
def test_entropies_divergences_and_ranks_stay_in_their_bounds(seed, scale):
    model = random_model(TINY, seed=seed)
    with torch.no_grad():
        model.head.weight.mul_(scale)
    tokens = torch.randint(13, (1, 6), generator=torch.Generator().manual_seed(seed))
    result = logit_lens(model.trace(tokens), top=4)
    assert (result.entropy >= -1e-6).all()
    assert (result.entropy <= math.log(13) + 1e-5).all()
    assert (result.divergence >= 0).all()
    assert result.divergence.isfinite().all()
    assert ((result.ranks[:, :-1] >= 1) & (result.ranks[:, :-1] <= 13)).all()
    assert (result.probabilities.diff(dim=-1) <= 0).all()
    first = result.ranks[:, :-1] == 1
    assert torch.equal(first, result.guesses[:, :-1, 0] == result.targets[:-1])


def test_it_settles_where_the_best_guess_becomes_the_final_one_and_stays():
    result = logit_lens(traced())
    for position, row in enumerate(result.settled().tolist()):
        best = result.guesses[:, position, 0]
        assert (best[row:] == best[-1]).all()
        assert row == 0 or best[row - 1] != best[-1]


def test_the_model_is_left_as_it_was():
    trace = traced(TINY.override({"norm.kind": "batchnorm"}))
    model = trace.model.train()
    statistics = model.final_norm.features.running_mean.clone()
    assert torch.equal(lens_logits(trace, residual_points(trace, each="block")[-1]), trace.logits[0])
    assert all(module.training for module in model.modules())
    assert torch.equal(model.final_norm.features.running_mean, statistics)


def test_the_table_says_the_loss_of_the_last_row_as_the_model_has_it():
    trace = traced()
    result = logit_lens(trace)
    loss = F.cross_entropy(trace.logits[0, :-1], trace.arguments[0][0, 1:])
    lines = result.table().splitlines()
    assert len(lines) == 1 + 4
    assert lines[-1].split()[:3] == ["layer", "2", f"{float(loss):.3f}"]


def test_wrong_input_is_told_plainly():
    trace = traced()
    with pytest.raises(ConfigError, match="top is 0"):
        logit_lens(trace, top=0)
    with pytest.raises(DataError, match=r"each of 7 positions.*\[3\]"):
        logit_lens(trace, targets=[1, 2, 3])
    with pytest.raises(DataError, match="0 to 12, or −1 for none; .*13 to 13"):
        logit_lens(trace, targets=[13] * 7)
    with pytest.raises(ConfigError, match="does not hold 'blocks.2.after_feedforward'"):
        logit_lens(traced(only=("embedding.*",)))
    assert logit_lens(trace, top=99).guesses.shape == (4, 7, 13)


def test_the_guesses_are_spelt():
    result = logit_lens(traced(), to_text=lambda token: f"<{token}>", top=2)
    needed = {*result.guesses.flatten().tolist(), *result.targets[:-1].tolist()}
    assert result.texts == {token: f"<{token}>" for token in needed}


@pytest.mark.parametrize("theme", THEMES)
def test_the_lines_are_a_chart_whose_frame_can_be_chosen(theme):
    results = [logit_lens(traced()), logit_lens(traced(TINY.override({"residual": "none"})))]
    spec = _lines(results, THEMES[theme]).to_dict()
    (rows,) = spec["datasets"].values()
    assert [parameter["name"] for parameter in spec["params"]] == ["frame"]
    found = next(r for r in rows if (r["frame"], r["x"], r["panel"][:7]) == (1, "layer 1", "entropy"))
    assert found["mean"] == pytest.approx(float(results[1].entropy[2].mean()), rel=1e-3)


def test_it_shows_itself_with_a_frame_for_each_checkpoint():
    spellings = {"to_text": "abcdefghijklm".__getitem__, "tokens": list("ABCDEFG")}
    results = [logit_lens(traced(), **spellings), logit_lens(traced(MODELS["post"]), **spellings)]
    grid, lines = type(results[0]).figures_of(results)
    assert grid.n_frames == lines.n_frames == 2
    assert grid.right == ["abcdefghijklm"[token] if token >= 0 else "" for token in results[0].targets.tolist()]
