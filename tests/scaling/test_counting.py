"""N and FLOPs of a real model under each convention, against the built model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.whole_models import counted_flops, lengths_of
from torch import nn

from glassformer.errors import ConfigError
from glassformer.models.counting import active_parameters, build_on_meta
from glassformer.models.presets import preset, preset_names
from glassformer.scaling.laws.counting import (
    counts,
    embeddings_per_width,
    non_embedding_of_total,
    total_of_non_embedding,
)


@pytest.mark.parametrize("name", preset_names())
def test_the_counts_are_those_of_the_built_model(name):
    config = preset(name).model
    found, model = counts(config), build_on_meta(config)
    weights = {id(weight): weight.numel() for weight in model.parameters()}
    tables = {id(table.weight) for table in model.modules() if isinstance(table, nn.Embedding)}
    of_head = ("head.", "head_transform.dense.")
    heads = {id(weight) for part, weight in model.named_parameters() if part.startswith(of_head)} - tables
    assert found.total == sum(weights.values()) == preset(name).n_parameters
    assert found.embedding == sum(weights[each] for each in tables)
    assert found.head == sum(weights[each] for each in heads)
    assert found.total == found.embedding + found.head + found.non_embedding
    assert found.matrices <= found.non_embedding
    idle = found.total - active_parameters(config)  # of experts that a token is not given to
    assert found.parameters("total") == found.total - idle
    assert found.parameters("non-embedding") == found.non_embedding - idle


@pytest.mark.parametrize("name", ["gpt2", "nanogpt-shakespeare-cpu", "transformer-tiny"])
def test_flops_per_token_are_what_torch_counts(name):
    config = preset(name).model
    length = 32
    found, model = counts(config, length), build_on_meta(config)
    assert found.flops_per_token_forward == counted_flops(model, 1, *lengths_of(config, length, length)) // length
    assert found.flops_per_token_training == 3 * found.flops_per_token_forward


def test_budget_tokens_and_flops_convert_back_and_forth():
    found = counts(preset("gpt2").model)
    assert found.compute(found.tokens(1e18)) == pytest.approx(1e18)
    assert found.tokens(1e18) == 1e18 / found.flops_per_token_training


def test_the_rule_of_thumb_says_what_6nd_leaves_out():
    found = counts(preset("gpt2").model)
    assert found.rule_of_thumb("total") == pytest.approx(0.874, abs=0.001)
    assert found.rule_of_thumb("non-embedding") == pytest.approx(0.597, abs=0.001)
    assert found.embedding / found.total == pytest.approx(0.32, abs=0.005)
    assert counts(preset("gpt2").model, 64).rule_of_thumb("total") > found.rule_of_thumb("total")  # fewer scores


def test_kaplans_n_of_a_gpt_is_12_layers_width_squared():
    config = preset("gpt2").model
    assert counts(config).matrices == 12 * config.n_layers * config.d_model**2


def test_a_length_that_does_not_fit_is_rejected():
    for length in (0, 1025):
        with pytest.raises(ConfigError, match="max_seq_len"):
            counts(preset("gpt2").model, length)


@given(n=st.floats(1, 1e15), gamma=st.floats(1, 1e6))
def test_total_and_non_embedding_are_each_others_inverse(n, gamma):
    assert non_embedding_of_total(total_of_non_embedding(n, gamma), gamma) == pytest.approx(n, rel=1e-6)


def test_pearce_and_songs_rule_has_their_number():
    assert total_of_non_embedding(1e9) == 1e9 + 47_491 * 1e3
    assert embeddings_per_width(32_000, 39.2) == pytest.approx(47_491, rel=0.001)
    many = total_of_non_embedding(np.array([1e6, 1e9]))
    np.testing.assert_allclose(non_embedding_of_total(many), [1e6, 1e9])
    for bad in (0, -1, np.inf):
        with pytest.raises(ConfigError):
            non_embedding_of_total(bad)


def test_the_rule_is_a_real_models_count_when_its_gamma_is():
    config = preset("gpt2").model
    found = counts(config)
    gamma = embeddings_per_width(config.vocab_size + config.max_seq_len, config.d_model / config.n_layers)
    assert total_of_non_embedding(found.matrices, gamma) == pytest.approx(found.matrices + found.embedding, rel=0.001)
