"""The picture of a pattern shows the pairs that weights are given to, and no others."""

from __future__ import annotations

import pytest
import torch

from glassformer.inspection.visible_pairs import VisiblePairs, visible_pairs
from glassformer.models.config import ModelConfig
from glassformer.parts.patterns import Causal, Window
from glassformer.testing import opens_as_a_page
from glassformer.testing.cases import random_case
from glassformer.testing.comparing import random_model

BASE = ModelConfig.build(
    {"vocab_size": 23, "max_seq_len": 16, "d_model": 16, "n_layers": 2, "attention": {"n_heads": 4}}
)
WINDOWS = BASE.override({"attention.pattern": "window", "attention.windows": [3, None]})
BLOCKS = BASE.override({"attention.pattern": "bigbird", "attention.block_size": 1, "attention.random_blocks": 1})


@pytest.mark.parametrize(
    "config",
    [
        WINDOWS,
        BLOCKS,
        BLOCKS.override({"family": "encoder"}),
        WINDOWS.override({"n_encoder_layers": 2}),
        BLOCKS.override({"n_encoder_layers": 2, "positions.kind": "alibi"}),
    ],
    ids=["windows", "blocks", "blocks of an encoder", "windows of a translator", "blocks of a translator"],
)
def test_it_shows_what_has_weight(config):
    model = random_model(config)
    case = random_case(config, 2, 14).ragged(left=2) if config.family == "encoder" else random_case(config, 2, 14)
    args, options = case.arguments
    trace = model.trace(*args, **options)
    for stack in model.family.stacks:
        found = visible_pairs(trace, side=stack.side, row=1)
        padding = trace.padding_of(stack)
        for layer, table in enumerate(found.visible):
            weights = trace[f"{stack.prefix}blocks.{layer}.attention.weights"][1] > 0
            if padding is not None:
                weights = weights[:, ~padding[1]][..., ~padding[1]]
            assert table.expand_as(weights).equal(weights)


def test_it_is_drawn_with_a_choice_of_head_where_heads_differ():
    for config, choices in ((WINDOWS, {"layer"}), (BLOCKS, {"layer", "head"})):
        model = random_model(config)
        found = visible_pairs(model.trace(torch.arange(12)[None]), tokens=[*"abcdefghijkl"])
        (figure,) = VisiblePairs.figures_of([found, found])
        assert figure.choices.keys() == choices
        assert figure.n_frames == 2
        assert figure.chart() is not None
    index = torch.arange(12)
    assert (
        visible_pairs(random_model(WINDOWS).trace(index[None]))
        .visible[0, 0]
        .equal((Causal() & Window(3)).dense(index, index))
    )
    assert found.share.shape == (2, 4)


@pytest.mark.slow(reason="every chapter of two pages: six seconds")
@pytest.mark.parametrize("config", [WINDOWS, BLOCKS], ids=["windows", "blocks"])
def test_a_model_with_a_pattern_opens_as_a_page(config):
    opens_as_a_page(config)
