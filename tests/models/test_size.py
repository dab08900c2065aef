"""How large a model may be is asked of its configuration, before anything of its size is made."""

from __future__ import annotations

import pytest
import torch

from glassformer import machine
from glassformer.errors import CheckpointError, ConfigError
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.counting import build_on_meta
from glassformer.models.limits import check_shape
from glassformer.models.presets import preset
from glassformer.models.size import bytes_to_make, check_held

SMALL = {"vocab_size": 11, "max_seq_len": 8, "d_model": 8, "n_layers": 1, "attention": {"n_heads": 2}}


def config(**changes) -> ModelConfig:
    return ModelConfig.build(SMALL).override(changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_layers": 10**7}, "n_layers is 10000000"),
        ({"n_encoder_layers": 10**7}, "n_encoder_layers is 10000000"),
        ({"vocab_size": 2**60}, "vocab_size is"),
        ({"pad_vocab_to": 2**62}, "pad_vocab_to is"),
        ({"max_seq_len": 2**62}, "max_seq_len is"),
        ({"d_model": 10**9}, "d_model 1,000,000,000: no matrix can be so large"),
        ({"d_model": 10**9, "feedforward.d_ff": 10**9}, "d_ff is .* no matrix can be so large"),
        ({"attention.n_heads": 10**9, "attention.d_head": 10**9}, "d_head is .* no matrix can be so large"),
        ({"vocab_size": 10**9, "d_model": 10**5}, "this machine has"),
        ({"pad_vocab_to": 10**9, "d_model": 10**5}, "this machine has"),
        ({"max_seq_len": 10**9, "d_model": 10**5}, "this machine has"),
        ({"max_seq_len": 10**9, "d_model": 10**5, "positions.kind": "sinusoidal"}, "this machine has"),
        ({"max_seq_len": 10**9, "d_model": 10**5, "positions.kind": "rotary"}, "this machine has"),
        ({"d_model": 10**7, "n_layers": 3}, "this machine has"),
        ({"attention.n_heads": 10**9, "attention.d_head": 2, "d_model": 2_000}, "this machine has"),
        ({"feedforward.d_ff": 10**9, "d_model": 10_000}, "this machine has"),
    ],
    ids=str,
)
def test_a_model_too_large_for_this_machine_is_refused_before_it_is_made(changes, reason):
    with pytest.raises(ConfigError, match=reason):
        build(config(**changes))


def test_a_model_that_is_only_counted_may_be_larger_than_the_memory():
    counted = build_on_meta(config(vocab_size=10**9, d_model=10**5))
    assert sum(weight.numel() for weight in counted.parameters()) > 10**14


@pytest.mark.parametrize("name", ["gpt2", "gpt2-xl", "transformer-big"])
def test_the_models_of_the_papers_are_no_larger_than_allowed(name):
    check_shape(preset(name).model)


@pytest.mark.parametrize("kind", ["learned", "sinusoidal", "rotary", "alibi", "none"])
def test_the_bytes_are_those_of_the_weights_and_at_least_those_of_the_tables(kind):
    chosen = config(**{"positions.kind": kind, "max_seq_len": 64})
    model = build(chosen)
    weights = sum(weight.nbytes for weight in model.parameters())
    tables = sum(table.nbytes for table in model.buffers())
    assert bytes_to_make(chosen) >= weights + (tables if kind != "alibi" else 0)
    assert bytes_to_make(chosen) <= weights + 6 * tables


def test_a_machine_that_does_not_say_its_memory_refuses_nothing(monkeypatch):
    here = machine.describe()
    monkeypatch.setattr("glassformer.machine.describe", lambda: here.__class__(**(vars(here) | {"memory": None})))
    build(config())


def test_a_model_far_larger_than_its_weights_is_refused_and_one_of_about_their_size_is_not():
    held = {"a": torch.zeros(1000)}
    small = config()
    check_held(small, held)
    with pytest.raises(CheckpointError, match="asks for .* parameters, and 1,000 are there"):
        check_held(config(n_layers=2_000), held)
