from __future__ import annotations

import pytest
import torch

from glassformer.errors import ConfigError, DataError
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.presets import preset, preset_names
from glassformer.parts.interventions import replace, transform
from glassformer.parts.probes import probe_points
from glassformer.testing.configs import shrunk

SMALL = {"vocab_size": 11, "max_seq_len": 8, "d_model": 16, "n_layers": 3, "attention": {"n_heads": 4}}
TOKENS = torch.tensor([[1, 2, 3, 4, 5, 6], [6, 6, 5, 1, 0, 9]])
SOURCE = torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]])
PADDING = torch.tensor([[False] * 4, [False, False, True, True]])


def model_of(**changes):
    torch.manual_seed(0)
    return build(ModelConfig.build(SMALL | changes))


@pytest.fixture
def model():
    return model_of(dropout=0.3).eval()


@pytest.mark.parametrize("name", preset_names())
def test_the_glass_path_gives_the_fast_paths_logits(name):
    torch.manual_seed(0)
    model = build(shrunk(preset(name).model)).eval()
    ids = torch.randint(0, 11, (2, 5), generator=torch.Generator().manual_seed(1))
    arguments = (ids, ids.flip(1)) if model.config.has_encoder else (ids,)
    trace = model.trace(*arguments)
    assert set(trace) == set(probe_points(model))
    with torch.no_grad():
        torch.testing.assert_close(trace.logits, model(*arguments), rtol=1e-4, atol=1e-5)


def test_a_filter_keeps_what_matches_and_the_same_numbers(model):
    whole, part = model.trace(TOKENS), model.trace(TOKENS, only=("blocks.*.input", "final"))
    assert list(part) == ["blocks.0.input", "blocks.1.input", "blocks.2.input", "final"]
    assert all(torch.equal(part[name], whole[name]) for name in part)
    assert torch.equal(part.logits, whole.logits)


def test_names_come_in_the_order_of_the_pass(model):
    names = list(model.trace(TOKENS))
    order = [
        names.index(name) for name in ("embedding.output", "blocks.0.attention.scores", "blocks.2.input", "logits")
    ]
    assert order == sorted(order)
    assert names[-1] == "logits"


def test_gradients_are_those_of_the_loss(model):
    targets = TOKENS.roll(-1, 1)
    targets[:, -1] = -1
    trace = model.double().trace(TOKENS, gradients=targets)
    assert set(trace.gradients) == set(trace)
    name, step = "blocks.1.feedforward_input", 1e-6
    nudge = torch.zeros_like(trace[name])
    nudge[1, 2, 5] = step
    nudged = [
        model.trace(TOKENS, gradients=targets, interventions=[replace(name, trace[name] + sign * nudge)]).objective
        for sign in (1, -1)
    ]
    slope = (nudged[0] - nudged[1]) / (2 * step)
    assert float(trace.gradients[name][1, 2, 5]) == pytest.approx(slope, rel=1e-5)


def test_gradients_of_a_chosen_number_reach_only_what_it_depends_on(model):
    trace = model.trace(TOKENS, gradients=lambda logits: logits[0, 2, 7])
    gradient = trace.gradients["embedding.output"]
    assert gradient[0, :3].abs().sum() > 0
    assert not gradient[0, 3:].any()
    assert not gradient[1].any()
    assert trace.objective == pytest.approx(float(trace.logits[0, 2, 7]))


def test_gradients_exist_where_nothing_is_trained():
    model = model_of(positions={"kind": "sinusoidal"}).requires_grad_(requires_grad=False)
    trace = model.trace(TOKENS, gradients=TOKENS)
    assert trace.gradients["embedding.position_vectors"].abs().max() > 0


def test_tracing_leaves_the_model_as_it_was(model):
    model.train()
    model.blocks[1].eval()
    model.blocks[2].attention.path = "explicit"
    trace = model.trace(TOKENS, gradients=TOKENS)
    assert torch.equal(trace.logits, model.trace(TOKENS).logits)  # no dropout
    assert model.training
    assert not model.blocks[1].training
    assert [block.attention.path for block in model.blocks] == ["fused", "fused", "explicit"]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(point.watched for point in probe_points(model).values())
    assert not any(activation.requires_grad for activation in trace.values())


