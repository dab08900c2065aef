"""What sparse attention costs is what is done: scores that are never formed are not counted, and rings are short."""

from __future__ import annotations

import pytest
import torch
from models.whole_models import kept_bytes, lengths_of, run
from torch.utils.flop_counter import FlopCounterMode

from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.costs import costs
from glassformer.models.counting import activation_bytes, flops_per_sequence, parameters

BASE = ModelConfig.build(
    {"vocab_size": 29, "max_seq_len": 256, "d_model": 16, "n_layers": 5, "attention": {"n_heads": 4}}
)
BIGBIRD = {"attention.pattern": "bigbird", "attention.block_size": 4}
CONFIGS = {
    "window": BASE.override({"attention.pattern": "window", "attention.window": 9}),
    "windows in turn": BASE.override({"attention.pattern": "window", "attention.windows": [9, None, 30]}),
    "causal blocks": BASE.override(BIGBIRD),
    "blocks": BASE.override({**BIGBIRD, "family": "encoder"}),
    "blocks, grouped queries": BASE.override({**BIGBIRD, "family": "encoder", "attention.n_kv_heads": 2}),
    "blocks with dropout": BASE.override({**BIGBIRD, "attention.dropout": 0.1}),
    "windows of a translator": BASE.override(
        {"attention.pattern": "window", "attention.windows": [9, None], "n_encoder_layers": 3}
    ),
}


@pytest.mark.parametrize("length", [20, 150])
@pytest.mark.parametrize("name", CONFIGS)
def test_flops_are_those_that_torch_counts_of_the_whole_model(name, length):
    config = CONFIGS[name]
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        run(build(config), 1, *lengths_of(config, length, length))
    assert flops_per_sequence(config, length, length).forward == counter.get_total_flops()


@pytest.mark.parametrize("length", [20, 150])
@pytest.mark.parametrize("name", CONFIGS)
def test_activation_bytes_are_what_autograd_keeps_of_the_whole_model(name, length):
    config = CONFIGS[name]
    model = build(config)
    for path in ("fused", "explicit"):
        found = activation_bytes(config, 2, length, 4, source_len=length, path=path)
        assert sum(found.values()) == kept_bytes(model, path, 2, *lengths_of(config, length, length)), path


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_full_attention(name):
    config = CONFIGS[name]
    full = {"pattern": "full", "window": None, "windows": [], "block_size": 64}
    assert parameters(config) == parameters(config.override({f"attention.{key}": full[key] for key in full}))


@pytest.mark.parametrize("name", ["window", "windows in turn", "causal blocks"])
def test_cache_bytes_are_those_of_the_cache(name):
    config = CONFIGS[name]
    model = build(config)
    for length in (5, 200):
        assert costs(config, batch_size=3, seq_len=length).kv_cache_bytes == model.make_cache(3, length).n_bytes
    token = 2 * 16 * 4  # keys and values of one layer
    kept = {"window": 5 * 9, "windows in turn": 9 + 200 + 30 + 9 + 200, "causal blocks": 5 * 200}
    assert model.make_cache(1, 200).n_bytes == token * kept[name]


def test_scores_and_bytes_of_a_window_are_linear_in_length_and_of_all_tokens_quadratic():
    config = BASE.override({"attention.pattern": "window", "attention.window": 9, "max_seq_len": 8192})
    scores = [flops_per_sequence(config, length).attention_scores for length in (2048, 8192)]
    assert scores[1] == 4 * scores[0]
    kept = [activation_bytes(config, 1, length)["attention"] for length in (2048, 8192)]
    assert kept[1] < 4.01 * kept[0]
    full = BASE.override({"max_seq_len": 8192})
    assert flops_per_sequence(full, 8192).attention_scores == 16 * flops_per_sequence(full, 2048).attention_scores
    assert flops_per_sequence(full, 8192).attention_scores > 100 * scores[1]
