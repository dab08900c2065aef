from __future__ import annotations

import pytest
import torch

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.parts.probes import matching_probes, probe_points, record, watch

CONFIG = ModelConfig.build(
    {"vocab_size": 11, "max_seq_len": 8, "d_model": 16, "n_layers": 2, "attention": {"n_heads": 4}}
)
TOKENS = torch.arange(6)[None]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Decoder(CONFIG).eval()


def test_every_activation_has_its_name(model):
    names = set(probe_points(model))
    for name in (
        "embedding.token_vectors", "embedding.position_vectors", "embedding.output", "blocks.0.input",
        "blocks.0.attention.query", "blocks.1.attention.weights", "blocks.1.after_attention",
        "blocks.0.feedforward.hidden",
        "blocks.1.after_feedforward", "final", "logits",
    ):  # fmt: skip
        assert name in names


def test_recording_gives_shapes_that_say_what_they_are(model):
    with record(model) as seen:
        logits = model(TOKENS)
    assert set(seen) == set(probe_points(model))
    assert seen["blocks.1.attention.weights"].shape == (1, 4, 6, 6)
    assert seen["blocks.0.feedforward.hidden"].shape == (1, 6, 64)
    assert torch.equal(seen["logits"], logits)


def test_recorded_weights_explain_the_heads(model):
    with record(model, "blocks.0.attention.*") as seen:
        model(TOKENS)
    attention = {name.rpartition(".")[2]: value for name, value in seen.items()}
    scores = attention["query"] @ attention["key"].transpose(-2, -1)
    torch.testing.assert_close(attention["scores"], scores)
    torch.testing.assert_close(attention["weights"] @ attention["value"], attention["heads"])


def test_nothing_is_kept_and_the_fast_path_returns_when_nobody_watches(model):
    with record(model, "blocks.*.attention.weights"):
        assert model.blocks[0].attention.weights.watched
    assert not any(point.watched for point in probe_points(model).values())
    assert all(not point._forward_hooks for point in probe_points(model).values())


def test_hooks_are_removed_even_when_the_pass_fails(model):
    with pytest.raises(RuntimeError, match="on purpose"), record(model):
        raise RuntimeError("on purpose")
    assert not any(point.watched for point in probe_points(model).values())


def test_what_a_watcher_returns_takes_the_activations_place(model):
    with (
        watch(model, lambda _name, x: torch.zeros_like(x), "blocks.*.attention.output"),
        record(model, "blocks.0.*") as seen,
    ):
        model(TOKENS)
    torch.testing.assert_close(seen["blocks.0.after_attention"], seen["blocks.0.input"])


def test_gradients_flow_through_what_was_recorded(model):
    with record(model, "blocks.0.input") as seen:
        logits = model(TOKENS)
    (gradient,) = torch.autograd.grad(logits[0, 3].sum(), seen["blocks.0.input"])
    assert gradient[0, :4].abs().sum() > 0
    assert not gradient[0, 4:].any()


def test_a_pattern_that_matches_nothing_names_the_nearest(model):
    with pytest.raises(ConfigError, match="Did you mean 'blocks.0.attention.weights'"):
        matching_probes(model, "blocks.0.atention.weights")