def test_a_pass_that_fails_leaves_the_model_as_it_was(model):
    model.train()
    with pytest.raises(DataError, match="max_seq_len"):
        model.trace(torch.zeros(1, 9, dtype=torch.long))
    assert model.training
    assert model.blocks[0].attention.path == "fused"
    assert not any(point.watched for point in probe_points(model).values())


def test_pads_are_nothing_in_a_trace_too():
    model = model_of(n_encoder_layers=2)
    trace = model.trace(SOURCE, TOKENS, PADDING)
    alone = model.trace(SOURCE[1:, :2], TOKENS[1:])
    torch.testing.assert_close(trace.logits[1:], alone.logits)
    weights = trace["decoder.blocks.0.cross_attention.weights"]
    assert weights.shape == (2, 4, 6, 4)
    assert not weights[1, :, :, 2:].any()
    assert trace["encoder.blocks.1.attention.masked_scores"][1, 0, 0, 2] == -torch.inf


def test_scores_before_and_after_scale_and_mask(model):
    trace = model.trace(TOKENS)
    scores, masked = trace["blocks.0.attention.scores"], trace["blocks.0.attention.masked_scores"]
    visible = torch.ones(6, 6, dtype=torch.bool).tril()
    torch.testing.assert_close(masked[..., visible], scores[..., visible] / 2)
    assert (masked[..., ~visible] == -torch.inf).all()


def test_the_printed_tree_shows_each_kind_of_layer_once(model):
    tree = str(model.trace(TOKENS))
    assert tree.splitlines()[0] == "Decoder given [2, 6]: 50 activations"
    assert "0 … 2" in tree
    assert tree.count("masked_scores  [2, 4, 6, 6]") == 1


def test_matching_gives_the_activations_of_a_pattern(model):
    assert list(model.trace(TOKENS).matching("blocks.*.attention.weights")) == [
        f"blocks.{layer}.attention.weights" for layer in range(3)
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.tensor([1, 2]),), r"\[batch, tokens\].*int64 \[2\]"),
        (([[1, 2]],), r"\[batch, tokens\].*list"),
        ((torch.rand(1, 3),), "float32"),
        ((torch.zeros(1, 0, dtype=torch.long),), r"\[1, 0\]"),
        ((torch.tensor([[1, 11]]),), "tokens id 11 is not in the vocabulary: its 11 tokens are 0 to 10"),
        ((torch.tensor([[1, -2]]),), "id -2"),
        ((), "takes tokens"),
    ],
)
def test_ids_that_cannot_be_are_refused(model, arguments, words):
    with pytest.raises(DataError, match=words):
        model.trace(*arguments)


def test_a_name_that_does_not_exist_is_told_with_the_nearest(model):
    with pytest.raises(ConfigError, match="Did you mean 'blocks.0.attention.weights'"):
        model.trace(TOKENS, only=("blocks.0.atention.weights",))


@pytest.mark.parametrize(
    "wanted",
    [
        torch.zeros(2, 5, dtype=torch.long),
        torch.full((2, 6), -1),
        torch.full((2, 6), 11),
        torch.zeros(2, 6),
        lambda logits: logits,
    ],
)
def test_gradients_need_an_objective_that_is_one(model, wanted):
    with pytest.raises(DataError, match="Gradients"):
        model.trace(TOKENS, gradients=wanted)


def test_the_first_activation_that_is_not_finite_is_named(model):
    assert model.trace(TOKENS).first_not_finite() is None  # hidden keys' -inf is as it should be
    for bad, point in ((torch.nan, "blocks.1.attention.key"), (torch.inf, "blocks.2.feedforward.hidden")):
        broken = transform(point, lambda activation, bad=bad: activation.where(activation != activation.amax(), bad))
        assert model.trace(TOKENS, interventions=[broken]).first_not_finite() == point
